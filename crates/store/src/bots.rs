//! Bots, their keys, and the incoming webhooks by which they post.

use protocol::{ConversationId, EntryId, SessionId, UserId, wire::UserInfo};

use crate::TokenHash;

/// A bot to be made.
#[derive(Debug, Clone)]
pub struct NewBot {
    /// Its id, unless the request has made one before.
    pub id: UserId,
    /// The request's id: with the owner its key for good.
    pub request: EntryId,
    /// Whose it is.
    pub owner: UserId,
    /// The name as the owner writes it.
    pub name: String,
    /// What makes the name unique: `UserName::key`.
    pub name_key: String,
    /// What to show instead of the name.
    pub display_name: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

/// A bot.
#[derive(Debug, Clone, PartialEq)]
pub struct BotRow {
    /// Its account.
    pub user: UserInfo,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}

/// A bot was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BotRefused {
    /// Another account has the name, or had it of late.
    #[error("the name is taken")]
    NameTaken,
    /// The owner has so many, which is the limit.
    #[error("the owner has {0} bots")]
    TooMany(usize),
    /// The owner's account is gone.
    #[error("the owner's account is gone")]
    NoOwner,
}

/// An API key to be made; the key itself is stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// Its row.
    pub row: ApiKeyRow,
    /// The request's id: with the bot its key for good.
    pub request: EntryId,
    /// SHA-256 of the key.
    pub hash: TokenHash,
}

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Its id, from the same numbers as sessions'.
    pub id: SessionId,
    /// Whose it is.
    pub bot: UserId,
    /// What it is for.
    pub label: String,
    /// What it may be used for, a bit for each number of `wire::Scope`.
    pub scopes: u32,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Milliseconds since 1970; 0: never.
    pub expires_ms: i64,
}

/// An incoming webhook to be made; its token is stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIncoming {
    /// Its row.
    pub row: Incoming,
    /// The request's id: with the bot its key for good.
    pub request: EntryId,
    /// SHA-256 of the token.
    pub hash: TokenHash,
}

/// An incoming webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Its id.
    pub id: u64,
    /// Who posts.
    pub bot: UserId,
    /// Where to.
    pub conversation: ConversationId,
    /// What it is for.
    pub label: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
}
