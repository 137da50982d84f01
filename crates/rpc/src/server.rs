//! Answers calls.

mod peer;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::peer::Peer;
use self::peer::Target;
use crate::{
    builtin::Builtin,
    config::ServerConfig,
    metrics::{Metrics, Serving},
    security::Security,
    service::Service,
};

/// The pause after an accept that failed, doubled with each failure in a row: most often there are no more file
/// descriptors, which only time mends.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Answers calls on a port, for some services. Dropped, it ends at once; see [`stop`](Self::stop).
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
struct Shared {
    targets: HashMap<u32, Target>,
    security: Security,
    config: ServerConfig,
    metrics: Serving,
    /// Calls under way.
    calls: AtomicUsize,
    draining: CancellationToken,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

/// Two methods stand for the same number; one of them has to be renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the methods {0} and {1} have the same number")]
pub struct MethodClash(pub &'static str, pub &'static str);

impl Server {
    /// Begins to answer. Beside the services it answers [`HEALTH`](crate::HEALTH) and [`METHODS`](crate::METHODS).
    ///
    /// To be called in a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Two of the methods have the same number ([`MethodClash`]), or the listener has no address.
    pub fn start(
        listener: TcpListener,
        services: Vec<Arc<dyn Service>>,
        security: Security,
        config: ServerConfig,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let draining = CancellationToken::new();
        let metrics = metrics.serving();
        let targets = targets(services, draining.clone(), &metrics).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            targets,
            security,
            config,
            metrics,
            calls: AtomicUsize::new(0),
            draining,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        shared.tasks.spawn(accept_all(shared.clone(), listener));
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections and no new calls from now on: callers are told to go elsewhere. To be called after the instance
    /// has been withdrawn from the registry, or before; either costs nobody anything.
    pub fn drain(&self) {
        self.shared.draining.cancel();
    }

    /// Drains, and waits until the calls under way are answered and callers have gone; drops what is left after `grace`.
    /// Returns whether nothing was dropped.
    pub async fn stop(self, grace: Duration) -> bool {
        self.drain();
        self.shared.tasks.close();
        let finished = timeout(grace, self.shared.tasks.wait()).await.is_ok();
        self.shared.stopping.cancel();
        self.shared.tasks.wait().await;
        finished
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.draining.cancel();
        self.shared.stopping.cancel();
    }
}

fn targets(
    mut services: Vec<Arc<dyn Service>>,
    draining: CancellationToken,
    metrics: &Serving,
) -> Result<HashMap<u32, Target>, MethodClash> {
    let methods = services.iter().flat_map(|service| service.methods()).copied().collect();
    services.push(Arc::new(Builtin::new(methods, draining)));
    let mut targets: HashMap<u32, Target> = HashMap::new();
    for service in services {
        let served = metrics.of_service(service.name());
        for (index, method) in service.methods().iter().enumerate() {
            let target = Target { service: service.clone(), index, served: served.clone() };
            if let Some(other) = targets.insert(method.id, target) {
                return Err(MethodClash(other.service.methods()[other.index].name, method.name));
            }
        }
    }
    Ok(targets)
}

/// Accepts until the server drains. What exceeds the limits waits in the kernel.
async fn accept_all(shared: Arc<Shared>, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(shared.config.connections_max.min(Semaphore::MAX_PERMITS)));
    let handshakes = Arc::new(Semaphore::new(shared.config.handshakes_max.min(Semaphore::MAX_PERMITS)));
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            () = shared.draining.cancelled() => return,
            accepted = accept(&connections, &handshakes, &listener) => accepted,
        };
        match accepted {
            Ok((stream, places)) => {
                pause = ACCEPT_PAUSE_MIN;
                shared.tasks.spawn(serve(shared.clone(), stream, places));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

/// Places among the connections, and among those that have not shown who they are.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

async fn accept(
    connections: &Arc<Semaphore>,
    handshakes: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(TcpStream, Places)> {
    let connection = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let handshake = handshakes.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, (connection, handshake)))
}

/// One connection, to its end.
async fn serve(shared: Arc<Shared>, stream: TcpStream, (_connection, handshake): Places) {
    let from = stream.peer_addr().ok();
    // Without it, small frames wait for the acknowledgement of the ones before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket does not take TCP_NODELAY");
    }
    let entered = tokio::select! {
        () = shared.stopping.cancelled() => return,
        entered = timeout(shared.config.handshake_timeout, shared.security.accept(stream)) => entered,
    };
    let halves = match entered.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        Ok(halves) => halves,
        Err(error) => {
            shared.metrics.strangers.inc();
            return tracing::debug!(?from, %error, "a caller was not let in");
        }
    };
    drop(handshake);
    shared.metrics.connections.inc();
    let end = Peer::new(shared.clone()).run(halves).await;
    shared.metrics.connections.dec();
    if let crate::incoming::End::Malformed(error) = &end {
        shared.metrics.malformed.inc();
        tracing::warn!(?from, %error, "an instance sent what it must not, and was disconnected");
    } else {
        tracing::debug!(?from, %end, "a caller's connection ended");
    }
}

impl Shared {
    /// A place among the calls under way.
    fn enter(self: &Arc<Self>) -> Option<Entered> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let entered = Entered(self.clone());
        self.metrics.calls.inc();
        (before < self.config.calls_max).then_some(entered)
    }
}

/// A call under way.
struct Entered(Arc<Shared>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.calls.dec();
    }
}
