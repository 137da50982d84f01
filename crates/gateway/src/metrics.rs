//! What a gateway counts.

mod process;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The gateway's figures, and the process's own (CPU, memory, open files), which are read at each scrape.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) tls_failures: Counter,
    pub(crate) users: Gauge,
    pub(crate) frames_in: Counter,
    pub(crate) frames_out: Counter,
    pub(crate) deliveries: Counter,
    pub(crate) slow_consumers: Counter,
    pub(crate) queue_lost: Counter,
    pub(crate) queue_malformed: Counter,
    pub(crate) membership_checks: Counter,
    requests: Family<RequestLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// The `outcome` of a request that was answered without an error; otherwise it is the error's code.
pub(crate) const OK: &str = "OK";

impl Metrics {
    /// Registers the figures under `mpim_gateway_…` and `process_…`.
    pub fn new(registry: &mut Registry) -> Self {
        registry.register_collector(Box::new(process::Process));
        let mut gateway = Registrar(registry.sub_registry_with_prefix("mpim_gateway"));
        let requests = Family::default();
        gateway.0.register("requests", "Requests by kind and outcome", requests.clone());
        Self {
            connections: gateway.gauge("connections", "Open connections"),
            connections_refused: gateway.counter("connections_refused", "Connections closed for their address's limit"),
            tls_failures: gateway.counter("tls_failures", "Connections whose TLS handshake failed"),
            users: gateway.gauge("users", "Users with a connection here"),
            frames_in: gateway.counter("frames_in", "Frames received from clients"),
            frames_out: gateway.counter("frames_out", "Frames handed to clients' sockets"),
            deliveries: gateway.counter("deliveries", "Pushes put into connections' outboxes"),
            slow_consumers: gateway.counter("slow_consumers", "Connections closed because the client read too slowly"),
            queue_lost: gateway.counter("queue_lost", "Publications lost on the way to this gateway"),
            queue_malformed: gateway.counter("queue_malformed", "Publications that could not be read"),
            membership_checks: gateway.counter("membership_checks", "Look-ups of who is still a member of a group"),
            requests,
        }
    }

    /// Counts the outcome of `count` requests of one kind.
    pub(crate) fn count_requests(&self, kind: &'static str, outcome: &'static str, count: u64) {
        self.requests.get_or_create(&RequestLabels { kind, outcome }).inc_by(count);
    }
}

struct Registrar<'a>(&'a mut Registry);

impl Registrar<'_> {
    fn counter(&mut self, name: &str, help: &str) -> Counter {
        let counter = Counter::default();
        self.0.register(name, help, counter.clone());
        counter
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        let gauge = Gauge::default();
        self.0.register(name, help, gauge.clone());
        gauge
    }
}
