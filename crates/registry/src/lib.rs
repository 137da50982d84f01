//! Who is there: the instances of each service, the numbers of the nodes that make ids, and what may change while running.
//!
//! What every registry promises, and the contract suite checks:
//!
//! - no two holders have a node number at the same time, and a number that was given back is not given out again at once;
//! - an instance is seen from its registration until that is dropped, or its process is gone;
//! - a watcher sees the newest state; it may miss states in between. While the registry is away it keeps the last one.
//!
//! It knows nothing of what the services do, and keeps nothing across restarts but live configuration.

#[cfg(feature = "contract")]
#[allow(
    clippy::unwrap_used,
    reason = "these are tests, in a module of the library so that other back ends can run them"
)]
pub mod contract;
mod lease;
mod local;
pub mod zookeeper;

use std::fmt;

use async_trait::async_trait;
use protocol::NodeNumber;
use tokio::sync::watch;

pub use lease::{Hold, NodeLease};
pub use local::LocalRegistry;
pub use zookeeper::ZooKeeperRegistry;

/// What a registry's method returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the registry could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All node numbers are held; try again when a process has ended.
    #[error("all {} node numbers are held", NodeNumber::COUNT)]
    NoNodeNumber,
    /// The registry could not be reached, or did not do what was asked.
    #[error("the registry is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The registry is there, and what is kept in it is closed to this user, or to this password.
    #[error(
        "ZooKeeper at {servers} is there, but what it keeps at {prefix} is not for {}: made by another user, or with another password",
        .user.as_ref().map_or("who names no user and password".to_owned(), |user| format!("the user {user:?} with this password"))
    )]
    NotAuthorized {
        /// Where it is.
        servers: String,
        /// Below which everything of this system is.
        prefix: String,
        /// Who asked; `None`: nobody in particular.
        user: Option<String>,
    },
    /// A setting or a name that cannot be used.
    #[error("{what}: {value:?} is not allowed; {allowed}")]
    Invalid {
        /// What it was given for.
        what: &'static str,
        /// As it was given.
        value: String,
        /// What is.
        allowed: &'static str,
    },
}

/// A running instance of a service, as others reach it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// The service, such as `message`.
    pub service: String,
    /// Host and port.
    pub address: String,
    /// Where it runs; callers prefer their own zone. Empty: nowhere in particular.
    pub zone: String,
    /// The version of the program.
    pub version: String,
    /// Its share of the work relative to the others; 0: none.
    pub weight: u32,
}

/// Discovery, node numbers, live configuration.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// A node number of one's own, until the lease is dropped. Cancel safe: a number that nobody waits for any more is
    /// given back.
    ///
    /// # Errors
    /// [`Error::NoNodeNumber`] if all are held; [`Error::NotAuthorized`], [`Error::Unavailable`].
    async fn lease_node(&self) -> Result<NodeLease>;

    /// Announces an instance, until the registration is dropped. Equal instances registered twice are two. Returns when
    /// the registry has it; whatever happens to the registry afterwards, it is announced again as soon as that is there.
    /// Cancel safe: what nobody waits for any more is withdrawn.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`], [`Error::Unavailable`], [`Error::Invalid`].
    async fn register(&self, instance: Instance) -> Result<Registration>;

    /// The instances of a service, sorted, now and whenever they change. Each receiver begins with the present state, or
    /// with the last one that was seen here if the registry is away.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`] or [`Error::Unavailable`] if the service has not been seen here yet; [`Error::Invalid`].
    async fn watch(&self, service: &str) -> Result<watch::Receiver<Vec<Instance>>>;

    /// A value of the live configuration, now and whenever it changes; `None` if it is not set. Its meaning is checked
    /// by who reads it.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    async fn config(&self, key: &str) -> Result<watch::Receiver<Option<String>>>;
}

/// Something to be undone when it is dropped.
type Release = Box<dyn FnOnce() + Send + Sync>;

/// Keeps an instance announced until it is dropped.
#[must_use = "the instance is gone when the registration is dropped"]
pub struct Registration {
    release: Option<Release>,
}

impl Registration {
    /// For the back ends. `release` withdraws the instance.
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { release: Some(Box::new(release)) }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}
