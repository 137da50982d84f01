//! What the message service stores.

use async_trait::async_trait;
use protocol::{ConversationId, EntryId, GroupId, UserId, wire::Entry};
use rusqlite::{Connection, OptionalExtension};

use super::{
    SqliteStore,
    append::{FIND_DIRECT, pair},
    convert, heads, members, pages,
};
use crate::{
    Appended, ContactRow, Effect, HeadRow, MemberPage, MemberRow, Messages, Moved, NewEntry, Page, PageRequest,
    ReadMark, ReceiptCounts, Refused, Result, Revision, Scan, UserSettings,
};

#[async_trait]
impl Messages for SqliteStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<std::result::Result<Appended, Refused>>> {
        self.write(move |writer| writer.append(&entries)).await
    }

    async fn open_direct(&self, a: UserId, b: UserId, new: ConversationId) -> Result<ConversationId> {
        // Most are there already: they cost the writer nothing.
        let find = move |connection: &Connection| {
            connection
                .prepare_cached(FIND_DIRECT)?
                .query_row(pair(a, b), |row| convert::conversation(row, 0))
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
                    if !members::is_member(connection, request.conversation, reader)? {
                        return Ok(None);
                    }
                    let page = pages::read(connection, request, &mut room, !any)?;
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
        let question = heads::Question { user, since, until, limit, entries };
        self.read(move |connection| heads::read(connection, question)).await
    }

    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>> {
        self.write(move |writer| marks.iter().map(|mark| writer.mark_read(mark)).collect()).await
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
            members::page(connection, conversation, after, limit, admins).map(Some)
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
        self.read(move |connection| members::filter_visible(connection, user, users)).await
    }

    async fn effects(&self, limit: u32) -> Result<Vec<Effect>> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT revision, user, id, time_ms, content FROM effects ORDER BY revision LIMIT ?1")?
                .query_map([limit], |row| {
                    Ok(Effect {
                        revision: Revision(convert::number(row, 0)?),
                        user: convert::user(row, 1)?,
                        id: convert::entry_id(row, 2)?,
                        time_ms: row.get(3)?,
                        content: row.get::<_, Vec<u8>>(4)?.into(),
                        contact: None,
                    })
                })?
                .collect()
        })
        .await
    }

    async fn mark_delivered(&self, _marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>> {
        todo!()
    }

    async fn member(&self, _conversation: ConversationId, _user: UserId) -> Result<Option<MemberRow>> {
        todo!()
    }

    async fn member_count(&self, _conversation: ConversationId) -> Result<u64> {
        todo!()
    }

    async fn bans(&self, _conversation: ConversationId, _after: UserId, _limit: u32) -> Result<Vec<UserId>> {
        todo!()
    }

    async fn receipts(
        &self,
        _reader: UserId,
        _conversation: ConversationId,
        _position: u64,
    ) -> Result<Option<ReceiptCounts>> {
        todo!()
    }

    async fn changes(
        &self,
        _reader: UserId,
        _conversation: ConversationId,
        _targets: Vec<u64>,
        _after: u64,
        _limit: u32,
    ) -> Result<Option<Vec<Entry>>> {
        todo!()
    }

    async fn pins(&self, _reader: UserId, _conversation: ConversationId, _limit: u32) -> Result<Option<Vec<Entry>>> {
        todo!()
    }

    async fn scan(
        &self,
        _reader: UserId,
        _conversation: ConversationId,
        _before: u64,
        _entries: u32,
    ) -> Result<Option<Scan>> {
        todo!()
    }

    async fn is_used(&self, _sender: UserId, _id: EntryId) -> Result<bool> {
        todo!()
    }

    async fn contacts(&self, _user: UserId, _after: UserId, _limit: u32) -> Result<Vec<ContactRow>> {
        todo!()
    }

    async fn standings(&self, _user: UserId, _of: Vec<UserId>) -> Result<Vec<(Option<ContactRow>, UserSettings)>> {
        todo!()
    }

    async fn settings(&self, _user: UserId) -> Result<UserSettings> {
        todo!()
    }
}
