//! Calls to a service, whichever instances it has.
//!
//! What may be tried again, and where (at most [`ATTEMPTS_MAX`] instances, each another one where possible):
//!
//! | what happened | certainly not done | tried again |
//! |---|---|---|
//! | the request was not sent; the server drains | yes | always: it costs the user nothing |
//! | the server or the connection is full | yes | within the budget |
//! | the method failed for reasons of the instance; the connection was lost | no | idempotent methods, within the budget |
//! | the method refused; the deadline passed | – | never |

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::RwLock;
use prost::Message;
use protocol::{Advice, Error, Result, wire::ErrorCode};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tower::retry::budget::{Budget as _, TpsBudget};

use crate::{
    balance::{self, Member, Owners, Route},
    config::{
        ATTEMPTS_MAX, CALLS_WAITING_MAX, ChannelConfig, FRAME_BYTES_MAX, INSTANCES_MAX, RETRIES_PER_SECOND_MIN,
        RETRY_SHARE, RETRY_WINDOW,
    },
    connection::Outcome,
    instance::{Attempt, Endpoint, Instance},
    metrics::{Calling, Metrics},
    outgoing::NotPushed,
    security::Security,
    service::Method,
    wire::{Head, TooLong},
};

/// Makes calls to a service over connections that it keeps to all of its instances. Cheap to clone; with the last clone the
/// connections end.
#[derive(Clone)]
pub struct Channel {
    pool: Arc<Pool>,
    _open: Arc<DropGuard>,
}

struct Pool {
    service: &'static str,
    config: ChannelConfig,
    security: Security,
    members: RwLock<Arc<[Member]>>,
    /// An instance can be reached that could not before, or the instances are others.
    changed: Notify,
    /// Places for calls that wait for it.
    waiting: Semaphore,
    budget: TpsBudget,
    metrics: Calling,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// What became of one attempt.
enum Tried {
    Answer(Bytes),
    Failed(Failure, Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Certainly not done, and no sign of trouble.
    Elsewhere,
    /// Certainly not done: full.
    Full,
    /// Perhaps done; the instance's fault.
    Instance,
    /// The answer to this request, wherever it is asked.
    Final,
}

impl Channel {
    /// A channel to the instances that `endpoints` tells of; the last known ones stay in use when nobody tells any more.
    /// Connects at once, in the background. `service` names it in metrics and errors.
    ///
    /// To be called in a Tokio runtime.
    pub fn new(
        service: &'static str,
        endpoints: watch::Receiver<Vec<Endpoint>>,
        security: Security,
        config: ChannelConfig,
        metrics: &Metrics,
    ) -> Self {
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let pool = Arc::new(Pool {
            service,
            config,
            security,
            members: RwLock::new(Arc::from([])),
            changed: Notify::new(),
            waiting: Semaphore::new(CALLS_WAITING_MAX),
            budget: TpsBudget::new(RETRY_WINDOW, RETRIES_PER_SECOND_MIN, RETRY_SHARE),
            metrics: metrics.calling(service),
            closing: closing.clone(),
            tasks: tasks.clone(),
        });
        tasks.spawn(pool.clone().follow(endpoints));
        Self { pool, _open: Arc::new(closing.drop_guard()) }
    }

    /// Calls a method and waits for its answer, until the deadline at the latest. Dropping the future cancels the call: the
    /// server stops working on it, and the outcome is unknown.
    ///
    /// # Errors
    ///
    /// The method's own. Besides, [`Advice`](protocol::Advice) tells: `UNAVAILABLE`, `OVERLOADED` and `DRAINING` (certainly not
    /// done), `OUTCOME_UNKNOWN` and `TIMED_OUT` (perhaps done), `LIMIT_EXCEEDED` (the request is larger than a frame).
    pub async fn call<H, M, A>(
        &self,
        method: &Method,
        route: Route,
        deadline: Instant,
        header: &H,
        message: &M,
    ) -> Result<A>
    where
        H: Message,
        M: Message,
        A: Message + Default,
    {
        let metrics = &self.pool.metrics;
        let begun = Instant::now();
        metrics.calls.inc();
        metrics.in_flight.inc();
        let _counted = Counted(metrics);
        let put = |head: &Head, to: &mut bytes::BytesMut| head.put(to, header, message);
        let answer = self.pool.call(method, route, begun, deadline, &put).await;
        metrics.latency.observe(begun.elapsed().as_secs_f64());
        let answer = answer.and_then(|answer| {
            A::decode(answer).map_err(|error| {
                let what = format!("the answer of {} cannot be decoded", method.name);
                Error::new(ErrorCode::OutcomeUnknown, what).with_source(error)
            })
        });
        answer.inspect_err(|error| metrics.failed(error))
    }

