//! What a user makes of a conversation for the user alone, and what of it a reader is shown.

use std::cell::RefCell;

use bytes::Bytes;
use protocol::{
    ConversationId, UserId,
    wire::{ConversationSettings, Draft, Entry},
};
use rusqlite::{CachedStatement, Connection, Row, types::Type};

use super::convert::{self, bound, column};
use crate::{
    OwnView, kinds,
    sight::{self, Shown},
};

fn decoded<M: prost::Message + Default>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<M>> {
    let bytes: Option<Vec<u8>> = row.get(index)?;
    bytes
        .map(|bytes| M::decode(Bytes::from(bytes)))
        .transpose()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, error.into()))
}

/// What a reader is shown of a log: one look tells whether the reader has deleted anything of it.
pub(super) struct Sight<'c> {
    reader: i64,
    conversation: i64,
    deleted_up_to: i64,
    /// Finds single entries that were deleted, if there are any.
    deleted: Option<RefCell<CachedStatement<'c>>>,
}

impl<'c> Sight<'c> {
    /// That of a member, with what the member has made of the conversation.
    pub(super) fn with_view(
        connection: &'c Connection,
        reader: i64,
        conversation: i64,
    ) -> rusqlite::Result<(Self, OwnView)> {
        let (view, any) = connection
            .prepare_cached(
                "SELECT settings, draft, coalesce(deleted_up_to, 0),
                     EXISTS (SELECT 1 FROM deleted_entries WHERE user = ?1 AND conversation = ?2)
                 FROM (SELECT 1) LEFT JOIN own_views ON user = ?1 AND conversation = ?2",
            )?
            .query_row([reader, conversation], |row| {
                let view = OwnView {
                    settings: decoded::<ConversationSettings>(row, 0)?,
                    draft: decoded::<Draft>(row, 1)?,
                    deleted_up_to: convert::number(row, 2)?,
                };
                Ok((view, row.get::<_, bool>(3)?))
            })?;
        let deleted = if any {
            let find = connection.prepare_cached(
                "SELECT 1 FROM deleted_entries WHERE user = ?1 AND conversation = ?2 AND position = ?3",
            )?;
            Some(RefCell::new(find))
        } else {
            None
        };
        Ok((Self { reader, conversation, deleted_up_to: bound(view.deleted_up_to), deleted }, view))
    }

    /// That of a member, `None` for others.
    pub(super) fn of_member(
        connection: &'c Connection,
        reader: UserId,
        conversation: ConversationId,
    ) -> rusqlite::Result<Option<Self>> {
        if super::members::is_member(connection, conversation, reader)? {
            let (sight, _) = Self::with_view(connection, column(reader.get()), column(conversation.get()))?;
            Ok(Some(sight))
        } else {
            Ok(None)
        }
    }

    pub(super) fn reader(&self) -> i64 {
        self.reader
    }

    pub(super) fn conversation(&self) -> i64 {
        self.conversation
    }

    /// Whether the reader has deleted single entries.
    pub(super) fn has_gaps(&self) -> bool {
        self.deleted.is_some()
    }

    /// Whether the entry in this row is not for the reader.
    pub(super) fn is_hidden(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let content = row.get_ref(4)?.as_blob()?;
        let shown = Shown {
            position: convert::number(row, 0)?,
            sender: convert::user(row, 2)?,
            kind: row.get(5)?,
            withheld: convert::is_withheld(row)?,
            content,
        };
        let reader = UserId::new(self.reader.cast_unsigned());
        sight::is_hidden(&shown, reader, self.deleted_up_to.cast_unsigned(), |position| self.is_deleted(position))
    }

    fn is_deleted(&self, position: u64) -> rusqlite::Result<bool> {
        match &self.deleted {
            Some(find) => find.borrow_mut().exists([self.reader, self.conversation, bound(position)]),
            None => Ok(false),
        }
    }

    /// The entry in this row as the reader is shown it.
    pub(super) fn entry(&self, row: &Row<'_>) -> rusqlite::Result<Entry> {
        let content = if self.is_hidden(row)? { kinds::hidden() } else { convert::content(row)? };
        convert::entry(row, content)
    }
}
