//! Sessions and their refresh tokens.

use protocol::{
    RawContent, SessionId, UserId,
    wire::{SessionEnded, SessionInfo, content},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    convert::{self, column},
    writer::Writer,
};
use crate::{
    LINK_RETRY_MS, NewSession, Rotation, SessionRow, Telling, TokenHash,
    refresh::{Exchange, Token, Verdict},
};

impl Writer<'_> {
    /// Inserts a session and its first refresh token.
    pub(super) fn insert_session(&mut self, user: UserId, session: &NewSession) -> rusqlite::Result<()> {
        self.prepared(
            "INSERT INTO sessions (id, user, device, created_ms, seen_ms, refresh_expires_ms)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
        )?
        .execute(params![
            column(session.id.get()),
            column(user.get()),
            session.device,
            session.created_ms,
            session.refresh_expires_ms
        ])?;
        self.insert_token(session.refresh, session.id, session.refresh_expires_ms)
    }

    /// Starts a session; `false` if `limit` are live already, or the account is kept out or gone.
    pub(super) fn create_session(
        &mut self,
        user: UserId,
        session: &NewSession,
        limit: usize,
    ) -> rusqlite::Result<bool> {
        let again = self
            .prepared("SELECT 1 FROM sessions WHERE id = ?1 AND user = ?2")?
            .exists([column(session.id.get()), column(user.get())])?;
        // The same id: the call is made again, since its outcome was unknown.
        if again {
            return Ok(true);
        }
        let welcome = self
            .prepared("SELECT 1 FROM users WHERE id = ?1 AND NOT suspended AND NOT deleted")?
            .exists([column(user.get())])?;
        if !welcome {
            return Ok(false);
        }
        let live: i64 = self
            .prepared("SELECT count(*) FROM sessions WHERE user = ?1 AND ended_ms IS NULL AND refresh_expires_ms > ?2")?
            .query_row([column(user.get()), session.created_ms], |row| row.get(0))?;
        if live >= i64::try_from(limit).unwrap_or(i64::MAX) {
            return Ok(false);
        }
        self.insert_session(user, session)?;
        Ok(true)
    }

    /// Exchanges a refresh token.
    pub(super) fn rotate(&mut self, exchange: &Exchange) -> rusqlite::Result<Rotation> {
        let Some(token) = self.token(exchange.old)? else { return Ok(Rotation::NotFound) };
        match token.judge(exchange) {
            Verdict::Answer(rotation) => Ok(rotation),
            Verdict::UseUp => self.use_up(exchange, token.session),
            Verdict::Replayed => self.replayed(token.session, exchange.now_ms),
            Verdict::InPlaceOf(successor) => {
                if self.token(successor)?.is_some_and(|successor| successor.used.is_some()) {
                    return self.replayed(token.session, exchange.now_ms);
                }
                self.prepared("DELETE FROM refresh_tokens WHERE hash = ?1")?.execute([successor])?;
                self.use_up(exchange, token.session)
            }
        }
    }

    fn use_up(&mut self, exchange: &Exchange, session: SessionRow) -> rusqlite::Result<Rotation> {
        self.prepared("UPDATE refresh_tokens SET used_by = ?2, successor = ?3 WHERE hash = ?1")?.execute(params![
            exchange.old,
            exchange.request,
            exchange.new
        ])?;
        self.insert_token(exchange.new, session.id, exchange.new_expires_ms)?;
        self.prepared("UPDATE sessions SET refresh_expires_ms = ?2, seen_ms = max(seen_ms, ?3) WHERE id = ?1")?
            .execute([column(session.id.get()), exchange.new_expires_ms, exchange.now_ms])?;
        Ok(Rotation::Rotated(session))
    }

    fn replayed(&mut self, session: SessionRow, now_ms: i64) -> rusqlite::Result<Rotation> {
        let ended = self
            .prepared("UPDATE sessions SET ended_ms = ?2 WHERE id = ?1 AND ended_ms IS NULL")?
            .execute([column(session.id.get()), now_ms])?;
        if ended > 0 {
            self.tell_ended(session.user, session.id, now_ms)?;
        }
        Ok(Rotation::Replayed(session))
    }

    /// Has the user's personal log tell that a session has ended.
    fn tell_ended(&mut self, user: UserId, session: SessionId, now_ms: i64) -> rusqlite::Result<()> {
        let ended = content::Kind::SessionEnded(SessionEnded { session: session.get() });
        let content = RawContent::from(ended).as_bytes().clone();
        self.note_tellings(&[Telling { user, time_ms: now_ms, content }])
    }

    fn insert_token(&mut self, hash: TokenHash, session: SessionId, expires_ms: i64) -> rusqlite::Result<()> {
        self.prepared("INSERT INTO refresh_tokens (hash, session, expires_ms) VALUES (?1, ?2, ?3)")?
            .execute(params![hash, column(session.get()), expires_ms])?;
        Ok(())
    }

    fn token(&mut self, hash: TokenHash) -> rusqlite::Result<Option<Token>> {
        self.prepared(
            "SELECT sessions.id, users.id, users.name, sessions.ended_ms IS NOT NULL, expires_ms, used_by, successor,
                 users.suspended
             FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session
             JOIN users ON users.id = sessions.user WHERE hash = ?1",
        )?
        .query_row([hash], |row| {
            let used_by: Option<[u8; 16]> = row.get(5)?;
            let successor: Option<TokenHash> = row.get(6)?;
            Ok(Token {
                session: SessionRow {
                    id: convert::number(row, 0).map(SessionId::new)?,
                    user: convert::user(row, 1)?,
                    name: row.get(2)?,
                },
                session_ended: row.get(3)?,
                suspended: row.get(7)?,
                expires_ms: row.get(4)?,
                used: used_by.zip(successor),
            })
        })
        .optional()
    }

    /// Notes when sessions were in use.
    pub(super) fn touch_sessions(&mut self, seen: &[(SessionId, i64)], lifetime_ms: i64) -> rusqlite::Result<()> {
        for (session, seen_ms) in seen {
            let (session, expires_ms) = (column(session.get()), seen_ms.saturating_add(lifetime_ms));
            let is_live = self
                .prepared(
                    "UPDATE sessions SET seen_ms = max(seen_ms, ?2), refresh_expires_ms = max(refresh_expires_ms, ?3)
                     WHERE id = ?1 AND ended_ms IS NULL",
                )?
                .execute([session, *seen_ms, expires_ms])?;
            if is_live > 0 {
                self.prepared(
                    "UPDATE refresh_tokens SET expires_ms = max(expires_ms, ?2) WHERE session = ?1 AND used_by IS NULL",
                )?
                .execute([session, expires_ms])?;
            }
        }
        Ok(())
    }

    /// Ends a session and notes what is to be told; `false` if there is none, or it has ended before.
    pub(super) fn end_session(
        &mut self,
        user: UserId,
        session: SessionId,
        now_ms: i64,
        tell: &[Telling],
    ) -> rusqlite::Result<bool> {
        let ended = self
            .prepared("UPDATE sessions SET ended_ms = ?3 WHERE id = ?1 AND user = ?2 AND ended_ms IS NULL")?
            .execute([column(session.get()), column(user.get()), now_ms])?;
        if ended > 0 {
            self.note_tellings(tell)?;
        }
        Ok(ended > 0)
    }

    /// Replaces the password's hash; `false` if it is no longer `old`.
    pub(super) fn replace_password(&mut self, user: UserId, old: &str, new: &str) -> rusqlite::Result<bool> {
        let replaced = self
            .prepared("UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2 AND NOT deleted")?
            .execute(params![column(user.get()), old, new])?;
        Ok(replaced > 0)
    }

    /// Ends the user's sessions but one, and has that told; returns those ended.
    pub(super) fn end_sessions_but(
        &mut self,
        user: UserId,
        keep: SessionId,
        now_ms: i64,
    ) -> rusqlite::Result<Vec<SessionId>> {
        let ended: Vec<SessionId> = self
            .prepared(
                "UPDATE sessions SET ended_ms = ?3 WHERE user = ?1 AND id <> ?2 AND ended_ms IS NULL RETURNING id",
            )?
            .query_map([column(user.get()), column(keep.get()), now_ms], |row| {
                convert::number(row, 0).map(SessionId::new)
            })?
            .collect::<rusqlite::Result<_>>()?;
        for session in &ended {
            self.tell_ended(user, *session, now_ms)?;
        }
        Ok(ended)
    }

    /// Forgets tokens, sessions and API keys that were over before this time, and revoked links whose retries were.
    pub(super) fn forget_expired(&mut self, before_ms: i64) -> rusqlite::Result<()> {
        for statement in [
            "DELETE FROM refresh_tokens WHERE expires_ms < ?1",
            "DELETE FROM refresh_tokens WHERE session IN
                 (SELECT id FROM sessions WHERE ended_ms < ?1 OR refresh_expires_ms < ?1)",
            "DELETE FROM sessions WHERE ended_ms < ?1 OR refresh_expires_ms < ?1",
            "DELETE FROM api_keys WHERE ended_ms < ?1 OR expires_ms BETWEEN 1 AND ?1 - 1",
        ] {
            self.prepared(statement)?.execute([before_ms])?;
        }
        self.forget_revoked_links(before_ms - LINK_RETRY_MS)
    }
}

/// The sessions and API keys that ended after this time.
pub(super) fn ended_since(connection: &Connection, since_ms: i64) -> rusqlite::Result<Vec<SessionId>> {
    connection
        .prepare_cached(
            "SELECT id FROM sessions WHERE ended_ms > ?1 UNION ALL SELECT id FROM api_keys WHERE ended_ms > ?1",
        )?
        .query_map([since_ms], |row| convert::number(row, 0).map(SessionId::new))?
        .collect()
}

/// The user's live sessions, oldest first.
pub(super) fn live(connection: &Connection, user: UserId, now_ms: i64) -> rusqlite::Result<Vec<SessionInfo>> {
    connection
        .prepare_cached(
            "SELECT id, device, created_ms, seen_ms FROM sessions
             WHERE user = ?1 AND ended_ms IS NULL AND refresh_expires_ms > ?2 ORDER BY created_ms, id",
        )?
        .query_map([column(user.get()), now_ms], |row| {
            Ok(SessionInfo {
                id: convert::number(row, 0)?,
                device: row.get(1)?,
                created_ms: row.get(2)?,
                seen_ms: row.get(3)?,
                current: false,
            })
        })?
        .collect()
}
