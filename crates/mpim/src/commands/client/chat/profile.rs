//! The profile of a screen: log-in and outbox are those on disk, positions are not.
//!
//! A screen begins with the last entries of every conversation each time; what it was shown must not be missing from
//! what `listen` prints.

use std::{collections::HashMap, sync::Arc};

use client::{
    Changes, ConversationState, DiskProfile, EntryId, Outgoing, Profile, ProfileError, SessionId, Stored, TokenLock,
    Tokens,
};

#[derive(Debug)]
pub(super) struct ScreenProfile(pub(super) Arc<DiskProfile>);

impl Profile for ScreenProfile {
    fn is_durable(&self) -> bool {
        true
    }

    fn tokens(&self) -> Result<Option<Tokens>, ProfileError> {
        self.0.tokens()
    }

    fn store_tokens(&self, tokens: &Tokens) -> Result<(), ProfileError> {
        self.0.store_tokens(tokens)
    }

    fn store_resume_token(&self, session: SessionId, token: &str) -> Result<(), ProfileError> {
        self.0.store_resume_token(session, token)
    }

    fn log_out(&self) -> Result<(), ProfileError> {
        self.0.log_out()
    }

    fn lock_tokens(&self) -> Result<TokenLock, ProfileError> {
        self.0.lock_tokens()
    }

    fn load(&self) -> Result<Stored, ProfileError> {
        let outgoing = self.0.load()?.outgoing;
        Ok(Stored { conversations: HashMap::<_, ConversationState>::new(), cursor: String::new(), outgoing })
    }

    /// How far entries were taken is the client's to remember, for as long as it lives.
    fn save(&self, _: &Changes) -> Result<(), ProfileError> {
        Ok(())
    }

    fn put_outgoing(&self, message: &Outgoing) -> Result<(), ProfileError> {
        self.0.put_outgoing(message)
    }

    fn remove_outgoing(&self, ids: &[EntryId]) -> Result<(), ProfileError> {
        self.0.remove_outgoing(ids)
    }
}
