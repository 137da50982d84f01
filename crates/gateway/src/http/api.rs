//! `POST /api/v1/<request>`: the requests of the protocol, one a call, in JSON.

use std::sync::Arc;

use ::api::{Call, Caller, Identity, Scopes, Token};
use ::http::{HeaderMap, StatusCode, header};
use axum::{
    Extension,
    extract::{Path, State, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use protocol::{
    Error, Result, SessionId, UserId,
    queue::AccountClosed,
    wire::{self, ClientFrame, ErrorCode, ServerFrame, client_frame::Body as Request, server_frame::Body as Answer},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::{
    Peer, json,
    refusal::{refusal, unread_body},
};
use crate::{
    admission::{Admitted, too_many},
    dispatch::{
        self,
        table::{Access, Class},
    },
    gateway::Shared,
    json::read_json,
    session::unknown_request,
};

/// Answers one request: its JSON with status 200, or the error's JSON with the status that fits.
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
        let request = request(&name, &body)?;
        let row = dispatch::row(&request);
        let (call, admitted) = admit(&shared, &peer, &headers, &request)
            .await
            .or_else(|error| shared.dispatch.settle(row.name, Err(error)))?;
        let is_deletion = matches!(request, Request::DeleteAccount(_));
        let answer = match admitted {
            Admitted::Served => shared.dispatch.answer(&call, request).await?,
            Admitted::Dropped => Answer::Done(wire::Done {}),
        };
        if let (true, Some(caller)) = (is_deletion, call.caller) {
            shared.hub.close_account(caller.user, AccountClosed::Deleted);
        }
        inner_json(&ServerFrame { request: 0, body: Some(answer) })
    };
    respond(answer.await)
}

/// The answer's JSON with status 200, or the error's JSON with the status that fits.
pub(super) fn respond(answer: Result<Vec<u8>>) -> Response {
    match answer {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => refusal(error),
    }
}

/// The request of this name.
fn request(name: &str, body: &[u8]) -> Result<Request> {
    // Not a request, though a frame has it.
    if name == "request" {
        object(body)?;
        return Err(unknown_request());
    }
    let frame: ClientFrame = named(name, body)?;
    frame.body.ok_or_else(unknown_request)
}

/// A frame with one body, of this name: its JSON is what the frame's JSON holds under the name.
pub(super) fn named<T: DeserializeOwned>(name: &str, body: &[u8]) -> Result<T> {
    let frame = Map::from_iter([(name.to_owned(), Value::Object(object(body)?))]);
    read_json(Value::Object(frame)).map_err(|error| Error::invalid(format!("not a request: {error}")))
}

/// A body of JSON; nothing is an empty object.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>> {
    let text = if body.trim_ascii().is_empty() { b"{}" } else { body };
    match serde_json::from_slice(text).map_err(|error| Error::invalid(format!("not JSON: {error}")))? {
        Value::Object(object) => Ok(object),
        _ => Err(Error::invalid("the body has to be a JSON object")),
    }
}

/// A call of nobody yet, if the connection may make one more now.
pub(super) fn call(shared: &Shared, peer: &Peer) -> Result<Call> {
    if shared.draining.is_cancelled() {
        return Err(Error::new(ErrorCode::Draining, "this gateway stops"));
    }
    let rate = shared.admission.limits().requests_per_connection;
    peer.0.bucket.lock().take(rate, Instant::now()).map_err(|after| too_many("requests", after))?;
    Ok(Call { caller: None, origin: None, address: Some(peer.0.address), deadline: shared.dispatch.deadline() })
}

/// Who asks, and whether they may now.
async fn admit(shared: &Shared, peer: &Peer, headers: &HeaderMap, request: &Request) -> Result<(Call, Admitted)> {
    let mut call = call(shared, peer)?;
    let row = dispatch::row(request);
    if row.class == Class::Accounts {
        shared.admission.account_request(peer.0.address)?;
    }
    // What needs a socket is refused as such, whoever asks.
    if row.access == Access::Anybody || row.needs_socket {
        return Ok((call, Admitted::Served));
    }
    let identity = authenticate(shared, &call, headers).await?;
    let caller = caller(identity)?;
    call.caller = Some(caller);
    let admitted = shared.admission.request(caller, request)?;
    Ok((call, admitted))
}

async fn authenticate(shared: &Shared, call: &Call, headers: &HeaderMap) -> Result<Identity> {
    let token = bearer(headers)
        .ok_or_else(|| Error::new(ErrorCode::Unauthenticated, "an access token is needed: Authorization: Bearer …"))?
        .to_owned();
    timeout_at(call.deadline, shared.dispatch.services().user.authenticate(call, Token { token }))
        .await
        .unwrap_or_else(|_| Err(dispatch::late(true)))
}

/// On whose behalf a call is made from now on.
pub(super) fn caller(identity: Identity) -> Result<Caller> {
    let user = identity.user.ok_or_else(|| Error::unavailable("the user service did not say who this is"))?;
    Ok(Caller {
        user: UserId::new(user.id),
        session: SessionId::new(identity.session),
        scopes: Scopes::of_identity(&identity.scopes),
    })
}

/// The secret of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The answer's own JSON, out of the frame's.
pub(super) fn inner_json(frame: &impl Serialize) -> Result<Vec<u8>> {
    let unwritable =
        |error: serde_json::Error| Error::unavailable("the answer cannot be written as JSON").with_source(error);
    let answer = match serde_json::to_value(frame).map_err(unwritable)? {
        Value::Object(frame) => frame.into_iter().next().map(|(_, answer)| answer),
        _ => None,
    };
    serde_json::to_vec(&answer).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_by_its_name_in_either_spelling() {
        for name in ["log_in", "logIn"] {
            let read = request(name, br#"{"name": "alice", "later": 1}"#).unwrap();
            assert!(matches!(read, Request::LogIn(read) if read.name == "alice"));
        }
        assert!(matches!(request("list_sessions", b"").unwrap(), Request::ListSessions(_)));
    }

    #[test]
    fn what_is_no_request_is_refused_by_kind() {
        for (name, body, code) in [
            ("dance", "{}", ErrorCode::UnknownRequest),
            ("request", "{}", ErrorCode::UnknownRequest),
            ("send", "{", ErrorCode::Invalid),
            ("send", "[]", ErrorCode::Invalid),
            ("send", r#"{"conversation": "many"}"#, ErrorCode::Invalid),
        ] {
            assert_eq!(request(name, body.as_bytes()).unwrap_err().code(), code, "{name} {body}");
        }
    }

    #[test]
    fn the_answer_is_without_its_frame() {
        let sent = wire::Sent { conversation: 1 << 60, position: 2, time_ms: 3 };
        let frame = ServerFrame { request: 0, body: Some(wire::server_frame::Body::Sent(sent)) };
        let json = String::from_utf8(inner_json(&frame).unwrap()).unwrap();
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["conversation"], "1152921504606846976");
        assert_eq!((&read["position"], &read["timeMs"]), (&Value::from("2"), &Value::from("3")));
    }
}
