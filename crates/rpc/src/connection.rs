//! One connection to an instance, seen from the caller: calls go out, answers find their callers.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use protocol::Error;
use slab::Slab;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    config::CALLS_PER_CONNECTION_MAX,
    incoming::{End, Incoming, Pulse},
    outgoing::{NotPushed, Outgoing},
    security::Halves,
    wire::{self, ANSWER, CANCEL, DRAINING, ERROR, FAULT, Malformed, PING, PONG, REFUSED, REQUEST, TooLong},
};

#[derive(Default)]
pub(crate) struct Connection {
    outgoing: Outgoing,
    calls: Mutex<Calls>,
    /// No new calls: the server drains, or the instance is leaving.
    retiring: AtomicBool,
    /// It has begun to retire, or its last call has ended meanwhile.
    progress: Notify,
}

/// The calls under way. A call's number is its place and, in the upper half, the sequence, so that an answer that comes late does
/// not find the place's next call.
#[derive(Default)]
struct Calls {
    waiting: Slab<Waiting>,
    sequence: u32,
    ended: bool,
}

struct Waiting {
    sequence: u32,
    /// Where the request's frame ends; see [`Outgoing::may_have_left`].
    end: u64,
    caller: oneshot::Sender<Outcome>,
}

/// How a call on a connection ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Bytes),
    /// The method failed.
    Error(Error),
    /// The server did not begin it.
    Refused(Error),
    /// The connection ended before the request was sent: certainly not done.
    NotSent,
    /// The connection ended afterwards: outcome unknown.
    Lost,
}

impl Calls {
    fn take(&mut self, call: u64) -> Option<Waiting> {
        let place = (call & u64::from(u32::MAX)) as usize;
        match self.waiting.get(place) {
            Some(waiting) if u64::from(waiting.sequence) == call >> 32 => Some(self.waiting.remove(place)),
            _ => None,
        }
    }
}

impl Connection {
    /// Whether new calls may be made on it.
    pub(crate) fn is_open(&self) -> bool {
        !self.retiring.load(Ordering::Relaxed)
    }

    /// Sends a request, whose payload `put` appends. Never waits.
    ///
    /// # Errors
    ///
    /// It is not sent, certainly.
    pub(crate) fn start(
        self: &Arc<Self>,
        put: impl FnOnce(&mut BytesMut) -> Result<(), TooLong>,
    ) -> Result<InFlight, NotPushed> {
        let (caller, answer) = oneshot::channel();
        let mut calls = self.calls.lock();
        if calls.ended {
            return Err(NotPushed::Closed);
        }
        if calls.waiting.len() >= CALLS_PER_CONNECTION_MAX {
            return Err(NotPushed::Full);
        }
        calls.sequence = calls.sequence.wrapping_add(1);
        let sequence = calls.sequence;
        let place = calls.waiting.vacant_key();
        let call = u64::from(sequence) << 32 | place as u64;
        // Under the same lock, so that the connection cannot end in between.
        let end = self.outgoing.push(|to| wire::put(to, REQUEST, call, put))?;
        calls.waiting.insert(Waiting { sequence, end, caller });
        drop(calls);
        Ok(InFlight { connection: self.clone(), call, answer, ended: false })
    }

    /// Carries frames until the connection ends, then tells all who wait. With `leave`, no new calls are taken, and it ends when
    /// those under way are answered; each of them has a deadline.
    pub(crate) async fn run(&self, (reader, writer): Halves, heartbeat: Duration, leave: &CancellationToken) -> End {
        // Also when this future is dropped.
        let _ended = Ended(self);
        let pulse = Pulse::default();
        let mut incoming = Incoming::new(reader, &pulse);
        let ping = || self.push_empty(PING, 0);
        let end = tokio::select! {
            biased;
            end = self.read(&mut incoming) => end,
            written = self.outgoing.write_to(writer) => written.err().map_or(End::Closed, End::Broken),
            silent = pulse.watch(heartbeat, ping) => silent,
            () = self.retired(leave) => End::Drained,
        };
        // What was answered before the connection broke has perhaps come.
        if matches!(end, End::Broken(_)) {
            while let Ok(Ok(frame)) = tokio::time::timeout(Duration::ZERO, incoming.next()).await {
                if self.receive(frame).is_err() {
                    break;
                }
            }
        }
        end
    }

