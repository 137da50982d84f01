//! What the dashboard shows of the cache.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Counters and gauges of a [`RedisCache`](super::RedisCache). Clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Keys of which something was known: here or in Redis.
    pub hits: Counter,
    /// Those of them of which it was known here: Redis was not asked.
    pub near_hits: Counter,
    /// Keys of which nothing was known.
    pub misses: Counter,
    /// Calls that failed, or were given up by who made them.
    pub errors: Counter,
    /// What the other calls took.
    pub response_seconds: Histogram,
    /// What Redis uses, all servers together, as it was told last; 0 while it is away.
    pub memory_bytes: Gauge,
    /// Keys to be invalidated as soon as Redis can be reached.
    pub invalidations_owed: Gauge,
    /// Keys that could not be invalidated and were too many to remember.
    pub invalidations_lost: Counter,
    /// 1 while Redis is reached.
    pub connected: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        /// From 50 µs to 13 s.
        const BUCKETS: u16 = 19;
        Self {
            hits: Counter::default(),
            near_hits: Counter::default(),
            misses: Counter::default(),
            errors: Counter::default(),
            response_seconds: Histogram::new(exponential_buckets(50e-6, 2.0, BUCKETS)),
            memory_bytes: Gauge::default(),
            invalidations_owed: Gauge::default(),
            invalidations_lost: Counter::default(),
            connected: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Puts them into a registry, with names that begin with `cache_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("cache");
        registry.register("hits", "Keys of which something was known, here or in Redis", self.hits.clone());
        registry.register("near_hits", "Hits for which Redis was not asked", self.near_hits.clone());
        registry.register("misses", "Keys of which nothing was known", self.misses.clone());
        registry.register("errors", "Calls to Redis that failed or were given up", self.errors.clone());
        registry.register("response_seconds", "What calls to Redis took", self.response_seconds.clone());
        registry.register("memory_bytes", "What Redis uses", self.memory_bytes.clone());
        registry.register(
            "invalidations_owed",
            "Keys to be invalidated as soon as Redis can be reached",
            self.invalidations_owed.clone(),
        );
        registry.register(
            "invalidations_lost",
            "Keys that could not be invalidated and were too many to remember",
            self.invalidations_lost.clone(),
        );
        registry.register("connected", "Whether Redis is reached", self.connected.clone());
    }
}
