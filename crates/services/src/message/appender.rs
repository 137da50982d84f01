//! Group commit: one task writes what has gathered while it wrote before.
//!
//! Nobody waits for a timer: an entry that comes alone is written alone, at once; under load batches grow by
//! themselves. Entries of one call keep their order, and so do calls made one after the other.

use std::{collections::VecDeque, sync::Arc};

use api::Call;
use bytes::Bytes;
use prometheus_client::{
    metrics::{
        counter::Counter,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use protocol::{
    Error, RawContent, Result, UserId,
    queue::{EntryDelivery, delivery::What},
    wire::{self, ErrorCode, content::Kind, server_frame::Body},
};
use queue::Topic;
use store::{Act, Appended, Audience, ContactAct, ContactEvent, Messages, NewEntry, Refused};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{Config, publisher::Publisher, unknown};
use crate::push::{self, Pushes};

/// Calls waiting at most; beyond, sends are refused as overloaded.
const CALLS_QUEUED_MAX: usize = 16_384;
/// What an entry costs in the queue beside its content, in bytes.
const ENTRY_BYTES: usize = 256;

pub(super) struct AppenderMetrics {
    batch_entries: Histogram,
    commit_seconds: Histogram,
    appended: Counter,
    failed: Counter,
}

impl AppenderMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            batch_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            appended: Counter::default(),
            failed: Counter::default(),
        };
        registry.register("append_batch_entries", "Entries written in one transaction", metrics.batch_entries.clone());
        registry.register("append_commit_seconds", "Time of one transaction", metrics.commit_seconds.clone());
        registry.register("appended_entries", "Entries committed", metrics.appended.clone());
        registry.register("append_failures", "Transactions that failed", metrics.failed.clone());
        metrics
    }
}

/// Hands entries to the appending task.
#[derive(Clone)]
pub(super) struct Appender {
    jobs: mpsc::Sender<Job>,
    /// Bounds the bytes of entries waiting.
    room: Arc<Semaphore>,
    room_bytes: usize,
    stop: CancellationToken,
}

struct Job {
    entries: Vec<NewEntry>,
    origin: u64,
    deadline: Instant,
    reply: oneshot::Sender<Vec<Result<wire::Sent>>>,
    _room: OwnedSemaphorePermit,
}

impl Appender {
    /// The appender, its task, and a bell that rings when there may be effects to be told.
    pub(super) fn new(
        config: &Config,
        store: Arc<dyn Messages>,
        publisher: Publisher,
        metrics: AppenderMetrics,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>, Arc<Notify>) {
        let (jobs, queue) = mpsc::channel(CALLS_QUEUED_MAX);
        let room_bytes = config.append_queue_bytes_max.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
        let room = Arc::new(Semaphore::new(room_bytes));
        let bell = Arc::new(Notify::new());
        let task = Task {
            untold: unknown::Telling::new(Arc::clone(&store), publisher.clone(), stop.clone()),
            store,
            publisher,
            metrics,
            batch_max: config.append_batch_max.max(1),
            bell: Arc::clone(&bell),
        };
        let run = task.run(queue, stop.clone());
        (Self { jobs, room, room_bytes, stop }, run, bell)
    }

    /// Appends in the order given and answers each, after the commit; with position 0 what is so already, and was not
    /// appended. If the future is dropped, the outcome is unknown.
    pub(super) async fn append(&self, call: &Call, entries: Vec<NewEntry>) -> Vec<Result<wire::Sent>> {
        let count = entries.len();
        if count == 0 {
            return Vec::new();
        }
        let reply = match self.enqueue(call, entries) {
            Ok(reply) => reply,
            Err(error) => return vec![Err(error); count],
        };
        match reply.await {
            Ok(results) => results,
            // The task ended with the call in its hands, which only a panic does.
            Err(_) => {
                vec![Err(Error::new(ErrorCode::OutcomeUnknown, "outcome unknown: retry with the same id")); count]
            }
        }
    }

    fn enqueue(&self, call: &Call, entries: Vec<NewEntry>) -> Result<oneshot::Receiver<Vec<Result<wire::Sent>>>> {
        if self.stop.is_cancelled() {
            return Err(Error::new(ErrorCode::Draining, "certainly not stored: this server is stopping"));
        }
        let overloaded = || {
            Error::new(ErrorCode::Overloaded, "certainly not stored: too much is waiting to be written")
                .with_retry_after(std::time::Duration::from_millis(200))
        };
        let bytes: usize = entries.iter().map(|entry| entry.content.len() + ENTRY_BYTES).sum();
        let permits = u32::try_from(bytes.min(self.room_bytes)).map_err(|_| overloaded())?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|_| overloaded())?;
        let (reply, answer) = oneshot::channel();
        let origin = call.origin.map_or(0, |origin| origin.0);
        let job = Job { entries, origin, deadline: call.deadline, reply, _room: room };
        self.jobs.try_send(job).map_err(|_| overloaded())?;
        Ok(answer)
    }
}

