//! The server under load: one that runs already, all processes of a system on this machine, or a child process of our own.
//!
//! A child is started on an empty folder, is killed and removed at the end, and dies with this process whatever
//! happens to it.

mod child;
mod cluster;
mod metrics;
mod usage;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::child::Child;
#[cfg(test)]
pub(crate) use self::usage::Kind;
pub(crate) use self::{
    cluster::Cluster,
    metrics::usage,
    usage::{Parts, Usage},
};
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

/// Whose metric; one process that does all has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Those who take clients.
    Gateways,
    /// The others.
    Services,
}

/// The server under load.
pub(crate) struct Server {
    url: String,
    source: Source,
}

enum Source {
    /// It tells about itself on its `/metrics`.
    Running,
    Child(Box<Child>),
    Cluster(Box<Cluster>),
}

impl Server {
    /// Takes the server that `args` names, or starts one and waits until it is ready.
    ///
    /// # Errors
    ///
    /// The child does not become ready in time; the error holds the end of its log.
    pub(crate) async fn start(args: &CommonArgs, passwords: Passwords) -> Result<Self> {
        let url = args.server.as_ref().map(|url| url.trim_end_matches('/').to_owned());
        if let Some(dir) = &args.cluster {
            let cluster = Box::new(Cluster::open(dir)?);
            return Ok(Self { url: url.map_or_else(|| cluster.url(), Ok)?, source: Source::Cluster(cluster) });
        }
        if let Some(url) = url {
            return Ok(Self { url, source: Source::Running });
        }
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let child = Child::start(&program, args.data.as_deref(), passwords).await?;
        Ok(Self { url: child.url().to_owned(), source: Source::Child(Box::new(child)) })
    }

    /// Where clients connect: `http://host:port`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it is a child of ours.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.source, Source::Child(_))
    }

    /// Whether it can be killed and started again.
    pub(crate) fn can_be_killed(&self) -> bool {
        !matches!(self.source, Source::Running)
    }

    /// How long a server of our own took from its start (the last one) to being ready.
    pub(crate) fn ready_after(&self) -> Option<Duration> {
        match &self.source {
            Source::Child(child) => Some(child.ready_after()),
            Source::Running | Source::Cluster(_) => None,
        }
    }

    /// The system whose processes are known.
    ///
    /// # Errors
    ///
    /// The server is something else.
    pub(crate) fn cluster(&mut self) -> Result<&mut Cluster> {
        match &mut self.source {
            Source::Cluster(cluster) => Ok(cluster),
            Source::Running | Source::Child(_) => {
                bail!("--cluster: name the directory of a system that mpim cluster up started")
            }
        }
    }

    /// Kills a server of our own as `kill -9` does and starts it again on the same data and port. Of a cluster: a gateway and a
    /// message service at once, other ones the next time (`time`: from 0).
    ///
    /// # Errors
    ///
    /// It is not ours, or does not become ready in time.
    pub(crate) async fn kill_and_restart(&mut self, time: usize) -> Result<()> {
        match &mut self.source {
            Source::Child(child) => child.kill_and_restart().await,
            Source::Cluster(cluster) => {
                let mut killed = Vec::new();
                for role in ["gateway", "message"] {
                    let names = cluster.instances(role);
                    let name = names.get(time % names.len().max(1)).with_context(|| format!("there is no {role}"))?;
                    killed.push(cluster.kill(name).await?);
                }
                for killed in killed {
                    cluster.start_again(killed).await?;
                }
                Ok(())
            }
            Source::Running => bail!("only a server of our own can be killed"),
        }
    }

    /// The server's CPU time and memory; nothing if it does not tell.
    pub(crate) async fn usage(&self) -> Option<Usage> {
        match &self.source {
            Source::Cluster(cluster) => cluster.usage(),
            Source::Running | Source::Child(_) => metrics::usage(&self.url).await,
        }
    }

    /// The sum of a metric over the server's processes of this role; nothing if they do not tell.
    pub(crate) async fn metric(&self, name: &str, role: Role) -> Option<f64> {
        let is_asked = |of: &str| match role {
            Role::Gateways => of == "gateway",
            Role::Services => of != "gateway",
        };
        match &self.source {
            Source::Cluster(cluster) => cluster.metric(name, is_asked).await,
            Source::Running | Source::Child(_) => metrics::sum(&self.url, name).await,
        }
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
        match self.source {
            Source::Child(child) => child.stop().await,
            Source::Running | Source::Cluster(_) => Ok(()),
        }
    }
}
