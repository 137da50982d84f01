//! What a failure of SQLite means for those who wait for an answer.

use std::{fmt, sync::Arc};

use rusqlite::{Error as Sqlite, ffi};

use crate::Error;

/// A transaction failed, and was rolled back.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    meaning: Meaning,
    cause: Arc<Sqlite>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    NotWritable,
    NotStored,
    Unknown,
}

/// The write of a page, of the log or of its index failed.
const WRITES: [i32; 8] = [
    ffi::SQLITE_IOERR_WRITE,
    ffi::SQLITE_IOERR_FSYNC,
    ffi::SQLITE_IOERR_DIR_FSYNC,
    ffi::SQLITE_IOERR_TRUNCATE,
    ffi::SQLITE_IOERR_SHMOPEN,
    ffi::SQLITE_IOERR_SHMSIZE,
    ffi::SQLITE_IOERR_SHMMAP,
    ffi::SQLITE_IOERR_GETTEMPPATH,
];

impl Failure {
    /// A statement failed: no commit was tried, so certainly nothing is stored.
    pub(super) fn before_commit(cause: Sqlite) -> Self {
        let (primary, extended) = codes(&cause);
        let not_writable = matches!(primary, ffi::SQLITE_FULL | ffi::SQLITE_READONLY | ffi::SQLITE_CANTOPEN)
            || WRITES.contains(&extended);
        Self { meaning: if not_writable { Meaning::NotWritable } else { Meaning::NotStored }, cause: Arc::new(cause) }
    }

    /// The commit failed. Where a write failed, the record that completes the transaction, written last, is not
    /// complete. A failed sync comes after that record, which may be on disk; so does a failure of the log's index.
    pub(super) fn at_commit(cause: Sqlite) -> Self {
        let (primary, extended) = codes(&cause);
        let meaning = match primary {
            ffi::SQLITE_FULL | ffi::SQLITE_READONLY => Meaning::NotWritable,
            _ if extended == ffi::SQLITE_IOERR_WRITE => Meaning::NotWritable,
            ffi::SQLITE_BUSY => Meaning::NotStored,
            _ => Meaning::Unknown,
        };
        Self { meaning, cause: Arc::new(cause) }
    }

    /// Whether one of the transaction's commands may be to blame, rather than the disk: then the others succeed without it.
    pub(super) fn may_be_a_command(&self) -> bool {
        let (primary, _) = codes(&self.cause);
        self.meaning == Meaning::NotStored && !matches!(primary, ffi::SQLITE_IOERR | ffi::SQLITE_BUSY)
    }

    /// The answer for one of the commands.
    pub(super) fn to_error(&self) -> Error {
        let cause = Box::new(Cause(self.cause.clone()));
        match self.meaning {
            Meaning::NotWritable => Error::NotWritable(cause),
            Meaning::NotStored => Error::NotStored(cause),
            Meaning::Unknown => Error::Unknown(cause),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

fn codes(error: &Sqlite) -> (i32, i32) {
    error
        .sqlite_error()
        .map_or((ffi::SQLITE_OK, ffi::SQLITE_OK), |error| (error.extended_code & 0xff, error.extended_code))
}

/// A cause shared by all commands of a transaction.
#[derive(Debug)]
struct Cause(Arc<Sqlite>);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sqlite(code: i32) -> Sqlite {
        Sqlite::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn only_what_certainly_left_no_commit_record_is_called_not_stored() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_READONLY, ffi::SQLITE_READONLY_DBMOVED] {
            assert!(matches!(Failure::at_commit(sqlite(code)).to_error(), Error::NotWritable(_)), "{code}");
        }
        for code in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR, ffi::SQLITE_CORRUPT] {
            assert!(matches!(Failure::at_commit(sqlite(code)).to_error(), Error::Unknown(_)), "{code}");
        }
        assert!(matches!(Failure::before_commit(sqlite(ffi::SQLITE_IOERR_FSYNC)).to_error(), Error::NotWritable(_)));
        assert!(matches!(Failure::before_commit(sqlite(ffi::SQLITE_IOERR_READ)).to_error(), Error::NotStored(_)));
        assert!(Failure::before_commit(sqlite(ffi::SQLITE_CONSTRAINT_UNIQUE)).may_be_a_command());
        assert!(!Failure::before_commit(sqlite(ffi::SQLITE_FULL)).may_be_a_command());
    }
}
