//! A way to a server that can be broken.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Passes on what comes, until it is told to break the connections. Ends when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    is_open: watch::Sender<bool>,
    broken: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// Before a server. Each connection breaks after the server has sent so many bytes on it.
    pub async fn before(server: SocketAddr, bytes_max: usize) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, broken) = (watch::Sender::new(true), Arc::new(AtomicUsize::new(0)));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, server, bytes_max, is_open.subscribe(), Arc::clone(&broken)));
        Self { address, is_open, broken, _task: task }
    }

    /// Breaks all connections; further ones break at once, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.is_open.send_replace(false);
    }

    pub fn mend(&self) {
        self.is_open.send_replace(true);
    }

    /// How many connections broke because the server had sent too much.
    pub fn broken(&self) -> usize {
        self.broken.load(Ordering::Relaxed)
    }

    pub fn server(&self) -> client::Server {
        format!("tcp://{}", self.address).parse().unwrap()
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    bytes_max: usize,
    is_open: watch::Receiver<bool>,
    broken: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (mut is_open, broken) = (is_open.clone(), Arc::clone(&broken));
        connections.spawn(async move {
            if !*is_open.borrow_and_update() {
                return;
            }
            let Ok(server) = TcpStream::connect(server).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                _ = is_open.wait_for(|is_open| !is_open) => {}
                _ = carry(from_client, to_server, usize::MAX) => {}
                left = carry(from_server, to_client, bytes_max) => if left == Some(0) {
                    broken.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
}

/// Passes on what comes, at most so much. Tells how much might still have come when the server has ended the connection, `None` if
/// it broke.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut left: usize) -> Option<usize> {
    let mut bytes = [0; 4096];
    while left > 0 {
        let count = from.read(&mut bytes).await.ok()?.min(left);
        if count == 0 {
            break;
        }
        to.write_all(&bytes[..count]).await.ok()?;
        left -= count;
    }
    Some(left)
}
