//! Reading: pages of logs, the conversations that moved, members.

use api::{Call, Roster, UserIds};
use protocol::{
    ConversationId, Error, Result, UserId, limits,
    wire::{self, Entry, ErrorCode, Role},
};
use store::{ContactRow, ENTRY_BYTES, Headed, MemberPage, MemberRow, Page, PageRequest, Revision};

use super::Service;
use crate::text::bounded;

/// Users in one question who is banned: each is looked up.
const FILTER_BANNED_MAX: usize = 16;

impl Service {
    pub(super) async fn history_page(&self, user: UserId, request: wire::History) -> Result<wire::HistoryPage> {
        let page = page_request(&request)?;
        let mut pages = self.store.read_pages(user, vec![page], limits::PAGE_BYTES_MAX).await?;
        let page = pages.pop().flatten().ok_or_else(Error::not_member)?;
        Ok(history_page(request.conversation, page))
    }

    pub(super) async fn history_pages(&self, user: UserId, request: wire::Fetch) -> Result<wire::Fetched> {
        let count = request.histories.len();
        if count > limits::FETCH_HISTORIES_MAX {
            return Err(Error::limit("histories", count, limits::FETCH_HISTORIES_MAX));
        }
        let pages = request.histories.iter().map(page_request).collect::<Result<Vec<_>>>()?;
        let pages = self.store.read_pages(user, pages, limits::PAGE_BYTES_MAX).await?;
        let pages = request.histories.iter().zip(pages);
        let pages = pages.map(|(history, page)| history_page(history.conversation, page.unwrap_or_default()));
        Ok(wire::Fetched { pages: pages.collect() })
    }

    pub(super) async fn heads(&self, user: UserId, request: wire::Sync) -> Result<wire::SyncPage> {
        let since = SyncCursor::parse(&request.cursor)?;
        let page = SyncPageToken::parse(&request.page)?;
        let limit = bounded("limit", request.limit, limits::SYNC_HEADS_DEFAULT, limits::SYNC_HEADS_MAX)?;
        let entries = bounded("entries", request.entries, 0, limits::SYNC_ENTRIES_MAX)?;
        let until = page.map(|page| page.until);
        let (heads, newest) = self.store.heads(user, since, until, limit, entries).await?;
        let cursor = page.map_or(newest, |page| page.cursor);
        let full = heads.len() >= limit as usize;
        let next_page = heads
            .last()
            .filter(|_| full)
            .map(|last| SyncPageToken { until: Revision(last.revision.0.saturating_sub(1)), cursor });
        Ok(wire::SyncPage {
            heads: heads.into_iter().map(head).collect(),
            next_page: next_page.map_or_else(String::new, SyncPageToken::to_text),
            cursor: cursor.0.to_string(),
        })
    }

    pub(super) async fn members(&self, user: UserId, request: wire::ListMembers) -> Result<wire::Members> {
        let limit = bounded("limit", request.limit, limits::MEMBERS_PAGE_DEFAULT, limits::MEMBERS_PAGE_MAX)?;
        let conversation = ConversationId::new(request.group);
        let members = self.store.members(user, conversation, UserId::new(request.after), limit, request.admins).await?;
        let MemberPage { members, total } = members.ok_or_else(Error::not_member)?;
        Ok(wire::Members { members: members.into_iter().map(member).collect(), total })
    }

    pub(super) async fn bans(&self, call: &Call, request: wire::ListBans) -> Result<UserIds> {
        let user = call.caller()?.user;
        let conversation = ConversationId::new(request.group);
        let limit = bounded("limit", request.limit, limits::MEMBERS_PAGE_DEFAULT, limits::MEMBERS_PAGE_MAX)?;
        let row = self.store.member(conversation, user).await?.ok_or_else(Error::not_member)?;
        if row.role < Role::Admin {
            return Err(Error::new(ErrorCode::Forbidden, "who is banned is for the group's owner and admins to know"));
        }
        let bans = self.store.bans(conversation, UserId::new(request.after), limit).await?;
        Ok(UserIds { ids: bans.into_iter().map(UserId::get).collect() })
    }

    /// Those of these users who are banned.
    pub(super) async fn banned(&self, conversation: ConversationId, users: Vec<u64>) -> Result<UserIds> {
        if users.len() > FILTER_BANNED_MAX {
            return Err(Error::limit("users", users.len(), FILTER_BANNED_MAX));
        }
        let mut ids = Vec::new();
        for user in users {
            let next = self.store.bans(conversation, UserId::new(user.saturating_sub(1)), 1).await?;
            ids.extend(next.into_iter().map(UserId::get).filter(|banned| *banned == user));
        }
        Ok(UserIds { ids })
    }

