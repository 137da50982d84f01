//! How long a client may be silent, and how long it may leave what it is sent unread. One timer for both.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::transport::Progress;

/// Bytes that a client must read within the write timeout, unless it reads all.
const PROGRESS_BYTES: u64 = 16 * 1024;

/// What is amiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alarm {
    /// Nothing was heard for twice the heartbeat, or nobody connected in time.
    Silent,
    /// The client does not read.
    Stuck,
    /// What the connection was bound with is over. Rings once.
    Over,
}

pub(super) struct Watchdog {
    heartbeat: Duration,
    heard_at: Instant,
    /// `None` once the connection is somebody's.
    connect_by: Option<Instant>,
    /// When the connection may be nobody's any longer.
    ends_at: Option<Instant>,
    write_timeout: Duration,
    stall: Option<Stall>,
    /// Set to the next deadline or to an earlier moment: moving a deadline back moves no timer.
    timer: Pin<Box<Sleep>>,
}

/// Writing waits for the client.
struct Stall {
    since: Instant,
    written: u64,
}

impl Watchdog {
    pub(super) fn new(connect_within: Duration, heartbeat: Duration, write_timeout: Duration) -> Self {
        let now = Instant::now();
        let connect_by = now + connect_within;
        let timer = Box::pin(sleep_until(connect_by));
        Self {
            heartbeat,
            heard_at: now,
            connect_by: Some(connect_by),
            ends_at: None,
            write_timeout,
            stall: None,
            timer,
        }
    }

    /// The connection is somebody's, who may be silent for twice this time, until a moment.
    pub(super) fn connected(&mut self, heartbeat: Duration, ends_at: Option<Instant>) {
        self.connect_by = None;
        self.ends_at = ends_at;
        self.heartbeat = heartbeat;
    }

    pub(super) fn heard(&mut self) {
        self.heard_at = Instant::now();
    }

    pub(super) fn all_written(&mut self) {
        self.stall = None;
    }

    pub(super) fn unwritten(&mut self, progress: Progress) {
        let is_moving = |stall: &Stall| progress.written - stall.written >= PROGRESS_BYTES;
        if self.stall.as_ref().is_none_or(is_moving) {
            self.stall = Some(Stall { since: Instant::now(), written: progress.written });
        }
    }

    fn deadline(&self) -> (Instant, Alarm) {
        let silent_at = self.heard_at + self.heartbeat * 2;
        let silent_at = self.connect_by.map_or(silent_at, |connect_by| connect_by.min(silent_at));
        let stuck_at = self.stall.as_ref().map(|stall| stall.since + self.write_timeout);
        let others = [(stuck_at, Alarm::Stuck), (self.ends_at, Alarm::Over)];
        let others = others.into_iter().filter_map(|(at, alarm)| Some((at?, alarm)));
        others.fold((silent_at, Alarm::Silent), |first, other| if other.0 < first.0 { other } else { first })
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Alarm> {
        loop {
            let (deadline, alarm) = self.deadline();
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if deadline <= Instant::now() {
                if alarm == Alarm::Over {
                    self.ends_at = None;
                }
                return Poll::Ready(alarm);
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}
