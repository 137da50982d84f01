//! The task that keeps an ear's connections to the servers, and the topics subscribed over them, as they should be, whatever
//! breaks.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ::redis::{PushInfo, Value, cmd, pipe};
use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    ear::{Act, Change, Ear},
    failure::{Failure, first_error},
    names::slot,
    nodes::{Connection, Nodes},
    topology::Address,
};
use crate::Topic;

/// Topics that one pipeline subscribes.
const CHUNK: usize = 500;
/// Between two attempts to connect and subscribe what is missing.
const RETRY: Duration = Duration::from_millis(200);
/// How often it is looked whether the connections are alive and the topics still at their servers.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// So many looks between two sweeps of numbers that are over.
const LOOKS_PER_SWEEP: u32 = 300;

/// The task's side of an ear.
pub(super) struct Keeper {
    ear: Arc<Ear>,
    nodes: Arc<Nodes>,
    changes: mpsc::Receiver<Change>,
    wanted: HashSet<Topic>,
    open: HashMap<Address, Open>,
    /// When what is wanted and not subscribed is tried again, if there is such.
    retry_at: Option<Instant>,
    /// A connection broke, and what was subscribed over it is not heard again yet.
    was_deaf: bool,
    /// What of the mailbox's length the metrics show.
    shown: i64,
}

/// A connection, and what is subscribed over it.
struct Open {
    connection: Connection,
    topics: HashSet<Topic>,
}

impl Keeper {
    pub(super) fn new(ear: Arc<Ear>, nodes: Arc<Nodes>, changes: mpsc::Receiver<Change>) -> Self {
        let (wanted, open) = (HashSet::new(), HashMap::new());
        Self { ear, nodes, changes, wanted, open, retry_at: None, was_deaf: false, shown: 0 }
    }

