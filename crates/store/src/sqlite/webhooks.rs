//! Outgoing webhooks.

use async_trait::async_trait;

use super::SqliteStore;
use crate::{DeadLetterRow, NewWebhook, Result, WebhookRow, WebhookState, Webhooks};
use protocol::UserId;

#[async_trait]
impl Webhooks for SqliteStore {
    async fn create_webhook(&self, _webhook: NewWebhook, _state: WebhookState, _limit: usize) -> Result<bool> {
        todo!()
    }

    async fn webhooks(&self, _bot: Option<UserId>) -> Result<Vec<WebhookRow>> {
        todo!()
    }

    async fn webhook(&self, _id: u64) -> Result<Option<WebhookRow>> {
        todo!()
    }

    async fn delete_webhook(&self, _id: u64) -> Result<bool> {
        todo!()
    }

    async fn webhook_state(&self, _id: u64) -> Result<WebhookState> {
        todo!()
    }

    async fn put_webhook_state(&self, _id: u64, _state: WebhookState) -> Result<()> {
        todo!()
    }

    async fn put_webhook_error(&self, _id: u64, _error: String) -> Result<()> {
        todo!()
    }

    async fn add_dead_letter(&self, _webhook: u64, _letter: DeadLetterRow, _letters_max: usize) -> Result<()> {
        todo!()
    }

    async fn dead_letters(
        &self,
        _webhook: u64,
        _after: u64,
        _limit: u32,
        _redeliver: bool,
    ) -> Result<Vec<DeadLetterRow>> {
        todo!()
    }

    async fn redeliver(&self, _webhook: u64, _letters: Vec<u64>) -> Result<()> {
        todo!()
    }
    async fn remove_dead_letter(&self, _webhook: u64, _letter: u64) -> Result<()> {
        todo!()
    }
}
