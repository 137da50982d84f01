//! What was done to messages: edits, pins, and what messages say now.

use std::collections::HashMap;

use protocol::{RawContent, wire::Entry};
use sqlx::MySqlConnection;

use super::{
    convert::{self, bound, column, get},
    lists::{sql, steps},
    pages::{self, EntryRow},
    views::Sight,
};
use crate::{Headed, Scan, kinds};

/// Rows of a scan read at a time.
const ROWS_MAX: u32 = 500;

/// The changes of these messages, ascending after a position.
pub(super) async fn read(
    connection: &mut MySqlConnection,
    sight: &Sight,
    targets: &[u64],
    after: u64,
    limit: u32,
) -> sqlx::Result<Vec<Entry>> {
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    targets.dedup();
    let mut rows = Vec::new();
    for part in steps(&targets) {
        let mut query = sqlx::query(sql(
            "SELECT entries.position, id, sender, time_ms, content, kind, withheld FROM changes JOIN entries
                 ON entries.conversation = changes.conversation AND entries.position = changes.position
             WHERE changes.conversation = ? AND changes.position > ? AND changes.target IN ",
            1,
            part.len(),
            " ORDER BY changes.position LIMIT ?",
        ))
        .bind(column(sight.conversation.get()))
        .bind(bound(after));
        for target in part {
            query = query.bind(bound(*target));
        }
        for row in query.bind(i64::from(limit)).fetch_all(&mut *connection).await? {
            rows.push(EntryRow::new(&row)?);
        }
    }
    rows.sort_unstable_by_key(|row| row.position);
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(sight.show(connection, rows).await?.into_iter().map(|(entry, _)| entry).collect())
}

/// The messages that are pinned, those pinned last first.
pub(super) async fn pins(connection: &mut MySqlConnection, sight: &Sight, limit: u32) -> sqlx::Result<Vec<Entry>> {
    // What somebody has pinned; where something was withheld, the two of a direct conversation differ: the last pin or removal
    // that the reader sees decides.
    let found = sqlx::query(
        "SELECT message.position, message.id, message.sender, message.time_ms, message.content, message.kind,
             message.withheld,
             (SELECT pinning.content FROM changes JOIN entries AS pinning
                  ON pinning.conversation = changes.conversation AND pinning.position = changes.position
              WHERE changes.conversation = pins.conversation AND changes.target = pins.target AND pinning.kind = ?
                  AND (pinning.withheld = 0 OR pinning.sender = ?)
              ORDER BY changes.position DESC LIMIT 1)
         FROM pins JOIN entries AS message
             ON message.conversation = pins.conversation AND message.position = pins.target
         WHERE pins.conversation = ? ORDER BY pins.position DESC",
    )
    .bind(kinds::PIN)
    .bind(column(sight.reader.get()))
    .bind(column(sight.conversation.get()))
    .fetch_all(&mut *connection)
    .await?;
    let mut rows = Vec::new();
    for row in &found {
        let last: Option<Vec<u8>> = get(row, 7)?;
        if rows.len() < limit as usize && last.is_some_and(|last| kinds::pins(&last.into())) {
            rows.push(EntryRow::new(row)?);
        }
    }
    Ok(sight.show(connection, rows).await?.into_iter().map(|(entry, _)| entry).collect())
}

/// The messages among some entries, as they say now; see [`Messages::scan`](crate::Messages::scan).
pub(super) async fn scan(
    connection: &mut MySqlConnection,
    sight: &Sight,
    before: u64,
    entries: u32,
) -> sqlx::Result<Scan> {
    let mut from = if before == 0 { u64::MAX } else { before };
    let mut scan = Scan::default();
    let mut left = entries;
    while left > 0 {
        let limit = left.min(ROWS_MAX);
        let rows = pages::rows(connection, sight, Headed::Before(from), limit).await?;
        let looked_at = rows.len();
        let Some(last) = rows.last().map(|row| row.position) else { break };
        let is_message: Vec<bool> = rows.iter().map(|row| (1..=kinds::MESSAGE_MAX).contains(&row.kind)).collect();
        let shown = sight.show(connection, rows).await?.into_iter().zip(is_message);
        let messages = shown.filter(|((_, hidden), is_message)| *is_message && !hidden).map(|((entry, _), _)| entry);
        scan.messages.extend(say_now(connection, sight, messages.collect()).await?);
        left -= limit;
        from = last;
        let is_end = looked_at < limit as usize || last <= 1;
        scan.next_before = if is_end { 0 } else { last };
        if is_end {
            break;
        }
    }
    Ok(scan)
}

/// Messages with the content of their last edits in the place of their own.
async fn say_now(
    connection: &mut MySqlConnection,
    sight: &Sight,
    mut messages: Vec<Entry>,
) -> sqlx::Result<Vec<Entry>> {
    let positions: Vec<u64> = messages.iter().map(|entry| entry.position).collect();
    let mut edits: HashMap<u64, RawContent> = HashMap::new();
    for part in steps(&positions) {
        let mut query = sqlx::query(sql(
            "SELECT changes.target, content FROM changes JOIN entries
                 ON entries.conversation = changes.conversation AND entries.position = changes.position
             WHERE changes.conversation = ? AND kind = ? AND (withheld = 0 OR sender = ?) AND changes.target IN ",
            1,
            part.len(),
            " ORDER BY changes.position",
        ))
        .bind(column(sight.conversation.get()))
        .bind(kinds::EDIT.cast_signed())
        .bind(column(sight.reader.get()));
        for position in part {
            query = query.bind(column(*position));
        }
        for row in query.fetch_all(&mut *connection).await? {
            let content = get::<Vec<u8>>(&row, 1)?.into();
            if let Some(content) = kinds::edited(&content) {
                edits.insert(convert::number(&row, 0)?, content);
            }
        }
    }
    for message in &mut messages {
        if let Some(content) = edits.remove(&message.position) {
            message.content = Some(content);
        }
    }
    Ok(messages)
}
