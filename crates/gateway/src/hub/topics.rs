//! Which of the queue's topics are wanted, by how many, and heard already.
//!
//! One task changes the subscription, so that a topic that is dropped and wanted again at the same time ends up heard.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use queue::{Subscription, Topic};
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long until a subscription that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The queue did not take a subscription; it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message queue does not take subscriptions now")]
pub(super) struct Unheard;

#[derive(Debug, Default)]
pub(super) struct Topics {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By how many. No zeros.
    wanted: HashMap<Topic, usize>,
    heard: HashSet<Topic>,
    /// Topics that may have to be subscribed or dropped.
    changed: HashSet<Topic>,
    /// At most one for each request under way.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    topics: Vec<Topic>,
    answer: oneshot::Sender<Result<(), Unheard>>,
}

impl Topics {
    /// Wants these topics, each once more.
    pub(super) fn want(&self, topics: impl IntoIterator<Item = Topic>) {
        let mut state = self.state.lock();
        for topic in topics {
            let count = state.wanted.entry(topic).or_insert(0);
            *count += 1;
            if *count == 1 {
                state.changed.insert(topic);
            }
        }
        if !state.changed.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Wants these topics once less each.
    pub(super) fn release(&self, topics: impl IntoIterator<Item = Topic>) {
        let mut state = self.state.lock();
        for topic in topics {
            let Some(count) = state.wanted.get_mut(&topic) else { continue };
            *count -= 1;
            if *count == 0 {
                state.wanted.remove(&topic);
                state.changed.insert(topic);
            }
        }
        if !state.changed.is_empty() {
            self.changed.notify_one();
        }
    }

    /// Waits until all these topics, which must be wanted, are heard.
    ///
    /// # Errors
    ///
    /// The queue refused or took too long.
    pub(super) async fn heard(&self, topics: Vec<Topic>) -> Result<(), Unheard> {
        let answer = {
            let mut state = self.state.lock();
            if topics.iter().all(|topic| state.heard.contains(topic)) {
                return Ok(());
            }
            let (sender, answer) = oneshot::channel();
            state.waiting.push(Waiting { topics, answer: sender });
            self.changed.notify_one();
            answer
        };
        answer.await.unwrap_or(Err(Unheard))
    }

    /// Keeps the subscription to what is wanted.
    pub(super) async fn run(&self, subscription: &dyn Subscription, patience: Duration, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.changed.notified() => {}
            }
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.reconcile(subscription, patience) => outcome,
            };
            if outcome.is_err() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(RETRY) => self.changed.notify_one(),
                }
            }
        }
    }

    async fn reconcile(&self, subscription: &dyn Subscription, patience: Duration) -> Result<(), Unheard> {
        let (add, remove) = self.state.lock().take_changes();
        let mut outcome = Ok(());
        if !add.is_empty() {
            outcome = within(patience, subscription.subscribe(add.clone())).await;
        }
        self.state.lock().subscribed(add, outcome);
        if !remove.is_empty() && within(patience, subscription.unsubscribe(remove.clone())).await.is_err() {
            // What is heard needlessly does no harm; it is dropped in the end.
            self.state.lock().still_heard(remove);
            outcome = Err(Unheard);
        }
        outcome
    }
}

async fn within(patience: Duration, change: impl Future<Output = queue::Result<()>>) -> Result<(), Unheard> {
    match timeout(patience, change).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the subscription cannot be changed now");
            Err(Unheard)
        }
        Err(_) => {
            tracing::warn!("the message queue took too long to change the subscription");
            Err(Unheard)
        }
    }
}

impl State {
    /// What to subscribe and what to drop. What is to be dropped counts as unheard at once, so that nobody relies on it.
    fn take_changes(&mut self) -> (Vec<Topic>, Vec<Topic>) {
        let changed = std::mem::take(&mut self.changed);
        let (wanted, unwanted): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|topic| self.wanted.contains_key(topic));
        let add = wanted.into_iter().filter(|topic| !self.heard.contains(topic)).collect();
        let remove = unwanted.into_iter().filter(|topic| self.heard.remove(topic)).collect();
        (add, remove)
    }

    fn subscribed(&mut self, topics: Vec<Topic>, outcome: Result<(), Unheard>) {
        match outcome {
            Ok(()) => {
                for topic in topics {
                    self.heard.insert(topic);
                    if !self.wanted.contains_key(&topic) {
                        self.changed.insert(topic);
                    }
                }
            }
            Err(Unheard) => self.changed.extend(topics),
        }
        let (heard, wanted) = (&self.heard, &self.wanted);
        for waiting in self.waiting.extract_if(.., |waiting| {
            outcome.is_err()
                || waiting.answer.is_closed()
                || waiting.topics.iter().all(|topic| heard.contains(topic) || !wanted.contains_key(topic))
        }) {
            // Who waited may have gone.
            let _ = waiting.answer.send(outcome);
        }
    }

    fn still_heard(&mut self, topics: Vec<Topic>) {
        for topic in topics {
            self.heard.insert(topic);
            self.changed.insert(topic);
        }
    }
}
