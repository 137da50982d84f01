//! What can go wrong.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use protocol::{EntryId, wire};

use crate::{Server, profile::ProfileError};

/// Why a connection or a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection to the server could be made.
    #[error("cannot reach {server}")]
    Unreachable {
        /// Where it was sought.
        server: Box<Server>,
        /// Why it failed.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] Arc<dyn StdError + Send + Sync>),
    /// The server said goodbye, and why.
    #[error("the server closed the connection: {message}")]
    Goodbye {
        /// Whether to come back: below 100.
        reason: i32,
        /// For a person.
        message: String,
        /// When to come back.
        reconnect_after: Duration,
    },
    /// The server sent what is not a frame of the protocol, or not the answer that belongs to the request.
    #[error("the server does not speak the protocol: {0}")]
    Protocol(String),
    /// The server refused.
    #[error(transparent)]
    Refused(protocol::Error),
    /// No answer came in time. Whatever was asked for has perhaps happened.
    #[error("no answer within {} s", after.as_secs_f32())]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
        /// Why there is no connection, if there is none.
        #[source]
        source: Option<Arc<Error>>,
    },
    /// The session is over: log in again.
    #[error("the session has ended")]
    SessionEnded(#[source] Option<Arc<Error>>),
    /// The profile holds no session: log in first.
    #[error("not logged in")]
    NotLoggedIn,
    /// The profile failed.
    #[error("the profile failed")]
    Profile(#[from] ProfileError),
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl Error {
    pub(crate) fn unreachable(server: &Server, source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Unreachable { server: Box::new(server.clone()), source: Arc::new(source) }
    }

    pub(crate) fn goodbye(goodbye: wire::Goodbye) -> Self {
        Self::Goodbye {
            reason: goodbye.reason,
            message: goodbye.message,
            reconnect_after: Duration::from_millis(goodbye.reconnect_after_ms.into()),
        }
    }

    pub(crate) fn broken(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Broken(Arc::new(source))
    }
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Certainly not stored, and the SDK will not try again.
    #[error("not sent")]
    NotStored {
        /// Why.
        #[source]
        error: Error,
    },
    /// The SDK stopped waiting. It was perhaps stored: sending again with the same id is safe and settles it.
    #[error("not acknowledged; send again with the same id {id} to settle it")]
    OutcomeUnknown {
        /// The message's id.
        id: EntryId,
        /// What happened last.
        #[source]
        error: Error,
    },
}
