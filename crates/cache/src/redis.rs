//! The cache on Redis: alone, behind Sentinels, or a cluster.
//!
//! A key holds what is known: `V` and the value, or `A` for absence. A miss leaves `L` and a lease there, unless there is one
//! already; filling replaces just that lease, invalidating removes whatever is there. So a lease is revoked by what revokes
//! values, and needs nothing beside the key: whatever Redis forgets by itself is at worst loaded once more.

mod config;
mod link;
mod listener;
mod metrics;

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    mem,
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::redis::{Script, Value, cmd, pipe};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::{
    config::{Config, InvalidConfig},
    metrics::Metrics,
};
use self::{
    link::{Connection, Failure, Link},
    listener::Watchers,
};
use crate::{Cache, Error, Found, Lease, Result, Watcher};

/// A load that takes longer is not stored.
const LEASE_LIFETIME: Duration = Duration::from_secs(30);
/// A longer lifetime is cut to this.
const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Keys that one script or command names at most.
const KEYS_MAX: usize = 1_000;
/// Keys remembered that could not be invalidated.
const OWED_MAX: usize = 100_000;
/// Between two attempts to make invalidations good.
const OWED_PAUSE: Duration = Duration::from_millis(200);
const MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// Returns what the keys hold, and leaves a lease where that is nothing.
static GET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- ARGV: what marks the lease, its lifetime in ms.
local found = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  if not found[i] then
    -- A key named twice has its lease already.
    if not redis.call('SET', KEYS[i], ARGV[1], 'NX', 'PX', ARGV[2]) then
      found[i] = redis.call('GET', KEYS[i])
    else
      found[i] = ARGV[1]
    end
  end
end
return found
",
    )
});

/// Stores a value in place of the lease.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
-- ARGV: what marks the lease, what is known, its lifetime in ms.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 0
",
    )
});

/// A cache on Redis. Cheap to clone; clones are the same cache, which ends with the last of them or with
/// [`close`](Self::close).
///
/// **While Redis is away** every call fails, at once if that is known, and otherwise within [`Config::timeout`]. In a cluster a
/// server that is gone fails all calls that name a key of its.
///
/// **An invalidation that fails** is remembered, and made good as soon as Redis can be reached again, whether somebody asks
/// for the key or not. Until then, and some 200 ms more, other processes that do reach Redis may read the old value. It
/// stays for its lifetime only if this process ends before, if more than 100,000 keys are owed, or if Redis itself loses
/// the invalidation (a replica that becomes master without it). This process does not read it: that is the promise of
/// [`Lookup`](crate::Lookup).
pub struct RedisCache {
    inner: Arc<Inner>,
}

