//! A publisher under load, and a gateway that accounts for everything: each publication is heard once, in its topic's
//! order, or told as lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use protocol::{GatewayId, GroupId};
use queue::{Delivered, Publication, Queue, Subscription, Topic, redis::RedisQueue};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::bed::{EVENTUALLY, eventually};

pub(crate) const ONE: GatewayId = GatewayId::new(1);
/// That nothing more comes is judged after this.
const SETTLED: Duration = Duration::from_millis(300);

pub(crate) fn group(number: u64) -> Topic {
    Topic::Group(GroupId::new(number))
}

/// The topic's number and the publication's.
pub(crate) fn publication(topic: u64, number: u64) -> Publication {
    Publication { topic: group(topic), payload: Bytes::from([topic.to_be_bytes(), number.to_be_bytes()].concat()) }
}

/// Publishes to groups, in turn, until it is stopped.
pub(crate) struct Load {
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    /// Begun so far.
    rounds: AtomicU64,
    published: AtomicU64,
    failed: AtomicU64,
    slowest_ms: AtomicU64,
}

impl Load {
    pub(crate) fn start(queue: RedisQueue, groups: u64) -> Self {
        let state = Arc::new(State::default());
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                let mut number = 0;
                while !state.stop.load(Ordering::Relaxed) {
                    state.rounds.store(number + 1, Ordering::Relaxed);
                    let publications: Vec<_> = (0..groups).map(|topic| publication(topic, number)).collect();
                    let (count, began) = (publications.len() as u64, Instant::now());
                    let outcome = queue.publish(publications).await;
                    let took = began.elapsed().as_millis() as u64;
                    state.slowest_ms.fetch_max(took, Ordering::Relaxed);
                    state.published.fetch_add(count, Ordering::Relaxed);
                    if outcome.is_err() {
                        state.failed.fetch_add(count, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    number += 1;
                    tokio::task::yield_now().await;
                }
            }
        });
        Self { state, task }
    }

    /// Publications handed to the queue so far.
    pub(crate) fn published(&self) -> u64 {
        self.state.published.load(Ordering::Relaxed)
    }

    /// Those of which it said that they may not have been published.
    pub(crate) fn failed(&self) -> u64 {
        self.state.failed.load(Ordering::Relaxed)
    }

    /// The longest that a call took.
    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_millis(self.state.slowest_ms.load(Ordering::Relaxed))
    }

    /// Waits until so many more were published without an error.
    pub(crate) async fn goes_on(&self, count: u64) {
        let done = || self.published() - self.failed();
        let wanted = done() + count;
        eventually("publishing goes on", async || done() >= wanted).await;
    }

    /// Waits until it is noticed that publishing fails.
    pub(crate) async fn fails(&self) {
        let before = self.failed();
        eventually("publishing fails", async || self.failed() > before).await;
    }

    /// Stops, and returns how many were handed to the queue, whatever became of them.
    pub(crate) async fn stop(self) -> u64 {
        self.state.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.state.published.load(Ordering::Relaxed)
    }
}

/// What a gateway heard of a load.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) heard: u64,
    pub(crate) lost: u64,
    next: Vec<u64>,
}

impl Account {
    pub(crate) fn note(&mut self, delivered: Vec<Delivered>) {
        for delivered in delivered {
            match delivered {
                Delivered::Lost(count) => self.lost += count,
                Delivered::Publication(Publication { payload, .. }) => {
                    let (topic, number) = payload.split_at(8);
                    let topic = u64::from_be_bytes(topic.try_into().unwrap()) as usize;
                    let number = u64::from_be_bytes(number[..8].try_into().unwrap());
                    self.next.resize(self.next.len().max(topic + 1), 0);
                    assert!(number >= self.next[topic], "topic {topic}: {number} came after {}", self.next[topic] - 1);
                    self.next[topic] = number + 1;
                    self.heard += 1;
                }
            }
        }
    }

    /// Receives until what was heard and what was lost make what was published, and no more than that comes.
    pub(crate) async fn settle(&mut self, subscription: &dyn Subscription, published: u64) {
        let end = Instant::now() + EVENTUALLY;
        while self.heard + self.lost != published {
            assert!(self.heard + self.lost < published, "{self:?} of {published}");
            let left = end.saturating_duration_since(Instant::now());
            let delivered = timeout(left, subscription.receive(1_000)).await;
            self.note(delivered.unwrap_or_else(|_| panic!("{self:?} of {published}: the rest is not accounted for")));
        }
        let end = Instant::now() + SETTLED;
        while let Ok(more) = timeout_at(end, subscription.receive(1_000)).await {
            // That something may have been missed is told once more by whoever writes the routes again.
            let is_counted = more.iter().any(|delivered| !matches!(delivered, Delivered::Lost(0)));
            assert!(!is_counted, "{more:?} came beside {published}");
        }
    }
}

/// A gateway that hears groups all the time, in a task.
pub(crate) struct Gateway {
    pub(crate) subscription: Arc<dyn Subscription>,
    task: JoinHandle<Account>,
    state: Arc<Hearing>,
}

#[derive(Default)]
struct Hearing {
    stop: AtomicBool,
    /// Rounds of the load of which something was heard in every group.
    rounds: AtomicU64,
}

impl Gateway {
    pub(crate) async fn open(queue: &RedisQueue, groups: u64) -> Self {
        let subscription: Arc<dyn Subscription> = queue.open(ONE).await.unwrap().into();
        subscription.subscribe((0..groups).map(group).collect()).await.unwrap();
        let state = Arc::new(Hearing::default());
        let task = tokio::spawn({
            let (subscription, state) = (Arc::clone(&subscription), Arc::clone(&state));
            async move {
                let mut account = Account::default();
                while !state.stop.load(Ordering::Relaxed) {
                    if let Ok(delivered) = timeout(Duration::from_millis(20), subscription.receive(1_000)).await {
                        account.note(delivered);
                        if account.next.len() as u64 == groups {
                            state.rounds.store(account.next.iter().copied().min().unwrap_or(0), Ordering::Relaxed);
                        }
                    }
                }
                account
            }
        });
        Self { subscription, task, state }
    }

    /// Waits until in every group something is heard that was published from now on, by a load that goes on.
    pub(crate) async fn hears(&self, load: &Load) {
        let begun = load.state.rounds.load(Ordering::Relaxed);
        let rounds = || self.state.rounds.load(Ordering::Relaxed);
        eventually("the gateway hears every group again", async || rounds() > begun).await;
    }

    /// Accounts for all that was published.
    pub(crate) async fn settle(self, published: u64) -> Account {
        self.state.stop.store(true, Ordering::Relaxed);
        let mut account = self.task.await.unwrap();
        account.settle(&*self.subscription, published).await;
        account
    }
}