    async fn read(&self, incoming: &mut Incoming<'_, impl tokio::io::AsyncRead + Unpin>) -> End {
        loop {
            let received = match incoming.next().await {
                Ok(frame) => self.receive(frame),
                Err(end) => Err(end),
            };
            if let Err(end) = received {
                return end;
            }
        }
    }

    fn receive(&self, frame: wire::Frame) -> Result<(), End> {
        let (kind, call) = (frame.kind, frame.call);
        match kind {
            ANSWER => self.end(call, || Outcome::Answer(frame.payload)),
            ERROR => self.end(call, || Outcome::Error(frame.error())),
            REFUSED => self.end(call, || Outcome::Refused(frame.error())),
            DRAINING => self.retire(),
            FAULT => return Err(End::Fault(frame.error())),
            PING => self.push_empty(PONG, call),
            REQUEST | CANCEL => return Err(Malformed::WrongDirection(kind).into()),
            // PONG has been heard. Others may mean something to newer callers.
            _ => {}
        }
        Ok(())
    }

    /// Tells the caller, if it still waits.
    fn end(&self, call: u64, outcome: impl FnOnce() -> Outcome) {
        let waiting = self.remove(call);
        if let Some(waiting) = waiting {
            // Who does not listen has dropped the call just now.
            let _ = waiting.caller.send(outcome());
        }
    }

    fn remove(&self, call: u64) -> Option<Waiting> {
        let mut calls = self.calls.lock();
        let waiting = calls.take(call);
        if calls.waiting.is_empty() && !self.is_open() {
            self.progress.notify_one();
        }
        waiting
    }

    /// The caller does not wait any longer.
    fn cancel(&self, call: u64) {
        if self.remove(call).is_some() {
            // If it cannot be sent, the server drops the call at its deadline.
            self.push_empty(CANCEL, call);
        }
    }

    /// If the connection has ended, or too much waits to be written, it is not sent.
    fn push_empty(&self, kind: u8, call: u64) {
        let _ = self.outgoing.push(|to| wire::put(to, kind, call, |_| Ok(())));
    }

    fn retire(&self) {
        self.retiring.store(true, Ordering::Relaxed);
        self.progress.notify_one();
    }

    /// Returns once the connection retires and has no calls under way.
    async fn retired(&self, leave: &CancellationToken) {
        tokio::select! {
            () = leave.cancelled() => self.retire(),
            () = self.progress.notified() => {}
        }
        while self.is_open() || !self.calls.lock().waiting.is_empty() {
            self.progress.notified().await;
        }
    }
}

/// Ends a connection: nothing is sent any more, and who waits is told what is certain.
struct Ended<'a>(&'a Connection);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let Self(connection) = self;
        connection.retiring.store(true, Ordering::Relaxed);
        connection.outgoing.close();
        let mut calls = connection.calls.lock();
        calls.ended = true;
        let waiting = std::mem::take(&mut calls.waiting);
        drop(calls);
        for (_, waiting) in waiting {
            let left = connection.outgoing.may_have_left(waiting.end);
            let _ = waiting.caller.send(if left { Outcome::Lost } else { Outcome::NotSent });
        }
    }
}

/// A call under way. Dropped before its outcome, it is cancelled: the server stops working on it.
pub(crate) struct InFlight {
    connection: Arc<Connection>,
    call: u64,
    answer: oneshot::Receiver<Outcome>,
    ended: bool,
}

impl Future for InFlight {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        // Whoever removes a call from those that wait tells the outcome; only a panic in between does not.
        let outcome = ready!(Pin::new(&mut self.answer).poll(context)).unwrap_or(Outcome::Lost);
        self.ended = true;
        Poll::Ready(outcome)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.cancel(self.call);
        }
    }
}
