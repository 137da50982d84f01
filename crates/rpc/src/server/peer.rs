//! One connection, seen from the server: requests come in, each becomes a task, answers go out.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
};

use bytes::BytesMut;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use protocol::{Error, wire::ErrorCode};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Entered, Shared};
use crate::{
    config::{FAREWELL_MAX, REQUESTS_BYTES_MAX},
    incoming::{End, Incoming, Pulse},
    outgoing::{NotPushed, Outgoing},
    security::Halves,
    service::{Reply, Request, Service},
    wire::{
        self, ANSWER, CANCEL, DRAINING, ERROR, FAULT, Frame, Head, Malformed, PING, PONG, REFUSED, REQUEST, TooLong,
    },
};

/// Where a method's number leads to.
pub(super) struct Target {
    pub(super) service: Arc<dyn Service>,
    /// Which of its methods.
    pub(super) index: usize,
    pub(super) served: Counter,
}

/// A caller's connection.
pub(crate) struct Peer {
    outgoing: Outgoing,
    calls: Mutex<Calls>,
    /// It does not read its answers.
    slow: CancellationToken,
    shared: Arc<Shared>,
}

/// The calls under way.
#[derive(Default)]
struct Calls {
    /// By their numbers; without a task for a moment at the beginning.
    tasks: HashMap<u64, Option<AbortHandle>>,
    /// What their requests take.
    bytes: usize,
}

