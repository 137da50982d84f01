//! Everything a test needs.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use client::Backoff;
use protocol::{EntryId, Error, IdGenerator, NodeNumber, SessionId, UserId};
use store::{DeadLetterRow, NewWebhook, WebhookRow, WebhookState, Webhooks as _};

use super::{gateway::Gateway, store::MemoryStore};
use crate::{Announcing, Bell, Config, Credential, Credentials, Metrics, Parts, Webhooks};

pub(super) const BOT: u64 = 11;
pub(super) const ALICE: u64 = 12;
pub(super) const SECRET: &[u8] = b"a secret of the webhook";

/// Nothing in these tests takes so long unless it hangs.
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing happened for a long time")
}

/// Attempts follow each other at once.
pub(super) fn config() -> Config {
    Config {
        backoff: Backoff { min: Duration::from_millis(1), max: Duration::from_millis(5) },
        attempts_max: 3,
        allow_private: true,
        poll_every: Duration::from_millis(50),
        ..Config::default()
    }
}

/// Lets every bot act, or none.
struct Doorman(AtomicBool);

#[async_trait]
impl Credentials for Doorman {
    async fn issue(&self, bot: UserId, _: SessionId) -> Result<Option<Credential>, Error> {
        let credential = Credential { name: format!("bot{bot}"), access_token: "token".into() };
        Ok(self.0.load(Ordering::Relaxed).then_some(credential))
    }
}

pub(super) struct Bed {
    pub(super) gateway: Gateway,
    pub(super) store: Arc<Announcing>,
    pub(super) metrics: Metrics,
    config: Config,
    bell: Bell,
    doorman: Arc<Doorman>,
    ids: Arc<IdGenerator>,
    running: Option<Webhooks>,
}

impl Bed {
    pub(super) async fn start(config: Config) -> Self {
        let bell = Bell::default();
        let mut bed = Self {
            gateway: Gateway::start().await,
            store: Arc::new(Announcing::new(Arc::new(MemoryStore::default()), bell.clone())),
            metrics: Metrics::default(),
            config,
            bell,
            doorman: Arc::new(Doorman(AtomicBool::new(true))),
            ids: Arc::new(IdGenerator::new(NodeNumber::new(1).unwrap())),
            running: None,
        };
        bed.resume();
        bed
    }

    pub(super) async fn stop(&mut self) {
        soon(self.running.take().unwrap().stop()).await;
    }

    pub(super) fn resume(&mut self) {
        let parts = Parts {
            store: self.store.clone(),
            credentials: self.doorman.clone(),
            server: self.gateway.server(),
            is_ours: Arc::new(|_| true),
            bell: self.bell.clone(),
            ids: Arc::clone(&self.ids),
            metrics: self.metrics.clone(),
        };
        self.running = Some(Webhooks::start(self.config.clone(), parts));
    }

    /// Whether the bots may act from now on; those who deliver are told, as by the user service.
    pub(super) fn suspend_bots(&self, suspended: bool) {
        self.doorman.0.store(!suspended, Ordering::Relaxed);
        self.bell.ring();
    }

    pub(super) async fn hook(&self, id: u64, url: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let row = WebhookRow {
            id,
            bot: UserId::new(BOT),
            url: url.into(),
            secret: SECRET.to_vec(),
            created_ms: now.as_millis().try_into().unwrap(),
            dead_letters: 0,
            last_error: String::new(),
        };
        // As the user service makes it.
        let state = WebhookState { cursor: "cursor".into(), positions: Vec::new() };
        let webhook = NewWebhook { row, request: EntryId::generate() };
        assert!(self.store.create_webhook(webhook, state, 10).await.unwrap());
    }

    /// The dead letters of a webhook, once there are so many.
    pub(super) async fn letters(&self, webhook: u64, count: usize) -> Vec<DeadLetterRow> {
        self.until(async || {
            let letters = self.store.dead_letters(webhook, 0, 10_000, false).await.unwrap();
            (letters.len() == count).then_some(letters)
        })
        .await
    }

    pub(super) async fn last_error(&self, webhook: u64) -> String {
        self.store.webhook(webhook).await.unwrap().unwrap().last_error
    }

    /// Looks until there is something to see.
    pub(super) async fn until<T>(&self, look: impl AsyncFn() -> Option<T>) -> T {
        soon(async {
            loop {
                if let Some(seen) = look().await {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await
    }
}
