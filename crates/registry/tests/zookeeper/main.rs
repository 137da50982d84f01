//! The registry on real ZooKeepers: what every registry promises, and what only this one does.
#![allow(clippy::unwrap_used, missing_docs)]

mod alone;
mod bed;
mod faults;
mod proxy;