struct Task {
    store: Arc<dyn Messages>,
    publisher: Publisher,
    metrics: AppenderMetrics,
    batch_max: usize,
    bell: Arc<Notify>,
    /// What was perhaps stored.
    untold: unknown::Telling,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut waiting = VecDeque::new();
        let mut received = Vec::new();
        loop {
            if waiting.is_empty() {
                let count = tokio::select! {
                    count = queue.recv_many(&mut received, self.batch_max) => count,
                    () = stop.cancelled() => {
                        queue.close();
                        queue.recv_many(&mut received, self.batch_max).await
                    }
                };
                if count == 0 {
                    return self.untold.finish().await;
                }
                waiting.extend(received.drain(..));
            }
            self.write(&mut waiting).await;
        }
    }

    /// Writes the first jobs that wait, as many as fit one transaction.
    async fn write(&mut self, waiting: &mut VecDeque<Job>) {
        let mut jobs = Vec::new();
        let mut entries = Vec::new();
        while let Some(mut job) = waiting.pop_front() {
            if !entries.is_empty() && entries.len() + job.entries.len() > self.batch_max {
                waiting.push_front(job);
                break;
            }
            // Whoever asked has gone or given up: nobody would hear the answer.
            if job.reply.is_closed() {
                continue;
            }
            if job.deadline <= Instant::now() {
                let late = Error::new(ErrorCode::Overloaded, "certainly not stored: it waited too long");
                let _ = job.reply.send(vec![Err(late); job.entries.len()]);
                continue;
            }
            let count = job.entries.len();
            entries.append(&mut job.entries);
            jobs.push((job, count));
        }
        if entries.is_empty() {
            return;
        }
        self.metrics.batch_entries.observe(entries.len() as f64);
        let began = Instant::now();
        let outcome = self.store.append(entries.clone()).await;
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        match outcome {
            Ok(outcomes) => self.answer(jobs, entries, outcomes),
            Err(error) => {
                self.metrics.failed.inc();
                // Perhaps it was stored, with effects to be told.
                self.bell.notify_one();
                if matches!(error, store::Error::Unknown(_)) {
                    self.untold.tell_of(&entries);
                }
                tracing::error!(%error, entries = entries.len(), "a transaction failed");
                let error = Error::from(error);
                for (job, count) in jobs {
                    let _ = job.reply.send(vec![Err(error.clone()); count]);
                }
            }
        }
    }

    fn answer(
        &self,
        jobs: Vec<(Job, usize)>,
        entries: Vec<NewEntry>,
        outcomes: Vec<std::result::Result<Appended, Refused>>,
    ) {
        let mut pushes = Pushes::default();
        let mut outcomes = entries.into_iter().zip(outcomes);
        for (job, count) in jobs {
            let results = outcomes.by_ref().take(count).map(|(entry, outcome)| match outcome {
                Ok(appended) => {
                    let conversation = entry.conversation.get();
                    let sent = wire::Sent { conversation, position: appended.position, time_ms: appended.time_ms };
                    if !appended.duplicate {
                        self.metrics.appended.inc();
                    }
                    // Also after a duplicate: the process that stored it may have been killed before it told anybody.
                    if matches!(entry.act, Act::Membership(_) | Act::Contact(_)) {
                        self.bell.notify_one();
                    }
                    push_entry(&mut pushes, job.origin, entry, appended);
                    Ok(sent)
                }
                Err(Refused::Unchanged) => {
                    Ok(wire::Sent { conversation: entry.conversation.get(), position: 0, time_ms: entry.time_ms })
                }
                Err(refused) => Err(refusal(refused, &entry)),
            });
            let _ = job.reply.send(results.collect());
        }
        self.publisher.publish(pushes);
    }
}

