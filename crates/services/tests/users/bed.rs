//! The services over a store of their own, and short ways to ask them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use api::{
    Call, Caller, GroupService as _, MessageService as _, Scopes, SendRequest, Token, UserService as _, send_result,
};
use protocol::{
    EntryId, Error, SessionId, UserId,
    wire::{self, ErrorCode, UserInfo, content::Kind},
};
use queue::LocalQueue;
use services::{Clock, group, message, user};
use store::sqlite::{SqliteConfig, SqliteStore};

use crate::{
    doubtful::Doubtful,
    running::{Parts, Running, register},
    waiting::eventually,
};
pub(crate) use crate::{
    running::{by, nobody},
    waiting::{PATIENCE, code_of},
};

pub(crate) const DAY_MS: i64 = 86_400_000;

pub(crate) struct Bed {
    pub(crate) store: SqliteStore,
    /// What the user service has for its store: the same.
    pub(crate) users: Arc<Doubtful>,
    pub(crate) queue: Arc<LocalQueue>,
    pub(crate) clock: Clock,
    /// How often it was told that accounts were kept out, let in or ended.
    pub(crate) standings_changed: Arc<AtomicUsize>,
    pub(crate) message: Arc<message::Service>,
    pub(crate) user: Arc<user::Service>,
    pub(crate) group: Arc<group::Service>,
    tasks: (message::Tasks, user::Tasks),
    dir: Arc<tempfile::TempDir>,
}

impl Bed {
    pub(crate) async fn start() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), Clock::system()).await
    }

    async fn open(dir: Arc<tempfile::TempDir>, clock: Clock) -> Self {
        let store = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
        let (messages, users) = (Arc::new(store.clone()), Arc::new(Doubtful::new(store.clone())));
        let queue = Arc::new(LocalQueue::new());
        let standings_changed = Arc::new(AtomicUsize::new(0));
        let changed = Arc::clone(&standings_changed);
        let parts = Parts {
            store: store.clone(),
            messages,
            users: users.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
            standing_changed: Arc::new(move || {
                changed.fetch_add(1, Ordering::Relaxed);
            }),
        };
        let Running { message, user, group, tasks } = Running::start(&message::Config::default(), parts).await;
        Self { store, users, queue, clock, standings_changed, message, user, group, tasks, dir }
    }

    pub(crate) async fn restart(self) -> Self {
        let (dir, clock) = (self.dir.clone(), self.clock.clone());
        self.tasks.1.stop().await;
        self.tasks.0.stop().await;
        drop((self.message, self.user, self.group, self.users));
        self.store.close().await;
        drop(self.store);
        Self::open(dir, clock).await
    }

    pub(crate) async fn register(&self, name: &str) -> wire::Session {
        register(&self.user, name).await
    }

    pub(crate) async fn log_in(&self, name: &str) -> Result<wire::Session, Error> {
        let request = wire::LogIn { name: name.into(), password: "password".into(), device: "desk".into() };
        self.user.log_in(&nobody(), request).await
    }

    pub(crate) async fn connect(&self, token: &str) -> Result<api::ConnectIdentity, Error> {
        self.user.connect(&nobody(), Token { token: token.into() }).await
    }

    pub(crate) async fn authenticate(&self, token: &str) -> Result<api::Identity, Error> {
        self.user.authenticate(&nobody(), Token { token: token.into() }).await
    }

    pub(crate) async fn find(&self, ids: &[u64], names: &[&str]) -> Vec<UserInfo> {
        let names = names.iter().map(|&name| name.into()).collect();
        self.user.find_users(&nobody(), wire::FindUsers { ids: ids.to_vec(), names }).await.unwrap().users
    }

    pub(crate) async fn direct(&self, from: &wire::Session, to: u64) -> u64 {
        self.message.open_direct(&by(from), api::OpenDirectRequest { peer: to }).await.unwrap().id
    }

    pub(crate) async fn say(&self, from: &Call, conversation: u64, body: &str) -> Result<u64, ErrorCode> {
        let send = wire::Send {
            target: Some(wire::send::Target::Conversation(conversation)),
            id: id(),
            content: Some(Kind::Text(wire::Text { body: body.into() }).into()),
            forward_of: None,
        };
        let response = self.message.send(from, SendRequest { sends: vec![send] }).await.unwrap();
        match response.results.into_iter().next().unwrap().result.unwrap() {
            send_result::Result::Sent(sent) => Ok(sent.position),
            send_result::Result::Error(error) => Err(error.code()),
        }
    }

    pub(crate) async fn make_group(&self, owner: &wire::Session, members: &[u64]) -> u64 {
        let create = wire::CreateGroup {
            id: id(),
            title: "group".into(),
            members: members.to_vec(),
            join_policy: wire::JoinPolicy::Open.into(),
        };
        self.group.create_group(&by(owner), create).await.unwrap().id
    }

    pub(crate) async fn bot(&self, owner: &wire::Session, name: &str) -> u64 {
        let request = wire::CreateBot { id: id(), name: name.into(), display_name: String::new() };
        self.user.create_bot(&by(owner), request).await.unwrap().user.unwrap().id
    }

    pub(crate) async fn api_key(&self, owner: &wire::Session, bot: u64, scopes: &[wire::Scope]) -> wire::ApiKey {
        let scopes = scopes.iter().map(|&scope| scope.into()).collect();
        let request = wire::CreateApiKey { id: id(), bot, label: "test".into(), scopes, expires_ms: 0 };
        self.user.create_api_key(&by(owner), request).await.unwrap()
    }

    /// What the user's personal log tells.
    pub(crate) async fn told(&self, user: u64) -> Vec<Kind> {
        let history = wire::History { conversation: user, from: None, limit: 500 };
        let page = self.message.history(&as_user(user), history).await.unwrap();
        let kind = |entry: wire::Entry| entry.content.unwrap().view().unwrap().kind.unwrap();
        page.entries.into_iter().map(kind).collect()
    }

    /// Waits until the user's personal log tells this.
    pub(crate) async fn tells(&self, user: u64, kind: &Kind) {
        eventually(async || self.told(user).await.contains(kind).then_some(())).await;
    }

    pub(crate) async fn contact(&self, of: &wire::Session, peer: u64) -> Option<wire::Contact> {
        let contacts = self.user.list_contacts(&by(of), wire::ListContacts::default()).await.unwrap().contacts;
        contacts.into_iter().find(|contact| contact.user.as_ref().unwrap().id == peer)
    }
}

pub(crate) fn of(session: &wire::Session) -> u64 {
    session.user.as_ref().unwrap().id
}

pub(crate) fn as_user(user: u64) -> Call {
    let caller = Caller { user: UserId::new(user), session: SessionId::new(0), scopes: Scopes::ALL };
    Call { caller: Some(caller), ..nobody() }
}

/// A call of whoever authenticated as this.
pub(crate) fn identified(identity: &api::Identity) -> Call {
    let user = UserId::new(identity.user.as_ref().unwrap().id);
    let scopes = Scopes::of_identity(&identity.scopes);
    let caller = Caller { user, session: SessionId::new(identity.session), scopes };
    Call { caller: Some(caller), ..nobody() }
}

pub(crate) fn id() -> String {
    EntryId::generate().to_string()
}
