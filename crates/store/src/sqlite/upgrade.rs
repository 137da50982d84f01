//! What a schema's new columns hold of rows from before, where SQL alone cannot tell.

use rusqlite::{Connection, params};

use super::names;
use crate::content_kind;

/// The version with which keys of names are computed anew, and entries have kinds.
const CHAT: i64 = 2;
/// Entries read at a time.
const ENTRIES_MAX: u32 = 1_000;

/// Fills what the migration to this version has left open. Within its transaction.
pub(super) fn fill(connection: &Connection, version: i64) -> rusqlite::Result<()> {
    if version == CHAT {
        names::compute_keys(connection)?;
        store_kinds(connection)?;
    }
    Ok(())
}

/// Stores of each entry which kind it is: without it a message could be neither changed nor found.
fn store_kinds(connection: &Connection) -> rusqlite::Result<()> {
    let mut read =
        connection.prepare("SELECT revision, content FROM entries WHERE revision > ?1 ORDER BY revision LIMIT ?2")?;
    let mut store = connection.prepare("UPDATE entries SET kind = ?2 WHERE revision = ?1")?;
    let mut after = i64::MIN;
    loop {
        let kinds: Vec<(i64, u32)> = read
            .query_map(params![after, ENTRIES_MAX], |row| Ok((row.get(0)?, content_kind(row.get_ref(1)?.as_blob()?))))?
            .collect::<rusqlite::Result<_>>()?;
        let Some(&(last, _)) = kinds.last() else { return Ok(()) };
        after = last;
        for (revision, kind) in kinds {
            store.execute(params![revision, kind])?;
        }
    }
}
