//! Accounts and sessions.

use std::time::Duration;

use async_trait::async_trait;
use protocol::{
    SessionId, UserId,
    wire::{SessionInfo, UserInfo},
};

use crate::{
    ApiKeyRow, BotRefused, BotRow, Incoming, NewApiKey, NewBot, NewIncoming, NewReport, ReportRow, Result, Telling,
};

/// The SHA-256 of a refresh token; the token itself is stored nowhere.
pub type TokenHash = [u8; 32];

/// How long a name that was given up, by a change or with its account, is kept from others.
pub const NAME_KEPT: Duration = Duration::from_secs(30 * 86_400);

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
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// What everybody may know of it.
    pub user: UserInfo,
    /// Argon2id, as a PHC string; empty for bots, and once it is deleted.
    pub password_hash: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// It is kept out, by a suspension of its own or, if it is a bot, of its owner's.
    pub suspended: bool,
    /// A bot's owner.
    pub owner: Option<UserId>,
}

/// What changes in a profile; `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileChange {
    /// What to show instead of the name, and what it is found by (see `UserName::key`).
    pub display_name: Option<(String, String)>,
    /// A reference to a picture.
    pub avatar: Option<String>,
    /// Free text.
    pub status_line: Option<String>,
    /// BCP 47.
    pub language: Option<String>,
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
    /// Its session has ended with all others of the account, which is kept out.
    Suspended,
    /// No such token was ever made.
    NotFound,
}

