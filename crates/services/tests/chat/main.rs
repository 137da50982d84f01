//! What the message, group and presence services promise, over the SQLite store and the embedded queue and cache.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod bed;
mod changes;
mod contacts;
mod forwards;
mod groups;
mod joining;
mod presence;
mod pushes;
mod reading;
mod retries;
#[path = "../common/waiting.rs"]
mod waiting;
