//! A user's sessions: how they begin and end, and what the user's devices are told of it.

use std::{sync::Arc, time::Duration};

use api::{AppendRequest, Call};
use protocol::{
    EntryId, Error, Result, SessionId, UserId, limits,
    queue::delivery::What,
    wire::{self, Session, UserInfo, content::Kind},
};
use store::NewSession;
use tokio::time::Instant;

use super::{
    Service, ms,
    tokens::{Claims, Purpose},
};
use crate::{push::Pushes, text};

/// Attempts to make room for a new session by ending the oldest one.
const SESSION_ATTEMPTS_MAX: usize = 3;
/// How often, and after what time each, it is tried again to tell a user something.
const TELL_ATTEMPTS_MAX: usize = 60;
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl Service {
    pub(super) fn new_session(&self, device: &str) -> Result<(NewSession, String)> {
        let (token, refresh) = self.tokens.new_refresh()?;
        let now_ms = self.clock.now_ms();
        let session = NewSession {
            id: SessionId::new(self.ids.generate(self.clock.now()).get()),
            device: text::device(device)?,
            created_ms: now_ms,
            refresh,
            refresh_expires_ms: now_ms + ms(self.config.refresh_token_ttl),
        };
        Ok((session, token))
    }

    pub(super) fn session(
        &self,
        user: UserId,
        name: &str,
        session: SessionId,
        refresh: (String, i64),
    ) -> Result<Session> {
        let access_expires_ms = self.clock.now_ms() + ms(self.config.access_token_ttl);
        let claims = Claims { user, session, name: name.to_owned(), expires_ms: access_expires_ms };
        Ok(Session {
            id: session.get(),
            user: Some(UserInfo { id: user.get(), name: name.to_owned(), ..UserInfo::default() }),
            access_token: self.tokens.issue(Purpose::Access, &claims)?,
            access_expires_ms,
            refresh_token: refresh.0,
            refresh_expires_ms: refresh.1,
        })
    }

    pub(super) async fn create_session(&self, call: &Call, user: UserId, session: &NewSession) -> Result<()> {
        for _ in 0..SESSION_ATTEMPTS_MAX {
            if self.store.create_session(user, session.clone(), limits::SESSIONS_MAX, Vec::new()).await? {
                return Ok(());
            }
            // Whoever logs in again and again on devices that are gone should not be locked out by them.
            let sessions = self.store.sessions(user, self.clock.now_ms()).await?;
            if let Some(oldest) = sessions.iter().min_by_key(|session| session.seen_ms) {
                self.end_session(call, user, SessionId::new(oldest.id)).await?;
            }
        }
        Err(Error::limit("sessions", limits::SESSIONS_MAX, limits::SESSIONS_MAX))
    }

    pub(super) async fn end_session(&self, call: &Call, user: UserId, session: SessionId) -> Result<bool> {
        let ended = self.store.end_session(user, session, self.clock.now_ms(), Vec::new()).await?;
        if ended {
            self.ended(call, user, session).await;
        }
        Ok(ended)
    }

    /// Makes an ended session's tokens useless, closes its connections, and tells the user's other devices.
    pub(super) async fn ended(&self, call: &Call, user: UserId, session: SessionId) {
        let now_ms = self.clock.now_ms();
        self.ended.add(session, now_ms, now_ms + ms(self.config.tokens_live()));
        self.tell(call, user, Kind::SessionEnded(wire::SessionEnded { session: session.get() })).await;
        let mut pushes = Pushes::default();
        pushes.add_for_users(&[user], 0, What::EndedSession(session.get()));
        if let Err(error) = pushes.publish(self.queue.as_ref(), 1).await {
            tracing::warn!(%error, %session, "connections of an ended session were not told to close");
        }
    }

    /// Tells a user in the personal log. What it tells of is done; if it cannot be told now, it is tried again for a while.
    pub(super) async fn tell(&self, call: &Call, user: UserId, kind: Kind) {
        let request = AppendRequest {
            conversation: user.personal_log().get(),
            sender: user.get(),
            id: EntryId::generate().to_string(),
            content: Some(kind.into()),
            act: None,
        };
        let Err(first) = self.messages.append(&call.by_service(), request.clone()).await else { return };
        tracing::warn!(error = %first, %user, "an entry of a personal log has to wait");
        let messages = Arc::clone(&self.messages);
        self.work.spawn(async move {
            for _ in 0..TELL_ATTEMPTS_MAX {
                tokio::time::sleep(TELL_AGAIN).await;
                let deadline = Instant::now() + TELL_AGAIN;
                let call = Call { caller: None, origin: None, address: None, deadline };
                if messages.append(&call, request.clone()).await.is_ok() {
                    return;
                }
            }
            tracing::error!(%user, "a personal log misses an entry");
        });
    }
}
