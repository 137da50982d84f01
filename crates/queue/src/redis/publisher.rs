//! Publishing: what is handed over while a pipeline is under way gathers, and leaves with the next one. Each server has one
//! pipeline under way, so that what goes to a topic stays in order and a server that hangs holds up nobody else.
//!
//! What could not be published is known by its number: as soon as the server answers again, the topics concerned are told
//! where the numbers stand, so that who subscribes to them learns at once what was lost.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::redis::{Value, pipe};
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    config::Config,
    failure::{Failure, is_of_another_server, server_error},
    lane::{Call, Lane, NotPublished, Numbered, Parcel, WAITING_BYTES_MAX, WAITING_MAX},
    metrics::{Metrics, now_us},
    names::{Names, slot},
    nodes::Nodes,
    numbering::{MARK_LIFETIME, Mark, Number, Numbering},
    scripts,
    topology::Address,
};
use crate::{Publication, Topic};

/// Topics are told where their numbers stand if something was published to them since so long before the failure: Redis
/// may have lost what it took, before a subscriber had it.
const TOLD_BEFORE: Duration = Duration::from_secs(60);
/// How often it is asked who keeps what, after nobody did.
const HOMELESS_PAUSE: Duration = Duration::from_millis(500);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Publisher {
    gathering: Mutex<Gathering>,
    gathered: Notify,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    nodes: Arc<Nodes>,
    names: Names,
    settings: Settings,
    metrics: Metrics,
}

struct Settings {
    batch_size: usize,
    batch_timeout: Duration,
    attempts_max: u32,
    /// Of all attempts together.
    timeout: Duration,
}

struct Gathering {
    numbering: Numbering,
    publications: VecDeque<Numbered>,
    closed: bool,
}

struct Sent {
    address: Address,
    parcels: Vec<Parcel>,
    outcome: Result<Vec<Value>, Failure>,
}

impl Publisher {
    pub(super) fn new(config: &Config, nodes: Arc<Nodes>, names: Names, metrics: Metrics) -> Self {
        Self {
            gathering: Mutex::new(Gathering {
                numbering: Numbering::new(),
                publications: VecDeque::new(),
                closed: false,
            }),
            gathered: Notify::new(),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            nodes,
            names,
            settings: Settings {
                batch_size: config.batch_size,
                batch_timeout: config.batch_timeout,
                attempts_max: config.max_retries,
                timeout: config.timeout,
            },
            metrics,
        }
    }

