//! Outgoing webhooks: what happens in a bot's conversations, posted to a URL.
//!
//! For each webhook one task follows the conversations of its bot as any device would: with the SDK, over the gateway. So
//! it misses nothing that a device would not miss. What it promises:
//!
//! - **At least once, in order.** The entries of a conversation are posted in the order of their positions, the next one only
//!   after the one before was accepted or given up. How far it came is stored after each; a restart, or a kill, repeats at
//!   most the last delivery. Its `webhook-id` is the same each time, so that the receiver can tell.
//! - **Patience with an end.** What is not accepted is tried again with growing waits, then becomes a dead letter, which the
//!   bot's owner may have redelivered.
//! - **Independence.** A webhook that is slow holds up only itself. What waits, waits in the log: nothing is queued here.
//! - **No way in.** Addresses that are not public are not connected to, unless the configuration says so, whatever name leads to
//!   them; redirects are not followed, and nothing of an answer's body is shown to anybody.
//!
//! Requests are signed as [Standard Webhooks](https://www.standardwebhooks.com) says; see `docs/protocol-chat.md`.

mod announcing;
mod baseline;
mod config;
mod credentials;
mod delivery;
mod hook;
mod metrics;
mod post;
mod profile;
mod supervisor;
#[cfg(test)]
mod tests;
mod url;

pub use announcing::{Announcing, Bell};
pub use config::Config;
pub use credentials::{Credential, Credentials};
pub use metrics::Metrics;
pub use supervisor::{Parts, Webhooks};
