//! The whole crate, with a gateway and a store that stand in for the real ones, and real receivers.

mod bed;
mod delivering;
mod gateway;
mod letters;
mod receiver;
mod secure;
mod store;
