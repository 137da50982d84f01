//! A way to ZooKeeper that can be cut: connections stay open, and nothing passes any more.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    passes: Arc<watch::Sender<bool>>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let passes = Arc::new(watch::Sender::new(true));
        let all = passes.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (one, other) = (all.subscribe(), all.subscribe());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(server).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::join!(carry(from_client, to_server, one), carry(from_server, to_client, other));
                });
            }
        });
        Self { address, passes }
    }

    pub(crate) fn cut(&self) {
        self.passes.send_replace(false);
    }

    pub(crate) fn mend(&self) {
        self.passes.send_replace(true);
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passes: watch::Receiver<bool>,
) -> Option<()> {
    let mut bytes = [0; 4096];
    loop {
        let count = from.read(&mut bytes).await.ok().filter(|&count| count > 0)?;
        passes.wait_for(|&passes| passes).await.ok()?;
        to.write_all(&bytes[..count]).await.ok()?;
    }
}
