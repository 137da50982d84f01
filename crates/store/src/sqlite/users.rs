//! Accounts, and what the user service stores in all.

use async_trait::async_trait;
use protocol::{
    SessionId, UserId,
    wire::{SessionInfo, UserInfo},
};

use super::{SqliteStore, accounts, api_keys, bots, convert::column, names, profiles, reports, sessions};
use crate::{
    Account, ApiKeyRow, BotRefused, BotRow, Incoming, NewAccount, NewApiKey, NewBot, NewIncoming, NewReport,
    NewSession, ProfileChange, ReportRow, Result, Rotation, Telling, TokenHash, Users, refresh::Exchange,
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
        self.read(move |connection| accounts::by_name(connection, &name_key)).await
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>> {
        self.read(move |connection| accounts::by_id(connection, id)).await
    }

    async fn find(&self, ids: Vec<UserId>, name_keys: Vec<String>) -> Result<Vec<UserInfo>> {
        self.read(move |connection| accounts::find(connection, &ids, &name_keys)).await
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
        let exchange = Exchange { old, request, new, new_expires_ms, now_ms };
        self.write(move |writer| writer.rotate(&exchange)).await
    }

    async fn sessions(&self, user: UserId, now_ms: i64) -> Result<Vec<SessionInfo>> {
        self.read(move |connection| sessions::live(connection, user, now_ms)).await
    }

    async fn touch_sessions(&self, seen: Vec<(SessionId, i64)>, lifetime_ms: i64) -> Result<()> {
        self.write(move |writer| writer.touch_sessions(&seen, lifetime_ms)).await
    }

    async fn end_session(&self, user: UserId, session: SessionId, now_ms: i64, tell: Vec<Telling>) -> Result<bool> {
        self.write(move |writer| writer.end_session(user, session, now_ms, &tell)).await
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
            if !writer.replace_password(user, &old_hash, &new_hash)? {
                return Ok(None);
            }
            writer.note_tellings(&tell)?;
            writer.end_sessions_but(user, keep, now_ms).map(Some)
        })
        .await
    }

    async fn sessions_ended_since(&self, since_ms: i64) -> Result<Vec<SessionId>> {
        self.read(move |connection| sessions::ended_since(connection, since_ms)).await
    }

    async fn forget_expired(&self, before_ms: i64) -> Result<()> {
        self.write(move |writer| writer.forget_expired(before_ms)).await
    }

    async fn search(&self, prefix: String, after: String, limit: u32) -> Result<(Vec<UserInfo>, Option<String>)> {
        self.read(move |connection| profiles::search(connection, &prefix, &after, limit)).await
    }

    async fn update_profile(&self, user: UserId, change: ProfileChange, now_ms: i64) -> Result<Option<UserInfo>> {
        self.write(move |writer| writer.update_profile(user, &change, now_ms)).await
    }

    async fn rename(
        &self,
        user: UserId,
        name: String,
        name_key: String,
        now_ms: i64,
        reserved_since_ms: i64,
    ) -> Result<Option<UserInfo>> {
        self.write(move |writer| writer.rename(user, &name, &name_key, now_ms, reserved_since_ms)).await
    }

    async fn renamed_since(&self, since_ms: i64) -> Result<Vec<(UserId, String)>> {
        self.read(move |connection| names::renamed_since(connection, since_ms)).await
    }

    async fn delete_account(&self, user: UserId, now_ms: i64) -> Result<Option<Vec<SessionId>>> {
        self.write(move |writer| writer.delete_account(user, now_ms)).await
    }

    async fn suspend(&self, user: UserId, suspended: bool, now_ms: i64) -> Result<Option<Vec<(UserId, SessionId)>>> {
        self.write(move |writer| writer.suspend(user, suspended, now_ms)).await
    }

    async fn create_bot(&self, bot: NewBot, limit: usize) -> Result<std::result::Result<BotRow, BotRefused>> {
        self.write(move |writer| writer.create_bot(&bot, limit)).await
    }

    async fn bots(&self, owner: UserId) -> Result<Vec<BotRow>> {
        self.read(move |connection| bots::of_owner(connection, owner)).await
    }

    async fn create_api_key(&self, key: NewApiKey, limit: usize, now_ms: i64) -> Result<bool> {
        self.write(move |writer| writer.create_api_key(&key, limit, now_ms)).await
    }

    async fn api_keys(&self, bot: UserId, now_ms: i64) -> Result<Vec<ApiKeyRow>> {
        self.read(move |connection| api_keys::of_bot(connection, bot, now_ms)).await
    }

    async fn api_key(&self, hash: TokenHash, now_ms: i64) -> Result<Option<ApiKeyRow>> {
        self.read(move |connection| api_keys::by_hash(connection, hash, now_ms)).await
    }

    async fn api_key_bot(&self, hash: TokenHash) -> Result<Option<UserId>> {
        self.read(move |connection| api_keys::bot(connection, hash)).await
    }

    async fn end_api_key(&self, bot: UserId, key: SessionId, now_ms: i64) -> Result<bool> {
        self.write(move |writer| writer.end_api_key(bot, key, now_ms)).await
    }

    async fn create_incoming(&self, incoming: NewIncoming, limit: usize) -> Result<bool> {
        self.write(move |writer| writer.create_incoming(&incoming, limit)).await
    }

    async fn incoming(&self, bot: UserId) -> Result<Vec<Incoming>> {
        self.read(move |connection| bots::incoming_of(connection, bot)).await
    }

    async fn incoming_by_hash(&self, hash: TokenHash) -> Result<Option<Incoming>> {
        self.read(move |connection| bots::incoming_by(connection, "hash", hash)).await
    }

    async fn incoming_by_id(&self, id: u64) -> Result<Option<Incoming>> {
        self.read(move |connection| bots::incoming_by(connection, "id", column(id))).await
    }

    async fn delete_incoming(&self, id: u64) -> Result<bool> {
        self.write(move |writer| writer.delete_incoming(id)).await
    }

    async fn report(&self, report: NewReport) -> Result<()> {
        self.write(move |writer| writer.file_report(&report)).await
    }

    async fn reports(&self, closed: bool, before: u64, limit: u32) -> Result<Vec<ReportRow>> {
        self.read(move |connection| reports::page(connection, closed, before, limit)).await
    }

    async fn close_report(&self, id: u64, note: String) -> Result<bool> {
        self.write(move |writer| writer.close_report(id, &note)).await
    }
}
