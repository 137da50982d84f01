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
mod local;

use std::fmt;

use async_trait::async_trait;
use protocol::NodeNumber;
use tokio::sync::watch;

pub use local::LocalRegistry;

/// What a registry's method returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the registry could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All node numbers are held; try again when a process has ended.
    #[error("all {} node numbers are held", NodeNumber::COUNT)]
    NoNodeNumber,
    /// The registry could not be reached.
    #[error("the registry is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// A node number of one's own, until the lease is dropped.
    ///
    /// # Errors
    /// [`Error::NoNodeNumber`] if all are held.
    async fn lease_node(&self) -> Result<NodeLease>;

    /// Announces an instance, until the registration is dropped. Equal instances registered twice are two.
    async fn register(&self, instance: Instance) -> Result<Registration>;

    /// The instances of a service, sorted, now and whenever they change. Each receiver begins with the present state.
    async fn watch(&self, service: &str) -> Result<watch::Receiver<Vec<Instance>>>;

    /// A value of the live configuration, now and whenever it changes; `None` if it is not set. Its meaning is checked
    /// by who reads it.
    async fn config(&self, key: &str) -> Result<watch::Receiver<Option<String>>>;
}

/// Something to be undone when it is dropped.
type Release = Box<dyn FnOnce() + Send + Sync>;

/// Holds a node number until it is dropped. Whoever makes ids with the number keeps this for as long.
#[must_use = "the number is given back when the lease is dropped"]
pub struct NodeLease {
    number: NodeNumber,
    held: watch::Receiver<bool>,
    release: Option<Release>,
}

impl NodeLease {
    /// For the back ends. `held` turns false if the number was lost to somebody else; `release` gives it back.
    pub fn new(
        number: NodeNumber,
        held: watch::Receiver<bool>,
        release: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self { number, held, release: Some(Box::new(release)) }
    }

    /// The number.
    pub fn number(&self) -> NodeNumber {
        self.number
    }

    /// Whether the number is still this holder's. Once false it stays so: make no more ids, lease anew. Always true in
    /// a [`LocalRegistry`]; elsewhere a session may have expired.
    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }
}

impl Drop for NodeLease {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for NodeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLease").field("number", &self.number).field("held", &self.is_held()).finish()
    }
}

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
