//! What of a log a reader is shown.

use std::collections::HashSet;

use bytes::Bytes;
use prost::Message;
use protocol::{
    ConversationId, UserId,
    wire::{ConversationSettings, Draft, Entry},
};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    convert::{self, column, get, undecodable},
    lists::{sql, steps},
    pages::EntryRow,
};
use crate::{OwnView, kinds, sight};

/// What a member is shown of a log, and where the log stands.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) reader: UserId,
    pub(super) conversation: ConversationId,
    pub(super) deleted_up_to: u64,
    /// The reader has deleted single entries.
    pub(super) has_gaps: bool,
    pub(super) last_position: u64,
    /// How often something in the log was erased.
    pub(super) erasures: i64,
}

impl Sight {
    /// That of a member, `None` for others.
    pub(super) async fn of_member(
        connection: &mut MySqlConnection,
        reader: UserId,
        conversation: ConversationId,
    ) -> sqlx::Result<Option<Self>> {
        let row = sqlx::query(
            "SELECT position, erasures, coalesce(deleted_up_to, 0),
                 EXISTS (SELECT 1 FROM deleted_entries
                     WHERE deleted_entries.user = members.user AND deleted_entries.conversation = members.conversation)
             FROM members JOIN conversations ON conversations.id = members.conversation
             LEFT JOIN own_views ON own_views.user = members.user AND own_views.conversation = members.conversation
             WHERE members.user = ? AND members.conversation = ?",
        )
        .bind(column(reader.get()))
        .bind(column(conversation.get()))
        .fetch_optional(connection)
        .await?;
        row.map(|row| {
            Ok(Self {
                reader,
                conversation,
                last_position: convert::number(&row, 0)?,
                erasures: get(&row, 1)?,
                deleted_up_to: convert::number(&row, 2)?,
                has_gaps: get(&row, 3)?,
            })
        })
        .transpose()
    }

    /// Those entries as the reader is shown them, and whether each is hidden.
    pub(super) async fn show(
        &self,
        connection: &mut MySqlConnection,
        rows: Vec<EntryRow>,
    ) -> sqlx::Result<Vec<(Entry, bool)>> {
        let deleted = self.deleted_of(connection, &rows).await?;
        let show = |row: EntryRow| {
            let Ok(hidden) = self.is_hidden(&row, &deleted);
            (if hidden { row.with(kinds::hidden()) } else { row.whole() }, hidden)
        };
        Ok(rows.into_iter().map(show).collect())
    }

    fn is_hidden(&self, row: &EntryRow, deleted: &HashSet<u64>) -> Result<bool, std::convert::Infallible> {
        let shown = sight::Shown {
            position: row.position,
            sender: row.sender,
            kind: row.kind,
            withheld: row.withheld,
            content: &row.content,
        };
        sight::is_hidden(&shown, self.reader, self.deleted_up_to, |position| Ok(deleted.contains(&position)))
    }

    /// The positions that the reader has deleted one by one, of those that matter for these rows.
    async fn deleted_of(&self, connection: &mut MySqlConnection, rows: &[EntryRow]) -> sqlx::Result<HashSet<u64>> {
        let mut deleted = HashSet::new();
        if !self.has_gaps {
            return Ok(deleted);
        }
        let target = |row: &EntryRow| {
            (row.kind == kinds::EDIT).then(|| kinds::edit_target(&Bytes::copy_from_slice(&row.content))).flatten()
        };
        let matter: Vec<u64> = rows.iter().flat_map(|row| [Some(row.position), target(row)]).flatten().collect();
        for part in steps(&matter) {
            let mut query = sqlx::query(sql(
                "SELECT position FROM deleted_entries WHERE user = ? AND conversation = ? AND position IN ",
                1,
                part.len(),
                "",
            ))
            .bind(column(self.reader.get()))
            .bind(column(self.conversation.get()));
            for position in part {
                query = query.bind(convert::bound(*position));
            }
            for row in query.fetch_all(&mut *connection).await? {
                deleted.insert(convert::number(&row, 0)?);
            }
        }
        Ok(deleted)
    }
}

/// A view in the columns `settings`, `draft` and `deleted_up_to`, from this one on.
pub(super) fn own_view(row: &MySqlRow, from: usize) -> sqlx::Result<OwnView> {
    Ok(OwnView {
        settings: decoded::<ConversationSettings>(row, from)?,
        draft: decoded::<Draft>(row, from + 1)?,
        deleted_up_to: convert::number(row, from + 2)?,
    })
}

fn decoded<M: Message + Default>(row: &MySqlRow, index: usize) -> sqlx::Result<Option<M>> {
    let bytes: Option<&[u8]> = get(row, index)?;
    bytes.map(M::decode).transpose().map_err(|error| undecodable(index, error))
}
