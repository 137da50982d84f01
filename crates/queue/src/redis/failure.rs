//! Why something could not be done, and what that says.

use std::{fmt, time::Duration};

use ::redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use super::{names::Slot, topology::Address};

/// Why something could not be done.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}: {1}")]
    Redis(Address, #[source] RedisError),
    #[error("{0} does not take a connection within {1:?}")]
    NotConnected(Address, Duration),
    #[error("max_connections ({0}) are open already")]
    TooManyConnections(usize),
    #[error("no server keeps slot {}", .0.0)]
    NoServer(Slot),
    #[error("none of the servers named tells who is there: {0}")]
    NoTopology(String),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("{0}: an answer that was not expected: {1}")]
    Unexpected(&'static str, String),
}

/// The kind of an answer that is an error.
pub(super) fn server_error(value: &Value) -> Option<ServerErrorKind> {
    match value {
        Value::ServerError(error) => Some(error.kind().unwrap_or(ServerErrorKind::ResponseError)),
        _ => None,
    }
}

/// The first answer that is an error.
pub(super) fn first_error(values: &[Value]) -> Option<Value> {
    values.iter().find(|value| matches!(value, Value::ServerError(_))).cloned()
}

pub(super) fn unexpected(what: &'static str, answer: &dyn fmt::Debug) -> Failure {
    Failure::Unexpected(what, format!("{answer:?}"))
}

/// Whether another attempt may succeed.
pub(super) fn may_help(failure: &Failure) -> bool {
    match failure {
        Failure::Redis(_, error) => !matches!(
            error.kind(),
            ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::Server(
                    ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot | ServerErrorKind::ResponseError
                )
        ),
        Failure::TooManyConnections(_) | Failure::Unexpected(..) => false,
        _ => true,
    }
}

/// Whether a server says so that is not, or not now, the one to ask.
pub(super) fn is_of_another_server(error: ServerErrorKind) -> bool {
    matches!(
        error,
        ServerErrorKind::Moved
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::BusyLoading
    )
}
