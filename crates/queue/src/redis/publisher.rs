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
use bytes::Bytes;
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    config::Config,
    envelope,
    metrics::{Metrics, now_us},
    names::{Names, slot},
    nodes::{Address, Failure, Nodes, first_error},
    numbering::{MARK_LIFETIME, Mark, Number, Numbering},
    scripts,
};
use crate::{Publication, Topic};

/// Publications, and bytes of them, that wait at most, those under way included; more are refused at once.
const WAITING_MAX: usize = 100_000;
const WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Envelopes, and bytes of them, that leave in one pipeline at most.
const PIPELINE_ENVELOPES_MAX: usize = 1_000;
const PIPELINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes in one envelope at most, unless one publication alone has more.
const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;
/// After a failure a server is tried again after this, and then after twice as long each time, up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Topics are told where their numbers stand if something was published to them since so long before the failure: Redis
/// may have lost what it took, before a subscriber had it.
const TOLD_BEFORE: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Why something was not published, or perhaps not.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NotPublished {
    #[error("{WAITING_MAX} publications wait already")]
    TooManyWait,
    #[error("it waited for {0:?}")]
    WaitedTooLong(Duration),
    #[error("after {0} attempts: {1}")]
    Failed(u32, #[source] Failure),
    #[error("the queue is closed")]
    Closed,
}

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

/// A publication that waits.
struct Numbered {
    publication: Publication,
    number: Number,
    at: Instant,
    sent_us: u64,
    call: Arc<Call>,
}

/// A call of `publish`, answered when nothing of it waits any more.
struct Call {
    left: AtomicUsize,
    answer: Mutex<Answer>,
}

struct Answer {
    /// What went wrong first.
    failure: Option<NotPublished>,
    sender: Option<oneshot::Sender<Result<(), NotPublished>>>,
}

impl Call {
    fn settle(&self, count: usize, failure: Option<&NotPublished>) {
        if let Some(failure) = failure {
            self.answer.lock().failure.get_or_insert_with(|| failure.clone());
        }
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            let mut answer = self.answer.lock();
            let outcome = answer.failure.take().map_or(Ok(()), Err);
            if let Some(sender) = answer.sender.take() {
                // Whoever called may have gone.
                let _ = sender.send(outcome);
            }
        }
    }
}

/// An envelope on its way.
struct Parcel {
    topic: Topic,
    /// Of the first publication in it.
    number: Number,
    bytes: Bytes,
    count: usize,
    payload_bytes: usize,
    calls: Vec<(Arc<Call>, usize)>,
    attempts: u32,
}

/// What goes to one server.
#[derive(Default)]
struct Lane {
    again: VecDeque<Parcel>,
    publications: VecDeque<Numbered>,
    under_way: bool,
    not_before: Option<Instant>,
    pause: Duration,
    /// Since when something may have been lost of which nobody was told.
    trouble_since: Option<Instant>,
    /// It is being told.
    telling: bool,
}

impl Lane {
    fn trouble(&mut self, now: Instant) {
        self.trouble_since.get_or_insert(now);
    }

    fn fail(&mut self, now: Instant) {
        self.trouble(now);
        self.telling = false;
        // Made anew with the next attempt.
        self.again.retain(|parcel| parcel.count > 0);
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.not_before = Some(now + self.pause);
    }

    fn succeed(&mut self) {
        self.pause = Duration::ZERO;
        if mem::take(&mut self.telling) {
            self.trouble_since = None;
        }
    }

