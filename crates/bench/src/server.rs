//! The server under load: one that runs already, or a child process of our own.
//!
//! A child is started on an empty folder, is killed and removed at the end, and dies with this process whatever
//! happens to it.

mod child;
mod metrics;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::child::Child;
pub(crate) use self::metrics::{Usage, usage};
use crate::args::CommonArgs;

/// Memory counts as settled when it changes by less than this within [`SETTLE_FOR`].
const SETTLED_BYTES: u64 = 256 * 1024;
/// How long memory must stay as it is.
const SETTLE_FOR: Duration = Duration::from_secs(2);
/// How often settling is looked at.
const SETTLE_EVERY: Duration = Duration::from_millis(250);

/// How a server of our own hashes passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passwords {
    /// As an operator's would: what a log-in costs is being measured.
    Real,
    /// As cheaply as possible: accounts are only the set-up.
    Cheap,
}

/// The server under load.
pub(crate) struct Server {
    url: String,
    child: Option<Child>,
}

impl Server {
    /// Takes the server that `args` names, or starts one and waits until it is ready.
    ///
    /// # Errors
    ///
    /// The child does not become ready in time; the error holds the end of its log.
    pub(crate) async fn start(args: &CommonArgs, passwords: Passwords) -> Result<Self> {
        if let Some(url) = &args.server {
            return Ok(Self { url: url.trim_end_matches('/').to_owned(), child: None });
        }
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let child = Child::start(&program, args.data.as_deref(), passwords).await?;
        Ok(Self { url: child.url().to_owned(), child: Some(child) })
    }

    /// Where clients connect: `http://host:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is a child of ours.
    pub(crate) fn is_own(&self) -> bool {
        self.child.is_some()
    }

    /// How long a server of our own took from its start (the last one) to being ready.
    pub(crate) fn ready_after(&self) -> Option<Duration> {
        self.child.as_ref().map(Child::ready_after)
    }

    /// Kills a server of our own as `kill -9` does and starts it again on the same data and port.
    ///
    /// # Errors
    ///
    /// It is not ours, or does not become ready in time.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<()> {
        match &mut self.child {
            Some(child) => child.kill_and_restart().await,
            None => bail!("only a server of our own can be killed"),
        }
    }

    /// The server's CPU time and memory by its own account; nothing if it does not tell.
    pub(crate) async fn usage(&self) -> Option<Usage> {
        metrics::usage(&self.url).await
    }

    /// Requests that the server has answered since its start; nothing if it does not tell.
    pub(crate) async fn requests(&self) -> Option<u64> {
        metrics::requests(&self.url).await
    }

    /// Waits until the server's memory has stayed as it is for a while, and returns its use then; the last one seen
    /// if it does not settle within `patience`.
    pub(crate) async fn settled_usage(&self, patience: Duration) -> Option<Usage> {
        let deadline = tokio::time::Instant::now() + patience;
        let mut settled_since = tokio::time::Instant::now();
        let mut reference = self.usage().await?;
        loop {
            tokio::time::sleep(SETTLE_EVERY).await;
            let now = tokio::time::Instant::now();
            let usage = self.usage().await?;
            if usage.rss_bytes.abs_diff(reference.rss_bytes) > SETTLED_BYTES {
                reference = usage;
                settled_since = now;
            }
            if now >= settled_since + SETTLE_FOR || now >= deadline {
                return Some(usage);
            }
        }
    }

    /// Ends a server of our own and removes its data.
    ///
    /// # Errors
    ///
    /// It had ended by itself before.
    pub(crate) async fn stop(self) -> Result<()> {
        match self.child {
            Some(child) => child.stop().await,
            None => Ok(()),
        }
    }
}
