//! History, in pages.

use protocol::{EntryId, RawContent, UserId, wire::Entry};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    convert::{self, bound, column, get},
    views::Sight,
};
use crate::{ENTRY_BYTES, Headed, Page, PageRequest};

/// Rows read at a time: where the room ends is only seen then.
const ROWS_MAX: u32 = 128;

/// A row of `entries`.
#[derive(Debug)]
pub(super) struct EntryRow {
    pub(super) position: u64,
    pub(super) id: EntryId,
    pub(super) sender: UserId,
    pub(super) time_ms: i64,
    pub(super) content: Vec<u8>,
    pub(super) kind: u32,
    pub(super) withheld: bool,
}

impl EntryRow {
    /// From the columns `position`, `id`, `sender`, `time_ms`, `content`, `kind`, `withheld`.
    pub(super) fn new(row: &MySqlRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: convert::number(row, 0)?,
            id: convert::entry_id(row, 1)?,
            sender: convert::user(row, 2)?,
            time_ms: get(row, 3)?,
            content: get(row, 4)?,
            kind: get::<i32>(row, 5)?.cast_unsigned(),
            withheld: get(row, 6)?,
        })
    }

    /// The entry as it is stored.
    pub(super) fn whole(mut self) -> Entry {
        let content = std::mem::take(&mut self.content);
        self.with(RawContent::from_bytes(content.into()))
    }

    /// The entry with another content in the place of its own.
    pub(super) fn with(self, content: RawContent) -> Entry {
        Entry {
            position: self.position,
            id: self.id.to_string(),
            sender: self.sender.get(),
            time_ms: self.time_ms,
            content: Some(content),
        }
    }
}

/// Reads pages; see [`Messages::read_pages`](crate::Messages::read_pages).
pub(super) async fn read(
    connection: &mut MySqlConnection,
    sights: &[Option<Sight>],
    requests: &[PageRequest],
    bytes_max: usize,
) -> sqlx::Result<Vec<Option<Page>>> {
    let mut room = bytes_max;
    let mut any = false;
    let mut pages = Vec::with_capacity(requests.len());
    for (sight, request) in sights.iter().zip(requests) {
        let Some(sight) = sight else {
            pages.push(None);
            continue;
        };
        let entries = page(connection, sight, request, &mut room, !any).await?;
        any |= !entries.is_empty();
        pages.push(Some(Page { entries, last_position: sight.last_position }));
    }
    Ok(pages)
}

/// Reads a page, as far as `room` bytes of content reach. At the end of the room it is cut, and no room is left. If
/// `at_least_one`, the first entry is read even if it has no room.
async fn page(
    connection: &mut MySqlConnection,
    sight: &Sight,
    request: &PageRequest,
    room: &mut usize,
    at_least_one: bool,
) -> sqlx::Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut left = request.limit;
    let mut from = request.from;
    while left > 0 && (*room > 0 || at_least_one && entries.is_empty()) {
        let limit = left.min(ROWS_MAX);
        let rows = rows(connection, sight, from, limit).await?;
        let is_last = rows.len() < limit as usize;
        let Some(end) = rows.last().map(|row| row.position) else { break };
        from = match from {
            Headed::After(_) => Headed::After(end),
            Headed::Before(_) => Headed::Before(end),
        };
        for (entry, _) in sight.show(connection, rows).await? {
            let bytes = entry_bytes(&entry);
            if bytes > *room && !(at_least_one && entries.is_empty()) {
                *room = 0;
                break;
            }
            *room = room.saturating_sub(bytes);
            entries.push(entry);
        }
        left -= limit;
        if is_last {
            break;
        }
    }
    if matches!(request.from, Headed::Before(_)) {
        entries.reverse();
    }
    Ok(entries)
}

/// What an entry counts in a page.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_BYTES + entry.content.as_ref().map_or(0, |content| content.as_bytes().len())
}

/// The next rows from a position on, not beyond the end that the reader is told of.
pub(super) async fn rows(
    connection: &mut MySqlConnection,
    sight: &Sight,
    from: Headed,
    limit: u32,
) -> sqlx::Result<Vec<EntryRow>> {
    let query = match from {
        Headed::After(position) => sqlx::query(
            "SELECT position, id, sender, time_ms, content, kind, withheld FROM entries
             WHERE conversation = ? AND position > ? AND position <= ? ORDER BY position LIMIT ?",
        )
        .bind(column(sight.conversation.get()))
        .bind(bound(position)),
        Headed::Before(position) => sqlx::query(
            "SELECT position, id, sender, time_ms, content, kind, withheld FROM entries
             WHERE conversation = ? AND position < ? AND position <= ? ORDER BY position DESC LIMIT ?",
        )
        .bind(column(sight.conversation.get()))
        .bind(bound(position)),
    };
    let rows = query.bind(column(sight.last_position)).bind(i64::from(limit)).fetch_all(connection).await?;
    rows.iter().map(EntryRow::new).collect()
}
