//! The message service: the logs. Append, history, catching up, read positions.
//!
//! A send is checked, handed to the appender, which writes what has gathered in one transaction, answered
//! after the commit, and published by the publisher in the order of positions. What a group's log says of
//! its members is told in their personal logs by the relay.

mod appender;
mod publisher;
mod relay;

use std::sync::Arc;

use api::{
    AppendRequest, Call, FilterMembersRequest, GroupIds, ListGroupsRequest, MessageService, OpenDirectRequest,
    SendRequest, SendResponse, SendResult, UserIds, append_request, send_result,
};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use protocol::{
    ConversationId, Error, IdGenerator, Result, UserId, limits,
    queue::delivery::What,
    wire::{self, ConversationKind, Role, server_frame::Body},
};
use queue::{Queue, Topic};
use store::{
    Act, Audience, Headed, MemberPage, MemberRow, Membership, Messages, Moved, NewEntry, Page, PageRequest, ReadMark,
    Revision,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    appender::{Appender, AppenderMetrics},
    publisher::{Publisher, PublisherMetrics},
};
use crate::{
    Clock,
    push::{self, Pushes},
    text,
};

/// What may be set of the message service.
#[derive(Debug, Clone)]
pub struct Config {
    /// Entries in one transaction at most.
    pub append_batch_max: usize,
    /// Bytes of content waiting for the appender at most; beyond, sends are refused as overloaded.
    pub append_queue_bytes_max: usize,
    /// Deliveries in one publication at most.
    pub publish_batch_max: usize,
    /// Attempts to publish before a push is left to catching up.
    pub publish_attempts_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            append_batch_max: 1_000,
            append_queue_bytes_max: 64 * 1024 * 1024,
            publish_batch_max: 100,
            publish_attempts_max: 3,
        }
    }
}

/// The message service, in this process.
pub struct Service {
    store: Arc<dyn Messages>,
    appender: Appender,
    publisher: Publisher,
    ids: Arc<IdGenerator>,
    clock: Clock,
}

/// The running tasks of a service.
#[derive(Debug)]
pub struct Tasks {
    stop_writing: CancellationToken,
    writing: JoinSet<()>,
    stop_publishing: CancellationToken,
    publishing: JoinSet<()>,
}

impl Tasks {
    /// Writes and publishes what was accepted, then ends. Further sends are refused as unavailable.
    pub async fn stop(mut self) {
        self.stop_writing.cancel();
        while self.writing.join_next().await.is_some() {}
        self.stop_publishing.cancel();
        while self.publishing.join_next().await.is_some() {}
    }
}

impl Service {
    /// Starts the service.
    pub fn start(
        config: &Config,
        store: Arc<dyn Messages>,
        queue: Arc<dyn Queue>,
        ids: Arc<IdGenerator>,
        clock: Clock,
        metrics: &mut Registry,
    ) -> (Arc<Self>, Tasks) {
        let (stop_writing, stop_publishing) = (CancellationToken::new(), CancellationToken::new());
        let (mut writing, mut publishing) = (JoinSet::new(), JoinSet::new());
        let (publisher, publish) =
            Publisher::new(config, queue, PublisherMetrics::new(metrics), stop_publishing.clone());
        publishing.spawn(publish);
        let metrics = AppenderMetrics::new(metrics);
        let (appender, append, members_moved) =
            Appender::new(config, Arc::clone(&store), publisher.clone(), metrics, stop_writing.clone());
        writing.spawn(append);
        writing.spawn(relay::run(Arc::clone(&store), appender.clone(), members_moved, stop_writing.clone()));
        let service = Arc::new(Self { store, appender, publisher, ids, clock });
        (service, Tasks { stop_writing, writing, stop_publishing, publishing })
    }

