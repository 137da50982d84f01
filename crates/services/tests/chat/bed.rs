//! The three services over a fresh store, and short ways to ask them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use api::{
    AppendRequest, Call, Caller, ContactAct, GroupService as _, MessageService as _, Scopes, SendRequest, SettingsAct,
    UserService, append_request, contact_act::What as Contact, send_result,
};
use async_trait::async_trait;
use cache::LocalCache;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use prost::Message as _;
use protocol::{
    ConversationId, EntryId, GatewayId, IdGenerator, NodeNumber, RawContent, Result, SessionId, UserId,
    queue as published,
    wire::{self, Content, ErrorCode, content::Kind, server_frame::Body},
};
use queue::{Delivered, LocalQueue, Queue as _, Subscription, Topic};
use services::{Clock, group, message, presence};
use store::{
    NewAccount, NewSession, Users as _,
    sqlite::{SqliteConfig, SqliteStore},
};
use tokio::time::Instant;

pub(crate) use crate::waiting::{PATIENCE, code_of, eventually};

pub(crate) const GATEWAY: GatewayId = GatewayId::new(1);
pub(crate) const DAY_MS: i64 = 86_400_000;

/// The users that the group service asks for.
#[derive(Default)]
pub(crate) struct People(Mutex<BTreeMap<u64, wire::UserInfo>>);

#[async_trait]
impl UserService for People {
    async fn find_users(&self, _call: &Call, request: wire::FindUsers) -> Result<wire::Users> {
        let people = self.0.lock();
        let users = request.ids.iter().filter_map(|id| people.get(id).cloned()).collect();
        Ok(wire::Users { users, ..Default::default() })
    }
}

pub(crate) struct Bed {
    pub(crate) store: SqliteStore,
    pub(crate) queue: Arc<LocalQueue>,
    pub(crate) clock: Clock,
    pub(crate) message: Arc<message::Service>,
    pub(crate) group: Arc<group::Service>,
    pub(crate) presence: Arc<presence::Service>,
    people: Arc<People>,
    ids: Arc<IdGenerator>,
    _tasks: (message::Tasks, presence::Tasks),
    _dir: tempfile::TempDir,
}

