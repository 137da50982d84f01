//! Between the types of the store and MySQL's columns.

use protocol::{
    ConversationId, EntryId, UserId,
    wire::{ConversationKind, Role},
};
use sqlx::{
    Decode, Row as _, Type,
    mysql::{MySql, MySqlRow},
};

/// An id or position as a column. Numbers from 2^63 on, which only a client makes up, turn negative: none is stored.
pub(super) fn column(number: u64) -> i64 {
    number.cast_signed()
}

/// A position to compare with: one that no log reaches stays that.
pub(super) fn bound(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// A column.
pub(super) fn get<'r, T: Decode<'r, MySql> + Type<MySql>>(row: &'r MySqlRow, index: usize) -> sqlx::Result<T> {
    row.try_get(index)
}

pub(super) fn number(row: &MySqlRow, index: usize) -> sqlx::Result<u64> {
    get::<i64>(row, index).map(i64::cast_unsigned)
}

pub(super) fn user(row: &MySqlRow, index: usize) -> sqlx::Result<UserId> {
    number(row, index).map(UserId::new)
}

pub(super) fn conversation(row: &MySqlRow, index: usize) -> sqlx::Result<ConversationId> {
    number(row, index).map(ConversationId::new)
}

/// Bytes of a fixed length.
pub(super) fn array<const N: usize>(row: &MySqlRow, index: usize) -> sqlx::Result<[u8; N]> {
    get::<&[u8]>(row, index)?.try_into().map_err(|error| undecodable(index, error))
}

pub(super) fn entry_id(row: &MySqlRow, index: usize) -> sqlx::Result<EntryId> {
    array(row, index).map(EntryId::from_bytes)
}

/// One of an enumeration's values.
pub(super) fn enumerated<T: TryFrom<i32>>(row: &MySqlRow, index: usize) -> sqlx::Result<T>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(get(row, index)?).map_err(|error| undecodable(index, error))
}

pub(super) fn kind(row: &MySqlRow, index: usize) -> sqlx::Result<ConversationKind> {
    enumerated(row, index)
}

pub(super) fn role(row: &MySqlRow, index: usize) -> sqlx::Result<Role> {
    enumerated(row, index)
}

/// A text that is stored as bytes.
pub(super) fn key(row: &MySqlRow, index: usize) -> sqlx::Result<String> {
    String::from_utf8(get(row, index)?).map_err(|error| undecodable(index, error))
}

/// What is stored in a column is not what belongs there.
pub(super) fn undecodable(index: usize, error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: index.to_string(), source: error.into() }
}
