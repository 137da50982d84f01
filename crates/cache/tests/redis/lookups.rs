//! Look-ups over Redis, and a database that counts what it is asked.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cache::{Cache, Lookup, LookupConfig, redis::RedisCache};
use parking_lot::Mutex;
use prost::Message;
use tokio::time::sleep;

use crate::bed::eventually;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Name {
    #[prost(string, tag = "1")]
    text: String,
}

/// The database, common to all processes.
#[derive(Default)]
pub(crate) struct Database {
    names: Mutex<HashMap<u64, String>>,
    loads: AtomicU64,
    at_once: AtomicU64,
    at_once_max: AtomicU64,
}

impl Database {
    pub(crate) fn set(&self, id: u64, text: impl Into<String>) {
        self.names.lock().insert(id, text.into());
    }

    async fn load(&self, id: u64) -> Result<Option<Name>, String> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.at_once_max.fetch_max(at_once, Ordering::Relaxed);
        let found = self.names.lock().get(&id).map(|text| Name { text: text.clone() });
        // A load takes its time, in which others come.
        sleep(Duration::from_millis(1)).await;
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        Ok(found)
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// The most loads that were under way together.
    pub(crate) fn at_once_max(&self) -> u64 {
        self.at_once_max.load(Ordering::Relaxed)
    }
}

/// One process: its connection to Redis, and its look-up.
pub(crate) struct Process {
    pub(crate) cache: RedisCache,
    pub(crate) names: Lookup<Name, String>,
    database: Arc<Database>,
}

impl Process {
    pub(crate) fn start(config: &cache::redis::Config, lookup: LookupConfig, database: &Arc<Database>) -> Self {
        let cache = RedisCache::start(config).unwrap();
        let names = Lookup::new(Arc::new(cache.clone()) as Arc<dyn Cache>, lookup);
        Self { cache, names, database: Arc::clone(database) }
    }

    pub(crate) async fn get(&self, id: u64) -> Option<String> {
        self.names.get(id, || self.database.load(id)).await.unwrap().map(|name| name.text)
    }

    /// Commits, then invalidates.
    pub(crate) async fn set(&self, id: u64, text: &str) {
        self.database.set(id, text);
        self.names.invalidate(&[id]).await;
    }

    /// Asks until the back end knows the value.
    pub(crate) async fn is_found_again(&self, id: u64) {
        eventually("it is found in Redis", async || {
            let hits = self.names.counts().hits;
            self.get(id).await;
            self.names.counts().hits > hits
        })
        .await;
    }
}

/// Settings without copies in the process.
pub(crate) fn lookup() -> LookupConfig {
    LookupConfig::new("name", Duration::from_secs(3_600))
}
