//! What a failure of the database means for whoever waits for an answer.

use sqlx::mysql::MySqlDatabaseError;

use crate::Error;

/// Whoever was there first has the row: looked at again, it is found.
const DUPLICATE_KEY: u16 = 1062;
/// Rolled back, to be run again: a lock wait that took too long, a deadlock, TiDB's conflicts of writes and of schemas.
const CONFLICTS: [u16; 5] = [1205, 1213, 8022, 8028, 9007];
/// The session or its statement was ended by somebody or something else: the server shuts down, the statement or session was
/// killed (1317, 1927, 3169), the session was idle for too long (4031).
const ENDED: [u16; 9] = [1053, 1077, 1078, 1079, 1080, 1317, 1927, 3169, 4031];
/// There are too many connections; somebody else's may end.
const TOO_MANY_CONNECTIONS: u16 = 1040;
/// The disk is full, or the server only reads: tables full, read-only, out of disk, temporary files.
const NOT_WRITABLE: [u16; 8] = [1021, 1026, 1114, 1290, 1030, 1836, 1792, 3170];

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Run the transaction again: it lost a race, and was rolled back.
    Conflict,
    /// The connection is lost or of no use any more: another one may do.
    Lost,
    /// The database cannot be written.
    NotWritable,
    /// Anything else.
    Other,
}

/// What a failure means that came before a commit was tried: in any case, nothing is stored.
pub(super) fn meaning(error: &sqlx::Error) -> Meaning {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            Meaning::Lost
        }
        sqlx::Error::Database(_) => meaning_of(number(error)),
        _ => Meaning::Other,
    }
}

/// What an answer with this number of MySQL's means.
fn meaning_of(number: u16) -> Meaning {
    match number {
        number if number == DUPLICATE_KEY || CONFLICTS.contains(&number) => Meaning::Conflict,
        number if ENDED.contains(&number) => Meaning::Lost,
        number if NOT_WRITABLE.contains(&number) => Meaning::NotWritable,
        _ => Meaning::Other,
    }
}

/// What a failed commit means: whatever the server does not call a conflict may be stored.
pub(super) fn is_conflict_at_commit(error: &sqlx::Error) -> bool {
    CONFLICTS.contains(&number(error))
}

/// Whether the server may let us in a moment later: it starts, ends, or is full.
pub(super) fn may_pass_while_connecting(error: &sqlx::Error) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable,
        UnexpectedEof,
    };
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            BrokenPipe
                | ConnectionAborted
                | ConnectionRefused
                | ConnectionReset
                | HostUnreachable
                | NetworkUnreachable
                | UnexpectedEof
        ),
        sqlx::Error::Database(_) => number(error) == TOO_MANY_CONNECTIONS || ENDED.contains(&number(error)),
        _ => false,
    }
}

/// The answer if nothing is stored.
pub(super) fn not_stored(error: sqlx::Error) -> Error {
    match meaning(&error) {
        Meaning::NotWritable => Error::NotWritable(error.into()),
        _ => Error::NotStored(error.into()),
    }
}

/// MySQL's number; 0 if it is no error of the server's.
fn number(error: &sqlx::Error) -> u16 {
    error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>())
        .map_or(0, MySqlDatabaseError::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_retried_where_another_connection_or_a_moment_helps() {
        let shut_down = 1053;
        let (killed_by_mariadb, killed_by_mysql, idle_for_too_long) = (1927, 3169, 4031);
        for ended in [shut_down, killed_by_mariadb, killed_by_mysql, idle_for_too_long] {
            assert_eq!(meaning_of(ended), Meaning::Lost, "{ended}");
        }
        let (duplicate, lock_wait, deadlock) = (1062, 1205, 1213);
        for conflict in [duplicate, lock_wait, deadlock] {
            assert_eq!(meaning_of(conflict), Meaning::Conflict, "{conflict}");
        }
        let (table_full, read_only) = (1114, 1290);
        assert_eq!([table_full, read_only].map(meaning_of), [Meaning::NotWritable; 2]);
        let no_such_table = 1146;
        assert_eq!(meaning_of(no_such_table), Meaning::Other);
    }
}