    fn is_empty(&self) -> bool {
        self.again.is_empty() && self.publications.is_empty()
    }
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
        let answer = Mutex::new(Answer { failure: None, sender: Some(answer) });
        let call = Arc::new(Call { left: AtomicUsize::new(count), answer });
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
        let mut under_way: FuturesUnordered<BoxFuture<'static, Sent>> = FuturesUnordered::new();
        let mut sweep_at = Instant::now() + SWEEP_INTERVAL;
        loop {
            let stopping = stop.is_cancelled();
            if stopping {
                self.gathering.lock().closed = true;
            }
            self.distribute(&mut lanes).await;
            self.follow_keepers(&mut lanes).await;
            for (address, lane) in &mut lanes {
                if let Some(parcels) = self.load(address, lane).await {
                    lane.under_way = true;
                    under_way.push(Box::pin(Arc::clone(&self).send(address.clone(), parcels)));
                }
            }
            if stopping && under_way.is_empty() && lanes.values().all(Lane::is_empty) {
                return;
            }
            let wake_at = lanes.values().filter_map(|lane| self.due(lane)).fold(sweep_at, Instant::min);
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
    async fn distribute(&self, lanes: &mut HashMap<Address, Lane>) {
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
                        Err(failure) => self.give_up(numbered, &NotPublished::Failed(1, failure)),
                    }
                }
            }
            Err(failure) => {
                let failure = NotPublished::Failed(1, failure);
                gathered.into_iter().for_each(|numbered| self.give_up(numbered, &failure));
            }
        }
    }

    /// After trouble the server may have another place, or the topics another server.
    async fn follow_keepers(&self, lanes: &mut HashMap<Address, Lane>) {
        if !self.nodes.can_change() || lanes.values().all(|lane| lane.trouble_since.is_none()) {
            return;
        }
        let Ok(topology) = self.nodes.topology().await else { return };
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
                    let lane = lanes.entry(keeper.clone()).or_default();
                    lane.trouble_since = lane.trouble_since.min(since).or(since);
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
        let mut parcels: Vec<Parcel> = Vec::new();
        let mut bytes = 0;
        while parcels.len() < PIPELINE_ENVELOPES_MAX && bytes < PIPELINE_BYTES_MAX {
            let Some(parcel) = lane.again.pop_front() else { break };
            bytes += parcel.bytes.len();
            parcels.push(parcel);
        }
        if lane.again.is_empty() {
            self.pack(&mut lane.publications, &mut parcels, bytes);
        }
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
        let stand = |(topic, number): (Topic, Number)| Parcel {
            topic,
            number,
            bytes: envelope::publications(number.series, number.number, now_us(), &[]),
            count: 0,
            payload_bytes: 0,
            calls: Vec::new(),
            attempts: 0,
        };
        own.map(stand).collect()
    }

    /// Packs publications into envelopes: those to one topic together, in their order, topics in the order of their first.
    fn pack(&self, publications: &mut VecDeque<Numbered>, parcels: &mut Vec<Parcel>, mut bytes: usize) {
        struct Open {
            topic: Topic,
            number: Number,
            sent_us: u64,
            payloads: Vec<Bytes>,
            bytes: usize,
            calls: Vec<(Arc<Call>, usize)>,
        }
        let mut envelopes: Vec<Open> = Vec::new();
        let mut last_of: HashMap<Topic, usize> = HashMap::new();
        while parcels.len() + envelopes.len() < PIPELINE_ENVELOPES_MAX && bytes < PIPELINE_BYTES_MAX {
            let Some(Numbered { publication: Publication { topic, payload }, number, sent_us, call, .. }) =
                publications.pop_front()
            else {
                break;
            };
            bytes += payload.len();
            let fits = |open: &Open| {
                let next = open.number.number + open.payloads.len() as u64;
                number == Number { number: next, ..open.number }
                    && open.payloads.len() < self.settings.batch_size
                    && open.bytes + payload.len() <= ENVELOPE_BYTES_MAX
            };
            let open = match last_of.get(&topic).map(|at| &mut envelopes[*at]) {
                Some(open) if fits(open) => open,
                _ => {
                    last_of.insert(topic, envelopes.len());
                    envelopes.push(Open { topic, number, sent_us, payloads: vec![], bytes: 0, calls: vec![] });
                    envelopes.last_mut().expect("one was just added")
                }
            };
            open.bytes += payload.len();
            open.payloads.push(payload);
            match open.calls.last_mut() {
                Some((last, count)) if Arc::ptr_eq(last, &call) => *count += 1,
                _ => open.calls.push((call, 1)),
            }
        }
        parcels.extend(envelopes.into_iter().map(|open| Parcel {
            topic: open.topic,
            number: open.number,
            bytes: envelope::publications(open.number.series, open.number.number, open.sent_us, &open.payloads),
            count: open.payloads.len(),
            payload_bytes: open.bytes,
            calls: open.calls,
            attempts: 0,
        }));
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

/// The answers to the commands at these places. One to a command on a topic's mark that is an error counts for the topic:
/// a server that takes no writes is not the right one.
fn pick(values: Vec<Value>, places: &[usize]) -> Vec<Value> {
    let ends = places.iter().skip(1).copied().chain([values.len()]);
    let own = places.iter().zip(ends).map(|(begin, end)| first_error(&values[*begin..end]).unwrap_or(Value::Okay));
    own.collect()
}
