//! Keys by which bots act.

use protocol::{SessionId, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    accounts::IS_KEPT_OUT,
    convert::{self, column},
    writer::Writer,
};
use crate::{ApiKeyRow, NewApiKey, TokenHash};

/// The columns that [`from_row`] reads, in its order.
const COLUMNS: &str = "api_keys.id, bot, label, scopes, api_keys.created_ms, expires_ms";
/// What makes a key good at the time `?2`.
const IS_GOOD: &str = "ended_ms IS NULL AND (expires_ms = 0 OR expires_ms > ?2)";

impl Writer<'_> {
    /// Makes a key; `false` if the bot has `limit` good ones already.
    pub(super) fn create_api_key(&mut self, key: &NewApiKey, limit: usize, now_ms: i64) -> rusqlite::Result<bool> {
        let ApiKeyRow { id, bot, label, scopes, created_ms, expires_ms } = &key.row;
        let (bot, request) = (column(bot.get()), key.request.as_bytes());
        if self.prepared("SELECT 1 FROM api_keys WHERE bot = ?1 AND request = ?2")?.exists(params![bot, request])? {
            return Ok(true);
        }
        let good: usize = self
            .prepared(&format!("SELECT count(*) FROM api_keys WHERE bot = ?1 AND {IS_GOOD}"))?
            .query_row([bot, now_ms], convert::count)?;
        if good >= limit {
            return Ok(false);
        }
        self.prepared(
            "INSERT INTO api_keys (id, bot, request, hash, label, scopes, created_ms, expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![column(id.get()), bot, request, key.hash, label, scopes, created_ms, expires_ms])?;
        Ok(true)
    }

    /// Ends a key; `false` if the bot has none such.
    pub(super) fn end_api_key(&mut self, bot: UserId, key: SessionId, now_ms: i64) -> rusqlite::Result<bool> {
        let ended = self
            .prepared("UPDATE api_keys SET ended_ms = ?3 WHERE id = ?1 AND bot = ?2 AND ended_ms IS NULL")?
            .execute([column(key.get()), column(bot.get()), now_ms])?;
        Ok(ended > 0)
    }
}

pub(super) fn of_bot(connection: &Connection, bot: UserId, now_ms: i64) -> rusqlite::Result<Vec<ApiKeyRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM api_keys WHERE bot = ?1 AND {IS_GOOD} ORDER BY created_ms, id"
        ))?
        .query_map([column(bot.get()), now_ms], from_row)?
        .collect()
}

/// A good key of a bot that is neither kept out nor gone.
pub(super) fn by_hash(connection: &Connection, hash: TokenHash, now_ms: i64) -> rusqlite::Result<Option<ApiKeyRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM api_keys JOIN users ON users.id = bot
             WHERE hash = ?1 AND {IS_GOOD} AND NOT {IS_KEPT_OUT} AND NOT deleted"
        ))?
        .query_row(params![hash, now_ms], from_row)
        .optional()
}

/// Whose key it is or was.
pub(super) fn bot(connection: &Connection, hash: TokenHash) -> rusqlite::Result<Option<UserId>> {
    connection
        .prepare_cached("SELECT bot FROM api_keys WHERE hash = ?1")?
        .query_row(params![hash], |row| convert::user(row, 0))
        .optional()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ApiKeyRow> {
    Ok(ApiKeyRow {
        id: convert::number(row, 0).map(SessionId::new)?,
        bot: convert::user(row, 1)?,
        label: row.get(2)?,
        scopes: row.get(3)?,
        created_ms: row.get(4)?,
        expires_ms: row.get(5)?,
    })
}
