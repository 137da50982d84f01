//! Load generator and delivery checker: what `mpim bench` does.
//!
//! Everything but `rpc` goes through the SDK, over sockets, as a user's client would. Promises:
//!
//! - In an open loop a message counts from the moment at which it was intended to be sent, so that a server that
//!   stalls is charged for what it kept waiting.
//! - A message is delivered when the receiving SDK hands it out. Sender and receiver read the same clock.
//! - The server's CPU and memory are its own account of its own process, over the same time as the messages.
//! - What was not measured is reported as such, never as zero.
//!
//! It measures one server from one process; it spreads no load over machines.

mod accounts;
mod args;
mod catchup;
mod direct;
mod drive;
mod failover;
mod files;
mod group;
mod idle;
mod ledger;
mod load;
mod login;
mod machine;
mod measure;
mod online;
mod progress;
mod reconnect;
mod replay;
mod report;
mod rpc;
mod run;
mod sampler;
mod server;

pub use args::{
    BenchArgs, CatchupArgs, CommonArgs, DirectArgs, GroupArgs, IdleArgs, LoginArgs, ReconnectArgs, ReplayArgs, RpcArgs,
    Scenario, Transport,
};
pub use run::run;
