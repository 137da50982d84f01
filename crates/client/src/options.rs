//! What an application may choose.

use std::{fmt, sync::Arc, time::Duration};

use crate::{Backoff, Profile, Server};

/// How a [`Client`](crate::Client) behaves. Make one with [`Options::new`] and change what should differ.
#[derive(Clone)]
pub struct Options {
    /// Where to connect.
    pub server: Server,
    /// Session, positions and outbox.
    pub profile: Arc<dyn Profile>,
    /// Whether to catch up and yield entries. `false` for tools that only send and ask: positions stay as they are.
    pub catch_up: bool,
    /// Where a conversation begins that the profile has not heard of before: so many entries before its end. `None`: at
    /// position 1. For applications that show the last entries and ask for older ones when somebody scrolls.
    pub recent_entries: Option<u64>,
    /// How many of each conversation's last entries the first answer brings along, for a first screen after one round trip.
    pub first_screen_entries: u32,
    /// How often to ask, while connected, whether a push got lost unseen.
    pub resync_every: Duration,
    /// How long a missing position may be missing before it is fetched; entries that overtook each other close the gap sooner.
    pub gap_patience: Duration,
    /// Waits between connection attempts, and between tries of a send.
    pub backoff: Backoff,
    /// How long to wait for a connection, including its greeting.
    pub connect_timeout: Duration,
    /// How long [`request`](crate::Client::request) waits for its answer, including for a connection.
    pub request_timeout: Duration,
    /// A connection on which answers are due but nothing at all has come for this long is broken.
    pub silence_timeout: Duration,
    /// How long a send is tried; `None`: until it is settled. Afterwards the message leaves the outbox.
    pub send_timeout: Option<Duration>,
    /// Sends under way at a time. The server takes at most
    /// [`SENDS_IN_FLIGHT_MAX`](protocol::limits::SENDS_IN_FLIGHT_MAX).
    pub send_window: usize,
    /// Messages that may wait for their acknowledgement; when so many wait, [`submit`](crate::Client::submit) waits.
    pub outbox_max: usize,
    /// The longest silence to agree on with the server.
    pub heartbeat: Duration,
    /// How long [`close`](crate::Client::close) waits for what is in the outbox.
    pub close_timeout: Duration,
}

impl Options {
    /// The defaults.
    pub fn new(server: Server, profile: Arc<dyn Profile>) -> Self {
        Self {
            server,
            profile,
            catch_up: true,
            recent_entries: None,
            first_screen_entries: 10,
            resync_every: Duration::from_secs(60),
            gap_patience: Duration::from_millis(100),
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            silence_timeout: Duration::from_secs(20),
            send_timeout: None,
            send_window: 64,
            outbox_max: 1_024,
            heartbeat: protocol::limits::HEARTBEAT_DEFAULT,
            close_timeout: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("server", &self.server)
            .field("catch_up", &self.catch_up)
            .finish_non_exhaustive()
    }
}
