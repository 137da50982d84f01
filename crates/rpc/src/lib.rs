//! Calls between instances: what lies between a typed client and a service in another process.
//!
//! [`Channel`] calls, [`Server`] answers; generated code stands in front of both. Promises:
//!
//! - A failed call tells whether it was *certainly not done* or whether its *outcome is unknown* ([`protocol::Advice`]). Only what
//!   was certainly not done, or does no harm when it is done twice, is tried again.
//! - A call ends at its deadline at the latest. Work whose caller has gone or whose deadline has passed is dropped.
//! - A server that drains costs its callers nothing: calls under way finish, new ones go elsewhere.
//! - Who cannot show that it belongs to the installation gets nothing but a closed connection.
//! - Every queue, wait and retry has a bound; the constants below name them. Beyond it calls are refused, certainly not done.
//!
//! Calls of one connection have no order among each other. It knows neither registry nor services; `docs/rpc.md` describes the
//! wire.

mod balance;
mod builtin;
mod channel;
mod config;
mod connection;
#[cfg(fuzzing)]
pub mod fuzzing;
mod incoming;
mod instance;
mod metrics;
mod outgoing;
mod security;
mod server;
mod service;
mod trace;
mod wire;

pub use balance::{Owners, Route, owner_among};
pub use builtin::{HEALTH, Health, METHODS, MethodList, MethodName, Nothing};
pub use channel::Channel;
pub use config::{
    ATTEMPTS_MAX, CALLS_PER_CONNECTION_MAX, CALLS_WAITING_MAX, ChannelConfig, FRAME_BYTES_MAX, INSTANCES_MAX,
    OUTGOING_BYTES_MAX, REQUESTS_BYTES_MAX, RETRIES_PER_SECOND_MIN, SILENT_HEARTBEATS_MAX, ServerConfig,
    WRITE_STALL_MAX,
};
pub use instance::Endpoint;
pub use metrics::Metrics;
pub use security::{Secret, Security, Tls, TlsError, TlsFiles, WeakSecret};
pub use server::{MethodClash, Server};
pub use service::{Method, Reply, Request, Service};
pub use trace::{InvalidTraceParent, TraceContext};
pub use wire::Malformed;
