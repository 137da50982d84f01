//! Look-ups that may vanish: a copy of what the database says, for a while. Losing all of it costs latency, never a
//! message; it knows nothing of the message queue.
//!
//! [`Cache`] is the interface of a back end, [`LocalCache`] the one within the process. [`Lookup`] is what services use:
//! cache-aside for one kind of value, with one load for however many ask, absence cached briefly, lifetimes spread by
//! a tenth so that they do not end together, and the database asked directly where the back end fails.
//!
//! No stale value is left behind: a load that began before an invalidation does not store its value after it. For
//! this a miss hands out a [`Lease`], which an invalidation revokes.

#[cfg(feature = "contract")]
#[allow(
    clippy::unwrap_used,
    reason = "these are tests, in a module of the library so that other back ends can run them"
)]
pub mod contract;
mod local;
mod lookup;
pub mod redis;

use std::{sync::Weak, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use local::LocalCache;
pub use lookup::{Counts, Lifetime, Lookup, LookupConfig, Near};

/// What a cache's method returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cache could not be reached, or not in time.
#[derive(Debug, thiserror::Error)]
#[error("the cache is unavailable: {0}")]
pub struct Error(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The permission to fill a key, valid until the key is invalidated or somebody fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease(pub u64);

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its value.
    Value(Bytes),
    /// It is known that there is none.
    Absent,
    /// Nothing; whoever loads it may fill it with this lease.
    Miss(Lease),
}

/// A cache's back end. Keys are short ASCII texts such as `user:17`.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    /// What is known of each key, in the keys' order.
    async fn get(&self, keys: &[String]) -> Result<Vec<Found>>;

    /// Stores a value, or (`None`) that there is none, for `ttl`; does nothing if the lease is no longer valid.
    async fn fill(&self, key: &str, lease: Lease, value: Option<Bytes>, ttl: Duration) -> Result<()>;

    /// Forgets keys and revokes the leases on them. To be called after the commit that changed them.
    async fn invalidate(&self, keys: &[String]) -> Result<()>;

    /// Tells a watcher from now on what is invalidated, by whatever process, until the watcher is dropped. Returns whether it
    /// does: a cache that is in the process itself needs no copies beside it.
    fn watch(&self, _watcher: Weak<dyn Watcher>) -> bool {
        false
    }

    /// So many keys were found in copies beside this cache, which was not asked for them. For figures alone.
    fn note_near_hits(&self, _count: u64) {}
}

/// Who keeps copies of what a cache holds. Is told soon after something was invalidated, some milliseconds as a rule.
pub trait Watcher: Send + Sync + 'static {
    /// These keys were invalidated. Must not wait.
    fn invalidated(&self, keys: &[&str]);

    /// Whether all that is invalidated from now on is told; if not, no copy can be trusted. It is not until this was called.
    /// What was kept before is not to be trusted in any case. Must not wait.
    fn hears(&self, hears: bool);
}
