//! Accounts that end, or are kept out.

use protocol::{SessionId, UserId};
use rusqlite::{OptionalExtension, params};

use super::{
    convert::{self, column},
    writer::Writer,
};
use crate::{UserSettings, append::Standing};

/// What of an account goes when it ends, beside its row.
const EMPTIED: [&str; 8] = [
    "DELETE FROM webhook_positions WHERE webhook IN (SELECT id FROM webhooks WHERE bot = ?1)",
    "DELETE FROM dead_letters WHERE webhook IN (SELECT id FROM webhooks WHERE bot = ?1)",
    "DELETE FROM webhooks WHERE bot = ?1",
    "DELETE FROM incoming_webhooks WHERE bot = ?1",
    "DELETE FROM user_settings WHERE user = ?1",
    "DELETE FROM own_views WHERE user = ?1",
    "DELETE FROM last_seen WHERE user = ?1",
    "DELETE FROM mutes WHERE user = ?1",
];

impl Writer<'_> {
    /// Empties an account; its sessions and keys that ended with it, `None` if it has bots.
    pub(super) fn delete_account(&mut self, user: UserId, now_ms: i64) -> rusqlite::Result<Option<Vec<SessionId>>> {
        let id = column(user.get());
        if self.prepared("SELECT 1 FROM users WHERE owner = ?1 AND NOT deleted")?.exists([id])? {
            return Ok(None);
        }
        let given_up: Option<(String, i64)> = self
            .prepared("SELECT name_key, coalesce(owner, id) FROM users WHERE id = ?1 AND NOT deleted")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((key, keeper)) = given_up {
            self.keep_name(&key, keeper, now_ms)?;
        }
        // No name has a control character: the key is given up, and this one nobody else's.
        self.prepared(
            "UPDATE users SET name = '', name_key = ?2, password_hash = '', display_name = '', display_key = NULL, avatar = '',
                 status_line = '', language = '', deleted = 1, renamed_ms = NULL
             WHERE id = ?1 AND NOT deleted",
        )?
        .execute(params![id, format!("\u{1}{id}")])?;
        for statement in EMPTIED {
            self.prepared(statement)?.execute([id])?;
        }
        self.remember_settings(id, UserSettings::default());
        let peers: Vec<i64> = self
            .prepared("DELETE FROM contacts WHERE user = ?1 RETURNING peer")?
            .query_map([id], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for peer in peers {
            self.remember_standing(id, peer, Standing::default());
        }
        self.end_all(user, now_ms).map(Some)
    }

    /// Keeps an account and its bots out, or no longer; the sessions and keys that ended with it.
    pub(super) fn suspend(
        &mut self,
        user: UserId,
        suspended: bool,
        now_ms: i64,
    ) -> rusqlite::Result<Option<Vec<(UserId, SessionId)>>> {
        let id = column(user.get());
        let found = self
            .prepared("UPDATE users SET suspended = ?2 WHERE id = ?1 AND NOT deleted")?
            .execute(params![id, suspended])?;
        if found == 0 {
            return Ok(None);
        }
        if !suspended {
            return Ok(Some(Vec::new()));
        }
        let mut users: Vec<UserId> = self
            .prepared("SELECT id FROM users WHERE owner = ?1 AND NOT deleted")?
            .query_map([id], |row| convert::user(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        users.push(user);
        let mut ended = Vec::new();
        for user in users {
            ended.extend(self.end_all(user, now_ms)?.into_iter().map(|session| (user, session)));
        }
        Ok(Some(ended))
    }

    /// Ends all of a user's sessions and keys.
    fn end_all(&mut self, user: UserId, now_ms: i64) -> rusqlite::Result<Vec<SessionId>> {
        let mut ended = Vec::new();
        for statement in [
            "UPDATE sessions SET ended_ms = ?2 WHERE user = ?1 AND ended_ms IS NULL RETURNING id",
            "UPDATE api_keys SET ended_ms = ?2 WHERE bot = ?1 AND ended_ms IS NULL RETURNING id",
        ] {
            let mut ending = self.prepared(statement)?;
            for session in ending.query_map([column(user.get()), now_ms], |row| convert::number(row, 0))? {
                ended.push(SessionId::new(session?));
            }
        }
        Ok(ended)
    }
}
