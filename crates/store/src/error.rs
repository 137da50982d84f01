//! Why a store could not do what it was asked.

use std::error::Error as StdError;

/// What a store's method returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync>;

/// A store failed. What it refuses by its rules is not here but in each method's result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is full or read-only. Certainly nothing was stored; reads go on.
    #[error("the storage cannot be written: {0}")]
    NotWritable(#[source] Source),
    /// Certainly nothing was stored: the store is closed, overloaded or out of reach.
    #[error("the store is unavailable: {0}")]
    NotStored(#[source] Source),
    /// The answer to the commit got lost: perhaps stored.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(#[source] Source),
}

impl From<Error> for protocol::Error {
    fn from(error: Error) -> Self {
        use protocol::wire::ErrorCode;
        let (code, message) = match error {
            Error::NotWritable(_) => (
                ErrorCode::StorageUnavailable,
                "certainly not stored: the server's storage is full or read-only; try again later",
            ),
            Error::NotStored(_) => {
                (ErrorCode::Unavailable, "certainly not stored: the server's storage is unavailable; try again")
            }
            Error::Unknown(_) => (ErrorCode::OutcomeUnknown, "outcome unknown: retry with the same id"),
        };
        Self::new(code, message).with_retry_after(std::time::Duration::from_secs(1)).with_source(error)
    }
}
