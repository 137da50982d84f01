//! All services in one place, and whoever asks them.

use std::sync::Arc;

use api::{MessageService as _, SendRequest, send_result};
use prost::Message as _;
use protocol::{
    EntryId, GatewayId, UserId, queue as pushes,
    wire::{self, ErrorCode, content::Kind},
};
use queue::{Delivered, LocalQueue, Subscription};
use services::{Clock, group, message, user};
use store::sqlite::{SqliteConfig, SqliteStore};

use crate::{
    doubtful::Doubtful,
    running::{Parts, Running, register},
};
pub(crate) use crate::{
    running::{by, nobody},
    waiting::{PATIENCE, code_of, eventually},
};

pub(crate) const GATEWAY: GatewayId = GatewayId::new(1);

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
        let (users, messages) = (Arc::new(store.clone()), Arc::new(Doubtful::new(store.clone())));
        let queue = Arc::new(LocalQueue::new());
        let parts = Parts {
            store: store.clone(),
            messages: messages.clone(),
            users,
            queue: queue.clone(),
            clock: clock.clone(),
            standing_changed: Arc::new(|| {}),
        };
        let Running { message, user, group, tasks } = Running::start(&config, parts).await;
        Self { store, messages, queue, clock, message, user, group, tasks, dir }
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
        register(&self.user, name).await
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

pub(crate) fn user_id(session: &wire::Session) -> UserId {
    UserId::new(session.user.as_ref().unwrap().id)
}

pub(crate) fn text(conversation: u64, id: EntryId, body: impl Into<String>) -> wire::Send {
    wire::Send {
        target: Some(wire::send::Target::Conversation(conversation)),
        id: id.to_string(),
        content: Some(Kind::Text(wire::Text { body: body.into() }).into()),
        forward_of: None,
    }
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
