//! An instance as its callers see it: connections, how loaded it seems, whether it keeps failing.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    balance,
    config::{ChannelConfig, EJECTIONS_FACTOR_MAX, LATENCY_DECAY, RECONNECT_MAX, RECONNECT_MIN},
    connection::Connection,
    security::{Halves, Security},
};

/// What latency an instance is taken to have before it has answered.
const LATENCY_UNKNOWN: Duration = Duration::from_millis(1);

/// Calls in a row on one connection. A write costs as much as all the rest of a call, whatever it carries.
const CALLS_PER_TURN: usize = 16;

/// Where an instance of a service can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host and port.
    pub address: String,
    /// Where it runs; empty: nowhere in particular.
    pub zone: String,
    /// Its share of the work relative to the others; 0: none.
    pub weight: u32,
}

pub(crate) struct Instance {
    pub(crate) address: String,
    /// Its part in rendezvous hashing.
    pub(crate) seed: u64,
    connections: Vec<RwLock<Option<Arc<Connection>>>>,
    turn: AtomicUsize,
    in_flight: AtomicU32,
    health: Mutex<Health>,
    /// It is not among the service's instances any longer: established calls finish, and the connections end.
    pub(crate) leave: CancellationToken,
}

struct Health {
    /// Peak EWMA, in seconds: up at once, down slowly.
    latency: f64,
    latency_at: Instant,
    failures_in_row: u32,
    ejected_until: Option<Instant>,
    ejections_in_row: u32,
}

impl Instance {
    pub(crate) fn new(address: String, connections: usize, leave: CancellationToken) -> Self {
        Self {
            seed: balance::hash(address.as_bytes()),
            address,
            connections: (0..connections).map(|_| RwLock::new(None)).collect(),
            turn: AtomicUsize::new(0),
            in_flight: AtomicU32::new(0),
            health: Mutex::new(Health {
                latency: LATENCY_UNKNOWN.as_secs_f64(),
                latency_at: Instant::now(),
                failures_in_row: 0,
                ejected_until: None,
                ejections_in_row: 0,
            }),
            leave,
        }
    }

    /// Keeps one of the connections until the instance leaves. `changed` is told when it can be used.
    pub(crate) async fn keep_connected(
        &self,
        place: usize,
        security: &Security,
        config: &ChannelConfig,
        changed: &Notify,
    ) {
        let mut pause = RECONNECT_MIN;
        while !self.leave.is_cancelled() {
            let begun = Instant::now();
            let connected = tokio::select! {
                () = self.leave.cancelled() => return,
                connected = timeout(config.connect_timeout, self.connect(security)) => connected,
            };
            match connected.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(halves) => {
                    let connection = Arc::new(Connection::default());
                    *self.connections[place].write() = Some(connection.clone());
                    changed.notify_waiters();
                    let end = connection.run(halves, config.heartbeat, &self.leave).await;
                    *self.connections[place].write() = None;
                    tracing::debug!(address = self.address, %end, "a connection to an instance ended");
                }
                Err(error) => tracing::warn!(address = self.address, %error, "an instance cannot be reached"),
            }
            if begun.elapsed() > RECONNECT_MAX {
                pause = RECONNECT_MIN;
            }
            tokio::select! {
                () = self.leave.cancelled() => return,
                () = sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())) => {}
            }
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    async fn connect(&self, security: &Security) -> io::Result<Halves> {
        let stream = TcpStream::connect(&self.address).await?;
        // Without it, small frames wait for the acknowledgement of the ones before.
        stream.set_nodelay(true)?;
        security.connect(stream).await
    }

    /// One of the open connections, each in its turn, for some calls in a row: those that are made at the same time leave in one
    /// write.
    pub(crate) fn connection(&self) -> Option<Arc<Connection>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) / CALLS_PER_TURN;
        let count = self.connections.len();
        (0..count).find_map(|i| {
            let connection = self.connections[first.wrapping_add(i) % count].read();
            connection.as_ref().filter(|connection| connection.is_open()).cloned()
        })
    }

    /// Whether a call can be made now.
    pub(crate) fn is_reachable(&self) -> bool {
        self.connections.iter().any(|connection| connection.read().as_ref().is_some_and(|c| c.is_open()))
    }

    /// What a further call would wait for, as far as can be told: the calls under way times their latency, in seconds.
    pub(crate) fn load(&self, now: Instant) -> f64 {
        let waiting = f64::from(self.in_flight.load(Ordering::Relaxed)) + 1.0;
        let health = self.health.lock();
        waiting * health.latency * decay(health.latency_at, now)
    }

    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.health.lock().ejected_until.is_some_and(|until| now < until)
    }

    /// Counts a call as under way until its end is noted.
    pub(crate) fn begin(self: &Arc<Self>, now: Instant) -> Attempt {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Attempt { instance: self.clone(), begun: now }
    }

    /// Notes a failure of the instance. Returns whether it has failed so often that it should be set aside.
    pub(crate) fn failed(&self, now: Instant, eject_after: u32) -> bool {
        let mut health = self.health.lock();
        health.failures_in_row = health.failures_in_row.saturating_add(1);
        health.failures_in_row >= eject_after && health.ejected_until.is_none_or(|until| now >= until)
    }

    /// Sets it aside for a while, longer if it was just before.
    pub(crate) fn eject(&self, now: Instant, config: &ChannelConfig) {
        let mut health = self.health.lock();
        health.ejections_in_row = (health.ejections_in_row + 1).min(EJECTIONS_FACTOR_MAX);
        health.ejected_until = Some(now + config.eject_for * health.ejections_in_row);
        // Once it is back, one failure is enough.
        health.failures_in_row = config.eject_after.saturating_sub(1);
        let (address, failures) = (&self.address, config.eject_after);
        tracing::warn!(address, failures, "an instance keeps failing, and is set aside for a while");
    }

    /// It answered as it should.
    pub(crate) fn succeeded(&self) {
        let mut health = self.health.lock();
        (health.failures_in_row, health.ejections_in_row) = (0, 0);
    }
}

/// A call under way on an instance. Its end, however it comes, tells the latency.
pub(crate) struct Attempt {
    pub(crate) instance: Arc<Instance>,
    begun: Instant,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.instance.in_flight.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        let latency = (now - self.begun).as_secs_f64();
        let mut health = self.instance.health.lock();
        health.latency = if latency > health.latency {
            latency
        } else {
            latency + (health.latency - latency) * decay(health.latency_at, now)
        };
        health.latency_at = now;
    }
}

fn decay(since: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(since).as_secs_f64() / LATENCY_DECAY.as_secs_f64()).exp()
}
