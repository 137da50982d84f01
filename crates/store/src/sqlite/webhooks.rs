//! Outgoing webhooks.

use async_trait::async_trait;
use protocol::UserId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    convert::{self, bound, column},
    writer::Writer,
};
use crate::{DeadLetterRow, NewWebhook, Result, WebhookRow, WebhookState, Webhooks};

/// The columns that [`webhook`] reads, in its order.
const COLUMNS: &str = "id, bot, url, secret, created_ms,
     (SELECT count(*) FROM dead_letters WHERE webhook = webhooks.id), last_error";

#[async_trait]
impl Webhooks for SqliteStore {
    async fn create_webhook(&self, webhook: NewWebhook, state: WebhookState, limit: usize) -> Result<bool> {
        self.write(move |writer| writer.create_webhook(&webhook, &state, limit)).await
    }

    async fn webhooks(&self, bot: Option<UserId>) -> Result<Vec<WebhookRow>> {
        self.read(move |connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM webhooks WHERE ?1 IS NULL OR bot = ?1 ORDER BY created_ms, id"
                ))?
                .query_map([bot.map(|bot| column(bot.get()))], webhook)?
                .collect()
        })
        .await
    }

    async fn webhook(&self, id: u64) -> Result<Option<WebhookRow>> {
        self.read(move |connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM webhooks WHERE id = ?1"))?
                .query_row([column(id)], webhook)
                .optional()
        })
        .await
    }

    async fn delete_webhook(&self, id: u64) -> Result<bool> {
        self.write(move |writer| writer.delete_webhook(id)).await
    }

    async fn webhook_state(&self, id: u64) -> Result<WebhookState> {
        self.read(move |connection| state(connection, id)).await
    }

    async fn put_webhook_state(&self, id: u64, state: WebhookState) -> Result<()> {
        self.write(move |writer| writer.put_webhook_state(id, &state)).await
    }

    async fn put_webhook_error(&self, id: u64, error: String) -> Result<()> {
        self.write(move |writer| {
            writer
                .prepared("UPDATE webhooks SET last_error = ?2 WHERE id = ?1")?
                .execute(params![column(id), error])
                .map(drop)
        })
        .await
    }

    async fn add_dead_letter(&self, webhook: u64, letter: DeadLetterRow, letters_max: usize) -> Result<()> {
        self.write(move |writer| writer.add_dead_letter(webhook, &letter, letters_max)).await
    }

    async fn dead_letters(&self, webhook: u64, after: u64, limit: u32, redeliver: bool) -> Result<Vec<DeadLetterRow>> {
        self.read(move |connection| {
            connection
                .prepare_cached(
                    "SELECT id, conversation, position, time_ms, attempts, error, redeliver FROM dead_letters
                     WHERE webhook = ?1 AND id > ?2 AND (redeliver OR NOT ?3) ORDER BY id LIMIT ?4",
                )?
                .query_map(params![column(webhook), bound(after), redeliver, limit], dead_letter)?
                .collect()
        })
        .await
    }

    async fn redeliver(&self, webhook: u64, letters: Vec<u64>) -> Result<()> {
        self.write(move |writer| writer.redeliver(webhook, &letters)).await
    }

    async fn remove_dead_letter(&self, webhook: u64, letter: u64) -> Result<()> {
        self.write(move |writer| {
            writer
                .prepared("DELETE FROM dead_letters WHERE webhook = ?1 AND id = ?2")?
                .execute([column(webhook), column(letter)])
                .map(drop)
        })
        .await
    }
}

