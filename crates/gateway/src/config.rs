//! What may be set, and the defaults.

use std::time::Duration;

/// The settings of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Connections at a time; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Connections at a time from one address; further ones are closed at once.
    pub connections_per_address_max: usize,
    /// Bytes of pushes waiting for one connection; beyond, it is closed as a slow consumer.
    pub outbox_bytes_max: usize,
    /// Pushes waiting for one connection; beyond, it is closed as a slow consumer.
    pub outbox_frames_max: usize,
    /// How long a client may take without reading before it is closed as a slow consumer.
    pub write_timeout: Duration,
    /// How long a client may take for its first bytes, for the head of an HTTP request, and between two of those.
    pub handshake_timeout: Duration,
    /// How long a request may take before it is answered with an error.
    pub request_timeout: Duration,
    /// How long an HTTP connection lives; a WebSocket connection leaves HTTP with its upgrade.
    pub http_connection_max: Duration,
    /// How long a user whose connections have all ended may take to come back before being told as gone.
    pub departure_grace: Duration,
    /// A gateway that drains spreads its clients' reconnects over this time.
    pub drain_reconnect_spread: Duration,
    /// The rates that may change while the gateway runs.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_address_max: 20_000,
            outbox_bytes_max: 1024 * 1024,
            outbox_frames_max: 4_096,
            write_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
            http_connection_max: Duration::from_secs(60),
            departure_grace: Duration::from_secs(3),
            drain_reconnect_spread: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

/// How much one client, user or address may ask for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Requests of one connection, sends apart.
    pub requests_per_connection: Rate,
    /// Messages sent by one user, over all connections.
    pub sends_per_user: Rate,
    /// Requests of one address to register, log in or refresh tokens.
    pub accounts_per_address: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_connection: Rate { per_second: 200.0, burst: 1_000 },
            sends_per_user: Rate { per_second: 1_000.0, burst: 2_000 },
            accounts_per_address: Rate { per_second: 50.0, burst: 500 },
        }
    }
}

/// So many at once, and so many more each second. A rate of 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Lasting, each second.
    pub per_second: f64,
    /// At once, after a pause.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self { per_second: 0.0, burst: 0 };
}
