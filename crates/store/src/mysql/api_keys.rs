//! Keys by which bots act.

use protocol::{SessionId, UserId};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    accounts,
    convert::{self, column, get},
};
use crate::{ApiKeyRow, NewApiKey, TokenHash};

/// Makes a key; `false` if the bot has `limit` good ones already.
pub(super) async fn create(
    connection: &mut MySqlConnection,
    key: &NewApiKey,
    limit: usize,
    now_ms: i64,
) -> sqlx::Result<bool> {
    let ApiKeyRow { id, bot, label, scopes, created_ms, expires_ms } = &key.row;
    accounts::lock(connection, *bot).await?;
    let made = sqlx::query("SELECT 1 FROM api_keys WHERE bot = ? AND request = ?")
        .bind(column(bot.get()))
        .bind(key.request.as_bytes().as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    if made.is_some() {
        return Ok(true);
    }
    if of_bot(connection, *bot, now_ms).await?.len() >= limit {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO api_keys (id, bot, request, hash, label, scopes, created_ms, expires_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(column(id.get()))
    .bind(column(bot.get()))
    .bind(key.request.as_bytes().as_slice())
    .bind(key.hash.as_slice())
    .bind(label)
    .bind(i64::from(*scopes))
    .bind(created_ms)
    .bind(expires_ms)
    .execute(connection)
    .await?;
    Ok(true)
}

/// Ends a key; `false` if the bot has none such.
pub(super) async fn end(
    connection: &mut MySqlConnection,
    bot: UserId,
    key: SessionId,
    now_ms: i64,
) -> sqlx::Result<bool> {
    let ended = sqlx::query("UPDATE api_keys SET ended_ms = ? WHERE id = ? AND bot = ? AND ended_ms IS NULL")
        .bind(now_ms)
        .bind(column(key.get()))
        .bind(column(bot.get()))
        .execute(connection)
        .await?;
    Ok(ended.rows_affected() > 0)
}

pub(super) async fn of_bot(connection: &mut MySqlConnection, bot: UserId, now_ms: i64) -> sqlx::Result<Vec<ApiKeyRow>> {
    let rows = sqlx::query(
        "SELECT id, bot, label, scopes, created_ms, expires_ms FROM api_keys
         WHERE bot = ? AND ended_ms IS NULL AND (expires_ms = 0 OR expires_ms > ?) ORDER BY created_ms, id",
    )
    .bind(column(bot.get()))
    .bind(now_ms)
    .fetch_all(connection)
    .await?;
    rows.iter().map(from_row).collect()
}

/// A good key of a bot that is neither kept out nor gone.
pub(super) async fn by_hash(
    connection: &mut MySqlConnection,
    hash: TokenHash,
    now_ms: i64,
) -> sqlx::Result<Option<ApiKeyRow>> {
    let row = sqlx::query(
        "SELECT api_keys.id, bot, label, scopes, api_keys.created_ms, expires_ms
         FROM api_keys JOIN users ON users.id = bot LEFT JOIN users AS owners ON owners.id = users.owner
         WHERE hash = ? AND ended_ms IS NULL AND (expires_ms = 0 OR expires_ms > ?) AND users.deleted = 0
             AND users.suspended = 0 AND coalesce(owners.suspended, 0) = 0",
    )
    .bind(hash.as_slice())
    .bind(now_ms)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_row).transpose()
}

/// Whose key it is or was.
pub(super) async fn bot(connection: &mut MySqlConnection, hash: TokenHash) -> sqlx::Result<Option<UserId>> {
    let row =
        sqlx::query("SELECT bot FROM api_keys WHERE hash = ?").bind(hash.as_slice()).fetch_optional(connection).await?;
    row.as_ref().map(|row| convert::user(row, 0)).transpose()
}

fn from_row(row: &MySqlRow) -> sqlx::Result<ApiKeyRow> {
    Ok(ApiKeyRow {
        id: convert::number(row, 0).map(SessionId::new)?,
        bot: convert::user(row, 1)?,
        label: get(row, 2)?,
        scopes: u32::try_from(get::<i64>(row, 3)?).map_err(|error| convert::undecodable(3, error))?,
        created_ms: get(row, 4)?,
        expires_ms: get(row, 5)?,
    })
}
