//! The whole system in the test's process, for what a process cannot be asked: another queue, another clock.

use std::{net::SocketAddr, path::Path, time::Duration};

use client::Server;
use mpim::{
    config::Config,
    embedded::{Embedded, Parts},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::process::{self, free_port};

/// A running system and its data.
pub struct InProcess {
    embedded: Embedded,
    dir: TempDir,
}

impl InProcess {
    pub async fn start(parts: Parts) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::start_on(tempfile::tempdir().unwrap(), address, parts).await
    }

    async fn start_on(dir: TempDir, address: SocketAddr, parts: Parts) -> Self {
        let environment = process::ENVIRONMENT.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let mut config = Config::load(None, environment.into_iter()).unwrap();
        config.server.data = dir.path().to_owned();
        let listener = TcpListener::bind(address).await.unwrap();
        Self { embedded: Embedded::start(&config, parts, listener).await.unwrap(), dir }
    }

    pub fn address(&self) -> SocketAddr {
        self.embedded.gateway().local_addr()
    }

    /// Where clients connect, by WebSocket.
    pub fn server(&self) -> Server {
        format!("http://{}", self.address()).parse().unwrap()
    }

    /// Where clients connect, by TCP.
    pub fn tcp_server(&self) -> Server {
        format!("tcp://{}", self.address()).parse().unwrap()
    }

    /// What administration is asked with.
    pub fn admin_key(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("admin.key")).unwrap().trim().to_owned()
    }

    /// Stops, and starts on the same data and the same address.
    pub async fn restart(self) -> Self {
        let address = self.address();
        self.embedded.stop(Duration::from_secs(1)).await;
        Self::start_on(self.dir, address, Parts::default()).await
    }

    /// Stops, does something to the data, and starts on it with other parts.
    pub async fn restart_with(self, parts: Parts, between: impl AsyncFnOnce(&Path)) -> Self {
        let address = self.address();
        self.embedded.stop(Duration::from_secs(1)).await;
        between(self.dir.path()).await;
        Self::start_on(self.dir, address, parts).await
    }

    pub async fn stop(self) {
        self.embedded.stop(Duration::from_secs(1)).await;
    }
}
