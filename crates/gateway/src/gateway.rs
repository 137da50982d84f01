//! A running gateway: what its connections share, how it starts and how it ends.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use protocol::GatewayId;
use queue::Queue;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Limits, Metrics, TlsError, accept,
    addresses::{Addresses, Place},
    admission::Admission,
    closer::Closer,
    dispatch::Dispatch,
    http::Http,
    hub::Hub,
    origin, outbox,
    socket::Listener,
    tls::Certificate,
};

/// A gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message queue did not take the gateway in.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listening socket failed, or the system gives no thread.
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// What all connections of a gateway share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) dispatch: Dispatch,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Metrics,
    pub(crate) http: Http,
    /// Told to stop, and not ready for new clients any more.
    pub(crate) leaving: CancellationToken,
    /// No new work: the gateway drains.
    pub(crate) draining: CancellationToken,
    /// No time left: whatever is open is dropped.
    pub(crate) cut: CancellationToken,
    pub(crate) closer: Closer,
    /// Bytes that wait for readers, on all connections.
    pub(crate) unwritten: Arc<AtomicUsize>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) addresses: Addresses,
    /// For one connection each, on all listeners.
    pub(crate) permits: Arc<Semaphore>,
}

impl Shared {
    /// Whether this is a proxy that is believed.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        origin::is_proxy(&self.config.trusted_proxies, address)
    }

    /// A place for one more connection of this address; `None`, which is counted, if it has as many as it may.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let place = self.addresses.enter(address, self.config.connections_per_address_max);
        if place.is_none() {
            self.metrics.connections_refused.inc();
        }
        place
    }
}

/// A gateway that accepts connections. Dropped without [`drain`](Self::drain), it stops at once.
pub struct Gateway {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The accept loop and the connections.
    connections: TaskTracker,
    /// The hub's tasks, and the one that looks after the certificate, needed until the last connection has gone.
    hub_tasks: TaskTracker,
    stop_hub: CancellationToken,
}

/// The part of the grace after which connections that are still open are cut, so that the rest is enough to tell that
/// their users have gone.
const CUT_AFTER: f64 = 0.8;

impl Gateway {
    /// Starts to accept connections on a bound listener.
    ///
    /// `exposition` gives the text of `/metrics`, `ready` says what `/readyz` answers.
    ///
    /// # Errors
    ///
    /// The certificate cannot be used, the queue did not open the gateway's subscription, the listener has no address, or the
    /// system gives no thread.
    #[expect(clippy::too_many_arguments, reason = "each is a part of another crate, given once, by the assembly")]
    pub async fn start(
        config: Config,
        id: GatewayId,
        services: api::Services,
        queue: Arc<dyn Queue>,
        listener: TcpListener,
        metrics: Metrics,
        exposition: Arc<dyn Fn() -> String + Send + Sync>,
        ready: watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let address = listener.local_addr()?;
        let certificate = config.tls.clone().map(Certificate::load).transpose()?.map(Arc::new);
        let subscription = queue.open(id).await?;
        let (connections, hub_tasks) = (TaskTracker::new(), TaskTracker::new());
        let stop_hub = CancellationToken::new();
        let admission = Arc::new(Admission::new(config.limits));
        let dispatch = Dispatch::new(services, admission.clone(), metrics.clone(), config.request_timeout);
        let limit = outbox::Limit {
            bytes_max: config.outbox_bytes_max,
            frames_max: config.outbox_frames_max,
            overflows: metrics.slow_consumers.clone(),
        };
        let tasks = (&hub_tasks, &stop_hub);
        let hub = Hub::start(id, dispatch.clone(), metrics.clone(), limit, config.departure_grace, subscription, tasks);
        if let Some(certificate) = &certificate {
            hub_tasks.spawn(certificate.clone().follow(stop_hub.clone()));
        }
        let permits = config.connections_max.min(Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            admission,
            config,
            dispatch,
            hub,
            metrics,
            http: Http::new(exposition, ready),
            addresses: Addresses::default(),
            permits: Arc::new(Semaphore::new(permits)),
            leaving: CancellationToken::new(),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            closer: Closer::start()?,
            unwritten: Arc::default(),
        });
        connections.spawn(accept::run(shared.clone(), listener.into(), certificate, connections.clone()));
        Ok(Self { shared, address, connections, hub_tasks, stop_hub })
    }

    /// Accepts on another listener as well, where nothing is in TLS: for what is on this machine, or in a network of its own.
    pub fn accept_plain(&self, listener: impl Into<Listener>) {
        self.connections.spawn(accept::run(self.shared.clone(), listener.into(), None, self.connections.clone()));
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Changes the rates from now on, also for connections that are open.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.admission.set_limits(limits);
    }

    /// The same for whoever does not hold the gateway.
    pub fn limits_setter(&self) -> impl Fn(Limits) + Send + Sync + 'static {
        let admission = Arc::clone(&self.shared.admission);
        move |limits| admission.set_limits(limits)
    }

    /// Answers `/readyz` with an error from now on, for what has something to do before it [drains](Self::drain).
    pub fn leave(&self) {
        self.shared.leaving.cancel();
    }

    /// Answers `/readyz` with an error at once, and stops accepting after [`Config::drain_notice`]; then tells clients to
    /// reconnect after a random delay, finishes the answers under way, flushes and closes. Ends within `grace`, of which at
    /// most half is notice; what is open then is cut.
    pub async fn drain(self, grace: Duration) {
        let end = Instant::now() + grace;
        self.leave();
        sleep(self.shared.config.drain_notice.min(grace / 2)).await;
        self.shared.draining.cancel();
        self.shared.hub.drain(self.shared.config.drain_reconnect_spread);
        self.connections.close();
        if timeout_at(end - grace.mul_f64(1.0 - CUT_AFTER), self.connections.wait()).await.is_err() {
            tracing::warn!(open = self.connections.len(), "connections are cut, as the grace is nearly over");
            self.shared.cut.cancel();
            self.shared.hub.cut();
        }
        let rest = async {
            self.connections.wait().await;
            self.shared.hub.settled().await;
            self.stop_hub.cancel();
            self.hub_tasks.close();
            self.hub_tasks.wait().await;
        };
        if timeout_at(end, rest).await.is_err() {
            tracing::warn!("the grace was too short to tell that all users have gone");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.leaving.cancel();
        self.shared.draining.cancel();
        self.shared.cut.cancel();
        self.shared.hub.cut();
        self.stop_hub.cancel();
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("address", &self.address).finish_non_exhaustive()
    }
}