    /// Who would be called for which key now. For whoever has several things to ask, to ask each instance once.
    pub fn owners(&self) -> Owners {
        Owners::new(&self.pool.members(), Instant::now())
    }

    /// Ends the connections once the calls under way are answered, and waits for it. Calls made afterwards are refused.
    pub async fn close(self) {
        self.pool.closing.cancel();
        self.pool.tasks.close();
        self.pool.tasks.wait().await;
    }
}

/// Counts a call until it is answered or dropped.
struct Counted<'a>(&'a Calling);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// What has been tried for a call.
#[derive(Default)]
struct Tries {
    instances: Vec<Arc<Instance>>,
    /// An attempt that was perhaps done.
    unknown: Option<Error>,
}

impl Tries {
    /// Notes a failed attempt. Returns what the caller is to be told if it was the last one: that one attempt was certainly not done
    /// says nothing of those before.
    fn note(&mut self, instance: Arc<Instance>, error: Error) -> Error {
        self.instances.push(instance);
        match error.advice() {
            Advice::RetrySameId => self.unknown.insert(error).clone(),
            Advice::RetryLater => self.unknown.clone().unwrap_or(error),
            Advice::GiveUp | Advice::LogIn => error,
        }
    }
}

/// Appends the payload of a request with this head.
type Put<'a> = &'a (dyn Fn(&Head, &mut bytes::BytesMut) -> Result<(), TooLong> + Sync);

impl Pool {
    async fn call(
        &self,
        method: &Method,
        route: Route,
        begun: Instant,
        deadline: Instant,
        put: Put<'_>,
    ) -> Result<Bytes> {
        self.budget.deposit();
        let mut tried = Tries::default();
        let (mut instance, mut now) = self.reach(route, begun, deadline).await?;
        loop {
            let (failure, error) = match self.attempt(method, &instance, now, deadline, put).await {
                Tried::Answer(answer) => return Ok(answer),
                Tried::Failed(failure, error) => (failure, error),
            };
            let error = tried.note(instance, error);
            let again = match failure {
                Failure::Final => false,
                Failure::Elsewhere => true,
                Failure::Full => self.budget.withdraw(),
                Failure::Instance => method.idempotent && self.budget.withdraw(),
            };
            if !again || tried.instances.len() >= ATTEMPTS_MAX {
                return Err(error);
            }
            now = Instant::now();
            (instance, now) = match balance::choose(&self.members(), route, now, &tried.instances) {
                Some(other) => (other, now),
                // One that is full is not emptier for being asked again.
                None if failure == Failure::Full => return Err(error),
                // Alone, an instance may have another connection, or come back.
                None => self.reach(route, now, deadline).await.map_err(|_| error)?,
            };
            self.metrics.retries.inc();
        }
    }

    /// An instance for the call, and the time; waits for one if none can be reached.
    async fn reach(&self, route: Route, now: Instant, deadline: Instant) -> Result<(Arc<Instance>, Instant)> {
        if let Some(instance) = balance::choose(&self.members(), route, now, &[]) {
            return Ok((instance, now));
        }
        let _waits = self.waiting.try_acquire().map_err(|_| self.unreachable())?;
        let until = deadline.min(now + self.config.reach_timeout);
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // It may have changed before that.
            let now = Instant::now();
            if let Some(instance) = balance::choose(&self.members(), route, now, &[]) {
                return Ok((instance, now));
            }
            if self.closing.is_cancelled() || timeout_at(until, changed).await.is_err() {
                return Err(self.unreachable());
            }
        }
    }

    fn members(&self) -> Arc<[Member]> {
        self.members.read().clone()
    }

    async fn attempt(
        &self,
        method: &Method,
        instance: &Arc<Instance>,
        now: Instant,
        deadline: Instant,
        put: Put<'_>,
    ) -> Tried {
        if deadline <= now {
            let error = Error::unavailable("the deadline had passed before the call was sent");
            return Tried::Failed(Failure::Final, error);
        }
        let head = Head::new(method.id, now, deadline);
        let Some(connection) = instance.connection() else {
            return Tried::Failed(Failure::Elsewhere, self.unreachable());
        };
        let call = match connection.start(|to| put(&head, to)) {
            Ok(call) => call,
            Err(NotPushed::Closed) => return Tried::Failed(Failure::Elsewhere, self.unreachable()),
            Err(NotPushed::Full) => {
                let error = format!("too much is under way to the {} service", self.service);
                return Tried::Failed(Failure::Full, Error::new(ErrorCode::Overloaded, error));
            }
            Err(NotPushed::TooLong(length)) => {
                let error = Error::limit("the request's bytes", length, FRAME_BYTES_MAX);
                return Tried::Failed(Failure::Final, error);
            }
        };
        let attempt = instance.begin(now);
        match timeout_at(deadline, call).await {
            Ok(outcome) => self.judge(&attempt, outcome),
            Err(_) => {
                let error = format!("the {} service did not answer in time", self.service);
                self.note_failure(&attempt.instance);
                Tried::Failed(Failure::Final, Error::new(ErrorCode::TimedOut, error))
            }
        }
    }

