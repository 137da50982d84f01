//! Accepting connections, and finding out where each of them comes from and what it speaks.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use protocol::TCP_PREFACE;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    addresses::Place,
    gateway::Shared,
    http,
    origin::{self, Introduced},
    session,
    socket::{Ahead, Listener, Socket, Wire},
    tls::Certificate,
    transport::{Tcp, WebSocket},
};

/// The pause after an accept that failed, doubled with each failure in a row: most often there are no more file
/// descriptors, which only time mends.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Accepts until the gateway drains; each connection is a task of `connections`. With a certificate, everything is in TLS.
pub(crate) async fn run(
    shared: Arc<Shared>,
    listener: Listener,
    certificate: Option<Arc<Certificate>>,
    connections: TaskTracker,
) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            () = shared.draining.cancelled() => return,
            accepted = accept(&shared.permits, &listener) => accepted,
        };
        let (permit, stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                continue;
            }
        };
        backoff = BACKOFF_MIN;
        // Whose connection comes by a proxy is known later.
        let place = match shared.is_proxy(peer) {
            true => None,
            false => match shared.enter(peer) {
                Some(place) => Some(place),
                None => continue,
            },
        };
        connections.spawn(serve(shared.clone(), stream, peer, certificate.clone(), (permit, place)));
    }
}

/// Has a permit before it accepts: what exceeds the limit waits in the kernel.
async fn accept(permits: &Arc<Semaphore>, listener: &Listener) -> io::Result<(OwnedSemaphorePermit, Wire, IpAddr)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((permit, stream, peer))
}

/// One connection, to its end. What the phases need is boxed and freed with each, as an idle connection lives in the
/// last one.
async fn serve(
    shared: Arc<Shared>,
    stream: Wire,
    peer: IpAddr,
    certificate: Option<Arc<Certificate>>,
    (_permit, mut place): (OwnedSemaphorePermit, Option<Place>),
) {
    shared.metrics.connections.inc();
    let _counted = Counted(shared.clone());
    let greeted = tokio::select! {
        () = shared.draining.cancelled() => return,
        greeted = timeout(shared.config.handshake_timeout, Box::pin(greet(&shared, stream, peer, certificate))) => greeted,
    };
    let Ok(Some(Greeted { socket, address, first })) = greeted else { return };
    let is_tcp = first == TCP_PREFACE[0];
    // A proxy of HTTP speaks for many clients: each of its requests says for whom.
    if place.is_none() && (is_tcp || !shared.is_proxy(address)) {
        place = shared.enter(address);
        if place.is_none() {
            return;
        }
    }
    // No method that is served here begins with the preface's first letter.
    if is_tcp {
        return Box::pin(session::run(Tcp::new(socket), shared, address)).await;
    }
    let upgraded = Box::pin(http::serve(shared.clone(), socket, address)).await;
    if let Some(http::Upgraded { stream, incoming, encoding, address, place: of_request }) = upgraded {
        let _place = (place, of_request);
        Box::pin(session::run(WebSocket::new(stream, incoming, encoding), shared, address)).await;
    }
}

/// A connection whose client is about to speak.
struct Greeted {
    socket: Socket,
    address: IpAddr,
    first: u8,
}

/// What comes before the protocol: who it is, if a proxy says so, and the handshake of TLS, if that is spoken here.
async fn greet(shared: &Shared, stream: Wire, peer: IpAddr, certificate: Option<Arc<Certificate>>) -> Option<Greeted> {
    let mut stream = Ahead::new(stream);
    let mut address = peer;
    if shared.is_proxy(peer) {
        match origin::introduction(&mut stream).await {
            Ok(Introduced::As(client)) => address = client,
            Ok(Introduced::Not | Introduced::Itself) => {}
            Err(error) => {
                tracing::warn!(%peer, %error, "a proxy's connection is closed");
                return None;
            }
        }
    }
    let mut socket = match certificate {
        None => Socket::Plain(stream),
        Some(certificate) => match certificate.acceptor().accept(stream).await {
            Ok(stream) => Socket::Tls(Box::new(Ahead::new(stream))),
            Err(error) => {
                shared.metrics.tls_failures.inc();
                tracing::debug!(%address, %error, "the handshake of TLS failed");
                return None;
            }
        },
    };
    let first = socket.first_byte().await.ok()??;
    Some(Greeted { socket, address, first })
}

struct Counted(Arc<Shared>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}
