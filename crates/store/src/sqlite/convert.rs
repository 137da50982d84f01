//! Between the types of the store and SQLite's columns.

use protocol::{
    ConversationId, EntryId, RawContent, UserId,
    wire::{ConversationKind, Entry, Role},
};
use rusqlite::{Error, Result, Row, types::Type};

use crate::kinds;

/// An id or position as a column. Numbers from 2^63 on, which only a client makes up, turn negative: none is stored.
pub(super) fn column(number: u64) -> i64 {
    number.cast_signed()
}

/// A position to compare with: one that no log reaches stays that.
pub(super) fn bound(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &Row<'_>, index: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(index)?.cast_unsigned())
}

/// A `count(*)`.
pub(super) fn count(row: &Row<'_>) -> Result<usize> {
    // No table holds more rows than there are addresses.
    Ok(usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX))
}

pub(super) fn user(row: &Row<'_>, index: usize) -> Result<UserId> {
    number(row, index).map(UserId::new)
}

pub(super) fn conversation(row: &Row<'_>, index: usize) -> Result<ConversationId> {
    number(row, index).map(ConversationId::new)
}

pub(super) fn entry_id(row: &Row<'_>, index: usize) -> Result<EntryId> {
    row.get(index).map(EntryId::from_bytes)
}

pub(super) fn kind(row: &Row<'_>, index: usize) -> Result<ConversationKind> {
    let value: i32 = row.get(index)?;
    ConversationKind::try_from(value)
        .map_err(|error| Error::FromSqlConversionFailure(index, Type::Integer, error.into()))
}

pub(super) fn role(row: &Row<'_>, index: usize) -> Result<Role> {
    let value: i32 = row.get(index)?;
    Role::try_from(value).map_err(|error| Error::FromSqlConversionFailure(index, Type::Integer, error.into()))
}

/// The columns of an entry, in the order in which the functions below read them.
pub(super) const ENTRY_COLUMNS: &str = "position, id, sender, time_ms, content, kind, withheld";

/// An entry with this content in the place of its own.
pub(super) fn entry(row: &Row<'_>, content: RawContent) -> Result<Entry> {
    Ok(Entry {
        position: number(row, 0)?,
        id: entry_id(row, 1)?.to_string(),
        sender: number(row, 2)?,
        time_ms: row.get(3)?,
        content: Some(content),
    })
}

/// An entry's content.
pub(super) fn content(row: &Row<'_>) -> Result<RawContent> {
    Ok(RawContent::from_bytes(row.get::<_, Vec<u8>>(4)?.into()))
}

/// Whether an entry is a message that was not recalled.
pub(super) fn is_message(row: &Row<'_>) -> Result<bool> {
    Ok((1..=kinds::MESSAGE_MAX).contains(&row.get(5)?))
}

/// Whether an entry is for its sender alone.
pub(super) fn is_withheld(row: &Row<'_>) -> Result<bool> {
    row.get(6)
}

/// The bytes of content in an entry.
pub(super) fn content_bytes(entry: &Entry) -> usize {
    entry.content.as_ref().map_or(0, |content| content.as_bytes().len())
}
