//! Every bound of the framework, by name, and what may be set.

use std::time::Duration;

use protocol::limits::{CONTENT_BYTES_MAX, SENDS_IN_FLIGHT_MAX};

/// One frame, after its length. A connection's sends, all at once, fit.
pub const FRAME_BYTES_MAX: usize = 20 * 1024 * 1024;
const _: () = assert!(SENDS_IN_FLIGHT_MAX * CONTENT_BYTES_MAX < FRAME_BYTES_MAX);
/// What waits to be written on one connection. A caller beyond it is refused; a server closes the connection of a peer
/// that reads so slowly.
pub const OUTGOING_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;
/// The requests under way on one connection, all together; further ones are refused.
pub const REQUESTS_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;
/// With so many bytes waiting to be written to a peer, a server reads no further calls of it.
pub(crate) const OUTGOING_BYTES_HIGH: usize = 1024 * 1024;
/// How long one write may make no progress before the connection is given up.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(15);
/// A connection on which nothing was heard for so many heartbeats is given up.
pub const SILENT_HEARTBEATS_MAX: u32 = 3;
/// Calls under way on one connection, seen from the caller.
pub const CALLS_PER_CONNECTION_MAX: usize = 4_096;
/// Calls that wait, in one channel, for an instance that can be reached.
pub const CALLS_WAITING_MAX: usize = 10_000;
/// Instances that one call is tried on.
pub const ATTEMPTS_MAX: usize = 3;
/// Instances of one service that a channel keeps connections to.
pub const INSTANCES_MAX: usize = 1_024;
/// Between attempts to connect: at first …
pub(crate) const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// … and at most; doubled each time, ± a quarter.
pub(crate) const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// Retries within the budget: this share of the calls …
pub(crate) const RETRY_SHARE: f32 = 0.1;
/// … of the last so many seconds, …
pub(crate) const RETRY_WINDOW: Duration = Duration::from_secs(10);
/// … and so many a second in any case.
pub const RETRIES_PER_SECOND_MIN: u32 = 10;
/// How long a latency is remembered by which instances are compared.
pub(crate) const LATENCY_DECAY: Duration = Duration::from_secs(10);
/// An ejection lasts at most so many times [`ChannelConfig::eject_for`].
pub(crate) const EJECTIONS_FACTOR_MAX: u32 = 10;
/// The last frame to a peer that broke the rules has so long to leave.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// What a server may be told.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Calls under way, all connections together; further ones are refused.
    pub calls_max: usize,
    /// Calls under way on one connection; further ones are refused.
    pub calls_per_connection_max: usize,
    /// Connections; further ones wait in the kernel.
    pub connections_max: usize,
    /// Of these, connections that have not shown yet that they are ours.
    pub handshakes_max: usize,
    /// How long they have for it.
    pub handshake_timeout: Duration,
    /// Callers' heartbeat: one who was not heard for [`SILENT_HEARTBEATS_MAX`] of them is gone.
    pub heartbeat: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            calls_max: 16_384,
            calls_per_connection_max: CALLS_PER_CONNECTION_MAX,
            connections_max: 8_192,
            handshakes_max: 512,
            handshake_timeout: Duration::from_secs(5),
            heartbeat: Duration::from_secs(5),
        }
    }
}

/// What a caller may be told.
#[derive(Debug, Clone)]
pub struct ChannelConfig {
    /// The caller's own zone: instances of it are preferred for calls that any instance can answer. Empty: none.
    pub zone: String,
    /// Connections to each instance.
    pub connections_per_instance: usize,
    /// A connection is tried for so long, handshake included.
    pub connect_timeout: Duration,
    /// A call waits so long for an instance that can be reached, its deadline permitting.
    pub reach_timeout: Duration,
    /// How often a sign of life is sent; see [`SILENT_HEARTBEATS_MAX`].
    pub heartbeat: Duration,
    /// So many failures in a row set an instance aside, unless half of them are so already …
    pub eject_after: u32,
    /// … for so long the first time, and longer each time it fails again at once.
    pub eject_for: Duration,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            zone: String::new(),
            connections_per_instance: 4,
            connect_timeout: Duration::from_secs(3),
            reach_timeout: Duration::from_secs(2),
            heartbeat: Duration::from_secs(5),
            eject_after: 5,
            eject_for: Duration::from_secs(5),
        }
    }
}
