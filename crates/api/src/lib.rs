//! The services' typed interfaces, generated from `proto/`: a trait, a client and a server for each service.
//!
//! Services and gateways know each other only as `Arc<dyn …Service>`. In one process that is the service itself, called
//! directly, without sockets or encoding; in distributed form it is a client (`UserClient` …) that calls a remote instance, where
//! a server (`UserServer` …) calls the service. Callers cannot tell. All methods are cancel safe in the sense that dropping the future leaves the outcome unknown, as a lost
//! answer would; what is stored is stored whole or not at all.

mod call;
mod each;
// Generated: documented in the `.proto` files, and not in our style.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mpim.service.v1.rs"));
}
mod remote;

use std::sync::Arc;

pub use call::{Call, Caller, ConnectionId, Scopes};
pub use generated::*;

/// All services, as whoever calls them sees them.
#[derive(Clone)]
pub struct Services {
    /// Accounts, sessions, tokens.
    pub user: Arc<dyn UserService>,
    /// The logs.
    pub message: Arc<dyn MessageService>,
    /// Groups.
    pub group: Arc<dyn GroupService>,
    /// Who is online.
    pub presence: Arc<dyn PresenceService>,
}

fn unknown_method(name: &str) -> protocol::Error {
    protocol::Error::new(
        protocol::wire::ErrorCode::UnknownRequest,
        format!("the service that was asked does not know {name}"),
    )
}
