//! History, in pages.

use protocol::wire::Entry;
use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{
    convert::{self, ENTRY_COLUMNS, bound},
    views::Sight,
};
use crate::{ENTRY_BYTES, Headed, Page, PageRequest};

/// Reads a page, as far as `room` bytes of content reach. At the end of the room it is cut, and no room is left. If
/// `at_least_one`, the first entry is read even if it has no room.
pub(super) fn read(
    connection: &Connection,
    sight: &Sight<'_>,
    request: &PageRequest,
    room: &mut usize,
    at_least_one: bool,
) -> rusqlite::Result<Page> {
    let conversation = sight.conversation();
    let last_position = last_position(connection, conversation)?;
    if *room == 0 && !at_least_one {
        return Ok(Page { entries: Vec::new(), last_position });
    }
    let (position, mut statement) = match request.from {
        Headed::After(position) => (position, after(connection)?),
        Headed::Before(position) => (position, before(connection)?),
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut rows = statement.query(params![conversation, bound(position), request.limit])?;
    while let Some(row) = rows.next()? {
        let entry = sight.entry(row)?;
        let bytes = ENTRY_BYTES + convert::content_bytes(&entry);
        if bytes > *room && !(at_least_one && entries.is_empty()) {
            *room = 0;
            break;
        }
        *room = room.saturating_sub(bytes);
        entries.push(entry);
    }
    if matches!(request.from, Headed::Before(_)) {
        entries.reverse();
    }
    Ok(Page { entries, last_position })
}

/// The last entries of a log, ascending: at most `limit`, as far as the room reaches.
pub(super) fn last(
    connection: &Connection,
    sight: &Sight<'_>,
    limit: u32,
    room: &mut usize,
) -> rusqlite::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if limit == 0 || *room == 0 {
        return Ok(entries);
    }
    let mut statement = before(connection)?;
    let mut rows = statement.query(params![sight.conversation(), i64::MAX, limit])?;
    while let Some(row) = rows.next()? {
        let entry = sight.entry(row)?;
        let Some(left) = room.checked_sub(ENTRY_BYTES + convert::content_bytes(&entry)) else {
            *room = 0;
            break;
        };
        *room = left;
        entries.push(entry);
    }
    entries.reverse();
    Ok(entries)
}

fn after(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM entries WHERE conversation = ?1 AND position > ?2 ORDER BY position LIMIT ?3"
    ))
}

fn before(connection: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM entries WHERE conversation = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3"
    ))
}

fn last_position(connection: &Connection, conversation: i64) -> rusqlite::Result<u64> {
    let last = connection
        .prepare_cached("SELECT position FROM entries WHERE conversation = ?1 ORDER BY position DESC LIMIT 1")?
        .query_row([conversation], |row| convert::number(row, 0))
        .optional()?;
    Ok(last.unwrap_or(0))
}
