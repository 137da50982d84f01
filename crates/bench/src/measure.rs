//! What is counted while a scenario runs: latencies, deliveries over time, and the server's use of CPU and memory.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use crate::{
    load::Clock,
    server::{Parts, Usage},
};

/// Latencies up to this are told apart; longer ones count as this long.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Seconds of a run that are plotted one by one; what comes later counts to the last one.
const SECONDS_MAX: usize = 7_200;
/// Receivers on different threads record into different histograms.
const SHARDS: usize = 8;

/// Gathers latencies and deliveries from many receivers. Cheap enough (about 50 ns) for every message.
pub(crate) struct Recorder {
    clock: Clock,
    // Messages intended within these times are measured; the others are warm-up and wind-down.
    from: AtomicU64,
    until: AtomicU64,
    latencies: Vec<Mutex<Histogram<u64>>>,
    delivered: AtomicU64,
    measured: AtomicU64,
    expected: AtomicU64,
    errors: AtomicU64,
    disconnects: AtomicU64,
    by_second: Vec<AtomicU64>,
}

impl Recorder {
    /// Measures nothing until [`measure`](Self::measure) says so.
    pub(crate) fn new(clock: Clock) -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1_000, LATENCY_MAX.as_nanos() as u64, 3).expect("the bounds are valid constants")
        };
        Self {
            clock,
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            latencies: (0..SHARDS).map(|_| Mutex::new(histogram())).collect(),
            delivered: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            disconnects: AtomicU64::new(0),
            by_second: (0..SECONDS_MAX).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// The clock whose times texts bear.
    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Measures what is intended from `from` on and before `until` (both as [`Clock`] counts).
    pub(crate) fn measure(&self, from: u64, until: u64) {
        self.until.store(until, Ordering::Relaxed);
        self.from.store(from, Ordering::Relaxed);
    }

    fn is_measured(&self, stamp: u64) -> bool {
        stamp >= self.from.load(Ordering::Relaxed) && stamp < self.until.load(Ordering::Relaxed)
    }

    /// `deliveries` are expected of a message that is intended at `stamp`; counted if that is within the measurement.
    pub(crate) fn expect(&self, stamp: u64, deliveries: u64) {
        if self.is_measured(stamp) {
            self.expected.fetch_add(deliveries, Ordering::Relaxed);
        }
    }

    /// A message intended at `stamp` has come. `receiver`: any number that tells receivers apart.
    pub(crate) fn delivered(&self, receiver: usize, stamp: u64) {
        let now = self.clock.now();
        self.count(now);
        if self.is_measured(stamp) {
            self.measured.fetch_add(1, Ordering::Relaxed);
            self.latencies[receiver % SHARDS].lock().saturating_record(now.saturating_sub(stamp));
        }
    }

    /// A message has come of which it says nothing how long it took.
    pub(crate) fn delivered_late(&self) {
        self.count(self.clock.now());
    }

    fn count(&self, now: u64) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        let second = usize::try_from(now / 1_000_000_000).unwrap_or(usize::MAX).min(SECONDS_MAX - 1);
        self.by_second[second].fetch_add(1, Ordering::Relaxed);
    }

    /// A message intended at `stamp` was not stored: nothing is expected of it any more, and it counts as an error.
    pub(crate) fn failed(&self, stamp: u64, deliveries: u64) {
        self.error();
        if self.is_measured(stamp) {
            self.expected.fetch_sub(deliveries, Ordering::Relaxed);
        }
    }

    /// A connection broke.
    pub(crate) fn disconnected(&self) {
        self.disconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections broke.
    pub(crate) fn disconnects(&self) -> u64 {
        self.disconnects.load(Ordering::Relaxed)
    }

    /// Something failed.
    pub(crate) fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// How many failed.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// All deliveries so far, warm-up included.
    pub(crate) fn delivered_total(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// Deliveries that were expected of measured messages and have not come (yet).
    pub(crate) fn missing(&self) -> u64 {
        self.expected.load(Ordering::Relaxed).saturating_sub(self.measured.load(Ordering::Relaxed))
    }

    /// The latencies of the measured messages, in nanoseconds.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        let mut all = self.latencies[0].lock().clone();
        for shard in &self.latencies[1..] {
            all.add(&*shard.lock()).expect("all have the same bounds");
        }
        all
    }

    /// Deliveries in each second from the run's start to now.
    pub(crate) fn by_second(&self) -> Vec<u64> {
        let seconds = usize::try_from(self.clock.now() / 1_000_000_000).unwrap_or(usize::MAX).min(SECONDS_MAX);
        self.by_second[..seconds].iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

/// The server's use at a moment, with the deliveries until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Nanoseconds since the run's start.
    pub(crate) at: u64,
    /// Deliveries since the run's start.
    pub(crate) delivered: u64,
    /// The server's use; nothing if it does not tell.
    pub(crate) usage: Option<Usage>,
    /// CPU time that the machine has spent on anything but this process, in seconds.
    pub(crate) elsewhere: Option<f64>,
}

/// What lies between two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    /// How long it was.
    pub(crate) seconds: f64,
    /// Deliveries.
    pub(crate) messages: u64,
    /// The server's CPU time, in seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Of a system whose processes are known.
    pub(crate) system: Option<SystemSpan>,
}