impl Clone for RedisCache {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

struct Inner {
    link: Arc<Link>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
    tasks: TaskTracker,
}

/// What the tasks need, too.
struct Shared {
    keys: String,
    channel: String,
    /// Leases count up from a random number.
    next_lease: AtomicU64,
    owed: Mutex<HashSet<String>>,
    owes: Notify,
    watchers: Arc<Watchers>,
    metrics: Metrics,
}

impl RedisCache {
    /// A cache with these settings. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// The settings cannot be used. That Redis is not there is none.
    pub fn start(config: &Config) -> Result<Self, InvalidConfig> {
        let metrics = Metrics::default();
        let link = Arc::new(Link::new(config, metrics.clone())?);
        let shared = Arc::new(Shared {
            keys: format!("{}:cache:", config.prefix),
            // Channels are common to all databases of a server.
            channel: format!("{}:{}:cache:invalidated", config.prefix, link.database()),
            next_lease: AtomicU64::new(RandomState::new().hash_one(())),
            owed: Mutex::default(),
            owes: Notify::new(),
            watchers: Arc::default(),
            metrics,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn({
            let (link, stop) = (Arc::clone(&link), stop.clone());
            async move { link.run(stop).await }
        });
        let (watchers, channel) = (Arc::clone(&shared.watchers), shared.channel.clone());
        tasks.spawn(listener::run(Arc::clone(&link), watchers, channel, stop.clone()));
        tasks.spawn(until(stop.clone(), settle(Arc::clone(&link), Arc::clone(&shared))));
        tasks.spawn(until(stop.clone(), watch_memory(Arc::clone(&link), Arc::clone(&shared))));
        let stop_when_dropped = stop.clone().drop_guard();
        Ok(Self { inner: Arc::new(Inner { link, shared, stop, _stop_when_dropped: stop_when_dropped, tasks }) })
    }

    /// What is counted, to be registered.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.shared.metrics
    }

    /// Ends. Invalidations that are owed are not waited for: their keys end with their lifetimes.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// A call to Redis, measured.
    async fn within<T>(&self, call: impl Future<Output = Result<T, Failure>>) -> Result<T> {
        let Inner { link, shared, .. } = &*self.inner;
        let mut measured = Measured { metrics: &shared.metrics, began: Instant::now(), failed: true };
        let answer = timeout(link.timeout, call).await.unwrap_or(Err(Failure::TooSlow(link.timeout)));
        measured.failed = answer.is_err();
        answer.map_err(|failure| {
            link.note(&failure);
            Error(Box::new(failure))
        })
    }
}

/// Notes how a call went: also one that is dropped, as look-ups do when their patience ends.
struct Measured<'a> {
    metrics: &'a Metrics,
    began: Instant,
    failed: bool,
}

impl Drop for Measured<'_> {
    fn drop(&mut self) {
        if self.failed {
            self.metrics.errors.inc();
        } else {
            self.metrics.response_seconds.observe(self.began.elapsed().as_secs_f64());
        }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, keys: &[String]) -> Result<Vec<Found>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let Inner { link, shared, .. } = &*self.inner;
        let found = self.within(async {
            let connection = link.connection().await?;
            let lease = lease_text(shared.next_lease.fetch_add(1, Ordering::Relaxed));
            // In a cluster each key is somewhere else; what goes to one server at a time shares its connection.
            let at_once = if link.is_cluster() { 1 } else { KEYS_MAX };
            let asking = keys.chunks(at_once).map(|keys| shared.get(connection.clone(), keys, &lease));
            Ok(try_join_all(asking).await?.concat())
        });
        let found = found.await?;
        let misses = found.iter().filter(|found| matches!(found, Found::Miss(_))).count();
        shared.metrics.misses.inc_by(misses as u64);
        shared.metrics.hits.inc_by((found.len() - misses) as u64);
        Ok(found)
    }

    async fn fill(&self, key: &str, lease: Lease, value: Option<Bytes>, ttl: Duration) -> Result<()> {
        let Inner { link, shared, .. } = &*self.inner;
        let ttl_ms = ttl.clamp(Duration::from_millis(1), TTL_MAX).as_millis() as u64;
        let known = value.map_or_else(|| b"A".to_vec(), |value| [b"V", &value[..]].concat());
        self.within(async {
            let mut connection = link.connection().await?;
            let mut script = FILL.key(shared.key(key));
            script.arg(lease_text(lease.0)).arg(known).arg(ttl_ms);
            script.invoke_async::<()>(&mut connection).await?;
            Ok(())
        })
        .await
    }

    async fn invalidate(&self, keys: &[String]) -> Result<()> {
        let Inner { link, shared, .. } = &*self.inner;
        // Owed until it is done, also if this call is dropped.
        let mut debt = Debt { shared, keys };
        self.within(async { shared.invalidate(link.connection().await?, link.is_cluster(), keys).await }).await?;
        debt.keys = &[];
        Ok(())
    }

    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool {
        self.inner.shared.watchers.add(watcher);
        true
    }

    fn note_near_hits(&self, count: u64) {
        let metrics = &self.inner.shared.metrics;
        metrics.hits.inc_by(count);
        metrics.near_hits.inc_by(count);
    }
}

/// Keys whose invalidation is owed unless it is done.
struct Debt<'a> {
    shared: &'a Shared,
    keys: &'a [String],
}

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.shared.owe(self.keys.iter().cloned());
        }
    }
}

