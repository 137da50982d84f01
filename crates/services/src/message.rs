//! The message service: the logs. Append, history, catching up, read positions.
//!
//! A send is checked, handed to the appender, which writes what has gathered in one transaction, answered
//! after the commit, and published by the publisher in the order of positions. What a group's log says of
//! its members is told in their personal logs by the relay.

mod acts;
mod appender;
mod content;
mod forward;
mod missed;
mod publisher;
mod receipts;
mod relay;
mod search;
mod unknown;
mod views;

use std::{sync::Arc, time::Duration};

use api::{
    AppendRequest, Call, ConversationRequest, EntryRequest, FilterMembersRequest, FoundEntry, GroupIds,
    ListGroupsRequest, MessageService, OpenDirectRequest, RelayRequest, Roster, SendRequest, SendResponse, SendResult,
    SettingsRequest, Standings, UserIds, send_result,
};
use async_trait::async_trait;
use prometheus_client::registry::Registry;
use protocol::{
    ConversationId, Error, IdGenerator, Result, UserId,
    wire::{self, ConversationKind, ErrorCode},
};
use queue::Queue;
use store::{Messages, NewEntry, ReadMark};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    appender::{Appender, AppenderMetrics},
    content::Since,
    forward::Claim,
    publisher::{Publisher, PublisherMetrics},
};
use crate::{Clock, text};

/// Whether a user may send this content.
#[cfg(fuzzing)]
pub(crate) fn accepts(content: &protocol::RawContent) -> bool {
    let since = content::Since::of(&Config::default(), 0);
    content::parse(Some(content), since).is_ok()
}

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
    /// How long after it was sent a message may be edited by its sender; zero: for ever.
    pub edit_within: Duration,
    /// How long after it was sent a message may be recalled by its sender; zero: for ever.
    pub recall_within: Duration,
    /// How often it is looked for what another instance left to be told; `None`: there are none.
    pub relay_every: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            append_batch_max: 1_000,
            append_queue_bytes_max: 64 * 1024 * 1024,
            publish_batch_max: 100,
            publish_attempts_max: 3,
            edit_within: Duration::from_secs(24 * 3_600),
            recall_within: Duration::from_secs(24 * 3_600),
            relay_every: None,
        }
    }
}

/// The message service, in this process.
pub struct Service {
    store: Arc<dyn Messages>,
    appender: Appender,
    publisher: Publisher,
    /// Rings when there are effects to be told.
    bell: Arc<Notify>,
    config: Config,
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
        let (appender, append, bell) =
            Appender::new(config, Arc::clone(&store), publisher.clone(), metrics, stop_writing.clone());
        writing.spawn(append);
        writing.spawn(relay::run(
            Arc::clone(&store),
            appender.clone(),
            Arc::clone(&bell),
            config.relay_every,
            stop_writing.clone(),
        ));
        let service = Arc::new(Self { store, appender, publisher, bell, config: config.clone(), ids, clock });
        (service, Tasks { stop_writing, writing, stop_publishing, publishing })
    }

    /// What a send stands for, and whence it says it was forwarded.
    fn new_entry(&self, sender: UserId, send: wire::Send) -> Result<(NewEntry, Claim)> {
        let id = text::entry_id(&send.id)?;
        let time_ms = self.clock.now_ms();
        let written = content::parse(send.content.as_ref(), Since::of(&self.config, time_ms))?;
        let conversation = match send.target {
            Some(wire::send::Target::Conversation(id)) => ConversationId::new(id),
            Some(wire::send::Target::To(_)) => return Err(Error::invalid("to: names are resolved by the gateway")),
            None => return Err(Error::invalid("conversation: missing")),
        };
        if conversation == sender.personal_log() {
            return Err(Error::new(ErrorCode::Forbidden, "only the server writes to a personal log"));
        }
        let content = send.content.map(|content| content.as_bytes().clone()).unwrap_or_default();
        let claim = Claim { sender, id, of: send.forward_of, forwarded: written.forwarded };
        Ok((NewEntry { conversation, sender, id, time_ms, content, act: written.act, settles: None }, claim))
    }

    async fn checked_entry(&self, sender: UserId, send: wire::Send) -> Result<NewEntry> {
        let (entry, claim) = self.new_entry(sender, send)?;
        claim.check(self.store.as_ref()).await?;
        Ok(entry)
    }

    /// Appends; where it is so already, nothing is appended, which is told by position 0.
    async fn append_one(&self, call: &Call, entry: NewEntry) -> Result<wire::Sent> {
        self.appender.append(call, vec![entry]).await.pop().unwrap_or_else(|| Err(stopping()))
    }
}

