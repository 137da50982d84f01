//! What the services stand on in distributed form: connected to all at once, so that all that is wrong is told at once.

use std::sync::Arc;

use anyhow::bail;
use cache::redis::RedisCache;
use queue::redis::RedisQueue;
use registry::ZooKeeperRegistry;
use store::mysql::MysqlStore;

use crate::config::Config;

/// Connections to the other programs.
pub(super) struct Connected {
    pub(super) registry: ZooKeeperRegistry,
    pub(super) queue: Arc<RedisQueue>,
    /// Only services need these.
    pub(super) stores: Option<(Arc<MysqlStore>, Arc<RedisCache>)>,
}

/// Connects; `with_stores` also to database and cache. Redis may be away: it costs nothing but time, and is connected to once it is
/// there.
///
/// # Errors
///
/// All that cannot be used or reached, one line each.
pub(super) async fn connect(config: &Config, with_stores: bool) -> anyhow::Result<Connected> {
    let database = async {
        match config.mysql().filter(|_| with_stores) {
            Some(mysql) => {
                MysqlStore::open(mysql).await.map(Some).map_err(|error| format!("[mysql] {}", chain(&error)))
            }
            None => Ok(None),
        }
    };
    let registry = async {
        let connected = ZooKeeperRegistry::connect(config.zookeeper()).await;
        connected.map_err(|error| format!("[zookeeper] {}", chain(&error)))
    };
    let queue = RedisQueue::start(config.redis_queue()).map_err(|error| format!("[redis_queue] {}", chain(&error)));
    let cache = with_stores.then(|| RedisCache::start(&config.redis_cache())).transpose();
    let cache = cache.map_err(|error| format!("[redis_cache] {}", chain(&error)));
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

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for text in causes.map(ToString::to_string) {
        // Some tell their causes themselves.
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}
