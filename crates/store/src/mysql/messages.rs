//! What the message service stores.

use async_trait::async_trait;
use protocol::{
    ConversationId, EntryId, GroupId, UserId,
    wire::{ConversationKind, Entry},
};

use super::{
    MysqlStore, changes, contacts,
    convert::{self, column},
    direct, heads,
    marks::Mark,
    members, pages,
    pages::EntryRow,
    transaction::{detached, read, snapshot_from, write},
    views::Sight,
};
use crate::{
    Appended, ContactRow, Effect, HeadRow, MemberPage, MemberRow, Messages, Moved, NewEntry, Page, PageRequest,
    ReadMark, ReceiptCounts, Refused, Result, Revision, Scan, UserSettings, messages::HeadsQuestion,
};

#[async_trait]
impl Messages for MysqlStore {
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<std::result::Result<Appended, Refused>>> {
        let store = self.clone();
        detached(async move { store.append_all(&entries).await }).await
    }

    async fn open_direct(&self, a: UserId, b: UserId, new: ConversationId) -> Result<ConversationId> {
        // Most are there already.
        let found = read!(self, |connection| direct::find(connection, a.min(b), a.max(b)).await)?;
        match found {
            Some(conversation) => Ok(conversation),
            None => write!(self, |connection| direct::open(connection, a.min(b), a.max(b), new).await),
        }
    }

    async fn read_pages(
        &self,
        reader: UserId,
        requests: Vec<PageRequest>,
        bytes_max: usize,
    ) -> Result<Vec<Option<Page>>> {
        let sights = read!(self, |connection| {
            let mut sights = Vec::with_capacity(requests.len());
            for request in &requests {
                sights.push(Sight::of_member(connection, reader, request.conversation).await?);
            }
            Ok(sights)
        })?;
        if let Some(replica) = &self.shared.replica
            && let Some(pages) = replica.pages(&sights, &requests, bytes_max).await
        {
            return Ok(pages);
        }
        read!(self, |connection| pages::read(connection, &sights, &requests, bytes_max).await)
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
        snapshot_from!(&self.shared.readers, |connection| heads::read(connection, question).await)
    }

    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>> {
        self.shared.marks.mark(marks.into_iter().map(Mark::Read).collect()).await
    }

    async fn mark_delivered(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>> {
        self.shared.marks.mark(marks.into_iter().map(Mark::Delivered).collect()).await
    }

    async fn groups_of(&self, user: UserId) -> Result<Vec<GroupId>> {
        read!(self, |connection| {
            let rows = sqlx::query("SELECT conversation FROM members WHERE user = ? AND kind = ?")
                .bind(column(user.get()))
                .bind(ConversationKind::Group as i32)
                .fetch_all(connection)
                .await?;
            rows.iter().map(|row| convert::conversation(row, 0).map(ConversationId::group)).collect()
        })
    }

    async fn members(
        &self,
        reader: UserId,
        conversation: ConversationId,
        after: UserId,
        limit: u32,
        admins: bool,
    ) -> Result<Option<MemberPage>> {
        read!(self, |connection| members::page(connection, reader, conversation, after, limit, admins).await)
    }

    async fn member(&self, conversation: ConversationId, user: UserId) -> Result<Option<MemberRow>> {
        read!(self, |connection| members::find(connection, conversation, user).await)
    }

    async fn member_count(&self, conversation: ConversationId) -> Result<u64> {
        read!(self, |connection| members::count(connection, conversation).await)
    }

    async fn administrators(&self, conversation: ConversationId, limit: u32) -> Result<Vec<UserId>> {
        read!(self, |connection| members::administrators(connection, conversation, limit).await)
    }

    async fn bans(&self, conversation: ConversationId, after: UserId, limit: u32) -> Result<Vec<UserId>> {
        read!(self, |connection| members::bans(connection, conversation, after, limit).await)
    }

    async fn filter_members(&self, conversation: ConversationId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        read!(self, |connection| members::filter(connection, conversation, &users).await)
    }

    async fn filter_visible(&self, user: UserId, users: Vec<UserId>) -> Result<Vec<UserId>> {
        read!(self, |connection| contacts::filter_visible(connection, user, &users).await)
    }

    async fn receipts(
        &self,
        reader: UserId,
        conversation: ConversationId,
        position: u64,
    ) -> Result<Option<ReceiptCounts>> {
        read!(self, |connection| members::receipts(connection, reader, conversation, position).await)
    }

    async fn changes(
        &self,
        reader: UserId,
        conversation: ConversationId,
        targets: Vec<u64>,
        after: u64,
        limit: u32,
    ) -> Result<Option<Vec<Entry>>> {
        read!(self, |connection| match Sight::of_member(connection, reader, conversation).await? {
            Some(sight) => changes::read(connection, &sight, &targets, after, limit).await.map(Some),
            None => Ok(None),
        })
    }

    async fn pins(&self, reader: UserId, conversation: ConversationId, limit: u32) -> Result<Option<Vec<Entry>>> {
        read!(self, |connection| match Sight::of_member(connection, reader, conversation).await? {
            Some(sight) => changes::pins(connection, &sight, limit).await.map(Some),
            None => Ok(None),
        })
    }

    async fn scan(
        &self,
        reader: UserId,
        conversation: ConversationId,
        before: u64,
        entries: u32,
    ) -> Result<Option<Scan>> {
        let sight = read!(self, |connection| Sight::of_member(connection, reader, conversation).await)?;
        let Some(sight) = sight else { return Ok(None) };
        if let Some(replica) = &self.shared.replica
            && let Some(scan) = replica.scan(&sight, before, entries).await
        {
            return Ok(Some(scan));
        }
        read!(self, |connection| changes::scan(connection, &sight, before, entries).await).map(Some)
    }

    async fn find_entry(&self, sender: UserId, id: EntryId) -> Result<Option<(ConversationId, Entry)>> {
        read!(self, |connection| {
            let row = sqlx::query(
                "SELECT position, id, sender, time_ms, content, kind, withheld, conversation FROM entries
                 WHERE id = ? AND sender = ?",
            )
            .bind(id.as_bytes().as_slice())
            .bind(column(sender.get()))
            .fetch_optional(connection)
            .await?;
            row.map(|row| Ok((convert::conversation(&row, 7)?, EntryRow::new(&row)?.whole()))).transpose()
        })
    }

    async fn contacts(&self, user: UserId, after: UserId, limit: u32) -> Result<Vec<ContactRow>> {
        read!(self, |connection| contacts::page(connection, user, after, limit).await)
    }

    async fn standings(&self, user: UserId, of: Vec<UserId>) -> Result<Vec<(Option<ContactRow>, UserSettings)>> {
        read!(self, |connection| contacts::standings(connection, user, &of).await)
    }

    async fn settings(&self, user: UserId) -> Result<UserSettings> {
        read!(self, |connection| {
            Ok(contacts::settings(connection, &[user]).await?.remove(&user).unwrap_or_default())
        })
    }

    async fn effects(&self, limit: u32) -> Result<Vec<Effect>> {
        read!(self, |connection| contacts::effects(connection, limit).await)
    }
}
