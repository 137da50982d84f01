//! What the framework promises, over real sockets.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod bed;
mod calls;
mod drain;
mod failures;
mod frames;
mod strangers;
mod tls;