impl Shared {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.keys)
    }

    async fn get(&self, mut connection: Connection, keys: &[String], lease: &str) -> Result<Vec<Found>, Failure> {
        let mut script = GET.prepare_invoke();
        for key in keys {
            script.key(self.key(key));
        }
        script.arg(lease).arg(LEASE_LIFETIME.as_millis() as u64);
        let found: Vec<Value> = script.invoke_async(&mut connection).await?;
        if found.len() != keys.len() {
            return Err(Failure::Unexpected(format!("{} values of {} keys", found.len(), keys.len())));
        }
        found.into_iter().map(read).collect()
    }

    /// Removes the keys, and then tells those who keep copies.
    async fn invalidate(&self, connection: Connection, cluster: bool, keys: &[String]) -> Result<(), Failure> {
        for keys in keys.chunks(KEYS_MAX) {
            let text = keys.join("\n");
            let mut told = connection.clone();
            if cluster {
                let remove = |key: &String| {
                    let (mut connection, key) = (connection.clone(), self.key(key));
                    async move { cmd("UNLINK").arg(key).query_async::<()>(&mut connection).await }
                };
                try_join_all(keys.iter().map(remove)).await?;
                cmd("PUBLISH").arg(&self.channel).arg(text).query_async::<()>(&mut told).await?;
            } else {
                let own: Vec<String> = keys.iter().map(|key| self.key(key)).collect();
                let mut pipeline = pipe();
                pipeline.cmd("UNLINK").arg(own).ignore().cmd("PUBLISH").arg(&self.channel).arg(text).ignore();
                pipeline.query_async::<()>(&mut told).await?;
            }
        }
        Ok(())
    }

    fn owe(&self, keys: impl IntoIterator<Item = String>) {
        let mut owed = self.owed.lock();
        for key in keys {
            if owed.len() < OWED_MAX || owed.contains(&key) {
                owed.insert(key);
            } else {
                self.metrics.invalidations_lost.inc();
            }
        }
        self.metrics.invalidations_owed.set(i64::try_from(owed.len()).unwrap_or(i64::MAX));
        self.owes.notify_one();
    }
}

fn lease_text(lease: u64) -> String {
    format!("L{lease}")
}

fn read(value: Value) -> Result<Found, Failure> {
    let Value::BulkString(bytes) = value else { return Err(Failure::Unexpected(format!("{value:?}"))) };
    let bytes = Bytes::from(bytes);
    match bytes.first() {
        Some(b'V') => Ok(Found::Value(bytes.slice(1..))),
        Some(b'A') => Ok(Found::Absent),
        Some(b'L') => {
            let lease = std::str::from_utf8(&bytes[1..]).ok().and_then(|text| text.parse().ok());
            lease.map(|lease| Found::Miss(Lease(lease))).ok_or_else(|| Failure::Unexpected(format!("{bytes:?}")))
        }
        _ => Err(Failure::Unexpected(format!("{bytes:?}"))),
    }
}

/// Makes good what is owed.
async fn settle(link: Arc<Link>, shared: Arc<Shared>) {
    loop {
        shared.owes.notified().await;
        loop {
            let owed: Vec<String> = mem::take(&mut *shared.owed.lock()).into_iter().collect();
            if owed.is_empty() {
                break;
            }
            link.up().await;
            let settling = async { shared.invalidate(link.connection().await?, link.is_cluster(), &owed).await };
            let settled = timeout(link.timeout, settling).await.unwrap_or(Err(Failure::TooSlow(link.timeout)));
            match settled {
                Ok(()) => {
                    tracing::info!(count = owed.len(), "invalidations that had failed are made good");
                    shared.metrics.invalidations_owed.set(i64::try_from(shared.owed.lock().len()).unwrap_or(i64::MAX));
                }
                Err(failure) => {
                    link.note(&failure);
                    shared.owe(owed);
                    sleep(OWED_PAUSE).await;
                }
            }
        }
    }
}

/// Asks every now and then what memory Redis uses.
async fn watch_memory(link: Arc<Link>, shared: Arc<Shared>) {
    loop {
        let asking = async {
            let info: Value = cmd("INFO").arg("memory").query_async(&mut link.connection().await?).await?;
            Ok::<_, Failure>(used_memory(&info))
        };
        let bytes = timeout(link.timeout, asking).await.ok().and_then(Result::ok).unwrap_or(0);
        shared.metrics.memory_bytes.set(bytes);
        sleep(MEMORY_INTERVAL).await;
    }
}

/// What `INFO memory` tells: of one server a text, of a cluster a text for each.
fn used_memory(info: &Value) -> i64 {
    let of_text = |text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        line.and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    match info {
        Value::BulkString(bytes) => of_text(&String::from_utf8_lossy(bytes)),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => of_text(text),
        Value::Map(of_each) => of_each.iter().map(|(_, info)| used_memory(info)).sum(),
        Value::Array(all) => all.iter().map(used_memory).sum(),
        _ => 0,
    }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}
