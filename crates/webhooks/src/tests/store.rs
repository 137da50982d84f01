//! A store in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use protocol::UserId;
use store::{DeadLetterRow, NewWebhook, Result, WebhookRow, WebhookState, Webhooks};

#[derive(Debug, Default)]
pub(super) struct MemoryStore(Mutex<BTreeMap<u64, Kept>>);

#[derive(Debug)]
struct Kept {
    row: WebhookRow,
    state: WebhookState,
    letters: Vec<DeadLetterRow>,
}

#[async_trait]
impl Webhooks for MemoryStore {
    async fn create_webhook(&self, webhook: NewWebhook, state: WebhookState, _: usize) -> Result<bool> {
        let kept = Kept { row: webhook.row, state, letters: Vec::new() };
        self.0.lock().insert(kept.row.id, kept);
        Ok(true)
    }

    async fn webhooks(&self, bot: Option<UserId>) -> Result<Vec<WebhookRow>> {
        let kept = self.0.lock();
        let rows = kept.values().map(|kept| WebhookRow { dead_letters: kept.letters.len() as u64, ..kept.row.clone() });
        Ok(rows.filter(|row| bot.is_none_or(|bot| row.bot == bot)).collect())
    }

    async fn webhook(&self, id: u64) -> Result<Option<WebhookRow>> {
        Ok(self.webhooks(None).await?.into_iter().find(|row| row.id == id))
    }

    async fn delete_webhook(&self, id: u64) -> Result<bool> {
        Ok(self.0.lock().remove(&id).is_some())
    }

    async fn webhook_state(&self, id: u64) -> Result<WebhookState> {
        Ok(self.0.lock().get(&id).map(|kept| kept.state.clone()).unwrap_or_default())
    }

    async fn put_webhook_state(&self, id: u64, state: WebhookState) -> Result<()> {
        if let Some(kept) = self.0.lock().get_mut(&id) {
            let mut positions: BTreeMap<_, _> = kept.state.positions.drain(..).collect();
            for (conversation, position) in state.positions {
                let known = positions.entry(conversation).or_default();
                *known = position.max(*known);
            }
            kept.state.positions = positions.into_iter().collect();
            if !state.cursor.is_empty() {
                kept.state.cursor = state.cursor;
            }
        }
        Ok(())
    }

    async fn put_webhook_error(&self, id: u64, error: String) -> Result<()> {
        if let Some(kept) = self.0.lock().get_mut(&id) {
            kept.row.last_error = error;
        }
        Ok(())
    }

    async fn add_dead_letter(&self, webhook: u64, letter: DeadLetterRow, letters_max: usize) -> Result<()> {
        if let Some(kept) = self.0.lock().get_mut(&webhook) {
            kept.letters.push(letter);
            let surplus = kept.letters.len().saturating_sub(letters_max);
            kept.letters.drain(..surplus);
        }
        Ok(())
    }

    async fn dead_letters(&self, webhook: u64, after: u64, limit: u32, redeliver: bool) -> Result<Vec<DeadLetterRow>> {
        let kept = self.0.lock();
        let letters = kept.get(&webhook).into_iter().flat_map(|kept| &kept.letters);
        let wanted = letters.filter(|letter| letter.id > after && (letter.redeliver || !redeliver));
        Ok(wanted.take(limit as usize).cloned().collect())
    }

    async fn redeliver(&self, webhook: u64, letters: Vec<u64>) -> Result<()> {
        let mut kept = self.0.lock();
        for letter in kept.get_mut(&webhook).into_iter().flat_map(|kept| &mut kept.letters) {
            letter.redeliver |= letters.is_empty() || letters.contains(&letter.id);
        }
        Ok(())
    }

    async fn remove_dead_letter(&self, webhook: u64, letter: u64) -> Result<()> {
        if let Some(kept) = self.0.lock().get_mut(&webhook) {
            kept.letters.retain(|kept| kept.id != letter);
        }
        Ok(())
    }
}