impl Bed {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
        let shared = Arc::new(store.clone());
        let queue = Arc::new(LocalQueue::new());
        let clock = Clock::system();
        let ids = Arc::new(IdGenerator::new(NodeNumber::new(0).unwrap()));
        let people = Arc::new(People::default());
        let (message, message_tasks) = message::Service::start(
            &message::Config::default(),
            shared.clone(),
            queue.clone(),
            ids.clone(),
            clock.clone(),
            &mut Registry::default(),
        );
        let config = group::Config { info_ttl: Duration::from_secs(3_600).into() };
        let cache = Arc::new(LocalCache::default());
        let group = group::Service::new(
            &config,
            shared.clone(),
            cache.clone(),
            people.clone(),
            message.clone(),
            ids.clone(),
            clock.clone(),
        );
        let config = presence::Config { seen_ttl: Duration::from_secs(3_600).into() };
        let (presence, presence_tasks) =
            presence::Service::start(&config, shared, cache, queue.clone(), message.clone(), clock.clone());
        let _tasks = (message_tasks, presence_tasks);
        Self { store, queue, clock, message, group, presence, people, ids, _tasks, _dir: dir }
    }

    pub(crate) async fn user(&self, name: &str) -> u64 {
        let id = self.ids.generate(self.clock.now()).get();
        let account = NewAccount {
            id: UserId::new(id),
            name: name.into(),
            name_key: name.into(),
            password_hash: String::new(),
            created_ms: self.clock.now_ms(),
            session: NewSession {
                id: SessionId::new(id),
                device: String::new(),
                created_ms: self.clock.now_ms(),
                refresh: EntryId::generate().as_bytes().repeat(2).try_into().unwrap(),
                refresh_expires_ms: i64::MAX,
            },
        };
        assert!(self.store.create_account(account, Vec::new()).await.unwrap());
        self.people.0.lock().insert(id, wire::UserInfo { id, name: name.into(), ..Default::default() });
        id
    }

    pub(crate) fn delete(&self, user: u64) {
        self.people.0.lock().get_mut(&user).unwrap().deleted = true;
    }

    pub(crate) async fn direct(&self, from: u64, to: u64) -> u64 {
        self.message.open_direct(&by(from), api::OpenDirectRequest { peer: to }).await.unwrap().id
    }

    /// A group of the first of these users, open to everybody.
    pub(crate) async fn group(&self, members: &[u64]) -> u64 {
        self.group_joined(members, wire::JoinPolicy::Open).await
    }

    pub(crate) async fn group_joined(&self, members: &[u64], policy: wire::JoinPolicy) -> u64 {
        let create =
            wire::CreateGroup { id: id(), title: "Tea".into(), members: members.to_vec(), join_policy: policy.into() };
        self.group.create_group(&by(members[0]), create).await.unwrap().id
    }

    pub(crate) async fn send(&self, from: u64, send: wire::Send) -> Result<u64, ErrorCode> {
        let response = self.message.send(&by(from), SendRequest { sends: vec![send] }).await.unwrap();
        match response.results.into_iter().next().unwrap().result.unwrap() {
            send_result::Result::Sent(sent) => Ok(sent.position),
            send_result::Result::Error(error) => Err(error.code()),
        }
    }

    pub(crate) async fn say(&self, from: u64, conversation: u64, kind: Kind) -> Result<u64, ErrorCode> {
        self.send(from, saying(conversation, kind)).await
    }

    pub(crate) async fn entries(&self, reader: u64, conversation: u64) -> Vec<wire::Entry> {
        let history = wire::History { conversation, from: None, limit: 500 };
        self.message.history(&by(reader), history).await.unwrap().entries
    }

    pub(crate) async fn kinds(&self, reader: u64, conversation: u64) -> Vec<Kind> {
        self.entries(reader, conversation).await.iter().map(kind).collect()
    }

    /// Waits until the user's personal log tells this, and returns all that it tells.
    pub(crate) async fn told(&self, user: u64, wanted: &Kind) -> Vec<Kind> {
        eventually(async || {
            let told = self.kinds(user, user).await;
            told.contains(wanted).then_some(told)
        })
        .await
    }

    pub(crate) async fn head(&self, user: u64, conversation: u64) -> wire::Head {
        let page = self.message.sync(&by(user), wire::Sync::default()).await.unwrap();
        page.heads.into_iter().find(|head| head.conversation.as_ref().unwrap().id == conversation).unwrap()
    }

    pub(crate) async fn contact(&self, user: u64, peer: u64, what: Contact) -> Result<wire::Sent> {
        let act = append_request::Act::Contact(ContactAct { peer, what: Some(what) });
        let request = AppendRequest { conversation: user, sender: user, id: id(), content: None, act: Some(act) };
        self.message.append(&by(user), request).await
    }

    pub(crate) async fn block(&self, user: u64, peer: u64) {
        self.contact(user, peer, Contact::Block(true)).await.unwrap();
    }

    pub(crate) async fn befriend(&self, one: u64, other: u64) {
        self.contact(one, other, Contact::Request("hi".into())).await.unwrap();
        let asked = wire::FriendRequested { user: one, message: "hi".into(), received: true };
        self.told(other, &Kind::FriendRequested(asked)).await;
        self.contact(other, one, Contact::Answer(true)).await.unwrap();
        self.told(one, &Kind::FriendAdded(wire::FriendAdded { user: other })).await;
    }

    pub(crate) async fn settle(&self, user: u64, settings: wire::SettingsChanged) {
        let act = SettingsAct { write_policy: Some(settings.write_policy), invisible: Some(settings.invisible) };
        let request = AppendRequest {
            conversation: user,
            sender: user,
            id: id(),
            content: None,
            act: Some(append_request::Act::Settings(act)),
        };
        self.message.append(&by(user), request).await.unwrap();
    }

    /// Hears what is published for these users, who are all on one gateway, and about these groups and presences.
    pub(crate) async fn listen(&self, users: &[u64], topics: Vec<Topic>) -> Listener {
        let subscription = self.queue.open(GATEWAY).await.unwrap();
        subscription.subscribe(topics).await.unwrap();
        for user in users {
            self.queue.bind(UserId::new(*user), GATEWAY, false).await.unwrap();
        }
        Listener { subscription, heard: Vec::new() }
    }
}