fn stopping() -> Error {
    Error::unavailable("certainly not stored: stopping")
}

/// Who sends wants a position: that it is so already is an answer of its own.
fn appended(sent: wire::Sent) -> Result<wire::Sent> {
    if sent.position == 0 { Err(Error::new(ErrorCode::Conflict, "it is so already")) } else { Ok(sent) }
}

#[async_trait]
impl MessageService for Service {
    async fn send(&self, call: &Call, request: SendRequest) -> Result<SendResponse> {
        let caller = call.caller()?;
        // What is valid goes to the appender together; its answers come back to the places left open.
        let mut results: Vec<Option<Result<wire::Sent>>> = Vec::with_capacity(request.sends.len());
        let mut entries = Vec::with_capacity(request.sends.len());
        for send in request.sends {
            match self.checked_entry(caller.user, send).await {
                Ok(entry) => {
                    entries.push(entry);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        let mut outcomes = self.appender.append(call, entries).await.into_iter();
        let results = results.into_iter().map(|result| {
            let result = result.or_else(|| outcomes.next());
            let result = match result.unwrap_or_else(|| Err(stopping())).and_then(appended) {
                Ok(sent) => send_result::Result::Sent(sent),
                Err(error) => send_result::Result::Error(error.into()),
            };
            SendResult { result: Some(result) }
        });
        Ok(SendResponse { results: results.collect() })
    }

    async fn append(&self, call: &Call, request: AppendRequest) -> Result<wire::Sent> {
        let entry = acts::entry(request, self.clock.now_ms())?;
        self.append_one(call, entry).await
    }

    async fn open_direct(&self, call: &Call, request: OpenDirectRequest) -> Result<wire::Conversation> {
        let caller = call.caller()?;
        let peer = UserId::new(request.peer);
        let new = ConversationId::new(self.ids.generate(self.clock.now()).get());
        let id = self.store.open_direct(caller.user, peer, new).await?;
        Ok(wire::Conversation {
            id: id.get(),
            kind: ConversationKind::Direct.into(),
            peer: Some(views::named_by_id(peer)),
            ..Default::default()
        })
    }

    async fn history(&self, call: &Call, request: wire::History) -> Result<wire::HistoryPage> {
        self.history_page(call.caller()?.user, request).await
    }

    async fn fetch(&self, call: &Call, request: wire::Fetch) -> Result<wire::Fetched> {
        self.history_pages(call.caller()?.user, request).await
    }

    async fn sync(&self, call: &Call, request: wire::Sync) -> Result<wire::SyncPage> {
        self.heads(call.caller()?.user, request).await
    }

    async fn read(&self, call: &Call, request: wire::Read) -> Result<wire::Done> {
        let conversation = ConversationId::new(request.conversation);
        let mark = ReadMark { conversation, user: call.caller()?.user, position: request.position };
        self.mark_read(call, mark).await?;
        Ok(wire::Done {})
    }

    async fn deliver(&self, call: &Call, request: wire::Deliver) -> Result<wire::Done> {
        self.mark_delivered(call, request.marks).await?;
        Ok(wire::Done {})
    }

    async fn list_receipts(&self, call: &Call, request: wire::ListReceipts) -> Result<wire::Receipts> {
        self.receipts(call, request).await
    }

    async fn list_changes(&self, call: &Call, request: wire::ListChanges) -> Result<wire::Entries> {
        self.changes(call, request).await
    }

    async fn list_pins(&self, call: &Call, request: wire::ListPins) -> Result<wire::Entries> {
        self.pins(call.caller()?.user, ConversationId::new(request.conversation)).await
    }

    async fn search(&self, call: &Call, request: wire::Search) -> Result<wire::Found> {
        self.find(call, request).await
    }

    async fn set_conversation(&self, call: &Call, request: wire::SetConversation) -> Result<wire::Done> {
        self.change_settings(call, request).await?;
        Ok(wire::Done {})
    }

    async fn save_draft(&self, call: &Call, request: wire::SaveDraft) -> Result<wire::Done> {
        self.change_draft(call, request).await?;
        Ok(wire::Done {})
    }

    async fn delete_for_me(&self, call: &Call, request: wire::DeleteForMe) -> Result<wire::Done> {
        self.delete_from_view(call, request).await?;
        Ok(wire::Done {})
    }

    async fn typing(&self, call: &Call, request: wire::Typing) -> Result<wire::Done> {
        self.tell_typing(call, ConversationId::new(request.conversation)).await?;
        Ok(wire::Done {})
    }

    async fn list_groups(&self, call: &Call, _request: ListGroupsRequest) -> Result<GroupIds> {
        let groups = self.store.groups_of(call.caller()?.user).await?;
        Ok(GroupIds { ids: groups.into_iter().map(protocol::GroupId::get).collect() })
    }

    async fn list_members(&self, call: &Call, request: wire::ListMembers) -> Result<wire::Members> {
        self.members(call.caller()?.user, request).await
    }

    async fn list_bans(&self, call: &Call, request: wire::ListBans) -> Result<UserIds> {
        self.bans(call, request).await
    }

    async fn filter_members(&self, _call: &Call, request: FilterMembersRequest) -> Result<UserIds> {
        let users = request.users.into_iter().map(UserId::new).collect();
        let members = self.store.filter_members(ConversationId::new(request.conversation), users).await?;
        Ok(UserIds { ids: members.into_iter().map(UserId::get).collect() })
    }

    async fn filter_banned(&self, _call: &Call, request: FilterMembersRequest) -> Result<UserIds> {
        self.banned(ConversationId::new(request.conversation), request.users).await
    }

    async fn get_roster(&self, _call: &Call, request: ConversationRequest) -> Result<Roster> {
        self.roster(ConversationId::new(request.conversation)).await
    }

    async fn filter_visible(&self, call: &Call, request: UserIds) -> Result<UserIds> {
        let users = request.ids.into_iter().map(UserId::new).collect();
        let peers = self.store.filter_visible(call.caller()?.user, users).await?;
        Ok(UserIds { ids: peers.into_iter().map(UserId::get).collect() })
    }

    async fn get_member(&self, call: &Call, request: ConversationRequest) -> Result<wire::Member> {
        let row = self.store.member(ConversationId::new(request.conversation), call.caller()?.user).await?;
        Ok(row.map(views::member).unwrap_or_default())
    }

    async fn list_contacts(&self, call: &Call, request: wire::ListContacts) -> Result<wire::Contacts> {
        self.contacts(call.caller()?.user, request).await
    }

    async fn get_settings(&self, _call: &Call, request: SettingsRequest) -> Result<wire::SettingsChanged> {
        let settings = self.store.settings(UserId::new(request.user)).await?;
        Ok(wire::SettingsChanged { write_policy: settings.write_policy.into(), invisible: settings.invisible })
    }

    async fn get_standings(&self, call: &Call, request: UserIds) -> Result<Standings> {
        self.standings(call, request).await
    }

    async fn find_entry(&self, call: &Call, request: EntryRequest) -> Result<FoundEntry> {
        let found = self.store.find_entry(call.caller()?.user, text::entry_id(&request.id)?).await?;
        let found =
            found.map(|(conversation, entry)| FoundEntry { conversation: conversation.get(), content: entry.content });
        Ok(found.unwrap_or_default())
    }

    async fn relay(&self, _call: &Call, _request: RelayRequest) -> Result<wire::Done> {
        self.bell.notify_one();
        Ok(wire::Done {})
    }
}