impl Writer<'_> {
    fn create_webhook(&mut self, new: &NewWebhook, state: &WebhookState, limit: usize) -> rusqlite::Result<bool> {
        let (bot, request) = (column(new.row.bot.get()), new.request.as_bytes());
        if self.prepared("SELECT 1 FROM webhooks WHERE bot = ?1 AND request = ?2")?.exists(params![bot, request])? {
            return Ok(true);
        }
        let count: usize =
            self.prepared("SELECT count(*) FROM webhooks WHERE bot = ?1")?.query_row([bot], convert::count)?;
        if count >= limit {
            return Ok(false);
        }
        let WebhookRow { id, url, secret, created_ms, last_error, .. } = &new.row;
        self.prepared(
            "INSERT INTO webhooks (id, bot, request, url, secret, created_ms, cursor, last_error)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', ?7)",
        )?
        .execute(params![column(*id), bot, request, url, secret, created_ms, last_error])?;
        self.put_webhook_state(*id, state)?;
        Ok(true)
    }

    fn delete_webhook(&mut self, id: u64) -> rusqlite::Result<bool> {
        self.prepared("DELETE FROM webhook_positions WHERE webhook = ?1")?.execute([column(id)])?;
        self.prepared("DELETE FROM dead_letters WHERE webhook = ?1")?.execute([column(id)])?;
        Ok(self.prepared("DELETE FROM webhooks WHERE id = ?1")?.execute([column(id)])? > 0)
    }

    /// Of a webhook that is gone, nothing is kept.
    fn put_webhook_state(&mut self, id: u64, state: &WebhookState) -> rusqlite::Result<()> {
        let id = column(id);
        let there = self
            .prepared("UPDATE webhooks SET cursor = coalesce(nullif(?2, ''), cursor) WHERE id = ?1")?
            .execute(params![id, state.cursor])?;
        if there == 0 {
            return Ok(());
        }
        let mut merge = self.prepared(
            "INSERT INTO webhook_positions (webhook, conversation, position) VALUES (?1, ?2, ?3)
             ON CONFLICT (webhook, conversation) DO UPDATE SET position = max(position, excluded.position)",
        )?;
        for (conversation, position) in &state.positions {
            merge.execute([id, column(conversation.get()), bound(*position)])?;
        }
        Ok(())
    }

    fn add_dead_letter(&mut self, webhook: u64, letter: &DeadLetterRow, letters_max: usize) -> rusqlite::Result<()> {
        let webhook = column(webhook);
        if !self.prepared("SELECT 1 FROM webhooks WHERE id = ?1")?.exists([webhook])? {
            return Ok(());
        }
        self.prepared(
            "INSERT INTO dead_letters (webhook, id, conversation, position, time_ms, attempts, error, redeliver)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (webhook, id) DO UPDATE
                 SET time_ms = ?5, attempts = ?6, error = ?7, redeliver = ?8",
        )?
        .execute(params![
            webhook,
            column(letter.id),
            column(letter.conversation.get()),
            bound(letter.position),
            letter.time_ms,
            letter.attempts,
            letter.error,
            letter.redeliver
        ])?;
        self.prepared(
            "DELETE FROM dead_letters WHERE webhook = ?1 AND id <=
                 (SELECT id FROM dead_letters WHERE webhook = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![webhook, i64::try_from(letters_max).unwrap_or(i64::MAX)])?;
        Ok(())
    }

    fn redeliver(&mut self, webhook: u64, letters: &[u64]) -> rusqlite::Result<()> {
        if letters.is_empty() {
            self.prepared("UPDATE dead_letters SET redeliver = 1 WHERE webhook = ?1")?.execute([column(webhook)])?;
        }
        let mut mark = self.prepared("UPDATE dead_letters SET redeliver = 1 WHERE webhook = ?1 AND id = ?2")?;
        for letter in letters {
            mark.execute([column(webhook), column(*letter)])?;
        }
        Ok(())
    }
}

fn state(connection: &Connection, id: u64) -> rusqlite::Result<WebhookState> {
    let id = column(id);
    let cursor = connection
        .prepare_cached("SELECT cursor FROM webhooks WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let positions = connection
        .prepare_cached(
            "SELECT conversation, position FROM webhook_positions WHERE webhook = ?1 ORDER BY conversation",
        )?
        .query_map([id], |row| Ok((convert::conversation(row, 0)?, convert::number(row, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(WebhookState { cursor: cursor.unwrap_or_default(), positions })
}

fn webhook(row: &Row<'_>) -> rusqlite::Result<WebhookRow> {
    Ok(WebhookRow {
        id: convert::number(row, 0)?,
        bot: convert::user(row, 1)?,
        url: row.get(2)?,
        secret: row.get(3)?,
        created_ms: row.get(4)?,
        dead_letters: convert::number(row, 5)?,
        last_error: row.get(6)?,
    })
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetterRow> {
    Ok(DeadLetterRow {
        id: convert::number(row, 0)?,
        conversation: convert::conversation(row, 1)?,
        position: convert::number(row, 2)?,
        time_ms: row.get(3)?,
        attempts: row.get(4)?,
        error: row.get(5)?,
        redeliver: row.get(6)?,
    })
}
