//! `POST /api/v1/<request>`: the requests of the protocol, one a call, in JSON.

use std::sync::Arc;

use ::api::{Call, Caller, Scopes, Token};
use ::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::{
    Extension,
    body::Body,
    extract::{Path, State, rejection::BytesRejection},
    response::Response,
};
use bytes::Bytes;
use protocol::{
    Error, Result, SessionId, UserId,
    limits::CLIENT_FRAME_BYTES_MAX,
    wire::{self, ClientFrame, ErrorCode, ServerFrame, client_frame::Body as Request},
};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::{Peer, json};
use crate::{
    dispatch::{self, kind},
    gateway::Shared,
    session::{too_many, unknown_request},
};

/// Answers one request: its JSON with status 200, or the error's JSON with the status that fits.
pub(super) async fn answer(
    State(shared): State<Arc<Shared>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let answer = async {
        let body = body.map_err(|rejection| unread_body(&rejection))?;
        let request = request(&name, &body)?;
        let call = admit(&shared, &peer, &headers, &request)
            .await
            .or_else(|error| shared.dispatch.settle(kind(&request), Err(error)))?;
        let answer = shared.dispatch.answer(&call, request).await?;
        inner_json(ServerFrame { request: 0, body: Some(answer) })
    };
    match answer.await {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => refusal(error),
    }
}

/// The request of this name: its JSON is what the frame's JSON holds under the name.
fn request(name: &str, body: &[u8]) -> Result<Request> {
    let text = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let value: Value = serde_json::from_slice(text).map_err(|error| Error::invalid(format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(Error::invalid("the body has to be a JSON object"));
    }
    // Not a request, though a frame has it.
    if name == "request" {
        return Err(unknown_request());
    }
    let frame = Map::from_iter([(name.to_owned(), value)]);
    let frame: ClientFrame = serde_json::from_value(Value::Object(frame))
        .map_err(|error| Error::invalid(format!("not a request {name}: {error}")))?;
    frame.body.ok_or_else(unknown_request)
}

/// Who asks, and whether they may now.
async fn admit(shared: &Shared, peer: &Peer, headers: &HeaderMap, request: &Request) -> Result<Call> {
    if shared.draining.is_cancelled() {
        return Err(Error::new(ErrorCode::Draining, "this gateway stops"));
    }
    let deadline = shared.dispatch.deadline();
    let mut call = Call { caller: None, origin: None, address: Some(peer.0.address), deadline };
    let rate = shared.limits().requests_per_connection;
    peer.0.bucket.lock().take(rate, Instant::now()).map_err(|after| too_many("requests", after))?;
    if dispatch::is_account_request(request) {
        shared.admit_account_request(peer.0.address)?;
        return Ok(call);
    }
    if matches!(request, Request::Ping(_) | Request::Connect(_) | Request::WatchPresence(_)) {
        return Ok(call);
    }
    let caller = authenticate(shared, &call, headers).await?;
    call.caller = Some(caller);
    if matches!(request, Request::Send(_)) {
        shared.admit_send(caller.user)?;
    }
    Ok(call)
}

async fn authenticate(shared: &Shared, call: &Call, headers: &HeaderMap) -> Result<Caller> {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
        .ok_or_else(|| Error::new(ErrorCode::Unauthenticated, "an access token is needed: Authorization: Bearer …"))?;
    let identity = timeout_at(call.deadline, shared.dispatch.services().user.authenticate(call, Token { token }))
        .await
        .unwrap_or_else(|_| Err(dispatch::late(true)))?;
    let user = identity.user.ok_or_else(|| Error::unavailable("the user service did not say who this is"))?;
    Ok(Caller {
        user: UserId::new(user.id),
        session: SessionId::new(identity.session),
        scopes: Scopes::of_identity(&identity.scopes),
    })
}

/// The answer's own JSON, out of the frame's.
fn inner_json(frame: ServerFrame) -> Result<Vec<u8>> {
    let unwritable =
        |error: serde_json::Error| Error::unavailable("the answer cannot be written as JSON").with_source(error);
    let answer = match serde_json::to_value(&frame).map_err(unwritable)? {
        Value::Object(frame) => frame.into_iter().next().map(|(_, answer)| answer),
        _ => None,
    };
    serde_json::to_vec(&answer).map_err(unwritable)
}

fn unread_body(rejection: &BytesRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Error::limit("a request in bytes", "more", CLIENT_FRAME_BYTES_MAX)
    } else {
        Error::invalid(format!("the body cannot be read: {rejection}"))
    }
}

/// The error's JSON, with a status that tells scripts the same as its code.
fn refusal(error: Error) -> Response<Body> {
    let status = status(error.code());
    let retry_after = error.retry_after();
    let body = serde_json::to_vec(&wire::Error::from(error)).expect("an error consists of numbers and text");
    let mut response = json(status, body);
    if let Some(after) = retry_after {
        // Whole seconds, at least one: rounded down, the next try would come too early.
        let seconds = after.as_millis().div_ceil(1_000).max(1);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UnknownRequest | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::LimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::NameTaken | ErrorCode::IdReused => StatusCode::CONFLICT,
        ErrorCode::Forbidden | ErrorCode::NotMember => StatusCode::FORBIDDEN,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        other => match other as i32 / 100 {
            1 => StatusCode::BAD_REQUEST,
            2 => StatusCode::UNAUTHORIZED,
            3 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::GATEWAY_TIMEOUT,
        },
    }
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
        let json = String::from_utf8(inner_json(frame).unwrap()).unwrap();
        let read: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["conversation"], "1152921504606846976");
        assert_eq!((&read["position"], &read["timeMs"]), (&Value::from("2"), &Value::from("3")));
    }
}