/// What one gateway hears.
pub(crate) struct Listener {
    subscription: Box<dyn Subscription>,
    heard: Vec<Heard>,
}

/// A frame, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) topic: Topic,
    pub(crate) users: Vec<u64>,
    pub(crate) hide_from: u64,
    pub(crate) body: Body,
}

impl Listener {
    /// The next frame.
    pub(crate) async fn next(&mut self) -> Heard {
        while self.heard.is_empty() {
            let delivered = tokio::time::timeout(PATIENCE, self.subscription.receive(100)).await.expect("in time");
            for delivered in delivered {
                let Delivered::Publication(publication) = delivered else { panic!("lost") };
                for delivery in published::Batch::decode(publication.payload).unwrap().deliveries {
                    let frame = match delivery.what.unwrap() {
                        published::delivery::What::Entry(entry) => entry.frame,
                        published::delivery::What::Frame(frame) => frame,
                        published::delivery::What::EndedSession(_) | published::delivery::What::AccountClosed(_) => {
                            continue;
                        }
                    };
                    let body = wire::ServerFrame::decode(frame).unwrap().body.unwrap();
                    let (topic, users, hide_from) = (publication.topic, delivery.users, delivery.hide_from);
                    self.heard.push(Heard { topic, users, hide_from, body });
                }
            }
        }
        self.heard.remove(0)
    }

    /// The next frame that tells of no entry.
    pub(crate) async fn next_but_entries(&mut self) -> Heard {
        loop {
            let heard = self.next().await;
            if !matches!(heard.body, Body::Entry(_)) {
                return heard;
            }
        }
    }

    /// The kind of the next entry, and for whom it is.
    pub(crate) async fn next_entry(&mut self) -> (Vec<u64>, u64, Kind) {
        let heard = self.next().await;
        let Body::Entry(push) = heard.body else { panic!("{heard:?}") };
        let entry = push.entry.unwrap();
        (heard.users, entry.position, kind(&entry))
    }
}

pub(crate) fn by(user: u64) -> Call {
    let caller = Caller { user: UserId::new(user), session: SessionId::new(user), scopes: Scopes::ALL };
    Call { caller: Some(caller), origin: None, address: None, deadline: Instant::now() + PATIENCE }
}

pub(crate) fn id() -> String {
    EntryId::generate().to_string()
}

pub(crate) fn text(body: &str) -> Kind {
    Kind::Text(wire::Text { body: body.into() })
}

pub(crate) fn saying(conversation: u64, kind: Kind) -> wire::Send {
    sending(conversation, Content { kind: Some(kind), ..Content::default() })
}

pub(crate) fn sending(conversation: u64, content: Content) -> wire::Send {
    wire::Send {
        target: Some(wire::send::Target::Conversation(conversation)),
        id: id(),
        content: Some(content.into()),
        forward_of: None,
    }
}

pub(crate) fn edit(position: u64, kind: Kind) -> Kind {
    Kind::Edit(wire::Edit { position, content: Some(Box::new(RawContent::from(kind))) })
}

pub(crate) fn recall(position: u64) -> Kind {
    Kind::Recall(wire::Recall { position })
}

pub(crate) fn hidden() -> Kind {
    Kind::Hidden(wire::Hidden {})
}

pub(crate) fn recalled() -> Kind {
    Kind::Recalled(wire::Recalled {})
}

pub(crate) fn kind(entry: &wire::Entry) -> Kind {
    entry.content.as_ref().unwrap().view().unwrap().kind.unwrap()
}

pub(crate) fn group_topic(group: u64) -> Topic {
    Topic::Group(ConversationId::new(group).group())
}
