//! Publishing what was committed, in order, without holding up the next commit.
//!
//! What could not be published is not published later: those it was for are told to catch up, once the queue can be
//! reached again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use queue::{Queue, Topic};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Config, missed::Missed};
use crate::push::Pushes;

/// Batches of committed entries waiting at most; beyond, their pushes are given up.
const BATCHES_QUEUED_MAX: usize = 1_024;
/// Between two attempts to tell those who missed something.
const TELL_AGAIN: Duration = Duration::from_millis(500);

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
    missed: Arc<Mutex<Missed>>,
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
        let missed = Arc::new(Mutex::default());
        let task = Task {
            queue,
            batch_max: config.publish_batch_max,
            attempts_max: config.publish_attempts_max,
            missed: Arc::clone(&missed),
            tell_at: None,
            metrics: metrics.clone(),
        };
        (Self { batches, missed, metrics }, task.run(receiver, stop))
    }

    /// Publishes soon, in the order of calls. Never waits: the queue is a hint.
    pub(super) fn publish(&self, pushes: Pushes) {
        let count = pushes.len() as u64;
        if count > 0
            && let Err(refused) = self.batches.try_send(pushes)
        {
            self.metrics.lost.inc_by(count);
            // Its task has much to do, and looks at this afterwards.
            let pushes = refused.into_inner();
            self.missed.lock().add(Missed::of(pushes.users(), pushes.topics()));
        }
    }
}

struct Task {
    queue: Arc<dyn Queue>,
    batch_max: usize,
    attempts_max: u32,
    missed: Arc<Mutex<Missed>>,
    /// When those who missed something are told, if the last attempt to publish failed.
    tell_at: Option<Instant>,
    metrics: PublisherMetrics,
}

impl Task {
    async fn run(mut self, mut receiver: mpsc::Receiver<Pushes>, stop: CancellationToken) {
        let mut batches = Vec::new();
        loop {
            let tell_at = self.tell_at;
            let received = tokio::select! {
                received = receiver.recv_many(&mut batches, BATCHES_QUEUED_MAX) => received,
                () = sleep_until(tell_at.unwrap_or_else(Instant::now)), if tell_at.is_some() => {
                    self.tell_missed().await;
                    continue;
                }
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
            self.publish(pushes).await;
        }
    }

    async fn publish(&mut self, pushes: Pushes) {
        let count = pushes.len() as u64;
        match self.try_to_publish(pushes, self.attempts_max).await {
            Ok(()) => {
                self.metrics.published.inc_by(count);
                if !self.missed.lock().is_empty() {
                    self.tell_missed().await;
                }
            }
            Err(unpublished) => {
                self.metrics.lost.inc_by(count);
                self.failed(unpublished);
            }
        }
    }

    /// Tells those who missed something to catch up.
    async fn tell_missed(&mut self) {
        loop {
            let told = self.missed.lock().take();
            if told.is_empty() {
                break;
            }
            if let Err(unpublished) = self.try_to_publish(told.pushes(), 1).await {
                self.failed(unpublished);
                return;
            }
        }
        if self.tell_at.take().is_some() {
            tracing::info!("pushes are published again, and those who missed some are told to catch up");
        }
    }

    /// Notes who is to be told. Says so once, however long it lasts.
    fn failed(&mut self, Unpublished { error, missed }: Unpublished) {
        self.missed.lock().add(missed);
        if self.tell_at.replace(Instant::now() + TELL_AGAIN).is_none() {
            tracing::warn!(%error, "pushes cannot be published; those they are for will be told to catch up");
        }
    }

    async fn try_to_publish(&self, pushes: Pushes, attempts_max: u32) -> Result<(), Unpublished> {
        let users = pushes.users();
        let routes =
            if users.is_empty() { Ok(Vec::new()) } else { attempt(attempts_max, || self.queue.routes(&users)).await };
        let routes = match routes {
            Ok(routes) => routes,
            Err(error) => return Err(Unpublished { error, missed: Missed::of(users, pushes.topics()) }),
        };
        let publications = pushes.address(routes, self.batch_max);
        if publications.is_empty() {
            return Ok(());
        }
        // A publication twice does no harm: the position tells.
        let published = attempt(attempts_max, || self.queue.publish(publications.clone())).await;
        published.map_err(|error| {
            let topics = publications.iter().map(|publication| publication.topic);
            Unpublished { error, missed: Missed::of(users, topics.filter(|it| !matches!(it, Topic::Gateway(_)))) }
        })
    }
}

/// Pushes that were perhaps not published.
struct Unpublished {
    error: queue::Error,
    /// Those they were for.
    missed: Missed,
}

async fn attempt<T, F: Future<Output = queue::Result<T>>>(max: u32, act: impl Fn() -> F) -> queue::Result<T> {
    let mut attempt = 1;
    loop {
        match act().await {
            Err(_) if attempt < max => attempt += 1,
            outcome => return outcome,
        }
    }
}
