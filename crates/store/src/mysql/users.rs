//! Accounts, and what the user service stores in all.

use async_trait::async_trait;
use protocol::{
    SessionId, UserId,
    wire::{SessionInfo, UserInfo},
};

use super::{
    MysqlStore,
    accounts::{self, note_tellings},
    api_keys, bots, closing,
    names::{self, NewName},
    profiles, reports, sessions,
    transaction::{read, write},
};
use crate::{
    Account, ApiKeyRow, BotRefused, BotRow, Incoming, NewAccount, NewApiKey, NewBot, NewIncoming, NewReport,
    NewSession, ProfileChange, ReportRow, Result, Rotation, Telling, TokenHash, Users, refresh::Exchange,
};

#[async_trait]
impl Users for MysqlStore {
    async fn create_account(&self, account: NewAccount, tell: Vec<Telling>) -> Result<bool> {
        write!(self, |connection, last| accounts::create(connection, &account, &tell, last).await)
    }

    async fn account_by_name(&self, name_key: String) -> Result<Option<Account>> {
        read!(self, |connection| accounts::by_name(connection, &name_key).await)
    }

    async fn account(&self, id: UserId) -> Result<Option<Account>> {
        read!(self, |connection| accounts::by_id(connection, id).await)
    }

    async fn find(&self, ids: Vec<UserId>, name_keys: Vec<String>) -> Result<Vec<UserInfo>> {
        read!(self, |connection| accounts::find(connection, &ids, &name_keys).await)
    }

    async fn create_session(
        &self,
        user: UserId,
        session: NewSession,
        limit: usize,
        tell: Vec<Telling>,
    ) -> Result<bool> {
        write!(self, |connection| sessions::create(connection, user, &session, limit, &tell).await)
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
        write!(self, |connection| sessions::rotate(connection, &exchange).await)
    }

    async fn sessions(&self, user: UserId, now_ms: i64) -> Result<Vec<SessionInfo>> {
        read!(self, |connection| sessions::live(connection, user, now_ms).await)
    }

    async fn touch_sessions(&self, seen: Vec<(SessionId, i64)>, lifetime_ms: i64) -> Result<()> {
        write!(self, |connection| sessions::touch(&seen, lifetime_ms).execute(connection).await)
    }

    async fn end_session(&self, user: UserId, session: SessionId, now_ms: i64, tell: Vec<Telling>) -> Result<bool> {
        write!(self, |connection| sessions::end(connection, user, session, now_ms, &tell).await)
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
        write!(self, |connection| {
            if !sessions::replace_password(connection, user, &old_hash, &new_hash).await? {
                return Ok(None);
            }
            note_tellings(connection, &tell).await?;
            sessions::end_others(connection, user, keep, now_ms).await.map(Some)
        })
    }

    async fn sessions_ended_since(&self, since_ms: i64) -> Result<Vec<SessionId>> {
        read!(self, |connection| sessions::ended_since(connection, since_ms).await)
    }

    async fn forget_expired(&self, before_ms: i64) -> Result<()> {
        write!(self, |connection| sessions::forget_expired(connection, before_ms).await)
    }

    async fn search(&self, prefix: String, after: String, limit: u32) -> Result<(Vec<UserInfo>, Option<String>)> {
        read!(self, |connection| profiles::search(connection, &prefix, &after, limit).await)
    }

    async fn update_profile(&self, user: UserId, change: ProfileChange, now_ms: i64) -> Result<Option<UserInfo>> {
        write!(self, |connection| profiles::update(connection, user, &change, now_ms).await)
    }

    async fn rename(
        &self,
        user: UserId,
        name: String,
        name_key: String,
        now_ms: i64,
        reserved_since_ms: i64,
    ) -> Result<Option<UserInfo>> {
        let new = NewName { user, name, key: name_key, now_ms, kept_since_ms: reserved_since_ms };
        write!(self, |connection| names::rename(connection, &new).await)
    }

    async fn renamed_since(&self, since_ms: i64) -> Result<Vec<(UserId, String)>> {
        read!(self, |connection| names::renamed_since(connection, since_ms).await)
    }

    async fn delete_account(&self, user: UserId, now_ms: i64) -> Result<Option<Vec<SessionId>>> {
        write!(self, |connection| closing::delete(connection, user, now_ms).await)
    }

    async fn suspend(&self, user: UserId, suspended: bool, now_ms: i64) -> Result<Option<Vec<(UserId, SessionId)>>> {
        write!(self, |connection| closing::suspend(connection, user, suspended, now_ms).await)
    }

    async fn create_bot(&self, bot: NewBot, limit: usize) -> Result<std::result::Result<BotRow, BotRefused>> {
        write!(self, |connection, last| bots::create(connection, &bot, limit, last).await)
    }

    async fn bots(&self, owner: UserId) -> Result<Vec<BotRow>> {
        read!(self, |connection| bots::of_owner(connection, owner).await)
    }

    async fn create_api_key(&self, key: NewApiKey, limit: usize, now_ms: i64) -> Result<bool> {
        write!(self, |connection| api_keys::create(connection, &key, limit, now_ms).await)
    }

    async fn api_keys(&self, bot: UserId, now_ms: i64) -> Result<Vec<ApiKeyRow>> {
        read!(self, |connection| api_keys::of_bot(connection, bot, now_ms).await)
    }

    async fn api_key(&self, hash: TokenHash, now_ms: i64) -> Result<Option<ApiKeyRow>> {
        read!(self, |connection| api_keys::by_hash(connection, hash, now_ms).await)
    }

    async fn api_key_bot(&self, hash: TokenHash) -> Result<Option<UserId>> {
        read!(self, |connection| api_keys::bot(connection, hash).await)
    }

    async fn end_api_key(&self, bot: UserId, key: SessionId, now_ms: i64) -> Result<bool> {
        write!(self, |connection| api_keys::end(connection, bot, key, now_ms).await)
    }

    async fn create_incoming(&self, incoming: NewIncoming, limit: usize) -> Result<bool> {
        write!(self, |connection| bots::create_incoming(connection, &incoming, limit).await)
    }

    async fn incoming(&self, bot: UserId) -> Result<Vec<Incoming>> {
        read!(self, |connection| bots::incoming_of(connection, bot).await)
    }

    async fn incoming_by_hash(&self, hash: TokenHash) -> Result<Option<Incoming>> {
        read!(self, |connection| bots::incoming_by_hash(connection, hash).await)
    }

    async fn incoming_by_id(&self, id: u64) -> Result<Option<Incoming>> {
        read!(self, |connection| bots::incoming_by_id(connection, id).await)
    }

    async fn delete_incoming(&self, id: u64) -> Result<bool> {
        write!(self, |connection| bots::delete_incoming(connection, id).await)
    }

    async fn report(&self, report: NewReport) -> Result<()> {
        write!(self, |connection| reports::file(connection, &report).await)
    }

    async fn reports(&self, closed: bool, before: u64, limit: u32) -> Result<Vec<ReportRow>> {
        read!(self, |connection| reports::page(connection, closed, before, limit).await)
    }

    async fn close_report(&self, id: u64, note: String) -> Result<bool> {
        write!(self, |connection| reports::close(connection, id, &note).await)
    }
}
