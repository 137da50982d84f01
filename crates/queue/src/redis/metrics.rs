//! What the dashboard shows of the queue.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Counters and gauges of a [`RedisQueue`](super::RedisQueue). Clones are the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Publications that Redis took.
    pub published: Counter,
    /// Publications given up: left to catching up.
    pub publish_failed: Counter,
    /// Attempts to publish that failed; most are repeated.
    pub publish_attempts_failed: Counter,
    /// Publications handed to gateways: one that two gateways hear is two.
    pub delivered: Counter,
    /// Publications lost to subscribed gateways: by their numbers on the way, or because a gateway did not take them.
    pub lost: Counter,
    /// Publications that reached a gateway again, and were dropped.
    pub repeated: Counter,
    /// Envelopes that cannot be read.
    pub malformed: Counter,
    /// From `publish` to the gateway's mailbox, by the clocks of both.
    pub latency_seconds: Histogram,
    /// Publications that wait to be published.
    pub waiting: Gauge,
    /// Publications that wait at gateways of this process, as of the last look.
    pub mailboxes: Gauge,
    /// Connections opened to Redis.
    pub connections_opened: Counter,
    /// Connections to Redis that broke.
    pub connections_broken: Counter,
    /// Routes written again after Redis had lost them, or a lease had run out.
    pub routes_rewritten: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        /// From 50 µs to 26 s.
        const BUCKETS: u16 = 20;
        Self {
            published: Counter::default(),
            publish_failed: Counter::default(),
            publish_attempts_failed: Counter::default(),
            delivered: Counter::default(),
            lost: Counter::default(),
            repeated: Counter::default(),
            malformed: Counter::default(),
            latency_seconds: Histogram::new(exponential_buckets(50e-6, 2.0, BUCKETS)),
            waiting: Gauge::default(),
            mailboxes: Gauge::default(),
            connections_opened: Counter::default(),
            connections_broken: Counter::default(),
            routes_rewritten: Counter::default(),
        }
    }
}

impl Metrics {
    /// Puts them into a registry, with names that begin with `queue_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("queue");
        registry.register("published", "Publications that Redis took", self.published.clone());
        registry.register("publish_failed", "Publications left to catching up", self.publish_failed.clone());
        registry.register(
            "publish_attempts_failed",
            "Attempts to publish that failed, most of them repeated",
            self.publish_attempts_failed.clone(),
        );
        registry.register("delivered", "Publications handed to gateways", self.delivered.clone());
        registry.register("lost", "Publications lost to subscribed gateways", self.lost.clone());
        registry.register("repeated", "Publications that reached a gateway again", self.repeated.clone());
        registry.register("malformed", "Envelopes that cannot be read", self.malformed.clone());
        registry.register("latency_seconds", "From publishing to the gateway", self.latency_seconds.clone());
        registry.register("waiting", "Publications that wait to be published", self.waiting.clone());
        registry.register("mailboxes", "Publications that wait at gateways", self.mailboxes.clone());
        registry.register("connections_opened", "Connections opened to Redis", self.connections_opened.clone());
        registry.register("connections_broken", "Connections to Redis that broke", self.connections_broken.clone());
        registry.register("routes_rewritten", "Routes written again", self.routes_rewritten.clone());
    }
}

/// The time, in microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
