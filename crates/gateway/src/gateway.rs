//! A running gateway: what its connections share, how it starts and how it ends.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use protocol::GatewayId;
use queue::Queue;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Limits, Metrics, accept, admission::Admission, closer::Closer, dispatch::Dispatch, http::Http, hub::Hub,
    outbox,
};

/// A gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message queue did not take the gateway in.
    #[error(transparent)]
    Queue(#[from] queue::Error),
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
    /// No new work: the gateway drains.
    pub(crate) draining: CancellationToken,
    /// No time left: whatever is open is dropped.
    pub(crate) cut: CancellationToken,
    pub(crate) closer: Closer,
    /// Bytes that wait for readers, on all connections.
    pub(crate) unwritten: Arc<AtomicUsize>,
    pub(crate) admission: Arc<Admission>,
}

/// A gateway that accepts connections. Dropped without [`drain`](Self::drain), it stops at once.
pub struct Gateway {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// The accept loop and the connections.
    connections: TaskTracker,
    /// The hub's tasks, needed until the last connection has gone.
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
    /// The queue did not open the gateway's subscription, the listener has no address, or the system gives no thread.
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
        let shared = Arc::new(Shared {
            admission,
            config,
            dispatch,
            hub,
            metrics,
            http: Http::new(exposition, ready),
            draining: CancellationToken::new(),
            cut: CancellationToken::new(),
            closer: Closer::start()?,
            unwritten: Arc::default(),
        });
        connections.spawn(accept::run(shared.clone(), listener, connections.clone()));
        Ok(Self { shared, address, connections, hub_tasks, stop_hub })
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

    /// Stops accepting, tells clients to reconnect after a random delay, finishes the answers under way, flushes and
    /// closes. Ends within `grace`; what is open then is cut.
    pub async fn drain(self, grace: Duration) {
        let end = Instant::now() + grace;
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