    /// Keeps the connections until it is stopped, or the gateway was opened again.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        let mut looks = 0;
        loop {
            let retry_at = self.retry_at;
            tokio::select! {
                () = stop.cancelled() => return,
                change = self.changes.recv() => match change {
                    Some(change) => self.change(change).await,
                    None => return,
                },
                () = self.ear.broke.notified() => {
                    if self.ear.is_replaced() {
                        return;
                    }
                    self.mend().await;
                }
                () = sleep_until(retry_at.unwrap_or(look_at)), if retry_at.is_some() => self.mend().await,
                () = sleep_until(look_at) => {
                    look_at = Instant::now() + LOOK_INTERVAL;
                    self.look().await;
                    self.show_length(self.ear.mailbox.length());
                    looks += 1;
                    if looks % LOOKS_PER_SWEEP == 0 {
                        self.ear.hearing.lock().sweep(Instant::now());
                    }
                }
            }
        }
    }

    /// Several ears share the gauge.
    fn show_length(&mut self, length: usize) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.ear.metrics.mailboxes.inc_by(length - self.shown);
        self.shown = length;
    }

    async fn change(&mut self, Change { topics, act }: Change) {
        match act {
            Act::Subscribe(answer) => {
                // Those that come again are there already: they are wanted by an earlier call.
                let new: Vec<Topic> = topics.into_iter().filter(|topic| self.wanted.insert(*topic)).collect();
                new.iter().for_each(|topic| self.ear.hearing.lock().begin(*topic));
                // Those that an earlier call wanted may be waiting for a broken connection, too.
                let mut outcome = if self.retry_at.is_some() { self.reconcile().await } else { Ok(()) };
                if outcome.is_ok() {
                    outcome = self.subscribe(&new).await;
                }
                if let Err(failure) = &outcome {
                    tracing::debug!(%failure, count = new.len(), "topics could not be subscribed");
                    self.retry_at.get_or_insert(Instant::now() + RETRY);
                }
                let failed = outcome.is_err();
                if answer.send(outcome).is_err() || failed {
                    // Nobody relies on them. What the server has of them is dropped when the connection is mended.
                    self.forget(&new).await;
                }
            }
            Act::Unsubscribe(answer) => {
                let own = Topic::Gateway(self.ear.gateway);
                let topics: Vec<Topic> = topics.into_iter().filter(|topic| *topic != own).collect();
                self.forget(&topics).await;
                // Whoever asked may have gone.
                let _ = answer.send(());
            }
        }
    }

    /// Wants topics no longer, and tells the servers.
    async fn forget(&mut self, topics: &[Topic]) {
        let mut leaving: HashMap<Address, Vec<Topic>> = HashMap::new();
        for topic in topics {
            self.wanted.remove(topic);
            self.ear.hearing.lock().end(topic);
            let subscribed =
                self.open.iter_mut().filter_map(|(address, open)| open.topics.remove(topic).then_some(address));
            subscribed.for_each(|address| leaving.entry(address.clone()).or_default().push(*topic));
        }
        for (address, topics) in leaving {
            for topics in topics.chunks(CHUNK) {
                self.leave(&address, topics).await;
            }
        }
    }

    async fn leave(&self, address: &Address, topics: &[Topic]) {
        let Some(open) = self.open.get(address).filter(|open| !open.connection.is_broken()) else { return };
        let unsubscribe = if self.nodes.is_cluster() { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" };
        let mut pipeline = pipe();
        for topic in topics {
            pipeline.cmd(unsubscribe).arg(self.ear.names.channel(*topic));
        }
        if self.nodes.is_cluster() {
            self.ear.leaving.lock().extend(topics);
        }
        let mut redis = open.connection.redis.clone();
        let left = timeout(self.nodes.timeout, redis.send_packed_commands(&pipeline, 0, pipeline.len())).await;
        self.ear.leaving.lock().clear();
        if !matches!(left, Ok(Ok(_))) {
            open.connection.give_up();
            self.ear.broke.notify_one();
        }
    }

    /// Subscribes topics, each at its server.
    async fn subscribe(&mut self, topics: &[Topic]) -> Result<(), Failure> {
        let topology = self.nodes.topology().await?;
        let mut by_server: HashMap<&Address, Vec<Topic>> = HashMap::new();
        for topic in topics {
            by_server.entry(topology.keeper(slot(*topic))?).or_default().push(*topic);
        }
        for (address, topics) in by_server {
            self.connect(address).await?;
            for topics in topics.chunks(CHUNK) {
                self.subscribe_at(address, topics).await?;
            }
        }
        Ok(())
    }

    async fn connect(&mut self, address: &Address) -> Result<(), Failure> {
        self.drop_broken();
        if self.open.contains_key(address) {
            return Ok(());
        }
        let ear = Arc::downgrade(&self.ear);
        let hear = move |push: PushInfo, broken: &AtomicBool| {
            if let Some(ear) = ear.upgrade() {
                ear.push(push, broken);
            }
        };
        let connection = self.nodes.connect(address, hear).await.inspect_err(|_| self.nodes.doubt())?;
        self.open.insert(address.clone(), Open { connection, topics: HashSet::new() });
        Ok(())
    }

    /// Subscribes topics at their server, and then reads their marks over the same connection: what was published before
    /// that and was not heard by then, is lost.
    async fn subscribe_at(&mut self, address: &Address, topics: &[Topic]) -> Result<(), Failure> {
        let Some(open) = self.open.get_mut(address) else { return Ok(()) };
        let subscribe = if self.nodes.is_cluster() { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        let mut pipeline = pipe();
        for topic in topics {
            pipeline.cmd(subscribe).arg(self.ear.names.channel(*topic));
        }
        for topic in topics {
            pipeline.cmd("HGETALL").arg(self.ear.names.mark(*topic));
        }
        // Noted first: if no answer comes the connection is given up, and with it whatever was subscribed.
        open.topics.extend(topics);
        let asking = open.connection.redis.send_packed_commands(&pipeline, 0, pipeline.len());
        let answers = match timeout(self.nodes.timeout, asking).await {
            Ok(Ok(answers)) => match first_error(&answers) {
                Some(Value::ServerError(error)) => Err(Failure::Redis(address.clone(), error.into())),
                _ => Ok(answers),
            },
            Ok(Err(error)) => Err(Failure::Redis(address.clone(), error)),
            Err(_) => Err(Failure::TooSlow(self.nodes.timeout)),
        };
        let answers = answers.inspect_err(|_| {
            open.connection.give_up();
            self.nodes.doubt();
        })?;
        for (topic, marks) in topics.iter().zip(&answers[topics.len()..]) {
            self.ear.compare(topic, marks)?;
        }
        Ok(())
    }

    /// Makes good what broke.
    async fn mend(&mut self) {
        self.retry_at = None;
        if let Err(failure) = self.reconcile().await {
            tracing::debug!(%failure, "topics are not heard, trying again");
            self.retry_at = Some(Instant::now() + RETRY);
        }
    }

    /// Subscribes all that is wanted and not subscribed where it should be.
    async fn reconcile(&mut self) -> Result<(), Failure> {
        self.drop_broken();
        let topology = self.nodes.topology().await?;
        let mut missing = Vec::new();
        let mut moved: HashMap<Address, Vec<Topic>> = HashMap::new();
        for topic in &self.wanted {
            let keeper = topology.keeper(slot(*topic))?;
            if !self.open.get(keeper).is_some_and(|open| open.topics.contains(topic)) {
                missing.push(*topic);
            }
        }
        for (address, open) in &mut self.open {
            let elsewhere =
                open.topics.extract_if(|topic| topology.keeper(slot(*topic)).is_ok_and(|keeper| keeper != address));
            moved.insert(address.clone(), elsewhere.collect());
        }
        if !missing.is_empty() {
            tracing::debug!(gateway = %self.ear.gateway, count = missing.len(), "subscribing what is not heard");
            self.subscribe(&missing).await?;
        }
        for (address, topics) in moved {
            for topics in topics.chunks(CHUNK) {
                self.leave(&address, topics).await;
            }
        }
        let keepers: HashSet<&Address> = topology.keepers().collect();
        self.open.retain(|address, _| keepers.contains(address));
        self.retry_at = None;
        if mem::take(&mut self.was_deaf) {
            tracing::info!(gateway = %self.ear.gateway, "the message queue is heard again");
            // What was numbered is counted. But Redis may have come back without numbers or routes.
            self.ear.miss();
        }
        Ok(())
    }

    /// Forgets connections that are broken.
    fn drop_broken(&mut self) {
        let before = self.open.len();
        self.open.retain(|_, open| !open.connection.is_broken());
        if self.open.len() < before {
            self.nodes.doubt();
            if !mem::replace(&mut self.was_deaf, true) {
                tracing::warn!(gateway = %self.ear.gateway, "the message queue is not heard: a connection broke");
            }
        }
    }

    /// Whether the connections are alive and lead to the right servers. A connection whose other end is gone without a word
    /// looks like one over which nothing is published.
    async fn look(&mut self) {
        if self.nodes.can_change() {
            self.nodes.look_again().await;
        }
        let within = self.nodes.timeout;
        let pings = self.open.values().map(|open| async move {
            let mut redis = open.connection.redis.clone();
            if !matches!(timeout(within, redis.send_packed_command(&cmd("PING"))).await, Ok(Ok(_))) {
                open.connection.give_up();
            }
        });
        join_all(pings).await;
        if self.nodes.can_change() || self.open.values().any(|open| open.connection.is_broken()) {
            self.mend().await;
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.show_length(0);
    }
}
