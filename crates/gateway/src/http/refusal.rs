//! Errors as HTTP tells them: the error's JSON, and a status that tells scripts the same as its code.

use ::http::{HeaderValue, StatusCode, header};
use axum::{body::Body, extract::rejection::BytesRejection, response::Response};
use protocol::{
    Error,
    limits::CLIENT_FRAME_BYTES_MAX,
    wire::{self, ErrorCode},
};

use super::json;

/// The response that tells an error.
pub(super) fn refusal(error: Error) -> Response<Body> {
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

pub(super) fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::UnknownRequest | ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::NameTaken | ErrorCode::IdReused | ErrorCode::Conflict | ErrorCode::TooLate => StatusCode::CONFLICT,
        ErrorCode::Forbidden
        | ErrorCode::NotMember
        | ErrorCode::FriendsOnly
        | ErrorCode::Muted
        | ErrorCode::Dissolved
        | ErrorCode::ScopeMissing
        | ErrorCode::Banned => StatusCode::FORBIDDEN,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        other => match other as i32 / 100 {
            1 => StatusCode::BAD_REQUEST,
            2 => StatusCode::UNAUTHORIZED,
            3 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::GATEWAY_TIMEOUT,
        },
    }
}

/// A body that could not be read: what is too large as a whole has a status of its own.
pub(super) fn unread_body(rejection: &BytesRejection) -> Response {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let error = Error::limit("a request in bytes", "more", CLIENT_FRAME_BYTES_MAX);
        with_status(StatusCode::PAYLOAD_TOO_LARGE, error)
    } else {
        refusal(Error::invalid(format!("the body cannot be read: {rejection}")))
    }
}

/// A path that is there, asked with a method that it does not know.
pub(super) async fn wrong_method() -> Response {
    let message = "this path does not know this method; requests are sent with POST";
    with_status(StatusCode::METHOD_NOT_ALLOWED, Error::new(ErrorCode::UnknownRequest, message))
}

fn with_status(status: StatusCode, error: Error) -> Response {
    json(status, serde_json::to_vec(&wire::Error::from(error)).expect("an error consists of numbers and text"))
}
