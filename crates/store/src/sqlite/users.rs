//! Accounts, and what the user service stores in all.

use async_trait::async_trait;
use protocol::{
    SessionId, UserId,
    wire::{ConversationKind, Role, SessionInfo},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    convert::{self, column},
    logs::NewMember,
    sessions,
    writer::Writer,
};
use crate::{Account, NewAccount, NewSession, Result, Rotation, TokenHash, Users};

#[async_trait]
impl Users for SqliteStore {
    async fn create_account(&self, account: NewAccount) -> Result<bool> {
        self.write(move |writer| writer.create_account(&account)).await
    }

    async fn account_by_name(&self, name_key: String) -> Result<Option<Account>> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT id, name, password_hash FROM users WHERE name_key = ?1")?
                .query_row([name_key], from_row)
                .optional()
        })
        .await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT id, name, password_hash FROM users WHERE id = ?1")?
                .query_row([column(id.get())], from_row)
                .optional()
        })
        .await
    }

    async fn find(&self, ids: Vec<UserId>, name_keys: Vec<String>) -> Result<Vec<(UserId, String)>> {
        self.read(move |connection| find(connection, &ids, &name_keys)).await
    }

    async fn create_session(&self, user: UserId, session: NewSession, limit: usize) -> Result<bool> {
        self.write(move |writer| writer.create_session(user, &session, limit)).await
    }

    async fn rotate_refresh(
        &self,
        old: TokenHash,
        request: [u8; 16],
        new: TokenHash,
        new_expires_ms: i64,
        now_ms: i64,
    ) -> Result<Rotation> {
        let exchange = sessions::Exchange { old, request, new, new_expires_ms, now_ms };
        self.write(move |writer| writer.rotate(&exchange)).await
    }

    async fn sessions(&self, user: UserId, now_ms: i64) -> Result<Vec<SessionInfo>> {
        self.read(move |connection| sessions::live(connection, user, now_ms)).await
    }

    async fn touch_sessions(&self, seen: Vec<(SessionId, i64)>, lifetime_ms: i64) -> Result<()> {
        self.write(move |writer| writer.touch_sessions(&seen, lifetime_ms)).await
    }

    async fn end_session(&self, user: UserId, session: SessionId, now_ms: i64) -> Result<bool> {
        self.write(move |writer| {
            let ended = writer
                .prepared("UPDATE sessions SET ended_ms = ?3 WHERE id = ?1 AND user = ?2 AND ended_ms IS NULL")?
                .execute([column(session.get()), column(user.get()), now_ms])?;
            Ok(ended > 0)
        })
        .await
    }

    async fn change_password(
        &self,
        user: UserId,
        old_hash: String,
        new_hash: String,
        keep: SessionId,
        now_ms: i64,
    ) -> Result<Option<Vec<SessionId>>> {
        self.write(move |writer| {
            let changed = writer
                .prepared("UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2")?
                .execute(params![column(user.get()), old_hash, new_hash])?;
            if changed == 0 {
                return Ok(None);
            }
            writer.end_sessions_but(user, keep, now_ms).map(Some)
        })
        .await
    }

    async fn sessions_ended_since(&self, since_ms: i64) -> Result<Vec<SessionId>> {
        self.read(move |connection| {
            connection
                .prepare_cached("SELECT id FROM sessions WHERE ended_ms > ?1")?
                .query_map([since_ms], |row| convert::number(row, 0).map(SessionId::new))?
                .collect()
        })
        .await
    }

    async fn forget_expired(&self, before_ms: i64) -> Result<()> {
        self.write(move |writer| writer.forget_expired(before_ms)).await
    }
}

impl Writer<'_> {
    /// Makes an account with its personal log and its first session; `false` if another account has the name.
    fn create_account(&mut self, account: &NewAccount) -> rusqlite::Result<bool> {
        let user = column(account.id.get());
        let inserted = self
            .prepared(
                "INSERT INTO users (id, name, name_key, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (name_key) DO NOTHING",
            )?
            .execute(params![user, account.name, account.name_key, account.password_hash, account.created_ms])?;
        if inserted == 0 {
            // The same id: the call is made again, since its outcome was unknown.
            return self
                .prepared("SELECT id = ?2 FROM users WHERE name_key = ?1")?
                .query_row(params![account.name_key, user], |row| row.get(0));
        }
        self.prepared("INSERT INTO conversations (id, kind, members) VALUES (?1, ?2, 1)")?
            .execute(params![user, ConversationKind::Personal as i32])?;
        let revision = self.next_revision();
        self.insert_member(NewMember {
            user,
            conversation: column(account.id.personal_log().get()),
            kind: ConversationKind::Personal,
            peer: None,
            role: Role::Member.into(),
            read_position: 0,
            revision,
        })?;
        self.insert_session(account.id, &account.session)?;
        Ok(true)
    }
}

fn find(connection: &Connection, ids: &[UserId], name_keys: &[String]) -> rusqlite::Result<Vec<(UserId, String)>> {
    let mut by_id = connection.prepare_cached("SELECT id, name FROM users WHERE id = ?1")?;
    let mut by_name = connection.prepare_cached("SELECT id, name FROM users WHERE name_key = ?1")?;
    let id_and_name = |row: &Row<'_>| Ok((convert::user(row, 0)?, row.get(1)?));
    let mut users = Vec::with_capacity(ids.len() + name_keys.len());
    for id in ids {
        users.extend(by_id.query_row([column(id.get())], id_and_name).optional()?);
    }
    for name_key in name_keys {
        users.extend(by_name.query_row([name_key], id_and_name).optional()?);
    }
    users.sort_unstable();
    users.dedup();
    Ok(users)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account { id: convert::user(row, 0)?, name: row.get(1)?, password_hash: row.get(2)? })
}
