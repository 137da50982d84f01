//! Accounts to put load on, made for the run.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use client::MemoryProfile;
use futures_util::{StreamExt as _, stream};
use protocol::{Advice, EntryId, UserId};
use tokio::time::{self, Instant};

use crate::{args::Transport, progress::Progress, server::Server};

/// The password of all accounts.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// Accounts being made at a time.
const REGISTRATIONS_MAX: usize = 16;
/// Between two tries if the server names no time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// An account, with its first device's session.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// Its name, unique on the server.
    pub(crate) name: String,
    /// Its id.
    pub(crate) user: UserId,
    /// Its first device's session.
    pub(crate) profile: Arc<MemoryProfile>,
}

/// How the server under load is reached.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// Its address, with the transport in the scheme.
    pub(crate) server: client::Server,
    /// How long to wait for what does not come.
    pub(crate) patience: Duration,
}

impl Route {
    /// To this server, over this transport.
    ///
    /// # Errors
    ///
    /// The server's URL is none.
    pub(crate) fn new(server: &Server, transport: Transport, patience: Duration) -> Result<Self> {
        let url = server.url();
        let url = match (transport, url.split_once("://")) {
            (Transport::Tcp, Some((_, authority))) => format!("tcp://{authority}"),
            _ => url.to_owned(),
        };
        Ok(Self { server: url.parse().context("the server's URL is not valid")?, patience })
    }

    /// Makes so many accounts, some at a time, waiting where the server asks for it.
    ///
    /// # Errors
    ///
    /// The server refuses one for good, or for longer than the patience.
    pub(crate) async fn register(&self, count: usize, progress: &Progress) -> Result<Vec<Account>> {
        let run = EntryId::generate().to_string();
        let run = run.rsplit('-').next().unwrap_or(&run).to_owned();
        let bar = progress.bar("accounts", count as u64);
        let mut accounts = Vec::with_capacity(count);
        let mut made = stream::iter(0..count).map(|number| self.register_one(&run, number)).buffered(REGISTRATIONS_MAX);
        while let Some(account) = made.next().await {
            accounts.push(account?);
            bar.step();
        }
        Ok(accounts)
    }

    async fn register_one(&self, run: &str, number: usize) -> Result<Account> {
        let attempts = std::sync::atomic::AtomicUsize::new(0);
        let register = || async {
            // Another name each time: an answer that got lost may have been that the account was made.
            let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let name = format!("b{run}-{number}-{attempt}");
            client::register(&self.server, &name, PASSWORD, "first").await.map(|session| (name, session))
        };
        let (name, session) = patiently(self.patience, register).await.context("cannot make an account")?;
        let user = session.user.as_ref().context("the server told no user")?.id;
        Ok(Account { name, user: UserId::new(user), profile: Arc::new(MemoryProfile::new(session)) })
    }

    /// Starts a second device's session.
    ///
    /// # Errors
    ///
    /// The server refuses it for good, or for longer than the patience.
    pub(crate) async fn log_in(&self, name: &str, device: &str) -> Result<Arc<MemoryProfile>> {
        let session = patiently(self.patience, || client::log_in(&self.server, name, PASSWORD, device))
            .await
            .with_context(|| format!("cannot log {name} in"))?;
        Ok(Arc::new(MemoryProfile::new(session)))
    }
}

/// Tries until it succeeds, is refused for good, or `patience` is over: waits when the server says so, and when it cannot
/// be reached. For what may be done twice.
///
/// # Errors
///
/// The last try's.
pub(crate) async fn patiently<T, F>(patience: Duration, mut attempt: impl FnMut() -> F) -> Result<T, client::Error>
where
    F: Future<Output = Result<T, client::Error>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let wait = match &error {
            client::Error::Refused(refusal) => match refusal.advice() {
                Advice::GiveUp | Advice::LogIn => return Err(error),
                Advice::RetryLater | Advice::RetrySameId => refusal.retry_after().unwrap_or(RETRY_AFTER),
            },
            client::Error::Unreachable { .. }
            | client::Error::Broken(_)
            | client::Error::Goodbye { .. }
            | client::Error::TimedOut { .. } => RETRY_AFTER,
            _ => return Err(error),
        };
        // Not all at the same moment again.
        let wait = wait + wait.mul_f64(fastrand::f64());
        if Instant::now() + wait > deadline {
            return Err(error);
        }
        time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Error, wire::ErrorCode};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_now_is_waited_out_as_long_as_it_says() {
        let (begun, mut tries) = (Instant::now(), 0);
        let limited = Error::new(ErrorCode::RateLimited, "slow down").with_retry_after(Duration::from_secs(2));
        let result = patiently(Duration::from_secs(60), || {
            tries += 1;
            let answer = if tries < 4 { Err(client::Error::Refused(limited.clone())) } else { Ok(7) };
            async { answer }
        });
        assert_eq!(result.await.unwrap(), 7);
        assert!(begun.elapsed() >= Duration::from_secs(6), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_for_good_and_the_end_of_patience_end_it() {
        let refused = |code| move || async move { Err::<(), _>(client::Error::Refused(Error::new(code, "no"))) };
        let begun = Instant::now();
        assert!(patiently(Duration::from_secs(60), refused(ErrorCode::NameTaken)).await.is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(patiently(Duration::from_secs(60), refused(ErrorCode::Overloaded)).await.is_err());
        assert!(begun.elapsed() > Duration::from_secs(50) && begun.elapsed() <= Duration::from_secs(60));
    }
}
