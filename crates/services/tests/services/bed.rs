//! All services in one place, and whoever asks them.

use std::{sync::Arc, time::Duration};

use api::{Call, Caller, MessageService as _, Scopes, SendRequest, UserService as _, send_result};
use cache::LocalCache;
use prometheus_client::registry::Registry;
use prost::Message as _;
use protocol::{
    EntryId, Error, GatewayId, IdGenerator, NodeNumber, SessionId, UserId, queue as pushes,
    wire::{self, ErrorCode, content::Kind},
};
use queue::{Delivered, LocalQueue, Subscription};
use services::{
    Clock, group, message,
    user::{self, PasswordConfig, SecretKey},
};
use store::sqlite::{SqliteConfig, SqliteStore};
use tokio::time::Instant;

use crate::doubtful::Doubtful;

pub(crate) const GATEWAY: GatewayId = GatewayId::new(1);
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct System {
    pub(crate) store: SqliteStore,
    /// What the message service has for its store: the same.
    pub(crate) messages: Arc<Doubtful>,
    pub(crate) queue: Arc<LocalQueue>,
    pub(crate) clock: Clock,
    pub(crate) message: Arc<message::Service>,
    pub(crate) user: Arc<user::Service>,
    pub(crate) group: Arc<group::Service>,
    pub(crate) tasks: (message::Tasks, user::Tasks),
    pub(crate) dir: Arc<tempfile::TempDir>,
}

impl System {
    pub(crate) async fn start() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), message::Config::default(), Clock::system()).await
    }

    pub(crate) async fn open(dir: Arc<tempfile::TempDir>, config: message::Config, clock: Clock) -> Self {
        let store = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
        let (shared, messages) = (Arc::new(store.clone()), Arc::new(Doubtful::new(store.clone())));
        let queue = Arc::new(LocalQueue::new());
        let cache = Arc::new(LocalCache::default());
        let ids = Arc::new(IdGenerator::new(NodeNumber::new(0).unwrap()));
        let (message, message_tasks) = message::Service::start(
            &config,
            messages.clone(),
            queue.clone(),
            ids.clone(),
            clock.clone(),
            &mut Registry::default(),
        );
        let config = user::Config {
            passwords: PasswordConfig { memory_kib: 8, iterations: 1, threads: 1, queue_max: 16 },
            access_token_ttl: Duration::from_secs(900),
            refresh_token_ttl: Duration::from_secs(86_400),
            resume_token_ttl: Duration::from_secs(3_600),
            info_ttl: Duration::from_secs(60).into(),
            look_at_peers_every: None,
            private_webhooks: false,
        };
        let parts = user::Parts {
            standing_changed: Arc::new(|| {}),
            store: shared.clone(),
            webhooks: shared.clone(),
            cache: cache.clone(),
            queue: queue.clone(),
            messages: message.clone(),
            ids: ids.clone(),
            clock: clock.clone(),
            key: SecretKey::from_bytes([7; 32]),
        };
        let (user, user_tasks) = user::Service::start(config, parts).await.unwrap();
        let config = group::Config { info_ttl: Duration::from_secs(60).into() };
        let group = group::Service::new(&config, shared, cache, user.clone(), message.clone(), ids, clock.clone());
        Self { store, messages, queue, clock, message, user, group, tasks: (message_tasks, user_tasks), dir }
    }

    pub(crate) async fn restart(self) -> Self {
        let (dir, clock) = (self.dir.clone(), self.clock.clone());
        self.tasks.0.stop().await;
        self.tasks.1.stop().await;
        drop((self.message, self.user, self.group, self.messages));
        self.store.close().await;
        drop(self.store);
        Self::open(dir, message::Config::default(), clock).await
    }

    pub(crate) async fn register(&self, name: &str) -> wire::Session {
        let register = wire::Register { name: name.into(), password: "password".into(), device: "phone".into() };
        self.user.register(&nobody(), register).await.unwrap()
    }

    pub(crate) async fn direct(&self, from: &wire::Session, to: &wire::Session) -> u64 {
        let request = api::OpenDirectRequest { peer: user_id(to).get() };
        self.message.open_direct(&by(from), request).await.unwrap().id
    }

    pub(crate) async fn send(&self, from: &wire::Session, sends: Vec<wire::Send>) -> Vec<Result<u64, ErrorCode>> {
        let response = self.message.send(&by(from), SendRequest { sends }).await.unwrap();
        let outcome = |result: api::SendResult| match result.result.unwrap() {
            send_result::Result::Sent(sent) => Ok(sent.position),
            send_result::Result::Error(error) => Err(error.code()),
        };
        response.results.into_iter().map(outcome).collect()
    }

    pub(crate) async fn texts(&self, reader: &wire::Session, conversation: u64) -> Vec<String> {
        let history = wire::History { conversation, from: None, limit: 500 };
        let page = self.message.history(&by(reader), history).await.unwrap();
        page.entries.iter().filter_map(|entry| entry.content.as_ref()?.text()).collect()
    }

    pub(crate) async fn personal(&self, user: &wire::Session) -> Vec<Kind> {
        let conversation = user_id(user).get();
        let page = self.message.history(&by(user), wire::History { conversation, from: None, limit: 500 }).await;
        let kind = |entry: wire::Entry| entry.content.unwrap().view().unwrap().kind.unwrap();
        page.unwrap().entries.into_iter().map(kind).collect()
    }
}

pub(crate) fn nobody() -> Call {
    Call { caller: None, origin: None, address: None, deadline: Instant::now() + PATIENCE }
}

pub(crate) fn user_id(session: &wire::Session) -> UserId {
    UserId::new(session.user.as_ref().unwrap().id)
}

pub(crate) fn by(session: &wire::Session) -> Call {
    let caller = Caller { user: user_id(session), session: SessionId::new(session.id), scopes: Scopes::ALL };
    Call { caller: Some(caller), ..nobody() }
}

pub(crate) fn text(conversation: u64, id: EntryId, body: impl Into<String>) -> wire::Send {
    wire::Send {
        target: Some(wire::send::Target::Conversation(conversation)),
        id: id.to_string(),
        content: Some(Kind::Text(wire::Text { body: body.into() }).into()),
        forward_of: None,
    }
}

pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time")
}

/// The positions of a conversation's entries that a subscription hears, until there are `count`. What personal logs tell
/// comes in between.
pub(crate) async fn heard(subscription: &dyn Subscription, conversation: u64, count: usize) -> Vec<u64> {
    let mut positions = Vec::new();
    while positions.len() < count {
        let delivered = tokio::time::timeout(PATIENCE, subscription.receive(100)).await.expect("in time");
        for delivered in delivered {
            let Delivered::Publication(publication) = delivered else { panic!("lost") };
            for delivery in pushes::Batch::decode(publication.payload).unwrap().deliveries {
                if let Some(pushes::delivery::What::Entry(entry)) = delivery.what
                    && entry.conversation == conversation
                {
                    positions.push(entry.position);
                }
            }
        }
    }
    positions
}

pub(crate) async fn code_of<T>(outcome: impl Future<Output = Result<T, Error>>) -> ErrorCode {
    outcome.await.err().expect("refused").code()
}
