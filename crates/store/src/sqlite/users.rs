//! Accounts, and what the user service stores in all.

use async_trait::async_trait;
use protocol::{
    SessionId, UserId,
    wire::{ConversationKind, Role, SessionInfo, UserInfo},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    convert::{self, column},
    logs::NewMember,
    sessions,
    writer::Writer,
};
use crate::{
    Account, ApiKeyRow, BotRow, Incoming, NewAccount, NewApiKey, NewBot, NewIncoming, NewReport, NewSession,
    ProfileChange, ReportRow, Result, Rotation, Telling, TokenHash, Users,
};

#[async_trait]
impl Users for SqliteStore {
    async fn create_account(&self, account: NewAccount, tell: Vec<Telling>) -> Result<bool> {
        self.write(move |writer| {
            let created = writer.create_account(&account)?;
            if created {
                writer.note_tellings(&tell)?;
            }
            Ok(created)
        })
        .await
    }

    async fn account_by_name(&self, name_key: String) -> Result<Option<Account>> {
        self.read(move |connection| {
            connection
                .prepare_cached(&format!("SELECT {ACCOUNT_COLUMNS} FROM users WHERE name_key = ?1"))?
                .query_row([name_key], from_row)
                .optional()
        })
        .await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>> {
        self.read(move |connection| {
            connection
                .prepare_cached(&format!("SELECT {ACCOUNT_COLUMNS} FROM users WHERE id = ?1"))?
                .query_row([column(id.get())], from_row)
                .optional()
        })
        .await
    }

    async fn find(&self, ids: Vec<UserId>, name_keys: Vec<String>) -> Result<Vec<UserInfo>> {
        self.read(move |connection| find(connection, &ids, &name_keys)).await
    }

    async fn create_session(
        &self,
        user: UserId,
        session: NewSession,
        limit: usize,
        tell: Vec<Telling>,
    ) -> Result<bool> {
        self.write(move |writer| {
            let created = writer.create_session(user, &session, limit)?;
            if created {
                writer.note_tellings(&tell)?;
            }
            Ok(created)
        })
        .await
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

    async fn end_session(&self, user: UserId, session: SessionId, now_ms: i64, tell: Vec<Telling>) -> Result<bool> {
        self.write(move |writer| {
            let ended = writer
                .prepared("UPDATE sessions SET ended_ms = ?3 WHERE id = ?1 AND user = ?2 AND ended_ms IS NULL")?
                .execute([column(session.get()), column(user.get()), now_ms])?;
            if ended > 0 {
                writer.note_tellings(&tell)?;
            }
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
        tell: Vec<Telling>,
    ) -> Result<Option<Vec<SessionId>>> {
        self.write(move |writer| {
            let changed = writer
                .prepared("UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2")?
                .execute(params![column(user.get()), old_hash, new_hash])?;
            if changed == 0 {
                return Ok(None);
            }
            writer.note_tellings(&tell)?;
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

    async fn search(&self, _prefix: String, _after: String, _limit: u32) -> Result<(Vec<UserInfo>, Option<String>)> {
        todo!()
    }

    async fn update_profile(&self, _user: UserId, _change: ProfileChange, _now_ms: i64) -> Result<Option<UserInfo>> {
        todo!()
    }

    async fn rename(
        &self,
        _user: UserId,
        _name: String,
        _name_key: String,
        _now_ms: i64,
        _reserved_since_ms: i64,
    ) -> Result<Option<UserInfo>> {
        todo!()
    }

    async fn renamed_since(&self, _since_ms: i64) -> Result<Vec<(UserId, String)>> {
        todo!()
    }

    async fn delete_account(&self, _user: UserId, _now_ms: i64) -> Result<Vec<SessionId>> {
        todo!()
    }

    async fn suspend(&self, _user: UserId, _suspended: bool, _now_ms: i64) -> Result<Option<Vec<SessionId>>> {
        todo!()
    }

    async fn create_bot(&self, _bot: NewBot, _limit: usize) -> Result<std::result::Result<Option<BotRow>, usize>> {
        todo!()
    }

    async fn bots(&self, _owner: UserId) -> Result<Vec<BotRow>> {
        todo!()
    }

    async fn create_api_key(&self, _key: NewApiKey, _limit: usize, _now_ms: i64) -> Result<bool> {
        todo!()
    }

    async fn api_keys(&self, _bot: UserId, _now_ms: i64) -> Result<Vec<ApiKeyRow>> {
        todo!()
    }

    async fn api_key(&self, _hash: TokenHash, _now_ms: i64) -> Result<Option<ApiKeyRow>> {
        todo!()
    }

    async fn end_api_key(&self, _bot: UserId, _key: SessionId, _now_ms: i64) -> Result<bool> {
        todo!()
    }

    async fn create_incoming(&self, _incoming: NewIncoming, _limit: usize) -> Result<bool> {
        todo!()
    }

    async fn incoming(&self, _bot: UserId) -> Result<Vec<Incoming>> {
        todo!()
    }

    async fn incoming_by_hash(&self, _hash: TokenHash) -> Result<Option<Incoming>> {
        todo!()
    }

    async fn incoming_by_id(&self, _id: u64) -> Result<Option<Incoming>> {
        todo!()
    }

    async fn delete_incoming(&self, _id: u64) -> Result<bool> {
        todo!()
    }

    async fn report(&self, _report: NewReport) -> Result<()> {
        todo!()
    }

    async fn reports(&self, _closed: bool, _before: u64, _limit: u32) -> Result<Vec<ReportRow>> {
        todo!()
    }
    async fn close_report(&self, _id: u64, _note: String) -> Result<bool> {
        todo!()
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

impl Writer<'_> {
    /// Notes what is to be told in personal logs.
    pub(super) fn note_tellings(&mut self, tell: &[Telling]) -> rusqlite::Result<()> {
        for telling in tell {
            self.note_effect(telling, None)?;
        }
        Ok(())
    }
}

/// The columns that [`user_info`] reads, in its order.
const USER_COLUMNS: &str = "id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted";
/// The columns that [`from_row`] reads, in its order.
const ACCOUNT_COLUMNS: &str = "id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted,
     password_hash, created_ms, suspended, owner";

fn find(connection: &Connection, ids: &[UserId], name_keys: &[String]) -> rusqlite::Result<Vec<UserInfo>> {
    let mut by_id = connection.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1"))?;
    let mut by_name = connection.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE name_key = ?1"))?;
    let mut users = Vec::with_capacity(ids.len() + name_keys.len());
    for id in ids {
        users.extend(by_id.query_row([column(id.get())], user_info).optional()?);
    }
    for name_key in name_keys {
        users.extend(by_name.query_row([name_key], user_info).optional()?);
    }
    users.sort_unstable_by_key(|user| user.id);
    users.dedup_by_key(|user| user.id);
    Ok(users)
}

fn user_info(row: &Row<'_>) -> rusqlite::Result<UserInfo> {
    Ok(UserInfo {
        id: convert::number(row, 0)?,
        name: row.get(1)?,
        display_name: row.get(2)?,
        avatar: row.get(3)?,
        status_line: row.get(4)?,
        language: row.get(5)?,
        bot: row.get(6)?,
        deleted: row.get(7)?,
    })
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        user: user_info(row)?,
        password_hash: row.get(8)?,
        created_ms: row.get(9)?,
        suspended: row.get(10)?,
        owner: row.get::<_, Option<i64>>(11)?.map(|owner| UserId::new(owner.cast_unsigned())),
    })
}