/// What the processes of a system used between two samples, and what else went on on the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SystemSpan {
    /// By what used it.
    pub(crate) parts: Parts,
    /// CPU time of processes that are neither the system's nor this one.
    pub(crate) others_seconds: Option<f64>,
}

impl Span {
    /// From one sample to a later one. A server that was restarted in between counts its CPU time anew, so there is
    /// no figure for it.
    pub(crate) fn between(from: &Sample, to: &Sample) -> Self {
        let cpu = match (from.usage, to.usage) {
            (Some(from), Some(to)) if to.cpu_seconds >= from.cpu_seconds => Some(to.cpu_seconds - from.cpu_seconds),
            _ => None,
        };
        Self {
            seconds: to.at.saturating_sub(from.at) as f64 / 1e9,
            messages: to.delivered.saturating_sub(from.delivered),
            cpu_seconds: cpu,
            system: SystemSpan::between(from, to),
        }
    }

    /// Deliveries a second.
    pub(crate) fn messages_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.messages as f64 / self.seconds } else { 0.0 }
    }

    /// The server's CPU time for a delivery, in microseconds.
    pub(crate) fn cpu_us_per_message(&self) -> Option<f64> {
        self.cpu_seconds.filter(|_| self.messages > 0).map(|cpu| cpu * 1e6 / self.messages as f64)
    }
}

impl SystemSpan {
    fn between(from: &Sample, to: &Sample) -> Option<Self> {
        let parts = to.usage?.parts?.since(&from.usage?.parts?);
        let elsewhere = from.elsewhere.zip(to.elsewhere).map(|(from, to)| to - from);
        Some(Self { parts, others_seconds: elsewhere.map(|elsewhere| (elsewhere - parts.total()).max(0.0)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Kind;

    #[test]
    fn warm_up_is_delivered_but_not_measured() {
        let recorder = Recorder::new(Clock::start());
        recorder.measure(1_000, 2_000);
        for stamp in [0, 999, 1_000, 1_999, 2_000] {
            recorder.expect(stamp, 1);
            recorder.delivered(stamp as usize, stamp);
        }
        assert_eq!(recorder.delivered_total(), 5);
        assert_eq!(recorder.latencies().len(), 2);
        assert_eq!(recorder.missing(), 0);
        recorder.expect(1_500, 3);
        assert_eq!(recorder.missing(), 3);
    }

    #[test]
    fn latency_counts_from_the_intended_time() {
        let clock = Clock::start();
        let recorder = Recorder::new(clock);
        recorder.measure(0, u64::MAX);
        while clock.now() < 5_000_000 {
            std::thread::yield_now();
        }
        recorder.delivered(0, 1_000_000);
        assert!(recorder.latencies().max() >= 4_000_000);
    }

    #[test]
    fn cpu_of_a_span_is_that_of_its_messages_and_unknown_across_a_restart() {
        let usage = |cpu_seconds| Some(Usage { cpu_seconds, rss_bytes: 1, parts: None });
        let from = Sample { at: 1_000_000_000, delivered: 100, usage: usage(2.0), elsewhere: None };
        let to = Sample { at: 3_000_000_000, delivered: 1_100, usage: usage(2.5), elsewhere: None };
        let span = Span::between(&from, &to);
        assert_eq!(span.messages_per_second(), 500.0);
        assert_eq!(span.cpu_us_per_message(), Some(500.0));
        let restarted = Sample { usage: usage(0.1), ..to };
        assert_eq!(Span::between(&from, &restarted).cpu_us_per_message(), None);
    }

    #[test]
    fn what_others_did_on_the_machine_is_what_neither_the_system_nor_this_process_did() {
        let sample = |cpu_seconds, elsewhere| {
            let mut parts = Parts::default();
            parts.add(Kind::Nginx, Duration::from_secs(cpu_seconds));
            let usage = Usage { cpu_seconds: parts.of_servers(), rss_bytes: 1, parts: Some(parts) };
            Sample { at: 0, delivered: 0, usage: Some(usage), elsewhere: Some(elsewhere) }
        };
        let system = Span::between(&sample(1, 10.0), &sample(3, 17.0)).system.unwrap();
        assert_eq!((system.parts.total(), system.others_seconds), (2.0, Some(5.0)));
    }
}
