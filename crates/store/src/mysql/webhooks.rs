//! Outgoing webhooks.

use async_trait::async_trait;
use protocol::UserId;
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    MysqlStore, accounts,
    convert::{self, bound, column, get},
    lists::{sql, steps},
    transaction::{read, write},
};
use crate::{DeadLetterRow, NewWebhook, Result, WebhookRow, WebhookState, Webhooks};

#[async_trait]
impl Webhooks for MysqlStore {
    async fn create_webhook(&self, webhook: NewWebhook, state: WebhookState, limit: usize) -> Result<bool> {
        write!(self, |connection| create(connection, &webhook, &state, limit).await)
    }

    async fn webhooks(&self, bot: Option<UserId>) -> Result<Vec<WebhookRow>> {
        let bot = bot.map(|bot| column(bot.get()));
        read!(self, |connection| {
            let rows = sqlx::query(
                "SELECT id, bot, url, secret, created_ms,
                     (SELECT count(*) FROM dead_letters WHERE webhook = webhooks.id), last_error
                 FROM webhooks WHERE ? IS NULL OR bot = ? ORDER BY created_ms, id",
            )
            .bind(bot)
            .bind(bot)
            .fetch_all(connection)
            .await?;
            rows.iter().map(webhook).collect()
        })
    }

    async fn webhook(&self, id: u64) -> Result<Option<WebhookRow>> {
        read!(self, |connection| {
            let row = sqlx::query(
                "SELECT id, bot, url, secret, created_ms,
                     (SELECT count(*) FROM dead_letters WHERE webhook = webhooks.id), last_error
                 FROM webhooks WHERE id = ?",
            )
            .bind(column(id))
            .fetch_optional(connection)
            .await?;
            row.as_ref().map(webhook).transpose()
        })
    }

    async fn delete_webhook(&self, id: u64) -> Result<bool> {
        write!(self, |connection| delete(connection, id).await)
    }

    async fn webhook_state(&self, id: u64) -> Result<WebhookState> {
        read!(self, |connection| state(connection, id).await)
    }

    async fn put_webhook_state(&self, id: u64, state: WebhookState) -> Result<()> {
        write!(self, |connection| put_state(connection, id, &state).await)
    }

    async fn put_webhook_error(&self, id: u64, error: String) -> Result<()> {
        write!(self, |connection| {
            sqlx::query("UPDATE webhooks SET last_error = ? WHERE id = ?")
                .bind(&error)
                .bind(column(id))
                .execute(connection)
                .await
                .map(drop)
        })
    }

    async fn add_dead_letter(&self, webhook: u64, letter: DeadLetterRow, letters_max: usize) -> Result<()> {
        write!(self, |connection| add_dead_letter(connection, webhook, &letter, letters_max).await)
    }

    async fn dead_letters(&self, webhook: u64, after: u64, limit: u32, redeliver: bool) -> Result<Vec<DeadLetterRow>> {
        read!(self, |connection| {
            let rows = sqlx::query(
                "SELECT id, conversation, position, time_ms, attempts, error, redeliver FROM dead_letters
                 WHERE webhook = ? AND id > ? AND (redeliver = 1 OR NOT ?) ORDER BY id LIMIT ?",
            )
            .bind(column(webhook))
            .bind(bound(after))
            .bind(redeliver)
            .bind(i64::from(limit))
            .fetch_all(connection)
            .await?;
            rows.iter().map(dead_letter).collect()
        })
    }

    async fn redeliver(&self, webhook: u64, letters: Vec<u64>) -> Result<()> {
        write!(self, |connection| redeliver(connection, webhook, &letters).await)
    }

    async fn remove_dead_letter(&self, webhook: u64, letter: u64) -> Result<()> {
        write!(self, |connection| {
            sqlx::query("DELETE FROM dead_letters WHERE webhook = ? AND id = ?")
                .bind(column(webhook))
                .bind(column(letter))
                .execute(connection)
                .await
                .map(drop)
        })
    }
}

