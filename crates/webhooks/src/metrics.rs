//! What is counted.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

/// The figures of all webhooks together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub(crate) delivered: Counter,
    pub(crate) failed: Counter,
    pub(crate) dead: Counter,
}

impl Metrics {
    /// Registers the figures; the prefix is the registry's.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("delivered", "Entries that a webhook's receiver accepted", metrics.delivered.clone());
        registry.register("failed", "Attempts to post an entry that failed", metrics.failed.clone());
        registry.register("dead", "Entries that were given up", metrics.dead.clone());
        metrics
    }
}
