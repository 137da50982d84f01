//! What waits to be published, and what is on its way: publications, the envelopes they are packed into, and the lane to each
//! server.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::{envelope, failure::Failure, metrics::now_us, numbering::Number};
use crate::{Publication, Topic};

/// Publications, and bytes of them, that wait at most, those under way included; more are refused at once.
pub(super) const WAITING_MAX: usize = 100_000;
pub(super) const WAITING_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Envelopes, and bytes of them, that leave in one pipeline at most.
const PIPELINE_ENVELOPES_MAX: usize = 1_000;
const PIPELINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes in one envelope at most, unless one publication alone has more.
const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;
/// After a failure a server is tried again after this, and then after twice as long each time, up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

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

/// A publication that waits.
pub(super) struct Numbered {
    pub(super) publication: Publication,
    pub(super) number: Number,
    pub(super) at: Instant,
    pub(super) sent_us: u64,
    pub(super) call: Arc<Call>,
}

/// A call of `publish`, answered when nothing of it waits any more.
pub(super) struct Call {
    left: AtomicUsize,
    answer: Mutex<Answer>,
}

struct Answer {
    /// What went wrong first.
    failure: Option<NotPublished>,
    sender: Option<oneshot::Sender<Result<(), NotPublished>>>,
}

impl Call {
    /// Of so many publications.
    pub(super) fn new(count: usize, sender: oneshot::Sender<Result<(), NotPublished>>) -> Self {
        let answer = Mutex::new(Answer { failure: None, sender: Some(sender) });
        Self { left: AtomicUsize::new(count), answer }
    }

    /// So many of its publications are published, or given up.
    pub(super) fn settle(&self, count: usize, failure: Option<&NotPublished>) {
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
pub(super) struct Parcel {
    pub(super) topic: Topic,
    /// Of the first publication in it.
    pub(super) number: Number,
    pub(super) bytes: Bytes,
    pub(super) count: usize,
    pub(super) payload_bytes: usize,
    pub(super) calls: Vec<(Arc<Call>, usize)>,
    pub(super) attempts: u32,
}

/// What goes to one server.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) again: VecDeque<Parcel>,
    pub(super) publications: VecDeque<Numbered>,
    pub(super) under_way: bool,
    pub(super) not_before: Option<Instant>,
    pub(super) pause: Duration,
    /// Since when something may have been lost of which nobody was told.
    pub(super) trouble_since: Option<Instant>,
    /// It is being told.
    pub(super) telling: bool,
}

impl Lane {
    /// Something may be lost since then.
    pub(super) fn trouble(&mut self, since: Instant) {
        self.trouble_since = Some(self.trouble_since.map_or(since, |known| known.min(since)));
    }

    pub(super) fn fail(&mut self, now: Instant) {
        self.trouble(now);
        self.telling = false;
        // Made anew with the next attempt.
        self.again.retain(|parcel| parcel.count > 0);
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.not_before = Some(now + self.pause);
    }

    pub(super) fn succeed(&mut self) {
        self.pause = Duration::ZERO;
        if mem::take(&mut self.telling) {
            self.trouble_since = None;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.publications.is_empty()
    }

    /// What leaves with the next pipeline: first what is sent again, then what waits.
    pub(super) fn next(&mut self, batch_size: usize) -> Vec<Parcel> {
        let mut parcels: Vec<Parcel> = Vec::new();
        let mut bytes = 0;
        while parcels.len() < PIPELINE_ENVELOPES_MAX && bytes < PIPELINE_BYTES_MAX {
            let Some(parcel) = self.again.pop_front() else { break };
            bytes += parcel.bytes.len();
            parcels.push(parcel);
        }
        if self.again.is_empty() {
            self.pack(batch_size, &mut parcels, bytes);
        }
        parcels
    }

    /// Packs publications into envelopes: those to one topic together, in their order, topics in the order of their first.
    fn pack(&mut self, batch_size: usize, parcels: &mut Vec<Parcel>, mut bytes: usize) {
        let mut envelopes: Vec<Open> = Vec::new();
        let mut last_of: HashMap<Topic, usize> = HashMap::new();
        while parcels.len() + envelopes.len() < PIPELINE_ENVELOPES_MAX && bytes < PIPELINE_BYTES_MAX {
            let Some(Numbered { publication: Publication { topic, payload }, number, sent_us, call, .. }) =
                self.publications.pop_front()
            else {
                break;
            };
            bytes += payload.len();
            let fits = |open: &Open| {
                let next = open.number.number + open.payloads.len() as u64;
                number == Number { number: next, ..open.number }
                    && open.payloads.len() < batch_size
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
        parcels.extend(envelopes.into_iter().map(Open::close));
    }
}

impl Parcel {
    /// One that only tells where a topic's numbers stand.
    pub(super) fn stand(topic: Topic, number: Number) -> Self {
        Self {
            topic,
            number,
            bytes: envelope::publications(number.series, number.number, now_us(), &[]),
            count: 0,
            payload_bytes: 0,
            calls: Vec::new(),
            attempts: 0,
        }
    }
}

/// An envelope that is being filled.
struct Open {
    topic: Topic,
    number: Number,
    sent_us: u64,
    payloads: Vec<Bytes>,
    bytes: usize,
    calls: Vec<(Arc<Call>, usize)>,
}

impl Open {
    fn close(self) -> Parcel {
        let Self { topic, number, sent_us, payloads, bytes, calls } = self;
        Parcel {
            topic,
            number,
            bytes: envelope::publications(number.series, number.number, sent_us, &payloads),
            count: payloads.len(),
            payload_bytes: bytes,
            calls,
            attempts: 0,
        }
    }
}
