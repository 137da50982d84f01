//! Outgoing webhooks.

use async_trait::async_trait;
use protocol::{ConversationId, EntryId, UserId};

use crate::Result;

/// A webhook to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Its row.
    pub row: WebhookRow,
    /// The request's id: with the bot its key for good.
    pub request: EntryId,
}

/// An outgoing webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    /// Its id.
    pub id: u64,
    /// Whose entries it posts.
    pub bot: UserId,
    /// Where to.
    pub url: String,
    /// What deliveries are signed with.
    pub secret: Vec<u8>,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Entries that were given up.
    pub dead_letters: u64,
    /// Why the last attempt failed.
    pub last_error: String,
}

/// How far a webhook has come: opaque to the store, see the `webhooks` crate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// Where to catch up from.
    pub cursor: String,
    /// The last entry done with, by conversation.
    pub positions: Vec<(ConversationId, u64)>,
}

/// A delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    /// Its id, growing.
    pub id: u64,
    /// The entry's conversation …
    pub conversation: ConversationId,
    /// … and position.
    pub position: u64,
    /// When it was given up, milliseconds since 1970.
    pub time_ms: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// It is to be tried again.
    pub redeliver: bool,
}

/// What is stored of outgoing webhooks, for the user service and for whoever delivers.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Makes a webhook, which begins at `state`; `false` if the bot has `limit` already. The same request makes the same one
    /// again.
    async fn create_webhook(&self, webhook: NewWebhook, state: WebhookState, limit: usize) -> Result<bool>;

    /// The bot's webhooks, oldest first; of all bots if `None`.
    async fn webhooks(&self, bot: Option<UserId>) -> Result<Vec<WebhookRow>>;

    /// The webhook with this id.
    async fn webhook(&self, id: u64) -> Result<Option<WebhookRow>>;

    /// Removes a webhook with its state and dead letters; `false` if there is none.
    async fn delete_webhook(&self, id: u64) -> Result<bool>;

    /// How far a webhook has come.
    async fn webhook_state(&self, id: u64) -> Result<WebhookState>;

    /// Notes how far it has come: an empty cursor leaves the former, positions are merged by maximum.
    async fn put_webhook_state(&self, id: u64, state: WebhookState) -> Result<()>;

    /// Notes why the last attempt failed; empty: it did not.
    async fn put_webhook_error(&self, id: u64, error: String) -> Result<()>;

    /// Adds a dead letter, dropping the oldest beyond `letters_max`.
    async fn add_dead_letter(&self, webhook: u64, letter: DeadLetterRow, letters_max: usize) -> Result<()>;

    /// Dead letters by ascending id after `after`; only those to be tried again if `redeliver`.
    async fn dead_letters(&self, webhook: u64, after: u64, limit: u32, redeliver: bool) -> Result<Vec<DeadLetterRow>>;

    /// Marks dead letters (none named: all) to be tried again.
    async fn redeliver(&self, webhook: u64, letters: Vec<u64>) -> Result<()>;

    /// Removes a dead letter that was delivered after all.
    async fn remove_dead_letter(&self, webhook: u64, letter: u64) -> Result<()>;
}
