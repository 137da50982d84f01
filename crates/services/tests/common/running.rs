//! The user, message and group services, over the SQLite store and the embedded queue and cache; and whoever asks them.

use std::{sync::Arc, time::Duration};

use api::{Call, Caller, Scopes, UserService as _};
use cache::LocalCache;
use prometheus_client::registry::Registry;
use protocol::{IdGenerator, NodeNumber, SessionId, UserId, wire};
use queue::LocalQueue;
use services::{
    Clock, group, message,
    user::{self, PasswordConfig, SecretKey},
};
use store::{Messages, Users, sqlite::SqliteStore};
use tokio::time::Instant;

use crate::waiting::PATIENCE;

/// What they stand on. `messages` and `users` are the same store, or something before it.
pub(crate) struct Parts {
    pub(crate) store: SqliteStore,
    pub(crate) messages: Arc<dyn Messages>,
    pub(crate) users: Arc<dyn Users>,
    pub(crate) queue: Arc<LocalQueue>,
    pub(crate) clock: Clock,
    pub(crate) standing_changed: Arc<dyn Fn() + Send + Sync>,
}

pub(crate) struct Running {
    pub(crate) message: Arc<message::Service>,
    pub(crate) user: Arc<user::Service>,
    pub(crate) group: Arc<group::Service>,
    pub(crate) tasks: (message::Tasks, user::Tasks),
}

impl Running {
    pub(crate) async fn start(config: &message::Config, parts: Parts) -> Self {
        let Parts { store, messages, users, queue, clock, standing_changed } = parts;
        let cache = Arc::new(LocalCache::default());
        let ids = IdGenerator::new(NodeNumber::new(0).unwrap()).after(store.newest_id().await.unwrap());
        let (shared, ids) = (Arc::new(store), Arc::new(ids));
        let metrics = &mut Registry::default();
        let (message, message_tasks) =
            message::Service::start(config, messages, queue.clone(), ids.clone(), clock.clone(), metrics);
        let config = user::Config {
            passwords: PasswordConfig { memory_kib: 8, iterations: 1, threads: 1, queue_max: 16 },
            access_token_ttl: Duration::from_secs(900),
            refresh_token_ttl: Duration::from_secs(40 * 86_400),
            resume_token_ttl: Duration::from_secs(3_600),
            info_ttl: Duration::from_secs(3_600).into(),
            look_at_peers_every: None,
            private_webhooks: false,
        };
        let parts = user::Parts {
            standing_changed,
            store: users,
            webhooks: shared.clone(),
            cache: cache.clone(),
            queue,
            messages: message.clone(),
            ids: ids.clone(),
            clock: clock.clone(),
            key: SecretKey::from_bytes([7; 32]),
        };
        let (user, user_tasks) = user::Service::start(config, parts).await.unwrap();
        let config = group::Config { info_ttl: Duration::from_secs(60).into() };
        let group = group::Service::new(&config, shared, cache, user.clone(), message.clone(), ids, clock);
        Self { message, user, group, tasks: (message_tasks, user_tasks) }
    }
}

pub(crate) fn nobody() -> Call {
    Call { caller: None, origin: None, address: None, deadline: Instant::now() + PATIENCE }
}

pub(crate) fn by(session: &wire::Session) -> Call {
    let user = UserId::new(session.user.as_ref().unwrap().id);
    let caller = Caller { user, session: SessionId::new(session.id), scopes: Scopes::ALL };
    Call { caller: Some(caller), ..nobody() }
}

pub(crate) async fn register(users: &user::Service, name: &str) -> wire::Session {
    let register = wire::Register { name: name.into(), password: "password".into(), device: "phone".into() };
    users.register(&nobody(), register).await.unwrap()
}
