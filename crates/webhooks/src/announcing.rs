//! How changes of webhooks are noticed at once.

use std::sync::Arc;

use async_trait::async_trait;
use protocol::UserId;
use store::{DeadLetterRow, NewWebhook, Result, WebhookRow, WebhookState, Webhooks};
use tokio::sync::Notify;

/// Rung when webhooks were made, removed, or are to redeliver, and when bots may act no longer, or again. It only saves waiting: whoever delivers looks from time to time
/// as well.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Rings. One ring is kept if nobody listens at the moment.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Waits for a ring. Cancel safe.
    pub(crate) async fn rung(&self) {
        self.0.notified().await;
    }
}

/// A store that rings a bell when something changed that whoever delivers should look at: what the user service is handed.
pub struct Announcing {
    store: Arc<dyn Webhooks>,
    bell: Bell,
}

impl Announcing {
    /// Rings `bell` for what is changed in `store` by way of this.
    pub fn new(store: Arc<dyn Webhooks>, bell: Bell) -> Self {
        Self { store, bell }
    }
}

#[async_trait]
impl Webhooks for Announcing {
    async fn create_webhook(&self, webhook: NewWebhook, state: WebhookState, limit: usize) -> Result<bool> {
        let made = self.store.create_webhook(webhook, state, limit).await;
        self.bell.ring();
        made
    }

    async fn webhooks(&self, bot: Option<UserId>) -> Result<Vec<WebhookRow>> {
        self.store.webhooks(bot).await
    }

    async fn webhook(&self, id: u64) -> Result<Option<WebhookRow>> {
        self.store.webhook(id).await
    }

    async fn delete_webhook(&self, id: u64) -> Result<bool> {
        let deleted = self.store.delete_webhook(id).await;
        self.bell.ring();
        deleted
    }

    async fn webhook_state(&self, id: u64) -> Result<WebhookState> {
        self.store.webhook_state(id).await
    }

    async fn put_webhook_state(&self, id: u64, state: WebhookState) -> Result<()> {
        self.store.put_webhook_state(id, state).await
    }

    async fn put_webhook_error(&self, id: u64, error: String) -> Result<()> {
        self.store.put_webhook_error(id, error).await
    }

    async fn add_dead_letter(&self, webhook: u64, letter: DeadLetterRow, letters_max: usize) -> Result<()> {
        self.store.add_dead_letter(webhook, letter, letters_max).await
    }

    async fn dead_letters(&self, webhook: u64, after: u64, limit: u32, redeliver: bool) -> Result<Vec<DeadLetterRow>> {
        self.store.dead_letters(webhook, after, limit, redeliver).await
    }

    async fn redeliver(&self, webhook: u64, letters: Vec<u64>) -> Result<()> {
        let marked = self.store.redeliver(webhook, letters).await;
        self.bell.ring();
        marked
    }

    async fn remove_dead_letter(&self, webhook: u64, letter: u64) -> Result<()> {
        self.store.remove_dead_letter(webhook, letter).await
    }
}