impl Peer {
    pub(super) fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            outgoing: Outgoing::default(),
            calls: Mutex::default(),
            slow: CancellationToken::new(),
            shared,
        })
    }

    /// Appends a frame. A peer for which too much waits is slow, and loses its connection.
    pub(crate) fn push(&self, put: impl FnOnce(&mut BytesMut) -> Result<(), TooLong>) -> Result<(), NotPushed> {
        let pushed = self.outgoing.push(put);
        if pushed == Err(NotPushed::Full) {
            self.slow.cancel();
        }
        pushed.map(drop)
    }

    pub(crate) fn is_under_way(&self, call: u64) -> bool {
        self.calls.lock().tasks.contains_key(&call)
    }

    fn push_empty(&self, kind: u8, call: u64) {
        // If the connection is closed, nobody listens.
        let _ = self.push(|to| wire::put(to, kind, call, |_| Ok(())));
    }

    fn push_error(&self, kind: u8, call: u64, error: Error) {
        let error = protocol::wire::Error::from(error);
        let _ = self.push(|to| wire::put(to, kind, call, |to| wire::put_message(to, &error)));
    }

    /// Carries frames until the connection ends, and drops the calls that are under way then: their caller has gone.
    pub(super) async fn run(self: Arc<Self>, (reader, writer): Halves) -> End {
        let pulse = Pulse::default();
        let mut incoming = Incoming::new(reader, &pulse);
        let writing = self.outgoing.write_to(writer);
        tokio::pin!(writing);
        let end = tokio::select! {
            biased;
            end = self.read(&mut incoming) => end,
            written = &mut writing => written.err().map_or(End::Closed, End::Broken),
            silent = pulse.watch(self.shared.config.heartbeat, || {}) => silent,
            () = self.tell_of_draining() => End::Drained,
            () = self.slow.cancelled() => End::Broken(std::io::Error::other("the caller does not read its answers")),
            () = self.shared.stopping.cancelled() => End::Drained,
        };
        let calls = std::mem::take(&mut self.calls.lock().tasks);
        calls.into_values().flatten().for_each(|call| call.abort());
        if let End::Malformed(error) = &end {
            self.push_error(FAULT, 0, Error::invalid(error.to_string()));
            self.outgoing.close();
            let _ = timeout(FAREWELL_MAX, writing).await;
        }
        self.outgoing.close();
        end
    }

    /// Never returns.
    async fn tell_of_draining(&self) {
        self.shared.draining.cancelled().await;
        self.push_empty(DRAINING, 0);
        std::future::pending::<()>().await;
    }

    async fn read(self: &Arc<Self>, incoming: &mut Incoming<'_, impl tokio::io::AsyncRead + Unpin>) -> End {
        loop {
            // Who reads slowly is read slowly.
            self.outgoing.room().await;
            let received = match incoming.next().await {
                Ok(frame) => self.receive(frame),
                Err(end) => return end,
            };
            if let Err(malformed) = received {
                return malformed.into();
            }
        }
    }

    fn receive(self: &Arc<Self>, frame: Frame) -> Result<(), Malformed> {
        match frame.kind {
            REQUEST => self.begin(frame)?,
            CANCEL => {
                let call = self.calls.lock().tasks.remove(&frame.call);
                if let Some(call) = call.flatten() {
                    call.abort();
                }
            }
            PING => self.push_empty(PONG, frame.call),
            ANSWER | ERROR | REFUSED | DRAINING | FAULT => return Err(Malformed::WrongDirection(frame.kind)),
            // PONG has been heard. Others may mean something to newer servers.
            _ => {}
        }
        Ok(())
    }

    /// Begins a call, or refuses it.
    fn begin(self: &Arc<Self>, frame: Frame) -> Result<(), Malformed> {
        let now = Instant::now();
        let call = frame.call;
        let bytes = frame.payload.len();
        let (head, header, body) = Head::take(frame.payload)?;
        if self.shared.draining.is_cancelled() {
            self.refuse(call, ErrorCode::Draining, "this instance is stopping: ask another one");
            return Ok(());
        }
        if head.remaining.is_zero() {
            self.refuse(call, ErrorCode::TimedOut, "the deadline had passed before the call began");
            return Ok(());
        }
        let Some(target) = self.shared.targets.get(&head.method) else {
            let error =
                format!("the service that was asked does not know the method with the number {:#x}", head.method);
            self.push_error(ERROR, call, Error::new(ErrorCode::UnknownRequest, error));
            return Ok(());
        };
        let Some(entered) = self.shared.enter() else {
            self.refuse(call, ErrorCode::Overloaded, "this instance has too many calls under way");
            return Ok(());
        };
        let Some(running) = self.enter(call, bytes, entered)? else {
            self.refuse(call, ErrorCode::Overloaded, "too many calls are under way on this connection");
            return Ok(());
        };
        target.served.inc();
        let (service, deadline) = (target.service.clone(), now + head.remaining);
        let reply = Reply::new(self.clone(), call, deadline);
        let request = Request { method: target.index, header, body, reply };
        let task = self.shared.tasks.spawn(async move {
            let _running = running;
            let answering = service.call(request);
            // Who has given up is not told.
            let _ = match head.trace {
                None => timeout_at(deadline, answering).await,
                Some(trace) => timeout_at(deadline, trace.scope(answering)).await,
            };
        });
        // Unless it has ended already.
        if let Some(place) = self.calls.lock().tasks.get_mut(&call) {
            *place = Some(task.abort_handle());
        }
        Ok(())
    }

    /// A place among the connection's calls, if there is one.
    fn enter(self: &Arc<Self>, call: u64, bytes: usize, entered: Entered) -> Result<Option<Running>, Malformed> {
        let mut calls = self.calls.lock();
        let is_full = calls.tasks.len() >= self.shared.config.calls_per_connection_max;
        if is_full || calls.bytes + bytes > REQUESTS_BYTES_MAX {
            return Ok(None);
        }
        match calls.tasks.entry(call) {
            Entry::Occupied(_) => return Err(Malformed::CallReused(call)),
            Entry::Vacant(place) => place.insert(None),
        };
        calls.bytes += bytes;
        Ok(Some(Running { peer: self.clone(), call, bytes, _entered: entered }))
    }

    fn refuse(&self, call: u64, code: ErrorCode, why: &str) {
        self.shared.metrics.refused(code.as_str_name());
        self.push_error(REFUSED, call, Error::new(code, why));
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").finish_non_exhaustive()
    }
}

/// A call that is among those under way, until it ends.
struct Running {
    peer: Arc<Peer>,
    call: u64,
    bytes: usize,
    _entered: Entered,
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut calls = self.peer.calls.lock();
        calls.tasks.remove(&self.call);
        calls.bytes -= self.bytes;
    }
}
