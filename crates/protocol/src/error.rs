//! The closed set of refusals, and what each tells its receiver to do.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use crate::wire::{self, ErrorCode};

/// What a call answers with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do after an error; the hundreds of its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The request cannot succeed as it is. Nothing was stored.
    GiveUp,
    /// Log in, or refresh the token, and try again. Nothing was stored.
    LogIn,
    /// Certainly nothing was stored; try again later.
    RetryLater,
    /// Perhaps stored: retry with the same id.
    RetrySameId,
}

impl ErrorCode {
    /// What to do after an error of this code.
    pub fn advice(self) -> Advice {
        match self as i32 / 100 {
            1 => Advice::GiveUp,
            2 => Advice::LogIn,
            3 => Advice::RetryLater,
            _ => Advice::RetrySameId,
        }
    }
}

/// Why a request was refused, in its one form for all layers: what a client may know (code, message, advice), and the
/// cause, which goes to the log and never to a client.
#[derive(Debug, Clone)]
pub struct Error {
    code: ErrorCode,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error with a message for a person: lower case, one line, says what is wrong and what is allowed.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, source: None }
    }

    /// A field is missing, malformed or outside what is allowed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// A limit is exceeded: `what` is `size` and may be `limit`.
    pub fn limit(what: &str, size: impl fmt::Display, limit: impl fmt::Display) -> Self {
        Self::new(ErrorCode::LimitExceeded, format!("{what}: {size}, allowed are {limit}"))
    }

    /// What was named does not exist, or the caller may not know of it.
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("{what} does not exist"))
    }

    /// The caller is not a member of the conversation.
    pub fn not_member() -> Self {
        Self::new(ErrorCode::NotMember, "you are not a member of this conversation")
    }

    /// Something that is needed cannot be reached or fails; certainly nothing was stored.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message).with_retry_after(Duration::from_secs(1))
    }

    /// Adds how long to wait before the next try.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The message for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the receiver should do.
    pub fn advice(&self) -> Advice {
        self.code.advice()
    }

    /// How long to wait before the next try, if known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether something failed here (to be logged), rather than in the request.
    pub fn is_internal(&self) -> bool {
        self.source.is_some()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for wire::Error {
    fn from(error: Error) -> Self {
        let retry_after = error.retry_after.map_or(0, |after| after.as_millis().max(1));
        Self {
            code: error.code.into(),
            message: error.message,
            retry_after_ms: u32::try_from(retry_after).unwrap_or(u32::MAX),
        }
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        // A code that a newer server made up keeps the advice of its hundreds.
        let code = ErrorCode::try_from(error.code).unwrap_or(match error.code / 100 {
            1 => ErrorCode::Invalid,
            2 => ErrorCode::Unauthenticated,
            3 => ErrorCode::Unavailable,
            _ => ErrorCode::OutcomeUnknown,
        });
        let retry_after = (error.retry_after_ms > 0).then(|| Duration::from_millis(error.retry_after_ms.into()));
        Self { code, message: error.message, retry_after, source: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_survives_the_wire_even_for_codes_made_up_later() {
        let error = Error::unavailable("the database is away").with_retry_after(Duration::from_micros(10));
        let wire = wire::Error::from(error);
        assert_eq!(wire.retry_after_ms, 1);
        assert_eq!(Error::from(wire).advice(), Advice::RetryLater);
        for (code, advice) in
            [(199, Advice::GiveUp), (299, Advice::LogIn), (399, Advice::RetryLater), (777, Advice::RetrySameId)]
        {
            assert_eq!(Error::from(wire::Error { code, ..Default::default() }).advice(), advice);
        }
    }
}
