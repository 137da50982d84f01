//! Publishing what was committed, in order, without holding up the next commit.
//!
//! What could not be published is not published later: those it was for are told to catch up, once the queue can be
//! reached again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use queue::{Queue, Topic};
use tokio::{
    sync::{Notify, mpsc},
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
    /// Rings when there is more in `missed`.
    more_missed: Arc<Notify>,
    metrics: PublisherMetrics,
}

impl Publisher {
    /// The publisher, and its task, which ends with `stop`, after it has published what it was handed before, and
    /// tried to tell those who missed something.
    pub(super) fn new(
        config: &Config,
        queue: Arc<dyn Queue>,
        metrics: PublisherMetrics,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (batches, receiver) = mpsc::channel(BATCHES_QUEUED_MAX);
        let (missed, more_missed) = (Arc::new(Mutex::default()), Arc::new(Notify::new()));
        let task = Task {
            queue,
            batch_max: config.publish_batch_max,
            attempts_max: config.publish_attempts_max,
            missed: Arc::clone(&missed),
            more_missed: Arc::clone(&more_missed),
            tell_at: None,
            metrics: metrics.clone(),
        };
        (Self { batches, missed, more_missed, metrics }, task.run(receiver, stop))
    }

    /// Publishes soon, in the order of calls. Never waits: the queue is a hint.
    pub(super) fn publish(&self, pushes: Pushes) {
        let count = pushes.len() as u64;
        if count > 0
            && let Err(refused) = self.batches.try_send(pushes)
        {
            self.metrics.lost.inc_by(count);
            let pushes = refused.into_inner();
            self.tell_missed(Missed::of(pushes.users(), pushes.topics()));
        }
    }

    /// Has those told to catch up who missed something. Never waits.
    pub(super) fn tell_missed(&self, missed: Missed) {
        self.missed.lock().add(missed);
        self.more_missed.notify_one();
    }
}

struct Task {
    queue: Arc<dyn Queue>,
    batch_max: usize,
    attempts_max: u32,
    missed: Arc<Mutex<Missed>>,
    more_missed: Arc<Notify>,
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
                () = self.more_missed.notified(), if tell_at.is_none() => {
                    self.tell_missed().await;
                    continue;
                }
                () = stop.cancelled() => {
                    receiver.close();
                    receiver.recv_many(&mut batches, BATCHES_QUEUED_MAX).await
                }
            };
            if received == 0 {
                // The last attempt: nobody remembers them afterwards.
                return self.tell_missed().await;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use prost::Message as _;
    use protocol::{
        GatewayId, UserId,
        queue::{Batch, delivery::What},
        wire::{Resync, server_frame::Body},
    };
    use queue::{Delivered, LocalQueue, Presence, Publication, Subscription};
    use tokio::time::timeout;

    use super::*;
    use crate::push;

    const GATEWAY: GatewayId = GatewayId::new(1);
    const USER: UserId = UserId::new(7);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A queue that cannot be reached while it is `away`.
    #[derive(Default)]
    struct Distant {
        queue: LocalQueue,
        away: AtomicBool,
    }

    impl Distant {
        fn reach(&self) -> queue::Result<&LocalQueue> {
            if self.away.load(Ordering::Relaxed) { Err(queue::Error("away".into())) } else { Ok(&self.queue) }
        }
    }

    #[async_trait]
    impl Queue for Distant {
        async fn publish(&self, publications: Vec<Publication>) -> queue::Result<()> {
            self.reach()?.publish(publications).await
        }

        async fn open(&self, gateway: GatewayId) -> queue::Result<Box<dyn Subscription>> {
            self.reach()?.open(gateway).await
        }

        async fn bind(&self, user: UserId, gateway: GatewayId, away: bool) -> queue::Result<Option<Presence>> {
            self.reach()?.bind(user, gateway, away).await
        }

        async fn unbind(&self, user: UserId, gateway: GatewayId) -> queue::Result<Option<Presence>> {
            self.reach()?.unbind(user, gateway).await
        }

        async fn routes(&self, users: &[UserId]) -> queue::Result<Vec<Vec<GatewayId>>> {
            self.reach()?.routes(users).await
        }

        async fn presences(&self, users: &[UserId]) -> queue::Result<Vec<Presence>> {
            self.reach()?.presences(users).await
        }
    }

    async fn hears_a_resync(subscription: &dyn Subscription) {
        let delivered = timeout(PATIENCE, subscription.receive(1)).await.expect("in time").remove(0);
        let Delivered::Publication(publication) = delivered else { panic!("lost") };
        let delivery = Batch::decode(publication.payload).unwrap().deliveries.remove(0);
        assert_eq!(delivery.what, Some(What::Frame(push::frame(Body::Resync(Resync {})))));
        assert_eq!(delivery.users, [USER.get()]);
    }

    #[tokio::test]
    async fn who_missed_something_is_told_though_nothing_else_is_published() {
        let queue = Arc::new(LocalQueue::new());
        let subscription = queue.open(GATEWAY).await.unwrap();
        queue.bind(USER, GATEWAY, false).await.unwrap();
        let (metrics, stop) = (PublisherMetrics::new(&mut Registry::default()), CancellationToken::new());
        let (publisher, run) = Publisher::new(&Config::default(), queue, metrics, stop.clone());
        let task = tokio::spawn(run);
        for _ in 0..2 {
            publisher.tell_missed(Missed::of([USER], []));
            hears_a_resync(subscription.as_ref()).await;
        }
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn who_missed_something_is_told_before_the_end() {
        let queue = Arc::new(Distant::default());
        let subscription = queue.open(GATEWAY).await.unwrap();
        queue.bind(USER, GATEWAY, false).await.unwrap();
        queue.away.store(true, Ordering::Relaxed);
        let (metrics, stop) = (PublisherMetrics::new(&mut Registry::default()), CancellationToken::new());
        let (publisher, run) = Publisher::new(&Config::default(), queue.clone(), metrics.clone(), stop.clone());
        let task = tokio::spawn(run);
        let mut pushes = Pushes::default();
        pushes.add_for_users(&[USER], 0, What::EndedSession(1));
        publisher.publish(pushes);
        while metrics.lost.get() == 0 {
            tokio::task::yield_now().await;
        }
        queue.away.store(false, Ordering::Relaxed);
        stop.cancel();
        task.await.unwrap();
        hears_a_resync(subscription.as_ref()).await;
    }
}
