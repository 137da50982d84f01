//! A bounded queue between routing and one socket.
//!
//! Frames leave in the order they were pushed. What waits never exceeds the limit, in bytes and in frames; pushing never
//! waits, and a push that would exceed the limit closes the outbox as a slow consumer and discards what waits, as the
//! client resumes from its positions. It neither retries nor stores.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use protocol::queue::AccountClosed;

/// How much may wait in one outbox, and what counts the overflows.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) bytes_max: usize,
    pub(crate) frames_max: usize,
    pub(crate) overflows: Counter,
}

/// Why an outbox takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// More waited than the limit allows.
    SlowConsumer,
    /// The session was ended.
    SessionEnded,
    /// The account is closed, for this reason.
    AccountClosed(AccountClosed),
    /// The gateway stops; reconnect after this time.
    Draining(Duration),
    /// The gateway has no time left: nothing more is written.
    Cut,
}

/// Makes an outbox. The limit is shared among connections, to keep each small.
pub(crate) fn channel(limit: Arc<Limit>) -> (Outbox, Outlet) {
    let shared = Arc::new(Shared { limit, state: Mutex::default() });
    (Outbox(shared.clone()), Outlet(shared))
}

#[derive(Debug)]
struct Shared {
    limit: Arc<Limit>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    closed: Option<Closed>,
    waker: Option<Waker>,
}

/// The end that routing pushes into. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(Arc<Shared>);

impl Outbox {
    /// Adds a frame; never waits.
    ///
    /// # Errors
    ///
    /// The outbox is closed, or was closed just now because the frame exceeded the limit.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Closed> {
        let (result, waker) = {
            let mut state = self.0.state.lock();
            if let Some(closed) = state.closed {
                return Err(closed);
            }
            let limit = &self.0.limit;
            let result = if state.bytes + frame.len() > limit.bytes_max || state.frames.len() == limit.frames_max {
                limit.overflows.inc();
                state.frames = VecDeque::new();
                state.bytes = 0;
                state.closed = Some(Closed::SlowConsumer);
                Err(Closed::SlowConsumer)
            } else {
                state.bytes += frame.len();
                state.frames.push_back(frame);
                Ok(())
            };
            (result, state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Takes no more frames; what waits still leaves, except with [`Closed::Cut`]. The first reason stands, unless cut.
    pub(crate) fn close(&self, reason: Closed) {
        let waker = {
            let mut state = self.0.state.lock();
            if state.closed.is_none() || reason == Closed::Cut {
                state.closed = Some(reason);
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The end that the socket's task empties.
#[derive(Debug)]
pub(crate) struct Outlet(Arc<Shared>);

impl Outlet {
    /// Takes what waits, up to `bytes_max` bytes (or a little more). Ready if more may wait: then this has to be asked again, as
    /// nobody is woken for it. Ready with an error if none will follow. What was taken counts no longer against the limit.
    pub(crate) fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        bytes_max: usize,
    ) -> (VecDeque<Bytes>, Poll<Result<(), Closed>>) {
        let mut state = self.0.state.lock();
        if state.closed == Some(Closed::Cut) {
            return (VecDeque::new(), Poll::Ready(Err(Closed::Cut)));
        }
        if state.bytes > bytes_max {
            let (mut frames, mut bytes) = (VecDeque::new(), 0);
            while bytes < bytes_max
                && let Some(frame) = state.frames.pop_front()
            {
                bytes += frame.len();
                frames.push_back(frame);
            }
            state.bytes -= bytes;
            return (frames, Poll::Ready(Ok(())));
        }
        // The buffer goes as well: an idle connection keeps none.
        let frames = std::mem::take(&mut state.frames);
        state.bytes = 0;
        // Also once it is closed: it may be cut yet.
        state.register(context);
        (frames, state.closed.map_or(Poll::Pending, |closed| Poll::Ready(Err(closed))))
    }

    /// Why the outbox was closed, if it must be obeyed before what waits has left. Registers for the change.
    pub(crate) fn poll_overflow(&mut self, context: &mut Context<'_>) -> Poll<Closed> {
        let mut state = self.0.state.lock();
        match state.closed {
            Some(closed @ (Closed::SlowConsumer | Closed::Cut)) => Poll::Ready(closed),
            _ => {
                state.register(context);
                Poll::Pending
            }
        }
    }
}

impl State {
    fn register(&mut self, context: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
    }
}