    pub(super) async fn roster(&self, conversation: ConversationId) -> Result<Roster> {
        let members = self.store.member_count(conversation).await?;
        // And the owner.
        let limit = u32::try_from(limits::ADMINS_MAX).unwrap_or(u32::MAX).saturating_add(1);
        let administrators = self.store.administrators(conversation, limit).await?;
        Ok(Roster { members, administrators: administrators.into_iter().map(UserId::get).collect() })
    }

    pub(super) async fn contacts(&self, user: UserId, request: wire::ListContacts) -> Result<wire::Contacts> {
        let limit = bounded("limit", request.limit, limits::MEMBERS_PAGE_DEFAULT, limits::MEMBERS_PAGE_MAX)?;
        let contacts = self.store.contacts(user, UserId::new(request.after), limit).await?;
        Ok(wire::Contacts { contacts: contacts.into_iter().map(contact).collect() })
    }
}

/// A member's row, with the id for a name.
pub(super) fn member(row: MemberRow) -> wire::Member {
    wire::Member {
        user: Some(named_by_id(row.user)),
        role: row.role.into(),
        nickname: row.nickname,
        muted_until_ms: row.muted_until_ms,
    }
}

fn contact(row: ContactRow) -> wire::Contact {
    wire::Contact {
        user: Some(named_by_id(row.peer)),
        friend: row.friend,
        request: row.request.into(),
        message: row.message,
        remark: row.remark,
        blocked: row.blocked,
        changed_ms: row.changed_ms,
    }
}

/// A user as this service knows users.
pub(super) fn named_by_id(user: UserId) -> wire::UserInfo {
    wire::UserInfo { id: user.get(), ..Default::default() }
}

/// The first of these entries, as many as an answer may hold; at least one.
pub(super) fn within_answer(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = entries.iter().position(|entry| {
        bytes += entry.content.as_ref().map_or(0, |content| content.as_bytes().len()) + ENTRY_BYTES;
        bytes > limits::PAGE_BYTES_MAX
    });
    if let Some(fits) = fits {
        entries.truncate(fits.max(1));
    }
    entries
}

fn page_request(history: &wire::History) -> Result<PageRequest> {
    let from = match history.from {
        Some(wire::history::From::Before(position)) => Headed::Before(position),
        Some(wire::history::From::After(position)) => Headed::After(position),
        None => Headed::After(0),
    };
    let limit = bounded("limit", history.limit, limits::PAGE_ENTRIES_DEFAULT, limits::PAGE_ENTRIES_MAX)?;
    Ok(PageRequest { conversation: ConversationId::new(history.conversation), from, limit })
}

fn history_page(conversation: u64, page: Page) -> wire::HistoryPage {
    wire::HistoryPage { conversation, entries: page.entries, last_position: page.last_position }
}

fn head(row: store::HeadRow) -> wire::Head {
    wire::Head {
        conversation: Some(wire::Conversation {
            id: row.conversation.get(),
            kind: row.kind.into(),
            peer: row.peer.map(named_by_id),
            ..Default::default()
        }),
        last_position: row.last_position,
        read_position: row.read_position,
        unread: row.unread,
        peer_read_position: row.peer_read_position,
        entries: row.entries,
        unread_mentions: row.unread_mentions,
        peer_delivered_position: row.peer_delivered_position,
        settings: row.own.settings,
        draft: row.own.draft,
        deleted_up_to: row.own.deleted_up_to,
        role: row.role.into(),
    }
}

struct SyncCursor;

impl SyncCursor {
    fn parse(text: &str) -> Result<Revision> {
        if text.is_empty() {
            return Ok(Revision(0));
        }
        text.parse().map(Revision).map_err(|_| Error::invalid("cursor: not one that this server gave out"))
    }
}

/// Where the next page of a sync goes on, and the cursor that the first page gave.
#[derive(Clone, Copy)]
struct SyncPageToken {
    until: Revision,
    cursor: Revision,
}

impl SyncPageToken {
    fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = text.split_once('.').and_then(|(until, cursor)| {
            Some(Self { until: Revision(until.parse().ok()?), cursor: Revision(cursor.parse().ok()?) })
        });
        parsed.map(Some).ok_or_else(|| Error::invalid("page: not one that this server gave out"))
    }

    fn to_text(self) -> String {
        format!("{}.{}", self.until.0, self.cursor.0)
    }
}
