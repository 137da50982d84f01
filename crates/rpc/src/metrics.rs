//! What is counted of calls, on both sides.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Figures under `mpim_rpc_…`, by service. Made once a process; channels and servers get clones.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: Family<Service, Counter>,
    failures: Family<Failure, Counter>,
    in_flight: Family<Service, Gauge>,
    retries: Family<Service, Counter>,
    ejections: Family<Service, Counter>,
    latency: Family<Service, Histogram>,
    served: Family<Service, Counter>,
    serving: Gauge,
    refused: Family<Reason, Counter>,
    connections: Gauge,
    strangers: Counter,
    malformed: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    service: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// A caller's handles, looked up once: each costs an atomic operation.
#[derive(Debug, Clone)]
pub(crate) struct Calling {
    service: &'static str,
    failures: Family<Failure, Counter>,
    pub(crate) calls: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) retries: Counter,
    pub(crate) ejections: Counter,
    /// In seconds, all attempts together.
    pub(crate) latency: Histogram,
}

/// A server's handles.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    served: Family<Service, Counter>,
    refused: Family<Reason, Counter>,
    pub(crate) calls: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) strangers: Counter,
    pub(crate) malformed: Counter,
}

impl Metrics {
    /// Registers the figures.
    pub fn new(registry: &mut Registry) -> Arc<Self> {
        // From 50 µs to 13 s.
        let latency = || Histogram::new(exponential_buckets(50e-6, 4.0, 10));
        let metrics = Self {
            calls: Family::default(),
            failures: Family::default(),
            in_flight: Family::default(),
            retries: Family::default(),
            ejections: Family::default(),
            latency: Family::new_with_constructor(latency),
            served: Family::default(),
            serving: Gauge::default(),
            refused: Family::default(),
            connections: Gauge::default(),
            strangers: Counter::default(),
            malformed: Counter::default(),
        };
        let rpc = registry.sub_registry_with_prefix("mpim_rpc");
        rpc.register("calls", "Calls made, by service", metrics.calls.clone());
        rpc.register("failures", "Calls that came back with an error, by its code", metrics.failures.clone());
        rpc.register("calls_in_flight", "Calls made and not answered yet", metrics.in_flight.clone());
        rpc.register("retries", "Attempts beyond a call's first", metrics.retries.clone());
        rpc.register("ejections", "Times that an instance was set aside", metrics.ejections.clone());
        rpc.register("latency_seconds", "From a call to its answer, retries included", metrics.latency.clone());
        rpc.register("served", "Calls served, by service", metrics.served.clone());
        rpc.register("serving", "Calls being served", metrics.serving.clone());
        rpc.register("refused", "Calls not begun, by reason", metrics.refused.clone());
        rpc.register("connections", "Connections from callers", metrics.connections.clone());
        rpc.register("strangers", "Connections closed for want of a proof, or of time", metrics.strangers.clone());
        rpc.register("malformed", "Connections closed for a malformed frame", metrics.malformed.clone());
        Arc::new(metrics)
    }

    pub(crate) fn calling(&self, service: &'static str) -> Calling {
        let labels = Service { service };
        Calling {
            service,
            failures: self.failures.clone(),
            calls: self.calls.get_or_create_owned(&labels),
            in_flight: self.in_flight.get_or_create_owned(&labels),
            retries: self.retries.get_or_create_owned(&labels),
            ejections: self.ejections.get_or_create_owned(&labels),
            latency: self.latency.get_or_create_owned(&labels),
        }
    }

    pub(crate) fn serving(&self) -> Serving {
        Serving {
            served: self.served.clone(),
            refused: self.refused.clone(),
            calls: self.serving.clone(),
            connections: self.connections.clone(),
            strangers: self.strangers.clone(),
            malformed: self.malformed.clone(),
        }
    }
}

impl Calling {
    pub(crate) fn failed(&self, error: &protocol::Error) {
        self.failures.get_or_create(&Failure { service: self.service, code: error.code().as_str_name() }).inc();
    }
}

impl Serving {
    pub(crate) fn of_service(&self, service: &'static str) -> Counter {
        self.served.get_or_create_owned(&Service { service })
    }

    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }
}
