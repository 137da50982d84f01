//! When messages are to be sent, and how a message tells its receiver when that was.
//!
//! In an open loop a message counts from the moment at which it was *intended* to be sent: a server that stalls and
//! so holds the sender up is charged for all the messages that should have been sent meanwhile.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// The first bytes of each text: its intended time of sending, nanoseconds in hexadecimal digits.
pub(crate) const STAMP_BYTES: usize = 16;

/// Ticks that may wait for the senders. A driver that falls behind further stalls; the ticks' times do not move.
const TICKS_WAITING_MAX: usize = 65_536;

/// How long the thread behind dropped ticks may take to notice.
const CLOSED_AFTER_MAX: Duration = Duration::from_millis(20);

/// The moment from which all times of a run are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Starts counting.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    /// Nanoseconds from the start to then.
    pub(crate) fn at(&self, then: Instant) -> u64 {
        u64::try_from(then.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Makes and reads texts that bear a time.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    filler: Arc<str>,
}

impl Texts {
    /// Texts of `bytes` bytes, or [`STAMP_BYTES`] if that is more.
    pub(crate) fn new(bytes: usize) -> Self {
        let filler: String = "the quick brown fox jumps over the lazy dog "
            .chars()
            .cycle()
            .take(bytes.saturating_sub(STAMP_BYTES))
            .collect();
        Self { filler: filler.into() }
    }

    /// A text whose sending was intended `stamp` nanoseconds after the run's start.
    pub(crate) fn write(&self, stamp: u64) -> String {
        format!("{stamp:016x}{}", self.filler)
    }

    /// The stamp of a text that [`write`](Self::write) made; nothing for another one.
    pub(crate) fn stamp(text: &str) -> Option<u64> {
        u64::from_str_radix(text.get(..STAMP_BYTES)?, 16).ok()
    }
}

/// An open loop's schedule: `rate` messages a second, evenly spaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: Instant,
    gap: f64,
}

impl Schedule {
    /// The first message is due at `start`.
    pub(crate) fn new(start: Instant, rate: f64) -> Self {
        Self { start, gap: 1.0 / rate }
    }

    /// When the message with this number (from 0) is due, however late the ones before it were.
    pub(crate) fn due(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 * self.gap)
    }
}

/// One message to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Its number, from 0.
    pub(crate) number: u64,
    /// When it is due. Never moved by what happened to other messages.
    pub(crate) due: Instant,
}

/// The ticks of a schedule, each yielded when it is due and none before.
///
/// They come from a thread that sleeps, which is exact to a tenth of a millisecond: the runtime's own timers have a
/// resolution of a whole one, which would count as the server's latency.
pub(crate) struct Ticks {
    receiver: mpsc::Receiver<Tick>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticks {
    /// Starts the thread; it ends at `end`, or soon after this is dropped.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub(crate) fn start(schedule: Schedule, end: Instant) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(TICKS_WAITING_MAX);
        let thread = thread::Builder::new().name("bench-ticks".into()).spawn(move || run(schedule, end, &sender))?;
        Ok(Self { receiver, thread: Some(thread) })
    }

    /// The next tick; nothing after the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Tick> {
        self.receiver.recv().await
    }
}

impl Drop for Ticks {
    fn drop(&mut self) {
        self.receiver.close();
        while self.receiver.try_recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did, there is nothing left to do about it.
            let _ = thread.join();
        }
    }
}

fn run(schedule: Schedule, end: Instant, sender: &mpsc::Sender<Tick>) {
    for number in 0.. {
        let due = schedule.due(number);
        if due >= end {
            return;
        }
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if sender.is_closed() {
                return;
            }
            if wait.is_zero() {
                break;
            }
            thread::sleep(wait.min(CLOSED_AFTER_MAX));
        }
        if sender.blocking_send(Tick { number, due }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_bears_its_stamp_and_has_the_length_asked_for() {
        let text = Texts::new(150).write(123_456_789_012);
        assert_eq!(text.len(), 150);
        assert_eq!(Texts::stamp(&text), Some(123_456_789_012));
        assert_eq!(Texts::new(3).write(7).len(), STAMP_BYTES);
        assert_eq!(Texts::stamp("你好你好你好你好"), None);
        assert_eq!(Texts::stamp("hi"), None);
    }

    #[test]
    fn due_times_are_evenly_spaced_and_do_not_drift() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 500.0);
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(1), start + Duration::from_millis(2));
        assert_eq!(schedule.due(500_000), start + Duration::from_secs(1_000));
    }

    #[tokio::test]
    async fn ticks_of_a_stalled_driver_keep_their_intended_times() {
        // All of it is due in the past already: as after a stall of a second.
        let start = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let schedule = Schedule::new(start, 100.0);
        let mut ticks = Ticks::start(schedule, start + Duration::from_millis(95)).unwrap();
        let mut seen = Vec::new();
        while let Some(tick) = ticks.next().await {
            assert!(tick.due.elapsed() > Duration::from_millis(900), "counted from the moment of sending");
            seen.push(tick);
        }
        let expected: Vec<_> = (0..10).map(|number| Tick { number, due: schedule.due(number) }).collect();
        assert_eq!(seen, expected);
    }
}
