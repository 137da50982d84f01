//! What the user service promises, over the SQLite store, the message service and the embedded queue and cache.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod bed;
mod bots;
mod closing;
mod contacts;
#[path = "../common/doubtful.rs"]
mod doubtful;
mod profiles;
mod reports;
#[path = "../common/running.rs"]
mod running;
mod telling;
mod unknown;
#[path = "../common/waiting.rs"]
mod waiting;
