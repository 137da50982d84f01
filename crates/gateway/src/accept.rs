//! Accepting connections, and finding out what each of them speaks.

use std::{collections::HashMap, io, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use protocol::TCP_PREFACE;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    gateway::Shared,
    http, session,
    transport::{Tcp, WebSocket},
};

/// The pause after an accept that failed, doubled with each failure in a row: most often there are no more file
/// descriptors, which only time mends.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Accepts until the gateway drains; each connection is a task of `connections`.
pub(crate) async fn run(shared: Arc<Shared>, listener: TcpListener, connections: TaskTracker) {
    let permits = Arc::new(Semaphore::new(shared.config.connections_max.min(Semaphore::MAX_PERMITS)));
    let addresses = Arc::new(Addresses::default());
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            () = shared.draining.cancelled() => return,
            accepted = accept(&permits, &listener) => accepted,
        };
        let (permit, stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
        };
        backoff = BACKOFF_MIN;
        match addresses.enter(address, shared.config.connections_per_address_max) {
            Some(place) => {
                connections.spawn(serve(shared.clone(), stream, address, (permit, place)));
            }
            None => {
                shared.metrics.connections_refused.inc();
            }
        }
    }
}

/// Has a permit before it accepts: what exceeds the limit waits in the kernel.
async fn accept(
    permits: &Arc<Semaphore>,
    listener: &TcpListener,
) -> io::Result<(OwnedSemaphorePermit, TcpStream, IpAddr)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((permit, stream, peer.ip().to_canonical()))
}

/// One connection, to its end. What the phases need is boxed and freed with each, as an idle connection lives in the
/// last one.
async fn serve(shared: Arc<Shared>, stream: TcpStream, address: IpAddr, _place: (OwnedSemaphorePermit, Place)) {
    shared.metrics.connections.inc();
    let _counted = Counted(shared.clone());
    // Without it, small frames wait for the acknowledgement of the ones before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket does not take TCP_NODELAY");
    }
    let first = tokio::select! {
        () = shared.draining.cancelled() => return,
        first = timeout(shared.config.handshake_timeout, first_byte(&stream)) => first,
    };
    let Ok(Some(first)) = first else { return };
    // No method that is served here begins with the preface's first letter.
    if first == TCP_PREFACE[0] {
        return Box::pin(session::run(Tcp::new(stream), shared, address)).await;
    }
    let upgraded = Box::pin(http::serve(shared.clone(), stream, address)).await;
    if let Some(http::Upgraded { stream, incoming, encoding }) = upgraded {
        Box::pin(session::run(WebSocket::new(stream, incoming, encoding), shared, address)).await;
    }
}

async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) => Some(first[0]),
        _ => None,
    }
}

struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Addresses(Mutex<HashMap<IpAddr, usize>>);

/// One of an address's connections.
struct Place {
    address: IpAddr,
    addresses: Arc<Addresses>,
}

impl Addresses {
    fn enter(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<Place> {
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { address, addresses: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
