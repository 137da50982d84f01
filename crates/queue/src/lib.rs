//! The message queue: pushes that may be lost, and the routes, which tell what gateway holds which user.
//!
//! What every queue promises, and the contract suite checks:
//!
//! - at most once, in the order of one publisher's publications to one topic, to the gateways subscribed then;
//! - a gateway that reads too slowly, or whose connection broke, loses publications, and is told so before the next
//!   one ([`Delivered::Lost`]);
//! - publishing never waits for a gateway;
//! - a route is there while its gateway's lease is alive and the gateway has not taken it back.
//!
//! It neither stores nor retries: who missed a push reads the log. It knows nothing of the cache.

#[cfg(feature = "contract")]
#[allow(
    clippy::unwrap_used,
    reason = "these are tests, in a module of the library so that other back ends can run them"
)]
pub mod contract;
#[cfg(feature = "contract")]
mod faulty;
mod local;
mod mailbox;
pub mod redis;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{GatewayId, GroupId, UserId};

#[cfg(feature = "contract")]
pub use faulty::{Faults, FaultyQueue};
pub use local::LocalQueue;

/// What a queue's method returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The queue could not be reached. Pushes are lost; no message is.
#[derive(Debug, thiserror::Error)]
#[error("the message queue is unavailable: {0}")]
pub struct Error(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A gateway has opened again; this subscription of it hears nothing any more.
#[derive(Debug, thiserror::Error)]
#[error("the gateway has opened again, this subscription is no longer its own")]
struct Replaced;

/// How much a gateway that does not read may leave waiting. What exceeds either is lost to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Publications.
    pub publications_max: usize,
    /// Bytes of their payloads.
    pub bytes_max: usize,
}

impl Bounds {
    /// Some seconds of a busy gateway's traffic.
    pub const DEFAULT: Self = Self { publications_max: 65_536, bytes_max: 64 * 1024 * 1024 };
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Where a publication goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// To one gateway, for users it holds. A gateway hears its own from the start.
    Gateway(GatewayId),
    /// To the gateways that hold a member of the group.
    Group(GroupId),
    /// To the gateways where somebody watches the user's presence.
    Presence(UserId),
}

/// A payload for a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Where it goes.
    pub topic: Topic,
    /// An encoded `protocol::queue::Batch`; opaque to the queue.
    pub payload: Bytes,
}

/// What a gateway gets to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    /// A publication to a topic it is subscribed to.
    Publication(Publication),
    /// So many publications to it were lost here. 0: perhaps some were, and nobody knows how many.
    Lost(u64),
}

/// What a user's routes tell of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// On no gateway.
    Gone,
    /// On gateways, and away on all of them.
    Away,
    /// On a gateway, and not away there.
    There,
}

/// The message queue, as services and gateways use it.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Publishes in order. Does not wait for any gateway. An error may come after a part was published.
    async fn publish(&self, publications: Vec<Publication>) -> Result<()>;

    /// Starts a gateway: from now on its topic is heard and its lease renewed, until the subscription is dropped. Then
    /// its routes are gone. A gateway that opens again takes the place of the former.
    async fn open(&self, gateway: GatewayId) -> Result<Box<dyn Subscription>>;

    /// The user has a connection on the gateway, and is `away` on all that are there, or not. Idempotent; the last call
    /// tells. Returns what the user is now, if that is another than before.
    async fn bind(&self, user: UserId, gateway: GatewayId, away: bool) -> Result<Option<Presence>>;

    /// The user has no connection on the gateway any longer. Idempotent. Returns what [`bind`](Self::bind) does.
    async fn unbind(&self, user: UserId, gateway: GatewayId) -> Result<Option<Presence>>;

    /// The gateways that hold each of these users, in the users' order.
    async fn routes(&self, users: &[UserId]) -> Result<Vec<Vec<GatewayId>>>;

    /// What each of these users is, in the users' order.
    async fn presences(&self, users: &[UserId]) -> Result<Vec<Presence>>;
}

/// A gateway's ear.
#[async_trait]
pub trait Subscription: Send + Sync + 'static {
    /// The next publications: waits for at least one, takes those that are there, at most `max`. Cancel safe.
    /// One caller at a time. Once the gateway has opened again, the former subscription waits here for ever.
    async fn receive(&self, max: usize) -> Vec<Delivered>;

    /// Hears these topics from now on: what is published after the return is heard. Fails once the gateway has opened
    /// again.
    async fn subscribe(&self, topics: Vec<Topic>) -> Result<()>;

    /// Hears them no longer; those not subscribed are passed over.
    async fn unsubscribe(&self, topics: Vec<Topic>) -> Result<()>;
}
