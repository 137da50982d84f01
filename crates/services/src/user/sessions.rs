//! A user's sessions: how they begin and end, and what the user's devices are told of it.

use api::{Call, RelayRequest};
use protocol::{
    Error, RawContent, Result, SessionId, UserId, limits,
    queue::{AccountClosed, delivery::What},
    wire::{self, ErrorCode, Session, UserInfo, content::Kind},
};
use store::{NewSession, Telling};

use super::{
    Service, ms, suspended,
    tokens::{Claims, Purpose},
    wrong_credentials,
};
use crate::{push::Pushes, text};

/// Ended sessions in one publication.
const ENDED_BATCH_MAX: usize = 100;
/// Attempts to make room for a new session by ending the oldest one.
const SESSION_ATTEMPTS_MAX: usize = 3;

/// That an account is kept out, as the cache holds it. Asked for each token and key that is refused, and nothing else: who
/// comes again and again with what has ended should cost little.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct KeptOut {}

impl Service {
    pub(super) fn new_session(&self, device: &str) -> Result<(NewSession, String)> {
        let (token, refresh) = self.tokens.new_refresh()?;
        let now_ms = self.clock.now_ms();
        let session = NewSession {
            id: SessionId::new(self.new_id()),
            device: text::device(device)?,
            created_ms: now_ms,
            refresh,
            refresh_expires_ms: now_ms + ms(self.config.refresh_token_ttl),
        };
        Ok((session, token))
    }

    pub(super) fn session(&self, user: UserInfo, session: SessionId, refresh: (String, i64)) -> Result<Session> {
        let access_expires_ms = self.clock.now_ms() + ms(self.config.access_token_ttl);
        let claims =
            Claims { user: UserId::new(user.id), session, name: user.name.clone(), expires_ms: access_expires_ms };
        Ok(Session {
            id: session.get(),
            user: Some(user),
            access_token: self.tokens.issue(Purpose::Access, &claims)?,
            access_expires_ms,
            refresh_token: refresh.0,
            refresh_expires_ms: refresh.1,
        })
    }

    /// Starts a session and has it told.
    pub(super) async fn create_session(&self, call: &Call, user: UserId, session: &NewSession) -> Result<()> {
        let tell = vec![self.telling(user, started(session))];
        for _ in 0..SESSION_ATTEMPTS_MAX {
            if self.store.create_session(user, session.clone(), limits::SESSIONS_MAX, tell.clone()).await? {
                return Ok(());
            }
            match self.store.account(user).await? {
                Some(account) if account.suspended => return Err(suspended()),
                Some(account) if !account.user.deleted => {}
                _ => return Err(wrong_credentials()),
            }
            // Whoever logs in again and again on devices that are gone should not be locked out by them.
            let sessions = self.store.sessions(user, self.clock.now_ms()).await?;
            if let Some(oldest) = sessions.iter().min_by_key(|session| session.seen_ms) {
                self.end_session(call, user, SessionId::new(oldest.id)).await?;
            }
        }
        Err(Error::limit("sessions", limits::SESSIONS_MAX, limits::SESSIONS_MAX))
    }

    /// Ends a session; `false` if there is none.
    pub(super) async fn end_session(&self, call: &Call, user: UserId, session: SessionId) -> Result<bool> {
        let tell = vec![self.telling(user, Kind::SessionEnded(wire::SessionEnded { session: session.get() }))];
        let ended = self.store.end_session(user, session, self.clock.now_ms(), tell).await?;
        if ended {
            self.ended(&[(user, session)]).await;
            self.relay(call).await;
        }
        Ok(ended)
    }

    /// Makes the tokens of sessions and keys that have ended useless, and closes their connections.
    pub(super) async fn ended(&self, ended: &[(UserId, SessionId)]) {
        let mut pushes = Pushes::default();
        for &(user, session) in ended {
            pushes.add_for_users(&[user], 0, What::EndedSession(session.get()));
        }
        self.close_connections(ended.iter().map(|(_, session)| *session), pushes).await;
    }

    /// The same for accounts that are closed: all their connections are, and told why.
    pub(super) async fn closed(&self, users: &[UserId], why: AccountClosed, ended: Vec<SessionId>) {
        let mut pushes = Pushes::default();
        pushes.add_for_users(users, 0, What::AccountClosed(why.into()));
        self.close_connections(ended, pushes).await;
    }

    async fn close_connections(&self, ended: impl IntoIterator<Item = SessionId>, pushes: Pushes) {
        let now_ms = self.clock.now_ms();
        for session in ended {
            self.ended.add(session, now_ms, now_ms + ms(self.config.tokens_live()));
        }
        if let Err(error) = pushes.publish(self.queue.as_ref(), ENDED_BATCH_MAX).await {
            tracing::warn!(%error, "connections of ended sessions were not told to close");
        }
    }

    /// What a token or key of this user is refused with that has `ended`: if the account is kept out, that is why.
    pub(super) async fn refusal(&self, user: UserId, ended: Error) -> Error {
        let load = || async {
            let account = self.store.account(user).await?;
            Ok(account.filter(|account| account.suspended).map(|_| KeptOut {}))
        };
        match self.kept_out.get(user, load).await {
            Ok(Some(KeptOut {})) => suspended(),
            // If it cannot be found out, what is known is told.
            _ => ended,
        }
    }

    /// What is to be told in a user's personal log, for the store to note with what it tells of.
    pub(super) fn telling(&self, user: UserId, kind: Kind) -> Telling {
        Telling { user, time_ms: self.clock.now_ms(), content: RawContent::from(kind).as_bytes().clone() }
    }

    /// Has what was noted told now. It is told in the end even if this fails.
    pub(super) async fn relay(&self, call: &Call) {
        if let Err(error) = self.messages.relay(&call.by_service(), RelayRequest {}).await {
            tracing::debug!(%error, "what was noted for personal logs has to wait");
        }
    }
}

pub(super) fn started(session: &NewSession) -> Kind {
    Kind::SessionStarted(wire::SessionStarted { session: session.id.get(), device: session.device.clone() })
}

pub(super) fn session_ended() -> Error {
    Error::new(ErrorCode::SessionEnded, "this session has ended: log in again")
}
