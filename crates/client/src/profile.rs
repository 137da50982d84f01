//! What a device keeps between runs: its session's tokens, how far it has come, and what it has not sent yet.

mod disk;
mod memory;

use std::{collections::HashMap, error::Error as StdError, fmt, sync::Arc};

use protocol::{ConversationId, EntryId, RawContent, SessionId, UserId, wire};

pub use disk::DiskProfile;
pub use memory::MemoryProfile;

use crate::Target;

/// The state of one device, in memory ([`MemoryProfile`]) or on disk ([`DiskProfile`]).
///
/// Methods may block for as long as a disk takes; the SDK calls those of a [durable](Self::is_durable) profile on threads
/// for blocking work. Several clients may use one profile at a time: positions are merged by maximum, tokens are exchanged
/// under [`lock_tokens`](Self::lock_tokens).
pub trait Profile: fmt::Debug + Send + Sync {
    /// Whether the profile outlives the process, so that methods do I/O and outgoing messages are worth storing.
    fn is_durable(&self) -> bool;

    /// The session's tokens as they are now, `None` if logged out. Another process may have changed them.
    ///
    /// # Errors
    ///
    /// The profile cannot be read.
    fn tokens(&self) -> Result<Option<Tokens>, ProfileError>;

    /// Replaces the session's tokens. If they are another user's than before, everything else is forgotten.
    ///
    /// # Errors
    ///
    /// The profile cannot be written; nothing has changed.
    fn store_tokens(&self, tokens: &Tokens) -> Result<(), ProfileError>;

    /// Replaces the resume token, if the session is still this one.
    ///
    /// # Errors
    ///
    /// The profile cannot be written; nothing has changed.
    fn store_resume_token(&self, session: SessionId, token: &str) -> Result<(), ProfileError>;

    /// Forgets the tokens; positions stay for the next log-in of the same user.
    ///
    /// # Errors
    ///
    /// The profile cannot be written; nothing has changed.
    fn log_out(&self) -> Result<(), ProfileError>;

    /// Excludes all others who would exchange the refresh token, in this and other processes, until the lock is dropped.
    ///
    /// # Errors
    ///
    /// The lock was not to be had within a bounded time.
    fn lock_tokens(&self) -> Result<TokenLock, ProfileError>;

    /// Where to resume.
    ///
    /// # Errors
    ///
    /// The profile cannot be read.
    fn load(&self) -> Result<Stored, ProfileError>;

    /// Stores progress, all of it or nothing. Positions never go back.
    ///
    /// # Errors
    ///
    /// The profile cannot be written; nothing has changed.
    fn save(&self, changes: &Changes) -> Result<(), ProfileError>;

    /// Stores a message that is about to be sent. One with the same id stays as it is.
    ///
    /// # Errors
    ///
    /// The profile cannot be written; nothing has changed.
    fn put_outgoing(&self, message: &Outgoing) -> Result<(), ProfileError>;

    /// Forgets messages that are settled.
    ///
    /// # Errors
    ///
    /// The profile cannot be written; nothing has changed.
    fn remove_outgoing(&self, ids: &[EntryId]) -> Result<(), ProfileError>;
}

/// Held while a refresh token is exchanged; dropping it unlocks.
pub struct TokenLock(#[allow(dead_code, reason = "it is held for its drop")] Box<dyn Send>);

impl TokenLock {
    /// Wraps whatever unlocks when it is dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for TokenLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenLock")
    }
}

/// A session's tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Whose session it is.
    pub user: UserId,
    /// The user's name.
    pub name: String,
    /// The session.
    pub session: SessionId,
    /// For `connect`.
    pub access_token: String,
    /// Its end, in milliseconds since 1970.
    pub access_expires_ms: i64,
    /// For `refresh`; used once.
    pub refresh_token: String,
    /// Its end, in milliseconds since 1970.
    pub refresh_expires_ms: i64,
    /// The id of an exchange of this refresh token whose answer has not arrived: it must be tried with the same id again.
    pub refresh_id: Option<String>,
    /// For `connect`, without a look-up at the server.
    pub resume_token: Option<String>,
}

impl From<wire::Session> for Tokens {
    fn from(session: wire::Session) -> Self {
        let user = session.user.unwrap_or_default();
        Self {
            user: UserId::new(user.id),
            name: user.name,
            session: SessionId::new(session.id),
            access_token: session.access_token,
            access_expires_ms: session.access_expires_ms,
            refresh_token: session.refresh_token,
            refresh_expires_ms: session.refresh_expires_ms,
            refresh_id: None,
            resume_token: None,
        }
    }
}

impl fmt::Debug for Tokens {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("user", &self.user)
            .field("name", &self.name)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// How far one conversation has been taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConversationState {
    /// The conversation's kind; unspecified while it is not known.
    pub kind: wire::ConversationKind,
    /// The application has taken the entries 1 to this.
    pub applied: u64,
    /// How far the user has read.
    pub read: u64,
    /// How far the other member of a direct conversation has read.
    pub peer_read: u64,
}

impl ConversationState {
    pub(crate) fn merge(&mut self, other: Self) {
        if other.kind != wire::ConversationKind::Unspecified {
            self.kind = other.kind;
        }
        self.applied = self.applied.max(other.applied);
        self.read = self.read.max(other.read);
        self.peer_read = self.peer_read.max(other.peer_read);
    }
}

/// Progress to be stored together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Merged into what is stored, by maximum.
    pub conversations: HashMap<ConversationId, ConversationState>,
    /// Everything up to this cursor has been taken.
    pub cursor: Option<String>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.conversations.is_empty() && self.cursor.is_none()
    }

    pub(crate) fn merge(&mut self, id: ConversationId, state: ConversationState) {
        self.conversations.entry(id).or_default().merge(state);
    }
}

/// What a profile holds beside the tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    /// The conversations that have been heard of.
    pub conversations: HashMap<ConversationId, ConversationState>,
    /// From where to sync; empty: from the beginning.
    pub cursor: String,
    /// Messages that an earlier run has not settled, in the order in which they were submitted.
    pub outgoing: Vec<Outgoing>,
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its id, for good.
    pub id: EntryId,
    /// Where to.
    pub target: Target,
    /// What.
    pub content: RawContent,
}

/// A profile cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what}")]
pub struct ProfileError {
    what: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl ProfileError {
    /// For implementations: what failed, in lower case.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

/// Runs something on a profile, on a thread for blocking work if it may block.
///
/// Cancel safe in that what has begun is finished.
pub(crate) async fn on_profile<T: Send + 'static>(
    profile: &Arc<dyn Profile>,
    work: impl FnOnce(&dyn Profile) -> Result<T, ProfileError> + Send + 'static,
) -> Result<T, ProfileError> {
    if !profile.is_durable() {
        return work(&**profile);
    }
    let profile = profile.clone();
    match tokio::task::spawn_blocking(move || work(&*profile)).await {
        Ok(result) => result,
        Err(failure) => Err(ProfileError::new("the profile's work was cut short").with_source(failure)),
    }
}