/// What the user service stores. What is given as `tell` is noted in the same transaction, as an effect that the message
/// service tells; see [`Telling`].
#[async_trait]
pub trait Users: Send + Sync + 'static {
    /// Makes an account and its first session; `false` if the name is taken, or was another's less than [`NAME_KEPT`] ago.
    async fn create_account(&self, account: NewAccount, tell: Vec<Telling>) -> Result<bool>;

    /// The account with this name key.
    async fn account_by_name(&self, name_key: String) -> Result<Option<Account>>;

    /// The account with this id, also if it is deleted.
    async fn account(&self, id: UserId) -> Result<Option<Account>>;

    /// Those that exist or existed, by ids, and those that bear these name keys.
    async fn find(&self, ids: Vec<UserId>, name_keys: Vec<String>) -> Result<Vec<UserInfo>>;

    /// Those whose name key (then those whose display name's key) begins with `prefix`, in alphabetical order, after what
    /// `after` names: an earlier answer's page. The next page is `None` at the end.
    async fn search(&self, prefix: String, after: String, limit: u32) -> Result<(Vec<UserInfo>, Option<String>)>;

    /// Changes a profile; the user as the user is now, `None` if there is none. It is told as `ProfileChanged` in the personal log, by an
    /// effect.
    async fn update_profile(&self, user: UserId, change: ProfileChange, now_ms: i64) -> Result<Option<UserInfo>>;

    /// Gives the account another name; `None` if that is taken, or was another's after `reserved_since_ms`. Told as
    /// [`update_profile`](Self::update_profile) is.
    async fn rename(
        &self,
        user: UserId,
        name: String,
        name_key: String,
        now_ms: i64,
        reserved_since_ms: i64,
    ) -> Result<Option<UserInfo>>;

    /// The names that users got after this time, with their ids: tokens that are about bear older ones.
    async fn renamed_since(&self, since_ms: i64) -> Result<Vec<(UserId, String)>>;

    /// Empties an account for good and ends its sessions and keys, which are returned: its id stays, marked as deleted. Its
    /// name is nobody's, and may be nobody else's for [`NAME_KEPT`]; a bot's may be another bot's of its owner. Reports about it stay.
    /// `None`, and nothing was done, as long as it has bots: these are ended first.
    async fn delete_account(&self, user: UserId, now_ms: i64) -> Result<Option<Vec<SessionId>>>;

    /// Keeps an account and its bots out, ending their sessions and keys, which are returned with their users, or no longer: a bot
    /// that was suspended itself stays so. `None` if there is none.
    async fn suspend(&self, user: UserId, suspended: bool, now_ms: i64) -> Result<Option<Vec<(UserId, SessionId)>>>;

    /// Starts a session; `false` if the user has `limit` live ones already, or the account is suspended or deleted.
    async fn create_session(&self, user: UserId, session: NewSession, limit: usize, tell: Vec<Telling>)
    -> Result<bool>;

    /// Uses up the refresh token `old`, in the request `request`, and makes `new` valid until `new_expires_ms`. That a replay
    /// ended a session is told as `SessionEnded` in the personal log, by an effect.
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

    /// Ends a session of the user and all its tokens; `false` if there is none, or it has ended before: then nothing is told.
    async fn end_session(&self, user: UserId, session: SessionId, now_ms: i64, tell: Vec<Telling>) -> Result<bool>;

    /// Replaces the password hash and ends all sessions but `keep`; returns those ended, each of which is told as
    /// `SessionEnded` after what is in `tell`. `None` if the hash is no longer `old_hash`.
    async fn change_password(
        &self,
        user: UserId,
        old_hash: String,
        new_hash: String,
        keep: SessionId,
        now_ms: i64,
        tell: Vec<Telling>,
    ) -> Result<Option<Vec<SessionId>>>;

    /// Sessions and API keys ended after this time: their short-lived tokens may not be over yet.
    async fn sessions_ended_since(&self, since_ms: i64) -> Result<Vec<SessionId>>;

    /// Forgets tokens and ended sessions that were over before this time, and revoked links that could be
    /// [retried](crate::LINK_RETRY_MS) until then.
    async fn forget_expired(&self, before_ms: i64) -> Result<()>;

    /// Makes a bot with its personal log, or returns the one that the same request of the same owner made before. An owner has at
    /// most `limit`, and is there as long as the bot is: see [`delete_account`](Self::delete_account).
    async fn create_bot(&self, bot: NewBot, limit: usize) -> Result<std::result::Result<BotRow, BotRefused>>;

    /// The user's bots, oldest first.
    async fn bots(&self, owner: UserId) -> Result<Vec<BotRow>>;

    /// Makes a key; `false` if the bot has `limit` live ones already. The same request makes the same key again.
    async fn create_api_key(&self, key: NewApiKey, limit: usize, now_ms: i64) -> Result<bool>;

    /// The bot's keys that are good, oldest first.
    async fn api_keys(&self, bot: UserId, now_ms: i64) -> Result<Vec<ApiKeyRow>>;

    /// The key with this hash, if it is good.
    async fn api_key(&self, hash: TokenHash, now_ms: i64) -> Result<Option<ApiKeyRow>>;

    /// Whose key this is or was, good or not.
    async fn api_key_bot(&self, hash: TokenHash) -> Result<Option<UserId>>;

    /// Ends a key; `false` if the bot has none such.
    async fn end_api_key(&self, bot: UserId, key: SessionId, now_ms: i64) -> Result<bool>;

    /// Makes an incoming webhook; `false` if the bot has `limit` already. The same request makes the same one again.
    async fn create_incoming(&self, incoming: NewIncoming, limit: usize) -> Result<bool>;

    /// The bot's incoming webhooks, oldest first.
    async fn incoming(&self, bot: UserId) -> Result<Vec<Incoming>>;

    /// The incoming webhook with this token's hash.
    async fn incoming_by_hash(&self, hash: TokenHash) -> Result<Option<Incoming>>;

    /// The incoming webhook with this id.
    async fn incoming_by_id(&self, id: u64) -> Result<Option<Incoming>>;

    /// Removes one; `false` if there is none.
    async fn delete_incoming(&self, id: u64) -> Result<bool>;

    /// Files a report, once for each request of a reporter.
    async fn report(&self, report: NewReport) -> Result<()>;

    /// Reports by descending id before `before`; those that were closed only if `closed`.
    async fn reports(&self, closed: bool, before: u64, limit: u32) -> Result<Vec<ReportRow>>;

    /// Closes a report; `false` if there is none.
    async fn close_report(&self, id: u64, note: String) -> Result<bool>;
}

/// Names given up before this time are free at `now_ms`.
pub(crate) fn kept_since(now_ms: i64) -> i64 {
    now_ms.saturating_sub(i64::try_from(NAME_KEPT.as_millis()).unwrap_or(i64::MAX))
}

/// Where a page of a search ended: the keys of names come first, then those of display names, which need not differ.
pub(crate) enum After {
    Name(String),
    DisplayName(u64, String),
}

impl After {
    /// `None` if it is not the text of one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Name(String::new()));
        }
        let (phase, rest) = text.split_once(':')?;
        match phase {
            "name" => Some(Self::Name(rest.to_owned())),
            "display" => {
                let (id, key) = rest.split_once(':')?;
                Some(Self::DisplayName(id.parse().ok()?, key.to_owned()))
            }
            _ => None,
        }
    }

    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Name(key) => format!("name:{key}"),
            Self::DisplayName(id, key) => format!("display:{id}:{key}"),
        }
    }

    /// Sorts after every text that begins with this.
    pub(crate) fn last(prefix: &str) -> String {
        format!("{prefix}{}", char::MAX)
    }
}
