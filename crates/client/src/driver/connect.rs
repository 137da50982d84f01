//! From nothing to a connection that is bound to the session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::{
    Advice, EntryId,
    wire::{self, client_frame::Body as Request, server_frame::Body as Answer},
};

use crate::{
    Error, Options,
    account::exchange,
    calls::unexpected,
    profile::{Tokens, on_profile},
    transport::Socket,
};

/// What to try next to prove who we are, from the cheapest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential {
    Resume,
    Access,
    /// Exchange the refresh token.
    Exchange,
    /// The access token that the exchange brought: if it does not do, nothing will.
    Exchanged,
}

/// A connection that is bound to the session.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) connected: wire::Connected,
    /// Pushes that came before the answer.
    pub(super) early: Vec<wire::ServerFrame>,
    pub(super) round_trips: u32,
}

/// Why there is no connection, and what to do.
#[derive(Debug)]
pub(super) enum Failure {
    /// Try again, then or after a backoff.
    Retry(Error, Option<Duration>),
    /// Try again with a simpler request.
    BadRequest(Error),
    /// There is no use in trying.
    Stop(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Goodbye { reason, .. } if *reason == wire::GoodbyeReason::GoodbyeSessionEnded as i32 => {
                Self::Stop(Error::SessionEnded(Some(error.into())))
            }
            Error::Goodbye { reason, .. } if *reason >= 100 => Self::Stop(error),
            Error::Goodbye { reconnect_after, .. } if !reconnect_after.is_zero() => {
                let after = *reconnect_after;
                Self::Retry(error, Some(after))
            }
            Error::SessionEnded(_) | Error::NotLoggedIn => Self::Stop(error),
            _ => Self::Retry(error, None),
        }
    }
}

/// Opens a connection and binds it to the profile's session: by resume token, else by access token, else by a new access
/// token. `credential` is where to begin, and remembers over failed attempts how far it came.
pub(super) async fn open(
    options: &Options,
    credential: &mut Credential,
    sync: Option<wire::Sync>,
) -> Result<Opened, Failure> {
    let mut socket = Socket::open(&options.server).await?;
    let (mut early, mut round_trips) = (Vec::new(), 0);
    loop {
        let tokens = on_profile(&options.profile, |profile| profile.tokens()).await.map_err(Error::from)?;
        let tokens = tokens.ok_or(Error::NotLoggedIn)?;
        let token = match *credential {
            Credential::Resume => match &tokens.resume_token {
                Some(token) => wire::connect::Token::ResumeToken(token.clone()),
                None => {
                    *credential = Credential::Access;
                    continue;
                }
            },
            Credential::Access if tokens.access_expires_ms <= now_ms() => {
                *credential = Credential::Exchange;
                continue;
            }
            Credential::Access | Credential::Exchanged => {
                wire::connect::Token::AccessToken(tokens.access_token.clone())
            }
            Credential::Exchange => {
                round_trips += 1;
                exchange_tokens(options, &mut socket, &tokens, &mut early).await?;
                *credential = Credential::Exchanged;
                continue;
            }
        };
        round_trips += 1;
        let heartbeat_ms = options.heartbeat.as_millis().try_into().unwrap_or(u32::MAX);
        let request = wire::Connect { token: Some(token), sync: sync.clone(), heartbeat_ms };
        let answer = exchange(&mut socket, round_trips, Request::Connect(request), &mut early).await;
        match answer? {
            Answer::Connected(mut connected) => {
                *credential = Credential::Resume;
                let resume_token = std::mem::take(&mut connected.resume_token);
                if !resume_token.is_empty() {
                    let store =
                        move |profile: &dyn crate::Profile| profile.store_resume_token(tokens.session, &resume_token);
                    on_profile(&options.profile, store).await.map_err(Error::from)?;
                }
                return Ok(Opened { socket, connected, early, round_trips });
            }
            Answer::Error(error) => *credential = refused(*credential, error.into())?,
            other => return Err(unexpected(&other).into()),
        }
    }
}

/// What to try after a token was refused.
fn refused(credential: Credential, error: protocol::Error) -> Result<Credential, Failure> {
    match error.advice() {
        Advice::LogIn => match credential {
            Credential::Resume => Ok(Credential::Access),
            Credential::Access => Ok(Credential::Exchange),
            Credential::Exchange | Credential::Exchanged => Err(Failure::Stop(ended(error))),
        },
        Advice::RetryLater | Advice::RetrySameId => {
            let after = error.retry_after();
            Err(Failure::Retry(Error::Refused(error), after))
        }
        Advice::GiveUp => Err(Failure::BadRequest(Error::Refused(error))),
    }
}

/// Exchanges the refresh token, unless another process has done so meanwhile.
async fn exchange_tokens(
    options: &Options,
    socket: &mut Socket,
    seen: &Tokens,
    pushed: &mut Vec<wire::ServerFrame>,
) -> Result<(), Failure> {
    let profile = &options.profile;
    let lock = on_profile(profile, |profile| profile.lock_tokens()).await.map_err(Error::from)?;
    let tokens = on_profile(profile, |profile| profile.tokens()).await.map_err(Error::from)?;
    let mut tokens = tokens.ok_or(Error::NotLoggedIn)?;
    if tokens.access_token != seen.access_token {
        return Ok(());
    }
    let id = match &tokens.refresh_id {
        Some(id) => id.clone(),
        None => {
            // Stored before it is used: if the answer is lost, with this process or without, the same exchange is repeated.
            let id = EntryId::generate().to_string();
            tokens.refresh_id = Some(id.clone());
            let tokens = tokens.clone();
            on_profile(profile, move |profile| profile.store_tokens(&tokens)).await.map_err(Error::from)?;
            id
        }
    };
    let request = wire::Refresh { refresh_token: tokens.refresh_token, id };
    // A number that the requests beside it, which count round trips, do not reach.
    match exchange(socket, u32::MAX, Request::Refresh(request), pushed).await? {
        Answer::Session(session) => {
            let session = Tokens::from(session);
            on_profile(profile, move |profile| {
                let store = profile.store_tokens(&session);
                drop(lock);
                store
            })
            .await
            .map_err(Error::from)?;
            Ok(())
        }
        Answer::Error(error) => {
            let error = protocol::Error::from(error);
            match error.advice() {
                Advice::GiveUp | Advice::LogIn => Err(Failure::Stop(ended(error))),
                Advice::RetryLater | Advice::RetrySameId => {
                    let after = error.retry_after();
                    Err(Failure::Retry(Error::Refused(error), after))
                }
            }
        }
        other => Err(unexpected(&other).into()),
    }
}

fn ended(error: protocol::Error) -> Error {
    Error::SessionEnded(Some(Error::Refused(error).into()))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(i64::MAX)
}
