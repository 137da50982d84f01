//! What the services stand on in distributed form: connected to all at once, so that all that is wrong is told at once.

use std::sync::Arc;

use anyhow::bail;
use cache::{Cache as _, redis::RedisCache};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry as Metrics};
use protocol::IdGenerator;
use queue::redis::RedisQueue;
use registry::ZooKeeperRegistry;
use services::Clock;
use store::mysql::MysqlStore;
use tokio::task::JoinSet;

use crate::{
    assembly::{BackEnds, Stores},
    config::{Config, Lifetimes},
    monitor::Readiness,
    told::{of_zookeeper, with_causes},
};

/// Connections to the other programs.
pub(super) struct Connected {
    pub(super) registry: ZooKeeperRegistry,
    pub(super) queue: Arc<RedisQueue>,
    /// Only services need these.
    pub(super) stores: Option<(Arc<MysqlStore>, Arc<RedisCache>)>,
}

impl Connected {
    /// What services stand on, if there are to be any.
    pub(super) fn of_services(&self, lifetimes: &Lifetimes, ids: &Arc<IdGenerator>) -> Option<BackEnds> {
        let (store, cache) = self.stores.as_ref()?;
        Some(BackEnds {
            stores: Stores::of(store),
            cache: cache.clone(),
            lifetimes: lifetimes.clone(),
            queue: self.queue.clone(),
            ids: Arc::clone(ids),
            clock: Clock::system(),
        })
    }

    /// Has their figures in the metrics.
    pub(super) fn show(&self, metrics: &mut Metrics, tasks: &mut JoinSet<()>) {
        self.queue.metrics().register(metrics.sub_registry_with_prefix("mpim"));
        if let Some((_, cache)) = &self.stores {
            cache.metrics().register(metrics.sub_registry_with_prefix("mpim"));
        }
        let connected = Gauge::<i64>::default();
        metrics.register(
            "mpim_registry_connected",
            "Whether there is a session with ZooKeeper: 1, or 0",
            connected.clone(),
        );
        let mut reach = self.registry.reach();
        tasks.spawn(async move {
            loop {
                connected.set(reach.borrow_and_update().connected.into());
                if reach.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Looks whether the cache is there, so that a mistaken address is told, though nobody has to wait for it. Its figures count the
/// failure.
pub(super) fn look_for_cache(cache: &Arc<RedisCache>, tasks: &mut JoinSet<()>) {
    let cache = Arc::clone(cache);
    tasks.spawn(async move {
        if let Err(error) = cache.get(&["start".to_owned()]).await {
            tracing::warn!(%error, "[redis_cache] is not there: the database is asked for everything, until it is");
        }
    });
}

/// Connects; `with_stores` also to database and cache. What it waits for stands in `readiness`. Redis may be away: it costs nothing but
/// time, and is connected to once it is there.
///
/// # Errors
///
/// All that cannot be used or reached, one line each.
pub(super) async fn connect(config: &Config, with_stores: bool, readiness: &Readiness) -> anyhow::Result<Connected> {
    let database = async {
        let Some(mysql) = config.mysql().filter(|_| with_stores) else { return Ok(None) };
        readiness.waits("mysql", "the database has not been opened yet");
        let store = MysqlStore::open(mysql).await.map_err(|error| format!("[mysql] {}", with_causes(&error)))?;
        readiness.has("mysql");
        Ok(Some(store))
    };
    let registry = async {
        let zookeeper = config.zookeeper();
        readiness.waits("zookeeper", format!("no session with {} yet", zookeeper.servers));
        let connected = ZooKeeperRegistry::connect(zookeeper).await;
        let registry = connected.map_err(|error| of_zookeeper(error).to_string())?;
        readiness.has("zookeeper");
        Ok(registry)
    };
    let queue =
        RedisQueue::start(config.redis_queue()).map_err(|error| format!("[redis_queue] {}", with_causes(&error)));
    let cache = with_stores.then(|| RedisCache::start(&config.redis_cache())).transpose();
    let cache = cache.map_err(|error| format!("[redis_cache] {}", with_causes(&error)));
    let (database, registry) = tokio::join!(database, registry);
    match (database, registry, queue, cache) {
        (Ok(database), Ok(registry), Ok(queue), Ok(cache)) => Ok(Connected {
            registry,
            queue: Arc::new(queue),
            stores: database.zip(cache).map(|(database, cache)| (Arc::new(database), Arc::new(cache))),
        }),
        (database, registry, queue, cache) => {
            let wrong = [database.err(), registry.err(), queue.err(), cache.err()];
            bail!("{}", wrong.into_iter().flatten().collect::<Vec<_>>().join("\n"))
        }
    }
}
