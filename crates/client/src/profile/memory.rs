//! A profile that lives as long as its process.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use protocol::{EntryId, SessionId, wire};

use crate::profile::{Changes, Outgoing, Profile, ProfileError, Stored, TokenLock, Tokens};

/// A profile in memory, for tests, load generators and tools. Clients that use it one after the other resume from each
/// other's positions.
#[derive(Debug, Default)]
pub struct MemoryProfile {
    state: Mutex<State>,
    exchanging: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct State {
    tokens: Option<Tokens>,
    stored: Stored,
}

impl MemoryProfile {
    /// For a session from [`register`](crate::register) or [`log_in`](crate::log_in).
    pub fn new(session: wire::Session) -> Self {
        let state = State { tokens: Some(session.into()), stored: Stored::default() };
        Self { state: Mutex::new(state), exchanging: Arc::default() }
    }
}

impl Profile for MemoryProfile {
    fn is_durable(&self) -> bool {
        false
    }

    fn tokens(&self) -> Result<Option<Tokens>, ProfileError> {
        Ok(self.state.lock().tokens.clone())
    }

    fn store_tokens(&self, tokens: &Tokens) -> Result<(), ProfileError> {
        let mut state = self.state.lock();
        if state.tokens.as_ref().is_some_and(|old| old.user != tokens.user) {
            state.stored = Stored::default();
        }
        state.tokens = Some(tokens.clone());
        Ok(())
    }

    fn store_resume_token(&self, session: SessionId, token: &str) -> Result<(), ProfileError> {
        if let Some(tokens) = self.state.lock().tokens.as_mut().filter(|tokens| tokens.session == session) {
            tokens.resume_token = Some(token.into());
        }
        Ok(())
    }

    fn log_out(&self) -> Result<(), ProfileError> {
        self.state.lock().tokens = None;
        Ok(())
    }

    fn lock_tokens(&self) -> Result<TokenLock, ProfileError> {
        // This must not wait, as it runs on the runtime's threads. Who is refused tries again when it reconnects.
        if self.exchanging.swap(true, Ordering::Acquire) {
            return Err(ProfileError::new("another client exchanges the tokens just now"));
        }
        Ok(TokenLock::new(Exchange(self.exchanging.clone())))
    }

    fn load(&self) -> Result<Stored, ProfileError> {
        Ok(self.state.lock().stored.clone())
    }

    fn save(&self, changes: &Changes) -> Result<(), ProfileError> {
        let stored = &mut self.state.lock().stored;
        for (&id, &state) in &changes.conversations {
            stored.conversations.entry(id).or_default().merge(state);
        }
        if let Some(cursor) = &changes.cursor {
            stored.cursor.clone_from(cursor);
        }
        Ok(())
    }

    fn put_outgoing(&self, _: &Outgoing) -> Result<(), ProfileError> {
        Ok(())
    }

    fn remove_outgoing(&self, _: &[EntryId]) -> Result<(), ProfileError> {
        Ok(())
    }
}

struct Exchange(Arc<AtomicBool>);

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
