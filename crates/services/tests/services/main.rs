//! What the services promise together, over the SQLite store and the embedded queue and cache.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod bed;
#[path = "../doubtful/mod.rs"]
mod doubtful;
mod groups;
mod sends;
mod sessions;
mod unknown;
