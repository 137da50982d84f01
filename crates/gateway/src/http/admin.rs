//! `POST /api/v1/admin/REQUEST`: for those who run the server, with the server's admin key.

use std::sync::Arc;

use ::http::HeaderMap;
use axum::{
    Extension,
    extract::{Path, State, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use protocol::{
    Error, Result,
    wire::{AdminRequest, ErrorCode},
};

use super::{
    Peer,
    api::{bearer, call, inner_json, named, respond},
    refusal::unread_body,
};
use crate::{gateway::Shared, session::unknown_request};

/// Answers one request. Who does not have the key learns nothing, not even what requests there are.
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread_body(&rejection),
    };
    let answer = async {
        let call = call(&shared, &peer)?;
        check_key(&shared, &headers).or_else(|error| shared.dispatch.settle("admin", Err(error)))?;
        let request: AdminRequest = named(&name, &body)?;
        let answer = shared.dispatch.answer_admin(&call, request.body.ok_or_else(unknown_request)?).await?;
        inner_json(&answer)
    };
    respond(answer.await)
}

fn check_key(shared: &Shared, headers: &HeaderMap) -> Result<()> {
    let Some(key) = &shared.config.admin_key else { return Err(unknown_request()) };
    match bearer(headers) {
        Some(shown) if key.is(shown) => Ok(()),
        _ => Err(Error::new(
            ErrorCode::Unauthenticated,
            "the admin key is needed: Authorization: Bearer …, with what admin.key in the server's data directory holds",
        )),
    }
}
