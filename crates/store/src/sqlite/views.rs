//! What a user makes of a conversation for the user alone, and what of it a reader is shown.

use std::cell::RefCell;

use bytes::Bytes;
use prost::Message as _;
use protocol::{
    ConversationId, UserId,
    wire::{ConversationSettings, Draft, Entry},
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params, types::Type};

use super::{
    append::{Outcome, Written},
    convert::{self, bound, column},
    writer::Writer,
};
use crate::{Appended, ConversationAct, NewEntry, OwnView, Refused, kinds};

impl Writer<'_> {
    pub(super) fn append_view(
        &mut self,
        entry: &NewEntry,
        of: ConversationId,
        act: &ConversationAct,
    ) -> rusqlite::Result<Outcome> {
        let (user, conversation) = (column(entry.sender.get()), column(of.get()));
        let Some(log) = self.own_log(entry)? else { return self.duplicate_or(entry, Refused::NotMember) };
        if self.member(conversation, user)?.is_none() {
            return self.duplicate_or(entry, Refused::NotMember);
        }
        let outcome = self.place_or_duplicate(entry, log, Written::of(entry))?;
        if let Ok(Appended { duplicate: false, position, .. }) = outcome {
            match act {
                ConversationAct::Settings(settings) => {
                    self.prepared(
                        "INSERT INTO own_views (user, conversation, settings) VALUES (?1, ?2, ?3)
                         ON CONFLICT (user, conversation) DO UPDATE SET settings = excluded.settings",
                    )?
                    .execute(params![user, conversation, settings.encode_to_vec()])?;
                }
                ConversationAct::Draft(draft) => self.keep_draft(user, of, draft.as_ref(), position)?,
                ConversationAct::Delete { positions, up_to } => {
                    self.delete_for(user, conversation, positions, *up_to)?;
                }
            }
        }
        Ok(outcome)
    }

    /// Keeps a draft, told by the entry at `position` of the personal log; the entry that told the one before is erased.
    fn keep_draft(
        &mut self,
        user: i64,
        of: ConversationId,
        draft: Option<&Draft>,
        position: u64,
    ) -> rusqlite::Result<()> {
        let conversation = column(of.get());
        let told: Option<Option<i64>> = self
            .prepared("SELECT draft_position FROM own_views WHERE user = ?1 AND conversation = ?2")?
            .query_row([user, conversation], |row| row.get(0))
            .optional()?;
        if let Some(told) = told.flatten() {
            // A personal log bears its user's id.
            self.prepared("UPDATE entries SET content = ?3 WHERE conversation = ?1 AND position = ?2")?
                .execute(params![user, told, kinds::erased_draft(of.get()).as_ref()])?;
        }
        self.prepared(
            "INSERT INTO own_views (user, conversation, draft, draft_position) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user, conversation)
                 DO UPDATE SET draft = excluded.draft, draft_position = excluded.draft_position",
        )?
        .execute(params![
            user,
            conversation,
            draft.map(prost::Message::encode_to_vec),
            draft.map(|_| column(position))
        ])?;
        Ok(())
    }

    fn delete_for(&mut self, user: i64, conversation: i64, positions: &[u64], up_to: u64) -> rusqlite::Result<()> {
        let end = self.log(conversation)?.map_or(0, |log| log.last_position);
        let up_to = bound(up_to).min(end);
        if up_to > 0 {
            self.prepared(
                "INSERT INTO own_views (user, conversation, deleted_up_to) VALUES (?1, ?2, ?3)
                 ON CONFLICT (user, conversation)
                     DO UPDATE SET deleted_up_to = max(deleted_up_to, excluded.deleted_up_to)",
            )?
            .execute([user, conversation, up_to])?;
            self.prepared("DELETE FROM deleted_entries WHERE user = ?1 AND conversation = ?2 AND position <= ?3")?
                .execute([user, conversation, up_to])?;
        }
        let mut delete = self.prepared(
            "INSERT INTO deleted_entries (user, conversation, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        for &position in positions {
            let position = bound(position);
            if (up_to + 1..=end).contains(&position) {
                delete.execute([user, conversation, position])?;
            }
        }
        Ok(())
    }
}

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
        let position: i64 = row.get(0)?;
        if convert::is_withheld(row)? && row.get::<_, i64>(2)? != self.reader {
            return Ok(true);
        }
        // Only messages are deleted, and what was done to them. What happened to the group stays: devices that come later
        // have to learn of it as those did that were there. So does what was done to a message that was not deleted.
        let kind: u32 = row.get(5)?;
        let is_message = (1..=kinds::RECALLED).contains(&kind);
        if position <= self.deleted_up_to {
            return Ok(is_message || kinds::is_change(kind));
        }
        if is_message {
            return self.is_deleted(position);
        }
        // It tells what its message says.
        let edited = if kind == kinds::EDIT { kinds::edit_target(&row.get::<_, Vec<u8>>(4)?.into()) } else { None };
        edited.map_or(Ok(false), |target| self.is_deleted(bound(target)))
    }

    fn is_deleted(&self, position: i64) -> rusqlite::Result<bool> {
        if position <= self.deleted_up_to {
            return Ok(true);
        }
        match &self.deleted {
            Some(find) => find.borrow_mut().exists([self.reader, self.conversation, position]),
            None => Ok(false),
        }
    }

    /// The entry in this row as the reader is shown it.
    pub(super) fn entry(&self, row: &Row<'_>) -> rusqlite::Result<Entry> {
        let content = if self.is_hidden(row)? { kinds::hidden() } else { convert::content(row)? };
        convert::entry(row, content)
    }
}
