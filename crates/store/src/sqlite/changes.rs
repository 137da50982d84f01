//! What is done to messages: edits, recalls, reactions, pins.

use protocol::wire::Entry;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    convert::{self, ENTRY_COLUMNS, bound, column},
    views::Sight,
};
use crate::kinds;

/// Whether a message is pinned as a user sees it: the last pin or removal that is shown to that user decides.
pub(super) fn is_pinned(connection: &Connection, conversation: i64, target: i64, user: i64) -> rusqlite::Result<bool> {
    let content: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT content FROM entries INDEXED BY entries_by_target
             WHERE conversation = ?1 AND target = ?2 AND kind = ?3 AND (NOT withheld OR sender = ?4)
             ORDER BY revision DESC LIMIT 1",
        )?
        .query_row(params![conversation, target, kinds::PIN, user], |row| row.get(0))
        .optional()?;
    Ok(content.is_some_and(|content| kinds::pins(&content.into())))
}

/// The changes of these messages, ascending after a position.
pub(super) fn read(
    connection: &Connection,
    sight: &Sight<'_>,
    targets: &[u64],
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<Entry>> {
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    targets.dedup();
    let mut find = connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM entries INDEXED BY entries_by_target
         WHERE conversation = ?1 AND target = ?2 AND position > ?3 ORDER BY revision LIMIT ?4"
    ))?;
    let mut entries = Vec::new();
    for target in targets {
        let mut rows = find.query(params![sight.conversation(), column(target), bound(after), limit])?;
        while let Some(row) = rows.next()? {
            entries.push(sight.entry(row)?);
        }
    }
    entries.sort_unstable_by_key(|entry| entry.position);
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(entries)
}

/// The messages that are pinned, those pinned last first.
pub(super) fn pins(connection: &Connection, sight: &Sight<'_>, limit: u32) -> rusqlite::Result<Vec<Entry>> {
    // What somebody has pinned; where something was withheld, the two of a direct conversation differ.
    let mut pinned =
        connection.prepare_cached("SELECT target FROM pins WHERE conversation = ?1 ORDER BY position DESC")?;
    let mut message = connection
        .prepare_cached(&format!("SELECT {ENTRY_COLUMNS} FROM entries WHERE conversation = ?1 AND position = ?2"))?;
    let (mut rows, mut targets) = (pinned.query([sight.conversation()])?, Vec::new());
    while targets.len() < limit as usize
        && let Some(row) = rows.next()?
    {
        let target = row.get(0)?;
        if is_pinned(connection, sight.conversation(), target, sight.reader())? {
            targets.push(target);
        }
    }
    targets
        .into_iter()
        .map(|target| message.query_row([sight.conversation(), target], |row| sight.entry(row)))
        .collect()
}

/// What the message at a position says now for the reader, if it was edited.
pub(super) fn last_edit(
    connection: &Connection,
    sight: &Sight<'_>,
    position: u64,
) -> rusqlite::Result<Option<protocol::RawContent>> {
    let content: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT content FROM entries INDEXED BY entries_by_target
             WHERE conversation = ?1 AND target = ?2 AND kind = ?3 AND (NOT withheld OR sender = ?4)
             ORDER BY revision DESC LIMIT 1",
        )?
        .query_row(params![sight.conversation(), column(position), kinds::EDIT, sight.reader()], |row| row.get(0))
        .optional()?;
    Ok(content.and_then(|content| kinds::edited(&content.into())))
}

/// What a scan looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// Before this position; 0: from the end.
    pub(super) before: u64,
    /// At most so many entries.
    pub(super) entries: u32,
}

/// The messages among some entries, as they say now; see [`Messages::scan`](crate::Messages::scan).
pub(super) fn scan(connection: &Connection, sight: &Sight<'_>, range: Range) -> rusqlite::Result<crate::Scan> {
    let before = if range.before == 0 { i64::MAX } else { bound(range.before) };
    let mut scan = crate::Scan::default();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM entries WHERE conversation = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3"
    ))?;
    let mut rows = statement.query(params![sight.conversation(), before, range.entries])?;
    let (mut looked_at, mut last) = (0, 0);
    while let Some(row) = rows.next()? {
        looked_at += 1;
        last = convert::number(row, 0)?;
        if !convert::is_message(row)? || sight.is_hidden(row)? {
            continue;
        }
        let mut entry = sight.entry(row)?;
        if let Some(content) = last_edit(connection, sight, entry.position)? {
            entry.content = Some(content);
        }
        scan.messages.push(entry);
    }
    if looked_at == range.entries && last > 1 {
        scan.next_before = last;
    }
    Ok(scan)
}
