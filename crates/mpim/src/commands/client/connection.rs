//! From arguments to a profile and a connection.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use client::{Client, DiskProfile, Error, Event, Events, Options, Server, wire};
use protocol::Advice;

const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";
/// Tries of a request that may safely be repeated.
const TRIES_MAX: u32 = 3;
/// The longest pause that a server's advice makes between them.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a command waits for its answers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the profile lies, which server was named, and whom to believe that it is that one.
#[derive(Debug)]
pub(super) struct Place {
    server: Option<String>,
    authorities: Option<PathBuf>,
    profile: PathBuf,
}

impl Place {
    pub(super) fn new(
        server: Option<String>,
        authorities: Option<PathBuf>,
        profile: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let in_home = || std::env::home_dir().filter(|home| home.is_absolute()).map(|home| home.join(".mpim"));
        let profile =
            profile.or_else(in_home).context("there is no home directory; name a profile with --profile DIR")?;
        Ok(Self { server, authorities, profile })
    }

    /// The same profile, at the server of its last log-in.
    pub(super) fn as_logged_in(&self) -> Self {
        Self { server: None, profile: self.profile.clone(), authorities: self.authorities.clone() }
    }

    pub(super) fn profile(&self) -> anyhow::Result<Arc<DiskProfile>> {
        Ok(Arc::new(DiskProfile::open(&self.profile)?))
    }

    /// The server named, else that of the last log-in, else the default.
    pub(super) fn server(&self, profile: &DiskProfile) -> anyhow::Result<Server> {
        let server = match &self.server {
            Some(server) => server.clone(),
            None => profile.server()?.unwrap_or_else(|| DEFAULT_SERVER.into()),
        };
        let server: Server = server.parse()?;
        Ok(match &self.authorities {
            Some(authorities) => server.trusting(authorities),
            None => server,
        })
    }

    /// Where the server's HTTP interface is, as the beginning of a URL.
    pub(super) fn http(&self) -> anyhow::Result<String> {
        let server = self.server(&*self.profile()?)?.to_string();
        let (scheme, rest) = server.split_once("://").unwrap_or(("http", &server));
        // All transports are on one port.
        let scheme = if matches!(scheme, "https" | "wss" | "tls") { "https" } else { "http" };
        Ok(format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()))
    }

    /// Options for this profile and server.
    pub(super) fn options(&self) -> anyhow::Result<Options> {
        let profile = self.profile()?;
        let server = self.server(&profile)?;
        Ok(Options { catch_up: false, request_timeout: REQUEST_TIMEOUT, ..Options::new(server, profile) })
    }

    /// A connection for a command that asks something and ends: if it cannot be made at once, the command fails.
    pub(super) async fn connect(&self) -> anyhow::Result<Client> {
        let (client, mut events) = start(self.options()?)?;
        loop {
            match events.next().await {
                Some(Event::Connected { .. }) => return Ok(client),
                Some(Event::Disconnected { error, .. }) => {
                    client.close().await;
                    return Err(error.into());
                }
                Some(Event::SessionEnded { error }) => return Err(log_in_again(error)),
                Some(_) => {}
                None => bail!("the connection has ended"),
            }
        }
    }
}

/// Starts a client; says what to do if nobody is logged in.
pub(super) fn start(options: Options) -> anyhow::Result<(Client, Events)> {
    match Client::start(options) {
        Err(Error::NotLoggedIn) => bail!("not logged in: use `mpim client login NAME` or `mpim client register NAME`"),
        result => Ok(result?),
    }
}

/// The session is over, and what to do, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SessionOver(String);

/// Why a session is over, and whether logging in again helps; `None` if the error is another.
pub(super) fn why_over(error: &Error) -> Option<(String, bool)> {
    match error {
        Error::NotLoggedIn => Some(("not logged in".into(), true)),
        Error::SessionEnded(source) => Some(match source.as_deref() {
            Some(Error::Refused(refusal)) if refusal.code() == wire::ErrorCode::Suspended => {
                (refusal.to_string(), false)
            }
            Some(Error::Goodbye { message, .. }) => (message.clone(), true),
            _ => ("this session has ended".into(), true),
        }),
        _ => None,
    }
}

/// Says what to do where the session is over.
pub(super) fn log_in_again(error: Error) -> anyhow::Error {
    match why_over(&error) {
        Some((why, true)) => SessionOver(format!("{why}: log in again with `mpim client login NAME`")).into(),
        Some((why, false)) => SessionOver(why).into(),
        None => error.into(),
    }
}

/// Asks something that may safely be asked again (because it has an id, or changes nothing), a few times.
pub(super) async fn persist<T, F: Future<Output = Result<T, Error>>>(ask: impl Fn() -> F) -> anyhow::Result<T> {
    let mut tries = 1;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let pause = match &error {
            Error::Broken(_) | Error::Goodbye { .. } => Duration::ZERO,
            Error::Refused(refusal) => match refusal.advice() {
                Advice::RetryLater | Advice::RetrySameId => refusal.retry_after().unwrap_or_default().min(PAUSE_MAX),
                Advice::GiveUp | Advice::LogIn => return Err(error.into()),
            },
            _ => return Err(log_in_again(error)),
        };
        if tries == TRIES_MAX {
            return Err(error.into());
        }
        tries += 1;
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_end_of_a_session_is_told_once_and_advice_only_where_it_helps() {
        let refused = |code, message: &str| {
            let refusal = Error::Refused(protocol::Error::new(code, message.to_owned()));
            format!("{:#}", log_in_again(Error::SessionEnded(Some(Arc::new(refusal)))))
        };
        let ended = refused(wire::ErrorCode::SessionEnded, "this session has ended: log in again");
        assert_eq!(ended, "this session has ended: log in again with `mpim client login NAME`");
        assert_eq!(refused(wire::ErrorCode::Suspended, "this account was suspended"), "this account was suspended");
    }
}
