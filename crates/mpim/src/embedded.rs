//! All of MPIM in one process: embedded stores, and services called directly.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use cache::LocalCache;
use gateway::{AdminKey, Gateway};
use prometheus_client::registry::Registry as MetricsRegistry;
use protocol::{GatewayId, IdGenerator};
use queue::{LocalQueue, Queue};
use registry::{LocalRegistry, NodeLease, Registry as _};
use services::{Clock, user::SecretKey};
use store::sqlite::SqliteStore;
use tokio::{net::TcpListener, sync::watch};
use webhooks::Webhooks;

use crate::{
    assembly::{BackEnds, Bots, Local, Role, Stores, entrance},
    config::{Config, Lifetimes},
    secrets::{make_digits, read_or_make},
};

/// The least time for the services and the store to end.
const REST_MIN: Duration = Duration::from_secs(5);

/// The file of the data directory that holds the key of those who run the server.
pub const ADMIN_KEY: &str = "admin.key";

/// The running system. To be ended with [`stop`](Self::stop); dropped or killed instead, it loses nothing acknowledged.
pub struct Embedded {
    gateway: Gateway,
    webhooks: Webhooks,
    local: Local,
    lifetimes: Lifetimes,
    store: SqliteStore,
    _node: NodeLease,
}

/// What may stand in for the usual parts.
pub struct Parts {
    /// The message queue.
    pub queue: Arc<dyn Queue>,
    /// The time of day.
    pub clock: Clock,
}

impl Default for Parts {
    fn default() -> Self {
        Self { queue: Arc::new(LocalQueue::new()), clock: Clock::system() }
    }
}

impl Embedded {
    /// Opens the data directory (made if it is not there), starts the services, and accepts clients on `listener`.
    ///
    /// # Errors
    ///
    /// The data directory is in use, newer than this program, or cannot be written.
    pub async fn start(config: &Config, parts: Parts, listener: TcpListener) -> anyhow::Result<Self> {
        let Parts { queue, clock } = parts;
        let dir = config.server.data.as_path();
        let store = SqliteStore::open(config.store())?;
        let key = secret_key(&dir.join("secret.key"))?;
        let admin_key = admin_key(&dir.join(ADMIN_KEY))?;
        let node = LocalRegistry::new().lease_node().await?;
        let ids = Arc::new(IdGenerator::new(node.number()).after(store.newest_id().await?));
        let mut metrics = MetricsRegistry::default();
        let lifetimes = Lifetimes::of(config);
        let back_ends = BackEnds {
            stores: Stores::of(&Arc::new(store.clone())),
            cache: Arc::new(LocalCache::default()),
            lifetimes: lifetimes.clone(),
            queue: Arc::clone(&queue),
            ids: Arc::clone(&ids),
            clock,
        };
        let local = Local::start(&Role::ALL, config, back_ends.clone(), Some(key), None, &mut metrics).await?;
        let user = local.user.clone().context("the user service runs here")?;

        let webhook_metrics = webhooks::Metrics::new(metrics.sub_registry_with_prefix("mpim_webhooks"));
        let gateway_metrics = gateway::Metrics::new(&mut metrics);
        let exposition = Arc::new(move || {
            let mut text = String::new();
            // Writing to a String does not fail.
            let _ = prometheus_client::encoding::text::encode(&mut text, &metrics);
            text
        });
        // Ready from the start: everything it needs is in this process, and open.
        let (_, ready) = watch::channel(true);
        let gateway = Gateway::start(
            gateway::Config { admin_key: Some(admin_key), ..config.gateway() },
            gateway_id(),
            local.services(None)?,
            queue,
            listener,
            gateway_metrics,
            exposition,
            ready,
        )
        .await?;
        let own = entrance(&gateway, config.gateway().tls.is_some()).await?;
        let webhooks = webhooks::Parts {
            store: back_ends.stores.webhooks,
            credentials: Arc::new(Bots(user)),
            server: format!("tcp://{own}").parse()?,
            is_ours: Arc::new(|_| true),
            bell: local.bell.clone(),
            ids,
            metrics: webhook_metrics,
        };
        let webhooks = Webhooks::start(config.webhooks(), webhooks);
        Ok(Self { gateway, webhooks, local, lifetimes, store, _node: node })
    }

    /// The gateway, for its address and its limits.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The lifetimes of what is cached, which may be changed.
    pub fn lifetimes(&self) -> &Lifetimes {
        &self.lifetimes
    }

    /// Ends webhooks, stops accepting, tells clients to come back later, finishes what was accepted, closes the store. Clients have
    /// `grace` to take what is theirs, and the rest as long again; what is not done then is left as a kill would leave it.
    pub async fn stop(self, grace: Duration) {
        self.gateway.leave();
        self.webhooks.stop().await;
        self.gateway.drain(grace).await;
        let rest = async {
            self.local.stop().await;
            self.store.close().await;
        };
        if tokio::time::timeout(grace.max(REST_MIN), rest).await.is_err() {
            tracing::warn!("stopped before everything was written; what was acknowledged is");
        }
    }
}

/// One gateway a process; the number only has to differ from that of a process before it.
fn gateway_id() -> GatewayId {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    GatewayId::new(u64::try_from(now.as_micros()).unwrap_or(1))
}

/// Reads the key for tokens, or makes it on the first start.
fn secret_key(path: &Path) -> anyhow::Result<SecretKey> {
    let bytes = read_or_make(path, || Ok(SecretKey::generate()?.as_bytes().to_vec()))?;
    let bytes = bytes.try_into().ok().with_context(|| {
        format!("{} does not hold 32 bytes; without it everybody has to log in again: remove it", path.display())
    })?;
    Ok(SecretKey::from_bytes(bytes))
}

/// Reads the key of those who run the server, or makes it on the first start: text, so that scripts can show it.
fn admin_key(path: &Path) -> anyhow::Result<AdminKey> {
    let bytes = read_or_make(path, make_digits)?;
    let key = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
    key.with_context(|| {
        format!("{} does not hold {} hexadecimal digits; remove it to get a new key", path.display(), AdminKey::DIGITS)
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn keys_are_made_once_for_the_owner_only_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let (admin, secret) = (dir.path().join("admin.key"), dir.path().join("secret.key"));
        let key = admin_key(&admin).unwrap();
        assert_eq!(admin_key(&admin).unwrap(), key);
        assert_eq!(secret_key(&secret).unwrap().as_bytes(), secret_key(&secret).unwrap().as_bytes());
        for path in [&admin, &secret] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::write(path, "short").unwrap();
        }
        assert!(admin_key(&admin).unwrap_err().to_string().contains("admin.key"));
        assert!(secret_key(&secret).unwrap_err().to_string().contains("secret.key"));
    }
}
