//! The queue on real Redis servers, and what befalls them.
#![allow(clippy::unwrap_used, missing_docs)]

mod bed;
mod contract;
mod faults;
mod load;
mod moves;
mod tls;