    /// Publications that wait, those under way included.
    pub(super) fn length(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Hands publications over, in order. The answer comes when all are published or given up; whoever does not wait for it
    /// takes nothing back.
    pub(super) fn publish(&self, publications: Vec<Publication>) -> oneshot::Receiver<Result<(), NotPublished>> {
        let (answer, answered) = oneshot::channel();
        let count = publications.len();
        let bytes: usize = publications.iter().map(|publication| publication.payload.len()).sum();
        let refusal = if count == 0 {
            Some(Ok(()))
        } else {
            let waiting = self.waiting.load(Ordering::Relaxed) + count;
            let waiting_bytes = self.waiting_bytes.load(Ordering::Relaxed) + bytes;
            (waiting > WAITING_MAX || waiting_bytes > WAITING_BYTES_MAX).then_some(Err(NotPublished::TooManyWait))
        };
        let (now, sent_us) = (Instant::now(), now_us());
        let mut gathering = self.gathering.lock();
        let Gathering { numbering, publications: gathered, closed } = &mut *gathering;
        let refusal = if *closed { Some(Err(NotPublished::Closed)) } else { refusal };
        if let Some(outcome) = refusal {
            if outcome.is_err() {
                // They count as lost to those who hear what comes next.
                for publication in &publications {
                    numbering.next(publication.topic, now);
                }
                self.metrics.publish_failed.inc_by(count as u64);
            }
            let _ = answer.send(outcome);
            return answered;
        }
        self.waiting.fetch_add(count, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.waiting.inc_by(i64::try_from(count).unwrap_or(i64::MAX));
        let call = Arc::new(Call::new(count, answer));
        gathered.extend(publications.into_iter().map(|publication| Numbered {
            number: numbering.next(publication.topic, now),
            publication,
            at: now,
            sent_us,
            call: Arc::clone(&call),
        }));
        drop(gathering);
        self.gathered.notify_one();
        answered
    }

    /// Publishes, until it is stopped and has published what it was handed before.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut lanes: HashMap<Address, Lane> = HashMap::new();
        // Since when something was given up because nobody knew whom to send it to.
        let mut homeless_since = None;
        let mut under_way: FuturesUnordered<BoxFuture<'static, Sent>> = FuturesUnordered::new();
        let mut sweep_at = Instant::now() + SWEEP_INTERVAL;
        loop {
            let stopping = stop.is_cancelled();
            if stopping {
                self.gathering.lock().closed = true;
            }
            self.distribute(&mut lanes, &mut homeless_since).await;
            self.follow_keepers(&mut lanes, &mut homeless_since).await;
            for (address, lane) in &mut lanes {
                if let Some(parcels) = self.load(address, lane).await {
                    lane.under_way = true;
                    under_way.push(Box::pin(Arc::clone(&self).send(address.clone(), parcels)));
                }
            }
            if stopping && under_way.is_empty() && lanes.values().all(Lane::is_empty) {
                return;
            }
            let look_at = homeless_since.map(|_| Instant::now() + HOMELESS_PAUSE);
            let due = lanes.values().filter_map(|lane| self.due(lane)).chain(look_at);
            let wake_at = due.fold(sweep_at, Instant::min);
            tokio::select! {
                () = self.gathered.notified() => {}
                Some(sent) = under_way.next() => self.arrived(sent, &mut lanes),
                () = self.nodes.breaks.notified() => {}
                () = sleep_until(wake_at) => {}
                () = stop.cancelled(), if !stopping => {}
            }
            if sweep_at <= Instant::now() {
                sweep_at = Instant::now() + SWEEP_INTERVAL;
                self.gathering.lock().numbering.sweep(Instant::now());
            }
        }
    }

    /// Takes what has gathered to the lanes, and notes which of them had trouble.
    async fn distribute(&self, lanes: &mut HashMap<Address, Lane>, homeless_since: &mut Option<Instant>) {
        for address in self.nodes.take_broken() {
            lanes.entry(address).or_default().trouble(Instant::now());
        }
        let gathered = mem::take(&mut self.gathering.lock().publications);
        if gathered.is_empty() {
            return;
        }
        match self.nodes.topology().await {
            Ok(topology) => {
                for numbered in gathered {
                    match topology.keeper(slot(numbered.publication.topic)) {
                        Ok(address) => match lanes.get_mut(address) {
                            Some(lane) => lane.publications.push_back(numbered),
                            None => lanes.entry(address.clone()).or_default().publications.push_back(numbered),
                        },
                        Err(failure) => {
                            homeless_since.get_or_insert(numbered.at);
                            self.nodes.doubt();
                            self.give_up(numbered, &NotPublished::Failed(1, failure));
                        }
                    }
                }
            }
            Err(failure) => {
                homeless_since.get_or_insert_with(Instant::now);
                let failure = NotPublished::Failed(1, failure);
                gathered.into_iter().for_each(|numbered| self.give_up(numbered, &failure));
            }
        }
    }

    /// After trouble the server may have another place, or the topics another server.
    async fn follow_keepers(&self, lanes: &mut HashMap<Address, Lane>, homeless_since: &mut Option<Instant>) {
        let troubled = homeless_since.is_some() || lanes.values().any(|lane| lane.trouble_since.is_some());
        if !self.nodes.can_change() || !troubled {
            return;
        }
        let Ok(topology) = self.nodes.topology().await else { return };
        if let Some(since) = *homeless_since
            && topology.is_whole()
        {
            *homeless_since = None;
            topology.keepers().for_each(|keeper| lanes.entry(keeper.clone()).or_default().trouble(since));
        }
        let troubled = lanes.iter().filter(|(_, lane)| lane.trouble_since.is_some() && !lane.under_way);
        let troubled: Vec<Address> = troubled.map(|(address, _)| address.clone()).collect();
        for address in troubled {
            let Some(lane) = lanes.get_mut(&address) else { continue };
            let (again, publications) = (mem::take(&mut lane.again), mem::take(&mut lane.publications));
            let since = lane.trouble_since;
            if topology.keepers().all(|keeper| *keeper != address) {
                lanes.remove(&address);
                // Whoever took its place tells where the numbers stand.
                for keeper in topology.keepers() {
                    if let Some(since) = since {
                        lanes.entry(keeper.clone()).or_default().trouble(since);
                    }
                }
            }
            let keeper = |topic| topology.keeper(slot(topic)).unwrap_or(&address).clone();
            for parcel in again {
                lanes.entry(keeper(parcel.topic)).or_default().again.push_back(parcel);
            }
            for numbered in publications {
                lanes.entry(keeper(numbered.publication.topic)).or_default().publications.push_back(numbered);
            }
        }
    }

    /// When there is something to do for a lane, unless something happens before.
    fn due(&self, lane: &Lane) -> Option<Instant> {
        let late = lane.publications.front().map(|numbered| numbered.at + self.settings.batch_timeout);
        let again = lane.not_before.filter(|_| !lane.under_way);
        again.into_iter().chain(late).min()
    }

    /// What a lane sends next, if it may send and has something.
    async fn load(&self, address: &Address, lane: &mut Lane) -> Option<Vec<Parcel>> {
        let now = Instant::now();
        while let Some(numbered) = lane.publications.pop_front() {
            if now - numbered.at < self.settings.batch_timeout {
                lane.publications.push_front(numbered);
                break;
            }
            lane.trouble(now);
            self.give_up(numbered, &NotPublished::WaitedTooLong(self.settings.batch_timeout));
        }
        if lane.under_way || lane.not_before.is_some_and(|at| now < at) {
            return None;
        }
        lane.not_before = None;
        if let Some(since) = lane.trouble_since
            && !lane.telling
        {
            let stands = self.stands(address, lane, since.checked_sub(TOLD_BEFORE).unwrap_or(since)).await;
            if stands.is_empty() {
                lane.trouble_since = None;
            } else {
                lane.telling = true;
                lane.again.extend(stands);
            }
        }
        let parcels = lane.next(self.settings.batch_size);
        (!parcels.is_empty()).then_some(parcels)
    }

    /// Where the numbers of the topics stand that this server keeps and something was published to since then. If something
    /// waits for a topic, it tells itself.
    async fn stands(&self, address: &Address, lane: &Lane, since: Instant) -> Vec<Parcel> {
        let Ok(topology) = self.nodes.topology().await else { return Vec::new() };
        let (recent, mut waiting) = {
            let mut gathering = self.gathering.lock();
            let waiting: HashSet<Topic> =
                gathering.publications.iter().map(|waiting| waiting.publication.topic).collect();
            (gathering.numbering.since(since), waiting)
        };
        waiting.extend(lane.again.iter().map(|parcel| parcel.topic));
        waiting.extend(lane.publications.iter().map(|waiting| waiting.publication.topic));
        let silent = recent.into_iter().filter(|(topic, _)| !waiting.contains(topic));
        let own = silent.filter(|(topic, _)| topology.keeper(slot(*topic)).is_ok_and(|keeper| keeper == address));
        own.map(|(topic, number)| Parcel::stand(topic, number)).collect()
    }

    /// One attempt. The answers are, for each parcel, that to its `PUBLISH`, or an error.
    async fn send(self: Arc<Self>, address: Address, parcels: Vec<Parcel>) -> Sent {
        let publish = if self.nodes.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
        let (now, now_s) = (Instant::now(), now_us() / 1_000_000);
        let marks: Vec<Mark> = {
            let numbering = &mut self.gathering.lock().numbering;
            parcels.iter().map(|parcel| numbering.mark(&parcel.topic, parcel.number.series, now)).collect()
        };
        let mut pipeline = pipe();
        let mut answers = Vec::with_capacity(parcels.len());
        for (parcel, needs) in parcels.iter().zip(marks) {
            let (topic, Number { series, number }) = (parcel.topic, parcel.number);
            let mark = self.names.mark(topic);
            answers.push(pipeline.len());
            // The mark comes last, so that it never tells of what was not published yet.
            pipeline.cmd(publish).arg(self.names.channel(topic)).arg(&parcel.bytes[..]);
            let last = number + parcel.count as u64 - 1;
            pipeline.cmd("HSET").arg(&mark).arg(series).arg(format!("{last}:{now_s}"));
            if needs != Mark::Kept {
                pipeline.cmd("PEXPIRE").arg(&mark).arg(MARK_LIFETIME.as_millis() as u64);
            }
            if needs == Mark::New {
                let mut prune = scripts::run(&scripts::PRUNE, &mark);
                prune.arg(now_s.saturating_sub(MARK_LIFETIME.as_secs()));
                pipeline.add_command(prune);
            }
        }
        let patience = self.settings.timeout / self.settings.attempts_max;
        let outcome = self.nodes.send(&address, &pipeline, patience).await;
        Sent { address, parcels, outcome: outcome.map(|values| pick(values, &answers)) }
    }

    fn arrived(&self, Sent { address, parcels, outcome }: Sent, lanes: &mut HashMap<Address, Lane>) {
        let now = Instant::now();
        let lane = lanes.entry(address.clone()).or_default();
        lane.under_way = false;
        let values = match outcome {
            Ok(values) => values,
            Err(failure) => {
                tracing::debug!(%address, %failure, "an attempt to publish failed");
                lane.fail(now);
                self.attempt_failed(parcels, &failure, lanes, &address);
                return;
            }
        };
        let mut refused = Vec::new();
        let mut refusal = None;
        for (parcel, value) in parcels.into_iter().zip(values) {
            if let Value::ServerError(error) = value {
                refusal = Some(Failure::Redis(address.clone(), error.into()));
                refused.push(parcel);
            } else {
                self.settle(&parcel, None);
            }
        }
        match refusal {
            None => lane.succeed(),
            Some(failure) => {
                lane.fail(now);
                self.attempt_failed(refused, &failure, lanes, &address);
            }
        }
    }

    /// Gives up what was tried often enough; the rest is tried again, at the server that keeps the topic by then.
    fn attempt_failed(
        &self,
        parcels: Vec<Parcel>,
        failure: &Failure,
        lanes: &mut HashMap<Address, Lane>,
        address: &Address,
    ) {
        self.nodes.doubt();
        let mut again = Vec::new();
        for mut parcel in parcels {
            self.metrics.publish_attempts_failed.inc_by(parcel.count as u64);
            parcel.attempts += 1;
            // What only tells where the numbers stand is made anew with the next attempt.
            if parcel.count == 0 {
                continue;
            }
            if parcel.attempts >= self.settings.attempts_max {
                self.settle(&parcel, Some(&NotPublished::Failed(parcel.attempts, failure.clone())));
            } else {
                again.push(parcel);
            }
        }
        if let Some(lane) = lanes.get_mut(address) {
            again.into_iter().rev().for_each(|parcel| lane.again.push_front(parcel));
        }
    }

    fn settle(&self, parcel: &Parcel, failure: Option<&NotPublished>) {
        let count = parcel.count as u64;
        match failure {
            None => self.metrics.published.inc_by(count),
            Some(_) => self.metrics.publish_failed.inc_by(count),
        };
        self.leave(parcel.count, parcel.payload_bytes);
        parcel.calls.iter().for_each(|(call, count)| call.settle(*count, failure));
    }

    fn give_up(&self, numbered: Numbered, failure: &NotPublished) {
        self.metrics.publish_failed.inc();
        self.leave(1, numbered.publication.payload.len());
        numbered.call.settle(1, Some(failure));
    }

    fn leave(&self, count: usize, bytes: usize) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.waiting.dec_by(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// The answers to the commands at these places, which publish. That a topic's mark could not be written is no failure; but
/// if it is because the server is not the right one, nobody heard what was published there.
fn pick(values: Vec<Value>, places: &[usize]) -> Vec<Value> {
    let ends = places.iter().skip(1).copied().chain([values.len()]);
    let is_elsewhere = |value: &&Value| server_error(value).is_some_and(is_of_another_server);
    let own = places.iter().zip(ends).map(|(begin, end)| {
        let elsewhere = values[*begin..end].iter().find(is_elsewhere);
        elsewhere.unwrap_or(&values[*begin]).clone()
    });
    own.collect()
}
