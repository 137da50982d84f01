//! The profile by which the SDK follows a bot's conversations for a webhook: the positions are kept in the server's store, and
//! each connection is made with a fresh credential.

use std::{fmt, future::Future, sync::Arc};

use client::{
    Changes, ConversationState, EntryId, Outgoing, Profile, ProfileError, SessionId, Stored, TokenLock, Tokens, UserId,
};
use store::{WebhookState, Webhooks};
use tokio::runtime::Handle;

use crate::Credentials;

/// See the [module](self). Its methods block, and so belong on threads for blocking work.
pub(crate) struct HookProfile {
    webhook: u64,
    bot: UserId,
    store: Arc<dyn Webhooks>,
    credentials: Arc<dyn Credentials>,
    runtime: Handle,
}

impl HookProfile {
    /// For a webhook of this bot. Must be called within a tokio runtime.
    pub(crate) fn new(webhook: u64, bot: UserId, store: Arc<dyn Webhooks>, credentials: Arc<dyn Credentials>) -> Self {
        Self { webhook, bot, store, credentials, runtime: Handle::current() }
    }

    /// The webhook is to the gateway what a session is: ids of both come from the same numbers.
    fn session(&self) -> SessionId {
        SessionId::new(self.webhook)
    }

    fn wait<T, E>(&self, what: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, ProfileError>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        self.runtime.block_on(work).map_err(|error| ProfileError::new(what).with_source(error))
    }
}

impl fmt::Debug for HookProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookProfile").field("webhook", &self.webhook).field("bot", &self.bot).finish_non_exhaustive()
    }
}

impl Profile for HookProfile {
    fn is_durable(&self) -> bool {
        true
    }

    /// A fresh access token each time, and nothing else to connect by: so a bot that may not act any more is noticed.
    fn tokens(&self) -> Result<Option<Tokens>, ProfileError> {
        let credential = self.wait("no credential for the bot", self.credentials.issue(self.bot, self.session()))?;
        Ok(credential.map(|credential| Tokens {
            user: self.bot,
            name: credential.name,
            session: self.session(),
            access_token: credential.access_token,
            // Whether it is good is for the server to say.
            access_expires_ms: i64::MAX,
            refresh_token: String::new(),
            refresh_expires_ms: 0,
            refresh_id: None,
            resume_token: None,
        }))
    }

    fn store_tokens(&self, _: &Tokens) -> Result<(), ProfileError> {
        Ok(())
    }

    fn store_resume_token(&self, _: SessionId, _: &str) -> Result<(), ProfileError> {
        Ok(())
    }

    fn log_out(&self) -> Result<(), ProfileError> {
        Ok(())
    }

    fn lock_tokens(&self) -> Result<TokenLock, ProfileError> {
        Ok(TokenLock::new(()))
    }

    fn load(&self) -> Result<Stored, ProfileError> {
        let state = self.wait("the webhook's state cannot be read", self.store.webhook_state(self.webhook))?;
        let conversations = state
            .positions
            .into_iter()
            .map(|(id, applied)| (id, ConversationState { applied, ..ConversationState::default() }))
            .collect();
        Ok(Stored { conversations, cursor: state.cursor, outgoing: Vec::new() })
    }

    fn save(&self, changes: &Changes) -> Result<(), ProfileError> {
        // What only was read is no progress.
        let moved = changes.conversations.iter().filter(|(_, state)| state.applied > 0);
        let positions: Vec<_> = moved.map(|(&id, state)| (id, state.applied)).collect();
        let cursor = changes.cursor.clone().unwrap_or_default();
        if positions.is_empty() && cursor.is_empty() {
            return Ok(());
        }
        let state = WebhookState { cursor, positions };
        self.wait("the webhook's state cannot be written", self.store.put_webhook_state(self.webhook, state))
    }

    fn put_outgoing(&self, _: &Outgoing) -> Result<(), ProfileError> {
        Err(ProfileError::new("a webhook sends nothing"))
    }

    fn remove_outgoing(&self, _: &[EntryId]) -> Result<(), ProfileError> {
        Ok(())
    }
}
