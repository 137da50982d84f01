//! What the services promise together, over the SQLite store and the embedded queue and cache.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod bed;
#[path = "../common/doubtful.rs"]
mod doubtful;
mod groups;
#[path = "../common/running.rs"]
mod running;
mod sends;
mod sessions;
mod unknown;
#[path = "../common/waiting.rs"]
mod waiting;
