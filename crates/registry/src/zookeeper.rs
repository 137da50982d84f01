//! The registry on ZooKeeper (3.6 or newer).
//!
//! What is where, below a prefix (`/mpim`):
//!
//! - `services/<service>/<address>-<random>`: an instance, ephemeral, JSON with `address`, `zone`, `version`, `weight`;
//! - `nodes/<number>`: a node number that is held, ephemeral; `nodes` itself has the number that is tried next, so that one
//!   that was given back is not given out again at once;
//! - `config/<key>`: a value of the live configuration, text. Nothing here writes it unless it is told to.
//!
//! What it promises beyond [`Registry`]:
//!
//! - while ZooKeeper is away, for however long, callers keep the instances and values that were seen last;
//! - a session that ends is followed by another one, in which everything is announced again without anybody's doing. What was
//!   there before the session and is not there yet is shown for another [`SETTLE`];
//! - a node number is held no longer than ZooKeeper certainly keeps it, by this machine's clock.
//!
//! A process that is killed leaves its instances behind until its session ends, [`Config::session_timeout`] later.

mod config;
mod instances;
mod nodes;
mod session;
mod values;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use self::{
    config::Tree,
    session::{Sessions, Turns},
    values::Values,
};
use crate::{Error, Instance, NodeLease, Registration, Registry, Result};

pub use self::{
    config::{Config, Credentials},
    instances::SETTLE,
    session::Reach,
};

/// Closing may take so long.
const CLOSE_WITHIN: Duration = Duration::from_secs(3);

/// A client of ZooKeeper. Cheap to clone; clones share a session, which lasts until the last of them, and the last
/// [`Registration`] and [`NodeLease`] made by them, is dropped, or until [`close`](Self::close). Receivers keep what they saw
/// last then.
#[derive(Clone)]
pub struct ZooKeeperRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    tree: Tree,
    sessions: Sessions,
    instances: Values<Vec<Instance>>,
    values: Values<Option<String>>,
    /// One number is looked for at a time, so that a node of this session that nobody here knew is the one looked for.
    leasing: Arc<Mutex<()>>,
    tasks: TaskTracker,
    /// Ends the tasks, and with them the session.
    ended: CancellationToken,
    _end: DropGuard,
}

impl ZooKeeperRegistry {
    /// Connects.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names the setting that cannot be used; [`Error::Unavailable`] says, after
    /// [`Config::connect_timeout`], which servers cannot be reached and why.
    pub async fn connect(config: Config) -> Result<Self> {
        let tree = config.tree()?;
        let client = session::first(&config).await?;
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let sessions = Sessions::keep(&config, client, &tasks, &ended);
        let inner = Inner {
            config,
            tree,
            sessions,
            instances: Values::default(),
            values: Values::default(),
            leasing: Arc::default(),
            tasks,
            _end: ended.clone().drop_guard(),
            ended,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether ZooKeeper is there, and since when: for readiness and status. A registry that is away stops nobody.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.inner.sessions.reach()
    }

    /// Sets a value of the live configuration for everybody, or unsets it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a key that cannot be one; [`Error::NotAuthorized`]; [`Error::Unavailable`]: it may have been set
    /// or not.
    pub async fn set_config(&self, key: &str, value: Option<&str>) -> Result<()> {
        let path = self.inner.tree.config(key)?;
        let mut turns = self.turns();
        let set = async {
            while let Some(client) = turns.session().await {
                match values::set(&client, &self.inner.tree, &path, value).await {
                    Ok(()) => return Ok(()),
                    Err(error) => turns.failed("set a value", &error).await,
                }
            }
            Err(unavailable("it was closed"))
        };
        self.within(set).await
    }

    /// Withdraws everything and ends the session; afterwards nothing can be done with it or its clones. What is not done
    /// within 3 s is left to the end of the session.
    pub async fn close(&self) {
        self.inner.ended.cancel();
        self.inner.tasks.close();
        if timeout(CLOSE_WITHIN, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!("ZooKeeper did not take leave in time; instances are gone when the session ends");
        }
    }

    fn turns(&self) -> Turns {
        self.inner.sessions.turns()
    }

    /// What has to be there before an answer is given. A refusal is told at once: waiting does not make the password right.
    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let config = &self.inner.config;
        let mut refusals = self.inner.sessions.refusals();
        tokio::select! {
            biased;
            done = work => done,
            Ok(()) = refusals.changed() => Err(config.not_authorized()),
            () = sleep(config.connect_timeout) => {
                let (servers, bound) = (&config.servers, config.connect_timeout);
                Err(unavailable(format!("ZooKeeper at {servers} did not answer within {bound:?}")))
            }
        }
    }

    async fn seen(&self, mut seen: watch::Receiver<bool>) -> Result<()> {
        let seen = async { seen.wait_for(|&seen| seen).await.map(drop).map_err(|_| unavailable("it was closed")) };
        self.within(seen).await
    }

    /// Runs a task until it is done or the registry ends.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(self.inner.ended.clone().run_until_cancelled_owned(task));
    }
}

#[async_trait]
impl Registry for ZooKeeperRegistry {
    async fn lease_node(&self) -> Result<NodeLease> {
        let released = CancellationToken::new();
        let given_up = released.clone().drop_guard();
        let (answer, answered) = oneshot::channel();
        let looking = self.inner.leasing.clone().lock_owned();
        self.spawn(nodes::hold(self.turns(), self.inner.tree.clone(), looking, answer, released));
        let leased = async { answered.await.unwrap_or_else(|_| Err(unavailable("it was closed"))) };
        let (number, hold) = self.within(leased).await?;
        let (release, registry) = (given_up, self.clone());
        Ok(NodeLease::new(number, hold, move || drop((release, registry))))
    }

    async fn register(&self, instance: Instance) -> Result<Registration> {
        let node = instances::Node::new(&self.inner.tree, &instance)?;
        let withdrawn = CancellationToken::new();
        let given_up = withdrawn.clone().drop_guard();
        let (announced, seen) = watch::channel(false);
        self.spawn(instances::announce(self.turns(), self.inner.tree.clone(), node, announced, withdrawn));
        self.seen(seen).await?;
        let (withdraw, registry) = (given_up, self.clone());
        Ok(Registration::new(move || drop((withdraw, registry))))
    }

    async fn watch(&self, service: &str) -> Result<watch::Receiver<Vec<Instance>>> {
        let path = self.inner.tree.service(service)?;
        let (value, seen) = self.inner.instances.of(service, |follower| {
            self.spawn(instances::follow(self.turns(), path, service.to_owned(), follower));
        });
        self.seen(seen).await?;
        Ok(value)
    }

    async fn config(&self, key: &str) -> Result<watch::Receiver<Option<String>>> {
        let path = self.inner.tree.config(key)?;
        let (value, seen) = self.inner.values.of(key, |follower| {
            self.spawn(values::follow(self.turns(), path, follower));
        });
        self.seen(seen).await?;
        Ok(value)
    }
}

impl fmt::Debug for ZooKeeperRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZooKeeperRegistry").field("servers", &self.inner.config.servers).finish_non_exhaustive()
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Unavailable(error.into())
}
