//! The cache on real Redis servers, and look-ups over it, whatever befalls the server.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;
mod contract;
mod faults;
mod lookups;
mod near;
mod tls;
