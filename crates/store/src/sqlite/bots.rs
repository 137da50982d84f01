//! Bots, and the incoming webhooks by which they post.

use protocol::{ConversationId, UserId, name_key};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{
    accounts::{USER_COLUMNS, user_info},
    convert::{self, column},
    writer::Writer,
};
use crate::{BotRefused, BotRow, Incoming, NewBot, NewIncoming, users::kept_since};

/// The columns that [`incoming`] reads, in its order.
const INCOMING_COLUMNS: &str = "id, bot, conversation, label, created_ms";

impl Writer<'_> {
    /// Makes a bot with its personal log; see [`Users::create_bot`](crate::Users::create_bot).
    pub(super) fn create_bot(&mut self, bot: &NewBot, limit: usize) -> rusqlite::Result<Result<BotRow, BotRefused>> {
        let owner = column(bot.owner.get());
        let made = self
            .prepared(&format!("SELECT {USER_COLUMNS}, created_ms FROM users WHERE owner = ?1 AND request = ?2"))?
            .query_row(params![owner, bot.request.as_bytes()], bot_row)
            .optional()?;
        if let Some(made) = made {
            return Ok(Ok(made));
        }
        if !self.prepared("SELECT 1 FROM users WHERE id = ?1 AND NOT deleted")?.exists([owner])? {
            return Ok(Err(BotRefused::NoOwner));
        }
        let bots: usize = self
            .prepared("SELECT count(*) FROM users WHERE owner = ?1 AND NOT deleted")?
            .query_row([owner], convert::count)?;
        if bots >= limit {
            return Ok(Err(BotRefused::TooMany(bots)));
        }
        let taken = self.prepared("SELECT 1 FROM users WHERE name_key = ?1")?.exists([&bot.name_key])?;
        // A name that the owner gave up may be the bot's.
        if taken || self.is_kept(&bot.name_key, bot.owner, kept_since(bot.created_ms))? {
            return Ok(Err(BotRefused::NameTaken));
        }
        let display_key = name_key(&bot.display_name);
        self.prepared(
            "INSERT INTO users (id, name, name_key, password_hash, created_ms, display_name, display_key, owner, request)
             VALUES (?1, ?2, ?3, '', ?4, ?5, nullif(?6, ''), ?7, ?8)",
        )?
        .execute(params![
            column(bot.id.get()),
            bot.name,
            bot.name_key,
            bot.created_ms,
            bot.display_name,
            display_key,
            owner,
            bot.request.as_bytes()
        ])?;
        self.make_personal_log(bot.id)?;
        self.prepared(&format!("SELECT {USER_COLUMNS}, created_ms FROM users WHERE id = ?1"))?
            .query_row([column(bot.id.get())], bot_row)
            .map(Ok)
    }

    /// Makes an incoming webhook; `false` if the bot has `limit` already.
    pub(super) fn create_incoming(&mut self, new: &NewIncoming, limit: usize) -> rusqlite::Result<bool> {
        let Incoming { id, bot, conversation, label, created_ms } = &new.row;
        let (bot, request) = (column(bot.get()), new.request.as_bytes());
        if self
            .prepared("SELECT 1 FROM incoming_webhooks WHERE bot = ?1 AND request = ?2")?
            .exists(params![bot, request])?
        {
            return Ok(true);
        }
        let count: usize =
            self.prepared("SELECT count(*) FROM incoming_webhooks WHERE bot = ?1")?.query_row([bot], convert::count)?;
        if count >= limit {
            return Ok(false);
        }
        self.prepared(
            "INSERT INTO incoming_webhooks (id, bot, request, hash, conversation, label, created_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            column(*id),
            bot,
            request,
            new.hash,
            column(conversation.get()),
            label,
            created_ms
        ])?;
        Ok(true)
    }

    /// Removes an incoming webhook; `false` if there is none.
    pub(super) fn delete_incoming(&mut self, id: u64) -> rusqlite::Result<bool> {
        Ok(self.prepared("DELETE FROM incoming_webhooks WHERE id = ?1")?.execute([column(id)])? > 0)
    }
}

pub(super) fn of_owner(connection: &Connection, owner: UserId) -> rusqlite::Result<Vec<BotRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {USER_COLUMNS}, created_ms FROM users WHERE owner = ?1 AND NOT deleted ORDER BY created_ms, id"
        ))?
        .query_map([column(owner.get())], bot_row)?
        .collect()
}

pub(super) fn incoming_of(connection: &Connection, bot: UserId) -> rusqlite::Result<Vec<Incoming>> {
    connection
        .prepare_cached(&format!(
            "SELECT {INCOMING_COLUMNS} FROM incoming_webhooks WHERE bot = ?1 ORDER BY created_ms, id"
        ))?
        .query_map([column(bot.get())], incoming)?
        .collect()
}

/// The incoming webhook with this in a column that is unique.
pub(super) fn incoming_by(
    connection: &Connection,
    unique: &'static str,
    value: impl ToSql,
) -> rusqlite::Result<Option<Incoming>> {
    connection
        .prepare_cached(&format!("SELECT {INCOMING_COLUMNS} FROM incoming_webhooks WHERE {unique} = ?1"))?
        .query_row([value], incoming)
        .optional()
}

fn bot_row(row: &Row<'_>) -> rusqlite::Result<BotRow> {
    Ok(BotRow { user: user_info(row)?, created_ms: row.get(8)? })
}

fn incoming(row: &Row<'_>) -> rusqlite::Result<Incoming> {
    Ok(Incoming {
        id: convert::number(row, 0)?,
        bot: convert::user(row, 1)?,
        conversation: convert::number(row, 2).map(ConversationId::new)?,
        label: row.get(3)?,
        created_ms: row.get(4)?,
    })
}
