//! Client connections: sessions, outboxes, protocol conversion.
//!
//! A gateway holds no truth: whoever loses one connects to another and resumes from positions. What it promises:
//!
//! - the sends of one connection are appended in the order they came, and each request gets one answer or one error;
//! - a push leaves in the order the queue handed it over, encoded once for each encoding, however many receive it;
//! - nobody waits for a slow client: what a connection may leave unread is bounded, and past the bound it is closed;
//! - who is not (or no longer) a member of a group is not handed the group's entries, even where pushes were lost;
//! - limits count against the client's own address, which is taken from trusted proxies and from nobody else;
//! - a connection hears its topics before its `connect` or `sync` reads, so that nothing falls between the two.
//!
//! It does not retry, store, or decide who may do what: services do.

mod accept;
mod addresses;
mod admission;
mod closer;
mod config;
mod dispatch;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gateway;
mod http;
mod hub;
mod json;
mod local;
mod metrics;
mod origin;
mod outbox;
mod rate;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

pub use config::{AdminKey, Config, InvalidAdminKey, Limits, Rate};
pub use gateway::{Error, Gateway};
pub use metrics::Metrics;
pub use origin::{InvalidNetwork, Network};
pub use socket::{Listener, SAME_MACHINE};
pub use tls::{TlsError, TlsFiles};
