//! Accounts and sessions.

use async_trait::async_trait;
use protocol::{SessionId, UserId, wire::SessionInfo};

use crate::Result;

/// The SHA-256 of a refresh token; the token itself is stored nowhere.
pub type TokenHash = [u8; 32];

/// An account to be made, with its first session.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its id.
    pub id: UserId,
    /// The name as the user writes it.
    pub name: String,
    /// What makes the name unique: `UserName::key`.
    pub name_key: String,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// The first session.
    pub session: NewSession,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: UserId,
    /// The name as the user writes it.
    pub name: String,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
}

/// A session to be started.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// The user's name for the device.
    pub device: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Its first refresh token.
    pub refresh: TokenHash,
    /// When that token ends, milliseconds since 1970.
    pub refresh_expires_ms: i64,
}

/// A session that a refresh token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The user's name.
    pub name: String,
}

/// What became of a refresh token that was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// It is used up now, the new one is valid. Or it was used up by the same request, whose answer got lost: then
    /// the new one was stored before.
    Rotated(SessionRow),
    /// It had been used up before: somebody else holds a copy. The session is ended now (or had been), with all its tokens.
    Replayed(SessionRow),
    /// It is over, or its session has ended.
    Expired,
    /// No such token was ever made.
    NotFound,
}

/// What the user service stores.
#[async_trait]
pub trait Users: Send + Sync + 'static {
    /// Makes an account and its first session; `false` if the name is taken.
    async fn create_account(&self, account: NewAccount) -> Result<bool>;

    /// The account with this name key.
    async fn account_by_name(&self, name_key: String) -> Result<Option<Account>>;

    /// The account with this id.
    async fn account(&self, id: UserId) -> Result<Option<Account>>;

    /// The ids and names of those that exist, by ids and by name keys.
    async fn find(&self, ids: Vec<UserId>, name_keys: Vec<String>) -> Result<Vec<(UserId, String)>>;

    /// Starts a session; `false` if the user has `limit` live ones already.
    async fn create_session(&self, user: UserId, session: NewSession, limit: usize) -> Result<bool>;

    /// Uses up the refresh token `old`, in the request `request`, and makes `new` valid until `new_expires_ms`.
    async fn rotate_refresh(
        &self,
        old: TokenHash,
        request: [u8; 16],
        new: TokenHash,
        new_expires_ms: i64,
        now_ms: i64,
    ) -> Result<Rotation>;

    /// The user's live sessions, oldest first (`current` is not set). Live are those not ended whose refresh token is not over.
    async fn sessions(&self, user: UserId, now_ms: i64) -> Result<Vec<SessionInfo>>;

    /// Notes when sessions were in use, and that each lives, with its unused refresh token, for `lifetime_ms` from then.
    async fn touch_sessions(&self, seen: Vec<(SessionId, i64)>, lifetime_ms: i64) -> Result<()>;

    /// Ends a session of the user and all its tokens; `false` if there is none, or it has ended before.
    async fn end_session(&self, user: UserId, session: SessionId, now_ms: i64) -> Result<bool>;

    /// Replaces the password hash and ends all sessions but `keep`; returns those ended. `None` if the hash is no longer `old_hash`.
    async fn change_password(
        &self,
        user: UserId,
        old_hash: String,
        new_hash: String,
        keep: SessionId,
        now_ms: i64,
    ) -> Result<Option<Vec<SessionId>>>;

    /// Sessions ended after this time: their short-lived tokens may not be over yet.
    async fn sessions_ended_since(&self, since_ms: i64) -> Result<Vec<SessionId>>;

    /// Forgets tokens and ended sessions that were over before this time.
    async fn forget_expired(&self, before_ms: i64) -> Result<()>;
}
