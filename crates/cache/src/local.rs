//! The cache within one process.
//!
//! A lease is the count of what happened to the key's stripe: an invalidation or a fill of any key in the stripe moves
//! it on, so that revoking needs neither the key nor a table of leases. Two keys seldom share a stripe; where they do,
//! a fill may be refused for nothing, which costs one load more.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use quick_cache::{Weighter, sync};
use tokio::time::Instant;

use crate::{Cache, Found, Lease, Result};

/// Locks; a power of two.
const SHARDS: usize = 64;
/// Counts under each lock; a power of two.
const STRIPES: usize = 256;
/// What an entry takes beside its key and value, about.
const ENTRY_OVERHEAD_BYTES: usize = 128;
/// An entry's size, to begin with; the table grows by itself.
const ENTRY_BYTES_EXPECTED: usize = 4096;

/// A longer lifetime is cut to this, so that its end can be computed.
const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A cache within one process, bounded in bytes; what was used least makes room.
pub struct LocalCache {
    entries: sync::Cache<String, Entry, ByBytes>,
    hasher: RandomState,
    shards: Box<[Mutex<[u64; STRIPES]>]>,
}

#[derive(Clone)]
struct Entry {
    /// `None`: it is known that there is none.
    value: Option<Bytes>,
    expires: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<String, Entry> for ByBytes {
    fn weight(&self, key: &String, entry: &Entry) -> u64 {
        (key.len() + entry.value.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD_BYTES) as u64
    }
}

impl LocalCache {
    /// What [`Self::default`] keeps, in bytes.
    pub const BYTES_MAX_DEFAULT: u64 = 64 * 1024 * 1024;

    /// A cache that keeps at most so many bytes, keys and its own overhead included.
    pub fn new(bytes_max: u64) -> Self {
        let expected = usize::try_from(bytes_max).unwrap_or(usize::MAX) / ENTRY_BYTES_EXPECTED;
        Self {
            entries: sync::Cache::with_weighter(expected.max(1), bytes_max, ByBytes),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::new([0; STRIPES])).collect(),
        }
    }

    /// Entries kept, those included that are past their time and not yet replaced.
    pub fn length(&self) -> usize {
        self.entries.len()
    }

    /// What they take, in bytes, as it counts against the bound.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    /// The lock over the key's changes, and which of its counts is the key's.
    fn stripe(&self, key: &str) -> (MutexGuard<'_, [u64; STRIPES]>, usize) {
        let hash = self.hasher.hash_one(key) as usize;
        (self.shards[hash % SHARDS].lock(), hash / SHARDS % STRIPES)
    }
}

impl Default for LocalCache {
    fn default() -> Self {
        Self::new(Self::BYTES_MAX_DEFAULT)
    }
}

impl fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCache").field("length", &self.length()).field("bytes", &self.bytes()).finish()
    }
}

#[async_trait]
impl Cache for LocalCache {
    async fn get(&self, keys: &[String]) -> Result<Vec<Found>> {
        let now = Instant::now();
        let find = |key: &String| match self.entries.get(key) {
            Some(Entry { value: Some(value), expires }) if now < expires => Found::Value(value),
            Some(Entry { value: None, expires }) if now < expires => Found::Absent,
            // The lease is read after the look: a change between the two is only fresher.
            _ => {
                let (counts, stripe) = self.stripe(key);
                Found::Miss(Lease(counts[stripe]))
            }
        };
        Ok(keys.iter().map(find).collect())
    }

    async fn fill(&self, key: &str, lease: Lease, value: Option<Bytes>, ttl: Duration) -> Result<()> {
        let expires = Instant::now() + ttl.min(TTL_MAX);
        let (mut counts, stripe) = self.stripe(key);
        if counts[stripe] == lease.0 {
            counts[stripe] += 1;
            // With the lock held: an invalidation comes before the check or after the entry.
            self.entries.insert(key.to_owned(), Entry { value, expires });
        }
        Ok(())
    }

    async fn invalidate(&self, keys: &[String]) -> Result<()> {
        for key in keys {
            let (mut counts, stripe) = self.stripe(key);
            counts[stripe] += 1;
            self.entries.remove(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn clients() -> crate::contract::Clients {
        let cache: Arc<dyn Cache> = Arc::new(LocalCache::default());
        (Arc::clone(&cache), cache)
    }

    mod in_turn {
        crate::contract_tests!((start_paused = true), async { super::clients() });
    }

    mod on_several_threads {
        crate::contract_tests!((flavor = "multi_thread", worker_threads = 4), async { super::clients() });
    }

    async fn fill(cache: &LocalCache, key: String, bytes: usize) {
        let Found::Miss(lease) = cache.get(std::slice::from_ref(&key)).await.unwrap().remove(0) else { return };
        cache.fill(&key, lease, Some(vec![0; bytes].into()), Duration::from_secs(60)).await.unwrap();
    }

    #[tokio::test]
    async fn the_bound_in_bytes_holds_and_what_is_used_stays() {
        let cache = LocalCache::new(100_000);
        for number in 0..10_000 {
            fill(&cache, format!("user:{number}"), 500).await;
            fill(&cache, "user:often".into(), 500).await;
            assert!(cache.bytes() <= 100_000, "{} bytes", cache.bytes());
        }
        assert!(cache.length() > 50);
        assert!(matches!(cache.get(&["user:often".into()]).await.unwrap()[0], Found::Value(_)));
    }

    #[tokio::test]
    async fn a_value_larger_than_the_cache_is_not_kept() {
        let cache = LocalCache::new(10_000);
        fill(&cache, "user:1".into(), 20_000).await;
        assert!(matches!(cache.get(&["user:1".into()]).await.unwrap()[0], Found::Miss(_)));
        assert!(cache.bytes() <= 10_000);
    }

    #[tokio::test]
    async fn a_lifetime_without_end_is_cut_to_one_that_can_be_computed() {
        let cache = LocalCache::default();
        let Found::Miss(lease) = cache.get(&["user:1".into()]).await.unwrap().remove(0) else { panic!("empty") };
        cache.fill("user:1", lease, None, Duration::MAX).await.unwrap();
        assert_eq!(cache.get(&["user:1".into()]).await.unwrap(), [Found::Absent]);
    }
}
