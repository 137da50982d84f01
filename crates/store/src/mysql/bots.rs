//! Bots, and the incoming webhooks by which they post.

use protocol::{ConversationId, UserId, name_key};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    accounts::{self, make_personal_log, user_info},
    convert::{self, column, get},
    names,
    script::Script,
};
use crate::{BotRefused, BotRow, Incoming, NewBot, NewIncoming, TokenHash, users::kept_since};

/// Makes a bot with its personal log; see [`Users::create_bot`](crate::Users::create_bot).
pub(super) async fn create(
    connection: &mut MySqlConnection,
    bot: &NewBot,
    limit: usize,
    last: &mut Script,
) -> sqlx::Result<Result<BotRow, BotRefused>> {
    accounts::lock(connection, bot.owner).await?;
    let made = sqlx::query(
        "SELECT id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted, created_ms
         FROM users WHERE owner = ? AND request = ?",
    )
    .bind(column(bot.owner.get()))
    .bind(bot.request.as_bytes().as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(made) = made {
        return Ok(Ok(bot_row(&made)?));
    }
    if accounts::info(connection, bot.owner).await?.is_none_or(|owner| owner.deleted) {
        return Ok(Err(BotRefused::NoOwner));
    }
    let bots = of_owner(connection, bot.owner).await?.len();
    if bots >= limit {
        return Ok(Err(BotRefused::TooMany(bots)));
    }
    let taken = sqlx::query("SELECT 1 FROM users WHERE name_key = ?")
        .bind(bot.name_key.as_bytes())
        .fetch_optional(&mut *connection)
        .await?;
    // A name that the owner gave up may be the bot's.
    if taken.is_some() || names::is_kept(connection, &bot.name_key, bot.owner, kept_since(bot.created_ms)).await? {
        return Ok(Err(BotRefused::NameTaken));
    }
    sqlx::query(
        "INSERT INTO users (id, name, name_key, password_hash, created_ms, display_name, display_key, owner, request)
         VALUES (?, ?, ?, '', ?, ?, nullif(?, ''), ?, ?)",
    )
    .bind(column(bot.id.get()))
    .bind(&bot.name)
    .bind(bot.name_key.as_bytes())
    .bind(bot.created_ms)
    .bind(&bot.display_name)
    .bind(name_key(&bot.display_name).into_bytes())
    .bind(column(bot.owner.get()))
    .bind(bot.request.as_bytes().as_slice())
    .execute(&mut *connection)
    .await?;
    make_personal_log(connection, bot.id, last).await?;
    let user = accounts::info(connection, bot.id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok(Ok(BotRow { user, created_ms: bot.created_ms }))
}

/// Makes an incoming webhook; `false` if the bot has `limit` already.
pub(super) async fn create_incoming(
    connection: &mut MySqlConnection,
    new: &NewIncoming,
    limit: usize,
) -> sqlx::Result<bool> {
    let Incoming { id, bot, conversation, label, created_ms } = &new.row;
    accounts::lock(connection, *bot).await?;
    let made = sqlx::query("SELECT 1 FROM incoming_webhooks WHERE bot = ? AND request = ?")
        .bind(column(bot.get()))
        .bind(new.request.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if made.is_some() {
        return Ok(true);
    }
    if incoming_of(connection, *bot).await?.len() >= limit {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO incoming_webhooks (id, bot, request, hash, conversation, label, created_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(column(*id))
    .bind(column(bot.get()))
    .bind(new.request.as_bytes().as_slice())
    .bind(new.hash.as_slice())
    .bind(column(conversation.get()))
    .bind(label)
    .bind(created_ms)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Removes an incoming webhook; `false` if there is none.
pub(super) async fn delete_incoming(connection: &mut MySqlConnection, id: u64) -> sqlx::Result<bool> {
    let deleted =
        sqlx::query("DELETE FROM incoming_webhooks WHERE id = ?").bind(column(id)).execute(connection).await?;
    Ok(deleted.rows_affected() > 0)
}

pub(super) async fn of_owner(connection: &mut MySqlConnection, owner: UserId) -> sqlx::Result<Vec<BotRow>> {
    let rows = sqlx::query(
        "SELECT id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted, created_ms
         FROM users WHERE owner = ? AND deleted = 0 ORDER BY created_ms, id",
    )
    .bind(column(owner.get()))
    .fetch_all(connection)
    .await?;
    rows.iter().map(bot_row).collect()
}

pub(super) async fn incoming_of(connection: &mut MySqlConnection, bot: UserId) -> sqlx::Result<Vec<Incoming>> {
    let rows = sqlx::query(
        "SELECT id, bot, conversation, label, created_ms FROM incoming_webhooks WHERE bot = ? ORDER BY created_ms, id",
    )
    .bind(column(bot.get()))
    .fetch_all(connection)
    .await?;
    rows.iter().map(incoming).collect()
}

pub(super) async fn incoming_by_hash(
    connection: &mut MySqlConnection,
    hash: TokenHash,
) -> sqlx::Result<Option<Incoming>> {
    let row = sqlx::query("SELECT id, bot, conversation, label, created_ms FROM incoming_webhooks WHERE hash = ?")
        .bind(hash.as_slice())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(incoming).transpose()
}

pub(super) async fn incoming_by_id(connection: &mut MySqlConnection, id: u64) -> sqlx::Result<Option<Incoming>> {
    let row = sqlx::query("SELECT id, bot, conversation, label, created_ms FROM incoming_webhooks WHERE id = ?")
        .bind(column(id))
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(incoming).transpose()
}

fn bot_row(row: &MySqlRow) -> sqlx::Result<BotRow> {
    Ok(BotRow { user: user_info(row)?, created_ms: get(row, 8)? })
}

fn incoming(row: &MySqlRow) -> sqlx::Result<Incoming> {
    Ok(Incoming {
        id: convert::number(row, 0)?,
        bot: UserId::new(convert::number(row, 1)?),
        conversation: convert::number(row, 2).map(ConversationId::new)?,
        label: get(row, 3)?,
        created_ms: get(row, 4)?,
    })
}