async fn create(
    connection: &mut MySqlConnection,
    new: &NewWebhook,
    state: &WebhookState,
    limit: usize,
) -> sqlx::Result<bool> {
    let WebhookRow { id, bot, url, secret, created_ms, last_error, .. } = &new.row;
    accounts::lock(connection, *bot).await?;
    let made = sqlx::query("SELECT 1 FROM webhooks WHERE bot = ? AND request = ?")
        .bind(column(bot.get()))
        .bind(new.request.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if made.is_some() {
        return Ok(true);
    }
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM webhooks WHERE bot = ?")
        .bind(column(bot.get()))
        .fetch_one(&mut *connection)
        .await?;
    if count >= i64::try_from(limit).unwrap_or(i64::MAX) {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO webhooks (id, bot, request, url, secret, created_ms, `cursor`, last_error)
         VALUES (?, ?, ?, ?, ?, ?, '', ?)",
    )
    .bind(column(*id))
    .bind(column(bot.get()))
    .bind(new.request.as_bytes().as_slice())
    .bind(url)
    .bind(secret)
    .bind(created_ms)
    .bind(last_error)
    .execute(&mut *connection)
    .await?;
    put_state(connection, *id, state).await?;
    Ok(true)
}

async fn delete(connection: &mut MySqlConnection, id: u64) -> sqlx::Result<bool> {
    // Whoever adds to it waits, and finds it gone.
    lock(connection, id).await?;
    for statement in ["DELETE FROM webhook_positions WHERE webhook = ?", "DELETE FROM dead_letters WHERE webhook = ?"] {
        sqlx::query(statement).bind(column(id)).execute(&mut *connection).await?;
    }
    let deleted = sqlx::query("DELETE FROM webhooks WHERE id = ?").bind(column(id)).execute(connection).await?;
    Ok(deleted.rows_affected() > 0)
}

/// Locks the webhook until the commit; `false` if there is none.
async fn lock(connection: &mut MySqlConnection, id: u64) -> sqlx::Result<bool> {
    let locking = sqlx::query("SELECT 1 FROM webhooks WHERE id = ? FOR UPDATE").bind(column(id));
    Ok(locking.fetch_optional(connection).await?.is_some())
}

/// Of a webhook that is gone, nothing is kept.
async fn put_state(connection: &mut MySqlConnection, id: u64, state: &WebhookState) -> sqlx::Result<()> {
    if !lock(connection, id).await? {
        return Ok(());
    }
    sqlx::query("UPDATE webhooks SET `cursor` = coalesce(nullif(?, ''), `cursor`) WHERE id = ?")
        .bind(&state.cursor)
        .bind(column(id))
        .execute(&mut *connection)
        .await?;
    for part in steps(&state.positions) {
        let mut merge = sqlx::query(sql(
            "INSERT INTO webhook_positions (webhook, conversation, position) VALUES ",
            part.len(),
            3,
            " ON DUPLICATE KEY UPDATE position = GREATEST(position, VALUES(position))",
        ));
        for (conversation, position) in part {
            merge = merge.bind(column(id)).bind(column(conversation.get())).bind(bound(*position));
        }
        merge.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn add_dead_letter(
    connection: &mut MySqlConnection,
    webhook: u64,
    letter: &DeadLetterRow,
    letters_max: usize,
) -> sqlx::Result<()> {
    if !lock(connection, webhook).await? {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO dead_letters (webhook, id, conversation, position, time_ms, attempts, error, redeliver)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON DUPLICATE KEY UPDATE time_ms = VALUES(time_ms), attempts = VALUES(attempts), error = VALUES(error),
             redeliver = VALUES(redeliver)",
    )
    .bind(column(webhook))
    .bind(column(letter.id))
    .bind(column(letter.conversation.get()))
    .bind(bound(letter.position))
    .bind(letter.time_ms)
    .bind(i64::from(letter.attempts))
    .bind(&letter.error)
    .bind(letter.redeliver)
    .execute(&mut *connection)
    .await?;
    let dropped: Option<i64> =
        sqlx::query_scalar("SELECT id FROM dead_letters WHERE webhook = ? ORDER BY id DESC LIMIT 1 OFFSET ?")
            .bind(column(webhook))
            .bind(i64::try_from(letters_max).unwrap_or(i64::MAX))
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(dropped) = dropped {
        sqlx::query("DELETE FROM dead_letters WHERE webhook = ? AND id <= ?")
            .bind(column(webhook))
            .bind(dropped)
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn redeliver(connection: &mut MySqlConnection, webhook: u64, letters: &[u64]) -> sqlx::Result<()> {
    if letters.is_empty() {
        sqlx::query("UPDATE dead_letters SET redeliver = 1 WHERE webhook = ?")
            .bind(column(webhook))
            .execute(&mut *connection)
            .await?;
    }
    for part in steps(letters) {
        let mut mark =
            sqlx::query(sql("UPDATE dead_letters SET redeliver = 1 WHERE webhook = ? AND id IN ", 1, part.len(), ""))
                .bind(column(webhook));
        for letter in part {
            mark = mark.bind(column(*letter));
        }
        mark.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn state(connection: &mut MySqlConnection, id: u64) -> sqlx::Result<WebhookState> {
    let cursor: Option<String> = sqlx::query_scalar("SELECT `cursor` FROM webhooks WHERE id = ?")
        .bind(column(id))
        .fetch_optional(&mut *connection)
        .await?;
    let rows =
        sqlx::query("SELECT conversation, position FROM webhook_positions WHERE webhook = ? ORDER BY conversation")
            .bind(column(id))
            .fetch_all(connection)
            .await?;
    let position = |row: &MySqlRow| Ok((convert::conversation(row, 0)?, convert::number(row, 1)?));
    let positions = rows.iter().map(position).collect::<sqlx::Result<_>>()?;
    Ok(WebhookState { cursor: cursor.unwrap_or_default(), positions })
}

fn webhook(row: &MySqlRow) -> sqlx::Result<WebhookRow> {
    Ok(WebhookRow {
        id: convert::number(row, 0)?,
        bot: convert::user(row, 1)?,
        url: get(row, 2)?,
        secret: get(row, 3)?,
        created_ms: get(row, 4)?,
        dead_letters: convert::number(row, 5)?,
        last_error: get(row, 6)?,
    })
}

fn dead_letter(row: &MySqlRow) -> sqlx::Result<DeadLetterRow> {
    Ok(DeadLetterRow {
        id: convert::number(row, 0)?,
        conversation: convert::conversation(row, 1)?,
        position: convert::number(row, 2)?,
        time_ms: get(row, 3)?,
        attempts: u32::try_from(get::<i64>(row, 4)?).map_err(|error| convert::undecodable(4, error))?,
        error: get(row, 5)?,
        redeliver: get(row, 6)?,
    })
}