/// What whoever wanted an entry appended is told instead.
fn refusal(refused: Refused, entry: &NewEntry) -> Error {
    let forbidden = |message: &str| Error::new(ErrorCode::Forbidden, message);
    match refused {
        Refused::NotMember => Error::not_member(),
        Refused::IdReused => {
            Error::new(ErrorCode::IdReused, "id: used before for something else; make a new one for each message")
        }
        Refused::TooManyMembers => {
            let max = protocol::limits::MEMBERS_MAX;
            Error::new(ErrorCode::LimitExceeded, format!("members: the group would have more than the {max} allowed"))
        }
        Refused::TooManyAdmins => {
            let max = protocol::limits::ADMINS_MAX;
            Error::new(ErrorCode::LimitExceeded, format!("admins: the group would have more than the {max} allowed"))
        }
        Refused::RoleTooLow => forbidden("your role in this group does not allow it"),
        Refused::Muted(0) => Error::new(ErrorCode::Muted, "only owner and admins may write in this group now"),
        Refused::Muted(until_ms) => {
            let still = in_words(until_ms.saturating_sub(entry.time_ms));
            Error::new(ErrorCode::Muted, format!("you are muted in this group; you may write again in {still}"))
        }
        Refused::Dissolved => Error::new(ErrorCode::Dissolved, "this group was dissolved"),
        Refused::FriendsOnly => {
            Error::new(ErrorCode::FriendsOnly, "this user accepts messages from friends only: ask to be friends")
        }
        Refused::Blocking => forbidden("you have blocked this user: unblock to write"),
        Refused::Banned(user) => Error::new(ErrorCode::Banned, format!("user {user} was banned from this group")),
        Refused::NoSuchMessage => {
            Error::new(ErrorCode::NotFound, "there is no message at this position, or it was recalled")
        }
        Refused::AnswersNothing => {
            let field = if matches!(entry.act, Act::Conversation(..)) { "draft" } else { "content" };
            Error::invalid(format!(
                "{field}.reply_to: past the end of the conversation; 0, or the position of a message that is there"
            ))
        }
        Refused::NotTheSenders => forbidden("this is not your message"),
        Refused::TooLate => Error::new(ErrorCode::TooLate, "the message is too old for this"),
        Refused::OtherKind => Error::invalid("content.edit.content: of another kind than the message"),
        Refused::IsOwner => {
            forbidden("the owner cannot leave or be removed: transfer the group to another member, or dissolve it")
        }
        Refused::AlreadyFriends => Error::new(ErrorCode::Conflict, "you are friends already"),
        Refused::NothingThere => Error::new(ErrorCode::Conflict, nothing_there(&entry.act)),
        Refused::Unchanged => Error::new(ErrorCode::Conflict, "it is so already"),
    }
}

fn nothing_there(act: &Act) -> &'static str {
    match act {
        Act::Contact(ContactEvent { what: ContactAct::Answer(_), .. }) => "this user does not ask to be your friend",
        Act::Contact(ContactEvent { what: ContactAct::Withdraw, .. }) => "you do not ask this user to be your friend",
        Act::Contact(ContactEvent { what: ContactAct::Remove, .. }) => "this user is not your friend",
        _ => "there is nothing of the kind to change",
    }
}

/// How long, for a person: rounded up, in the largest unit of which there are at least two.
fn in_words(ms: i64) -> String {
    let (minute, hour, day) = (60_000, 3_600_000, 86_400_000);
    let (unit, name) = match ms {
        ms if ms >= 2 * day => (day, "days"),
        ms if ms >= 2 * hour => (hour, "hours"),
        ms if ms >= 2 * minute => (minute, "minutes"),
        _ => (1_000, "seconds"),
    };
    format!("{} {name}", (ms + unit - 1) / unit)
}

fn push_entry(pushes: &mut Pushes, origin: u64, entry: NewEntry, appended: Appended) {
    let users = |users: Vec<UserId>| users.into_iter().map(UserId::get).collect();
    let mut what = EntryDelivery {
        frame: entry_frame(&entry, &appended, appended.content.clone().unwrap_or_else(|| entry.content.clone())),
        conversation: entry.conversation.get(),
        position: appended.position,
        entered: Vec::new(),
        exited: Vec::new(),
    };
    match &appended.audience {
        Audience::Users(audience) if appended.withheld => {
            let (own, others): (Vec<UserId>, Vec<UserId>) = audience.iter().partition(|user| **user == entry.sender);
            // Something has to stand at the position, or the other's devices would look for it again and again.
            let hidden = RawContent::from(Kind::Hidden(wire::Hidden {}));
            let frame = entry_frame(&entry, &appended, hidden.as_bytes().clone());
            let hidden = EntryDelivery { frame, ..what.clone() };
            pushes.add_for_users(&own, origin, What::Entry(what));
            pushes.add_for_users(&others, origin, What::Entry(hidden));
        }
        Audience::Users(audience) => pushes.add_for_users(audience, origin, What::Entry(what)),
        Audience::Group(group) => {
            what.entered = users(appended.entered);
            what.exited = users(appended.exited);
            pushes.add_for_topic(Topic::Group(*group), origin, What::Entry(what));
        }
    }
}

fn entry_frame(entry: &NewEntry, appended: &Appended, content: Bytes) -> Bytes {
    push::frame(Body::Entry(wire::EntryPush {
        conversation: entry.conversation.get(),
        kind: appended.kind.into(),
        entry: Some(wire::Entry {
            position: appended.position,
            id: entry.id.to_string(),
            sender: entry.sender.get(),
            time_ms: appended.time_ms,
            content: Some(RawContent::from_bytes(content)),
        }),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_says_enough() {
        for (ms, wanted) in [
            (1, "1 seconds"),
            (119_000, "119 seconds"),
            (120_001, "3 minutes"),
            (3_600_000, "60 minutes"),
            (7_200_000, "2 hours"),
            (30 * 86_400_000, "30 days"),
        ] {
            assert_eq!(in_words(ms), wanted);
        }
    }
}