    fn judge(&self, attempt: &Attempt, outcome: Outcome) -> Tried {
        let (failure, error) = match outcome {
            Outcome::Answer(answer) => {
                attempt.instance.succeeded();
                return Tried::Answer(answer);
            }
            Outcome::NotSent => (Failure::Elsewhere, self.unreachable()),
            Outcome::Refused(error) if error.code() == ErrorCode::Draining => (Failure::Elsewhere, error),
            Outcome::Refused(error) if error.code() == ErrorCode::Overloaded => (Failure::Full, error),
            Outcome::Refused(error) => (Failure::Final, error),
            Outcome::Lost => {
                let error = format!("the connection to the {} service was lost", self.service);
                (Failure::Instance, Error::new(ErrorCode::OutcomeUnknown, error))
            }
            Outcome::Error(error) => match error.code() {
                ErrorCode::Unavailable
                | ErrorCode::StorageUnavailable
                | ErrorCode::OutcomeUnknown
                | ErrorCode::TimedOut => (Failure::Instance, error),
                _ => (Failure::Final, error),
            },
        };
        match failure {
            Failure::Instance => self.note_failure(&attempt.instance),
            Failure::Final => attempt.instance.succeeded(),
            Failure::Elsewhere | Failure::Full => {}
        }
        Tried::Failed(failure, error)
    }

    /// Sets an instance aside if it keeps failing, unless it would be more than half of them.
    fn note_failure(&self, instance: &Instance) {
        let now = Instant::now();
        if !instance.failed(now, self.config.eject_after) {
            return;
        }
        let members = self.members();
        let ejected = members.iter().filter(|member| member.instance.is_ejected(now)).count();
        if (ejected + 1) * 2 <= members.len() {
            instance.eject(now, &self.config);
            self.metrics.ejections.inc();
        }
    }

    fn unreachable(&self) -> Error {
        Error::unavailable(format!("no instance of the {} service can be reached", self.service))
    }

    /// Has the members be those that the registry tells of, until the channel closes.
    async fn follow(self: Arc<Self>, mut endpoints: watch::Receiver<Vec<Endpoint>>) {
        let closing = self.closing.clone();
        loop {
            let now = endpoints.borrow_and_update().clone();
            self.have(now);
            let changed = tokio::select! {
                () = closing.cancelled() => break,
                changed = endpoints.changed() => changed,
            };
            if changed.is_err() {
                // Nobody tells any more: the last known ones stay in use.
                closing.cancelled().await;
                break;
            }
        }
        self.have(Vec::new());
    }

    fn have(self: &Arc<Self>, endpoints: Vec<Endpoint>) {
        if endpoints.len() > INSTANCES_MAX {
            let (service, count) = (self.service, endpoints.len());
            tracing::error!(service, count, "more instances than a channel connects to: {INSTANCES_MAX}");
        }
        let before = self.members();
        let mut known: HashMap<&str, &Arc<Instance>> =
            before.iter().map(|member| (member.instance.address.as_str(), &member.instance)).collect();
        let mut seen = HashSet::new();
        let mut members = Vec::new();
        for Endpoint { address, zone, weight } in endpoints.into_iter().take(INSTANCES_MAX) {
            if !seen.insert(address.clone()) {
                continue;
            }
            let instance = known.remove(address.as_str()).cloned().unwrap_or_else(|| self.connect(address));
            let own_zone = !self.config.zone.is_empty() && zone == self.config.zone;
            members.push(Member { instance, own_zone, weight });
        }
        let gone: Vec<_> = known.into_values().cloned().collect();
        // First they are not chosen any more, then their connections end.
        *self.members.write() = members.into();
        gone.iter().for_each(|instance| instance.leave.cancel());
        self.changed.notify_waiters();
    }

    fn connect(self: &Arc<Self>, address: String) -> Arc<Instance> {
        let count = self.config.connections_per_instance.max(1);
        let instance = Arc::new(Instance::new(address, count, CancellationToken::new()));
        for place in 0..count {
            let (pool, instance) = (self.clone(), instance.clone());
            self.tasks.spawn(async move {
                instance.keep_connected(place, &pool.security, &pool.config, &pool.changed).await;
            });
        }
        instance
    }
}
