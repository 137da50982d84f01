//! What the message service stores.

use async_trait::async_trait;
use protocol::{ConversationId, EntryId, GroupId, UserId, wire::Entry};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteStore, changes, contacts,
    convert::{self, ENTRY_COLUMNS, column},
    direct, heads, members, pages,
    views::Sight,
};
use crate::{
    Appended, ContactRow, Effect, HeadRow, MemberPage, MemberRow, Messages, Moved, NewEntry, Page, PageRequest,
    ReadMark, ReceiptCounts, Refused, Result, Revision, Scan, UserSettings, append, messages::HeadsQuestion,
};

#[async_trait]
impl Messages for SqliteStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<std::result::Result<Appended, Refused>>> {
        self.write(move |writer| entries.iter().map(|entry| append::append(writer, entry)).collect()).await
    }

    async fn open_direct(&self, a: UserId, b: UserId, new: ConversationId) -> Result<ConversationId> {
        // Most are there already: they cost the writer nothing.
        let find = move |connection: &Connection| {
            connection
                .prepare_cached(direct::FIND)?
                .query_row(direct::pair(a, b), |row| convert::conversation(row, 0))
                .optional()
        };
        match self.read(find).await? {
            Some(conversation) => Ok(conversation),
            None => self.write(move |writer| writer.open_direct(a, b, new)).await,
        }
    }

    async fn read_pages(
        &self,
        reader: UserId,
        requests: Vec<PageRequest>,
        bytes_max: usize,
    ) -> Result<Vec<Option<Page>>> {
        self.read(move |connection| {
            let mut room = bytes_max;
            let mut any = false;
            requests
                .iter()
                .map(|request| {
                    let Some(sight) = Sight::of_member(connection, reader, request.conversation)? else {
                        return Ok(None);
                    };
                    let page = pages::read(connection, &sight, request, &mut room, !any)?;
                    any |= !page.entries.is_empty();
                    Ok(Some(page))
                })
                .collect()
        })
        .await
    }

    async fn heads(
        &self,
        user: UserId,
        since: Revision,
        until: Option<Revision>,
        limit: u32,
        entries: u32,
    ) -> Result<(Vec<HeadRow>, Revision)> {
        let question = HeadsQuestion { user, since, until, limit, entries };
        self.read(move |connection| heads::read(connection, question)).await
    }

    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>> {
        self.write(move |writer| marks.iter().map(|mark| append::mark_read(writer, mark)).collect()).await
    }

    async fn groups_of(&self, user: UserId) -> Result<Vec<GroupId>> {
        self.read(move |connection| members::groups_of(connection, user)).await
    }

    async fn members(
        &self,
        reader: UserId,
        conversation: ConversationId,
        after: UserId,
        limit: u32,
        admins: bool,
    ) -> Result<Option<MemberPage>> {
        self.read(move |connection| {
            if !members::is_member(connection, conversation, reader)? {
                return Ok(None);
            }
            members::page(connection, reader, conversation, after, limit, admins).map(Some)
        })
        .await
    }

    async fn filter_members(&self, conversation: ConversationId, mut users: Vec<UserId>) -> Result<Vec<UserId>> {
        self.read(move |connection| {
            let mut error = None;
            users.retain(|&user| {
                members::is_member(connection, conversation, user).unwrap_or_else(|failed| {
                    error = Some(failed);
                    false
                })
            });
            error.map_or(Ok(users), Err)
        })
        .await
    }

    async fn filter_visible(&self, user: UserId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        self.read(move |connection| contacts::filter_visible(connection, user, users)).await
    }

    async fn effects(&self, limit: u32) -> Result<Vec<Effect>> {
        self.read(move |connection| contacts::effects(connection, limit)).await
    }

    async fn mark_delivered(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>> {
        self.write(move |writer| marks.iter().map(|mark| append::mark_delivered(writer, mark)).collect()).await
    }

    async fn member(&self, conversation: ConversationId, user: UserId) -> Result<Option<MemberRow>> {
        self.read(move |connection| members::find(connection, conversation, user)).await
    }

    async fn member_count(&self, conversation: ConversationId) -> Result<u64> {
        self.read(move |connection| members::count(connection, conversation)).await
    }

    async fn administrators(&self, conversation: ConversationId, limit: u32) -> Result<Vec<UserId>> {
        self.read(move |connection| members::administrators(connection, conversation, limit)).await
    }

    async fn bans(&self, conversation: ConversationId, after: UserId, limit: u32) -> Result<Vec<UserId>> {
        self.read(move |connection| members::bans(connection, conversation, after, limit)).await
    }

    async fn receipts(
        &self,
        reader: UserId,
        conversation: ConversationId,
        position: u64,
    ) -> Result<Option<ReceiptCounts>> {
        self.read(move |connection| {
            if !members::is_member(connection, conversation, reader)? {
                return Ok(None);
            }
            members::receipts(connection, reader, conversation, position)
        })
        .await
    }

    async fn changes(
        &self,
        reader: UserId,
        conversation: ConversationId,
        targets: Vec<u64>,
        after: u64,
        limit: u32,
    ) -> Result<Option<Vec<Entry>>> {
        self.read(move |connection| {
            Sight::of_member(connection, reader, conversation)?
                .map(|sight| changes::read(connection, &sight, &targets, after, limit))
                .transpose()
        })
        .await
    }

    async fn pins(&self, reader: UserId, conversation: ConversationId, limit: u32) -> Result<Option<Vec<Entry>>> {
        self.read(move |connection| {
            Sight::of_member(connection, reader, conversation)?
                .map(|sight| changes::pins(connection, &sight, limit))
                .transpose()
        })
        .await
    }

    async fn scan(
        &self,
        reader: UserId,
        conversation: ConversationId,
        before: u64,
        entries: u32,
    ) -> Result<Option<Scan>> {
        self.read(move |connection| {
            Sight::of_member(connection, reader, conversation)?
                .map(|sight| changes::scan(connection, &sight, changes::Range { before, entries }))
                .transpose()
        })
        .await
    }

    async fn find_entry(&self, sender: UserId, id: EntryId) -> Result<Option<(ConversationId, Entry)>> {
        self.read(move |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {ENTRY_COLUMNS}, conversation FROM entries WHERE id = ?1 AND sender = ?2"
                ))?
                .query_row(params![id.as_bytes(), column(sender.get())], |row| {
                    Ok((convert::conversation(row, 7)?, convert::entry(row, convert::content(row)?)?))
                })
                .optional()
        })
        .await
    }

    async fn contacts(&self, user: UserId, after: UserId, limit: u32) -> Result<Vec<ContactRow>> {
        self.read(move |connection| contacts::page(connection, user, after, limit)).await
    }

    async fn standings(&self, user: UserId, of: Vec<UserId>) -> Result<Vec<(Option<ContactRow>, UserSettings)>> {
        self.read(move |connection| contacts::standings(connection, user, &of)).await
    }

    async fn settings(&self, user: UserId) -> Result<UserSettings> {
        self.read(move |connection| contacts::settings(connection, column(user.get()))).await
    }
}
