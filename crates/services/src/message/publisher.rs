//! Publishing what was committed, in order, without holding up the next commit.

use std::sync::Arc;

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use queue::Queue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Config;
use crate::push::Pushes;

/// Batches of committed entries waiting at most; beyond, their pushes are left to catching up.
const BATCHES_QUEUED_MAX: usize = 1_024;

#[derive(Clone)]
pub(super) struct PublisherMetrics {
    published: Counter,
    lost: Counter,
}

impl PublisherMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self { published: Counter::default(), lost: Counter::default() };
        registry.register("pushes_published", "Pushes handed to the message queue", metrics.published.clone());
        registry.register("pushes_given_up", "Pushes left to catching up", metrics.lost.clone());
        metrics
    }
}

/// Hands pushes to the publishing task.
#[derive(Clone)]
pub(super) struct Publisher {
    batches: mpsc::Sender<Pushes>,
    metrics: PublisherMetrics,
}

impl Publisher {
    /// The publisher, and its task, which ends with `stop`, after it has published what it was handed before.
    pub(super) fn new(
        config: &Config,
        queue: Arc<dyn Queue>,
        metrics: PublisherMetrics,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (batches, receiver) = mpsc::channel(BATCHES_QUEUED_MAX);
        let task = Task {
            queue,
            batch_max: config.publish_batch_max,
            attempts_max: config.publish_attempts_max,
            metrics: metrics.clone(),
        };
        (Self { batches, metrics }, task.run(receiver, stop))
    }

    /// Publishes soon, in the order of calls. Never waits: the queue is a hint.
    pub(super) fn publish(&self, pushes: Pushes) {
        let count = pushes.len() as u64;
        if count > 0 && self.batches.try_send(pushes).is_err() {
            self.metrics.lost.inc_by(count);
        }
    }
}

struct Task {
    queue: Arc<dyn Queue>,
    batch_max: usize,
    attempts_max: u32,
    metrics: PublisherMetrics,
}

impl Task {
    async fn run(self, mut receiver: mpsc::Receiver<Pushes>, stop: CancellationToken) {
        let mut batches = Vec::new();
        loop {
            let received = tokio::select! {
                received = receiver.recv_many(&mut batches, BATCHES_QUEUED_MAX) => received,
                () = stop.cancelled() => {
                    receiver.close();
                    receiver.recv_many(&mut batches, BATCHES_QUEUED_MAX).await
                }
            };
            if received == 0 {
                return;
            }
            let mut pushes = Pushes::default();
            for batch in batches.drain(..) {
                pushes.append(batch);
            }
            let count = pushes.len() as u64;
            match self.publish(pushes).await {
                Ok(()) => self.metrics.published.inc_by(count),
                Err(error) => {
                    tracing::warn!(%error, count, "pushes are left to catching up");
                    self.metrics.lost.inc_by(count)
                }
            };
        }
    }

    async fn publish(&self, pushes: Pushes) -> queue::Result<()> {
        let users = pushes.users();
        let routes = if users.is_empty() { Vec::new() } else { self.attempt(|| self.queue.routes(&users)).await? };
        let publications = pushes.address(routes, self.batch_max);
        if publications.is_empty() {
            return Ok(());
        }
        // A publication twice does no harm: the position tells.
        self.attempt(|| self.queue.publish(publications.clone())).await
    }

    async fn attempt<T, F: Future<Output = queue::Result<T>>>(&self, act: impl Fn() -> F) -> queue::Result<T> {
        let mut attempt = 1;
        loop {
            match act().await {
                Err(_) if attempt < self.attempts_max => attempt += 1,
                outcome => return outcome,
            }
        }
    }
}
