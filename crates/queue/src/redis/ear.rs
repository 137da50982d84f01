//! A gateway's ear: what it hears, and of what it is told that it was lost. Its [keeper](super::keeper) keeps the connections.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::redis::{PushInfo, PushKind, Value};
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::GatewayId;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    envelope::{self, Envelope},
    failure::{Failure, unexpected},
    hearing::{Fit, Hearing},
    held::Held,
    metrics::{Metrics, now_us},
    names::Names,
};
use crate::{Error, Publication, Replaced, Result, Topic, mailbox::Mailbox};

/// Changes that wait for their turn; further callers wait for room.
const CHANGES_WAITING_MAX: usize = 64;

pub(super) struct Ear {
    pub(super) gateway: GatewayId,
    pub(super) mailbox: Mailbox,
    pub(super) hearing: Mutex<Hearing>,
    /// Topics that are being left: only of them the server may say that they are not subscribed any more.
    pub(super) leaving: Mutex<HashSet<Topic>>,
    pub(super) held: Held,
    /// The gateway was opened again elsewhere.
    replaced: AtomicBool,
    opening: Mutex<u64>,
    changes: mpsc::Sender<Change>,
    /// A connection broke, or is not the right one any more.
    pub(super) broke: Notify,
    pub(super) names: Names,
    timeout: Duration,
    pub(super) metrics: Metrics,
}

/// What the keeper is asked to do.
pub(super) struct Change {
    pub(super) topics: Vec<Topic>,
    pub(super) act: Act,
}

pub(super) enum Act {
    Subscribe(oneshot::Sender<Result<(), Failure>>),
    Unsubscribe(oneshot::Sender<()>),
}

impl Ear {
    /// An ear, and what its keeper is to do.
    pub(super) fn new(
        gateway: GatewayId,
        mailbox: Mailbox,
        timeout: Duration,
        names: Names,
        metrics: Metrics,
    ) -> (Arc<Self>, mpsc::Receiver<Change>) {
        let (sender, changes) = mpsc::channel(CHANGES_WAITING_MAX);
        let ear = Self {
            gateway,
            mailbox,
            hearing: Mutex::default(),
            leaving: Mutex::default(),
            held: Held::default(),
            replaced: AtomicBool::new(false),
            opening: Mutex::new(0),
            changes: sender,
            broke: Notify::new(),
            names,
            timeout,
            metrics,
        };
        (Arc::new(ear), changes)
    }

    pub(super) async fn subscribe(&self, topics: Vec<Topic>) -> Result<()> {
        if self.is_replaced() {
            return Err(Error(Box::new(Replaced)));
        }
        let (answer, answered) = oneshot::channel();
        let changing = async {
            let change = Change { topics, act: Act::Subscribe(answer) };
            self.changes.send(change).await.map_err(|_| Error(Box::new(Replaced)))?;
            answered.await.map_err(|_| Error(Box::new(Replaced)))?.map_err(|failure| Error(Box::new(failure)))
        };
        timeout(self.timeout, changing).await.unwrap_or_else(|_| Err(Error(Box::new(Failure::TooSlow(self.timeout)))))
    }

    pub(super) async fn unsubscribe(&self, topics: Vec<Topic>) -> Result<()> {
        {
            let mut hearing = self.hearing.lock();
            let own = Topic::Gateway(self.gateway);
            topics.iter().filter(|topic| **topic != own).for_each(|topic| hearing.end(topic));
        }
        let (answer, answered) = oneshot::channel();
        let changing = async {
            if self.changes.send(Change { topics, act: Act::Unsubscribe(answer) }).await.is_ok() {
                // It answers, or has ended: then nothing is heard at all.
                let _ = answered.await;
            }
        };
        // Nothing is heard of them in any case; the server is told in its turn.
        let _ = timeout(self.timeout, changing).await;
        Ok(())
    }

    /// The gateway has this opening; a later one takes its place.
    pub(super) fn set_opening(&self, opening: u64) {
        *self.opening.lock() = opening;
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Hears nothing any more.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.mailbox.shut();
        self.broke.notify_one();
    }

    /// Something was perhaps published for users of the gateway and not addressed to it.
    pub(super) fn miss(&self) {
        if self.mailbox.miss() {
            self.mailbox.wake();
        }
    }

    /// What Redis sends unasked for.
    pub(super) fn push(&self, push: PushInfo, broken: &AtomicBool) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => {
                let mut data = push.data.into_iter();
                if let (Some(Value::BulkString(channel)), Some(Value::BulkString(bytes))) = (data.next(), data.next())
                    && let Some(topic) = self.names.topic(&channel)
                {
                    self.heard(topic, bytes.into());
                }
            }
            PushKind::SUnsubscribe => {
                let topic = match push.data.first() {
                    Some(Value::BulkString(channel)) => self.names.topic(channel),
                    _ => None,
                };
                // The slot has moved away. The answer to another command may have been taken for this one.
                if topic.is_some_and(|topic| !self.leaving.lock().remove(&topic)) {
                    broken.store(true, Ordering::Release);
                    self.broke.notify_one();
                }
            }
            PushKind::Disconnection => self.broke.notify_one(),
            _ => {}
        }
    }

    fn heard(&self, topic: Topic, bytes: Bytes) {
        match envelope::decode(bytes) {
            Ok(Envelope::Publications { series, first, sent_us, payloads }) => {
                let count = payloads.len() as u64;
                // Held until all is in the mailbox, so that what is lost stands in its place.
                let mut hearing = self.hearing.lock();
                let Some(Fit { lost, known }) = hearing.hear(&topic, series, first, count, Instant::now()) else {
                    return;
                };
                let mut wake = self.mailbox.lose(lost);
                for payload in payloads.into_iter().skip(usize::try_from(known).unwrap_or(usize::MAX)) {
                    wake |= self.mailbox.push(Publication { topic, payload });
                }
                drop(hearing);
                self.metrics.repeated.inc_by(known);
                if count > known {
                    self.metrics.latency_seconds.observe(now_us().saturating_sub(sent_us) as f64 / 1e6);
                }
                if wake {
                    self.mailbox.wake();
                }
            }
            Ok(Envelope::Holding(holding)) if topic == Topic::Gateway(self.gateway) => self.held.note(holding),
            Ok(Envelope::Opened(opening)) if topic == Topic::Gateway(self.gateway) => {
                let own = *self.opening.lock();
                if own != 0 && opening > own {
                    self.replace();
                }
            }
            Ok(Envelope::Holding(_) | Envelope::Opened(_)) => {}
            Err(malformed) => {
                self.metrics.malformed.inc();
                tracing::error!(?topic, error = %malformed, "something else publishes here");
            }
        }
    }

    /// Compares with the marks what was heard of a topic.
    pub(super) fn compare(&self, topic: &Topic, marks: &Value) -> Result<(), Failure> {
        let marks = read_marks(marks)?;
        let mut hearing = self.hearing.lock();
        let lost = hearing.compare(topic, &marks, Instant::now());
        if self.mailbox.lose(lost) {
            self.mailbox.wake();
        }
        Ok(())
    }
}

/// `last:time` by series.
fn read_marks(marks: &Value) -> Result<Vec<(u64, u64)>, Failure> {
    let marks: Vec<(u64, String)> = ::redis::from_redis_value(marks.clone()).map_err(|_| unexpected("marks", marks))?;
    let last = |(series, text): (u64, String)| {
        let last = text.split_once(':').and_then(|(last, _)| last.parse().ok());
        last.map(|last| (series, last)).ok_or_else(|| unexpected("a mark", &text))
    };
    marks.into_iter().map(last).collect()
}