    fn new_message(&self, sender: UserId, send: wire::Send) -> Result<NewEntry> {
        let id = text::entry_id(&send.id)?;
        text::message(send.content.as_ref())?;
        let conversation = match send.target {
            Some(wire::send::Target::Conversation(id)) => ConversationId::new(id),
            Some(wire::send::Target::To(_)) => return Err(Error::invalid("to: names are resolved by the gateway")),
            None => return Err(Error::invalid("conversation: missing")),
        };
        if conversation == sender.personal_log() {
            return Err(Error::new(wire::ErrorCode::Forbidden, "only the server writes to a personal log"));
        }
        let content = send.content.map(|content| content.as_bytes().clone()).unwrap_or_default();
        Ok(NewEntry {
            conversation,
            sender,
            id,
            time_ms: self.clock.now_ms(),
            content,
            act: Act::Message { mentions: Vec::new(), mentions_everyone: false },
            settles: None,
        })
    }
}

#[async_trait]
impl MessageService for Service {
    async fn send(&self, call: &Call, request: SendRequest) -> Result<SendResponse> {
        let caller = call.caller()?;
        // What is valid goes to the appender together; its answers come back to the places left open.
        let mut results: Vec<Option<Result<wire::Sent>>> = Vec::with_capacity(request.sends.len());
        let mut entries = Vec::with_capacity(request.sends.len());
        for send in request.sends {
            match self.new_message(caller.user, send) {
                Ok(entry) => {
                    entries.push(entry);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut appended = self.appender.append(call, entries).await.into_iter();
        let results = results.into_iter().map(|result| {
            let result = result.or_else(|| appended.next());
            let result = match result.unwrap_or_else(|| Err(Error::unavailable("certainly not stored: stopping"))) {
                Ok(sent) => send_result::Result::Sent(sent),
                Err(error) => send_result::Result::Error(error.into()),
            };
            SendResult { result: Some(result) }
        });
        Ok(SendResponse { results: results.collect() })
    }

    async fn append(&self, call: &Call, request: AppendRequest) -> Result<wire::Sent> {
        let content = request.content.ok_or_else(|| Error::invalid("content: missing"))?;
        let act = match request.act {
            Some(append_request::Act::Membership(membership)) => Act::Membership(Membership {
                create: membership.create,
                enter: membership.enter.into_iter().map(|member| (UserId::new(member.user), member.role())).collect(),
                exit: membership.exit.into_iter().map(UserId::new).collect(),
                ..Membership::default()
            }),
            _ => Act::Tell,
        };
        let entry = NewEntry {
            conversation: ConversationId::new(request.conversation),
            sender: UserId::new(request.sender),
            id: text::entry_id(&request.id)?,
            time_ms: self.clock.now_ms(),
            content: content.as_bytes().clone(),
            act,
            settles: None,
        };
        let mut results = self.appender.append(call, vec![entry]).await;
        results.pop().unwrap_or_else(|| Err(Error::unavailable("certainly not stored: stopping")))
    }

    async fn open_direct(&self, call: &Call, request: OpenDirectRequest) -> Result<wire::Conversation> {
        let caller = call.caller()?;
        let peer = UserId::new(request.peer);
        let new = ConversationId::new(self.ids.generate(self.clock.now()).get());
        let id = self.store.open_direct(caller.user, peer, new).await?;
        Ok(wire::Conversation {
            id: id.get(),
            kind: ConversationKind::Direct.into(),
            peer: Some(wire::UserInfo { id: peer.get(), ..Default::default() }),
            ..Default::default()
        })
    }

    async fn history(&self, call: &Call, request: wire::History) -> Result<wire::HistoryPage> {
        let caller = call.caller()?;
        let page = page_request(&request)?;
        let mut pages = self.store.read_pages(caller.user, vec![page], limits::PAGE_BYTES_MAX).await?;
        let page = pages.pop().flatten().ok_or_else(Error::not_member)?;
        Ok(history_page(request.conversation, page))
    }

    async fn fetch(&self, call: &Call, request: wire::Fetch) -> Result<wire::Fetched> {
        let caller = call.caller()?;
        let count = request.histories.len();
        if count > limits::FETCH_HISTORIES_MAX {
            return Err(Error::limit("histories", count, limits::FETCH_HISTORIES_MAX));
        }
        let pages = request.histories.iter().map(page_request).collect::<Result<Vec<_>>>()?;
        let pages = self.store.read_pages(caller.user, pages, limits::PAGE_BYTES_MAX).await?;
        let pages = request.histories.iter().zip(pages);
        let pages = pages.map(|(history, page)| history_page(history.conversation, page.unwrap_or_default()));
        Ok(wire::Fetched { pages: pages.collect() })
    }

    async fn sync(&self, call: &Call, request: wire::Sync) -> Result<wire::SyncPage> {
        let caller = call.caller()?;
        let since = SyncCursor::parse(&request.cursor)?;
        let page = SyncPageToken::parse(&request.page)?;
        let limit = bounded("limit", request.limit, limits::SYNC_HEADS_DEFAULT, limits::SYNC_HEADS_MAX)?;
        let entries = bounded("entries", request.entries, 0, limits::SYNC_ENTRIES_MAX)?;
        let until = page.map(|page| page.until);
        let (heads, newest) = self.store.heads(caller.user, since, until, limit, entries).await?;
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

    async fn read(&self, call: &Call, request: wire::Read) -> Result<wire::Done> {
        let caller = call.caller()?;
        let conversation = ConversationId::new(request.conversation);
        let mark = ReadMark { conversation, user: caller.user, position: request.position };
        let moved = self.store.mark_read(vec![mark]).await?;
        let mut pushes = Pushes::default();
        for Moved { position, audience } in moved.into_iter().flatten() {
            let moved = wire::ReadMoved { conversation: request.conversation, user: caller.user.get(), position };
            let origin = call.origin.map_or(0, |origin| origin.0);
            let what = What::Frame(push::frame(Body::ReadMoved(moved)));
            match audience {
                Audience::Users(users) => pushes.add_for_users(&users, origin, what),
                Audience::Group(group) => pushes.add_for_topic(Topic::Group(group), origin, what),
            }
        }
        self.publisher.publish(pushes);
        Ok(wire::Done {})
    }

    async fn list_groups(&self, call: &Call, _request: ListGroupsRequest) -> Result<GroupIds> {
        let groups = self.store.groups_of(call.caller()?.user).await?;
        Ok(GroupIds { ids: groups.into_iter().map(protocol::GroupId::get).collect() })
    }

    async fn list_members(&self, call: &Call, request: wire::ListMembers) -> Result<wire::Members> {
        let caller = call.caller()?;
        let limit = bounded("limit", request.limit, limits::MEMBERS_PAGE_DEFAULT, limits::MEMBERS_PAGE_MAX)?;
        let conversation = ConversationId::new(request.group);
        let members =
            self.store.members(caller.user, conversation, UserId::new(request.after), limit, request.admins).await?;
        let MemberPage { members, total } = members.ok_or_else(Error::not_member)?;
        let member = |row: MemberRow| wire::Member {
            user: Some(wire::UserInfo { id: row.user.get(), ..Default::default() }),
            role: row.role.into(),
            nickname: row.nickname,
            muted_until_ms: row.muted_until_ms,
        };
        Ok(wire::Members { members: members.into_iter().map(member).collect(), total })
    }

    async fn filter_members(&self, _call: &Call, request: FilterMembersRequest) -> Result<UserIds> {
        let users = request.users.into_iter().map(UserId::new).collect();
        let members = self.store.filter_members(ConversationId::new(request.conversation), users).await?;
        Ok(UserIds { ids: members.into_iter().map(UserId::get).collect() })
    }

    async fn filter_visible(&self, call: &Call, request: UserIds) -> Result<UserIds> {
        let users = request.ids.into_iter().map(UserId::new).collect();
        let peers = self.store.filter_visible(call.caller()?.user, users).await?;
        Ok(UserIds { ids: peers.into_iter().map(UserId::get).collect() })
    }
}

fn bounded(field: &str, asked: u32, default: u32, max: u32) -> Result<u32> {
    match asked {
        0 => Ok(default),
        asked if asked <= max => Ok(asked),
        asked => Err(Error::limit(field, asked, max)),
    }
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
            peer: row.peer.map(|peer| wire::UserInfo { id: peer.get(), ..Default::default() }),
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
