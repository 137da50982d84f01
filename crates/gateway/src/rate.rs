//! Rate limits: the generic cell rate algorithm, one instant a key.
//!
//! A bucket is the time at which everything allowed so far will have been paid off at the lasting rate. So a rate may
//! change while buckets are in use, and a bucket that lies in the past holds nothing and can be forgotten.

use std::{collections::HashMap, hash::Hash, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::Rate;

/// One client's account with a [`Rate`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket(Option<Instant>);

impl Bucket {
    /// Takes one, or says how long to wait for it.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.per_second <= 0.0 {
            return Ok(());
        }
        let interval = Duration::from_secs_f64(1.0 / rate.per_second);
        let paid_off = self.0.map_or(now, |at| at.max(now)) + interval;
        let ahead = paid_off - now;
        let tolerated = interval * rate.burst.max(1);
        if ahead > tolerated {
            return Err(ahead - tolerated);
        }
        self.0 = Some(paid_off);
        Ok(())
    }

    fn is_empty(&self, now: Instant) -> bool {
        self.0.is_none_or(|at| at <= now)
    }
}

/// Buckets by key. Holds those only that are not empty, give or take a factor of two.
#[derive(Debug)]
pub(crate) struct Buckets<K>(Mutex<State<K>>);

#[derive(Debug)]
struct State<K> {
    buckets: HashMap<K, Bucket>,
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1_024;

impl<K: Eq + Hash> Buckets<K> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { buckets: HashMap::new(), sweep_at: SWEEP_MIN }))
    }

    /// Takes one from the key's bucket, or says how long to wait for it.
    pub(crate) fn take(&self, key: K, rate: Rate) -> Result<(), Duration> {
        if rate.per_second <= 0.0 {
            return Ok(());
        }
        let now = Instant::now();
        let mut state = self.0.lock();
        if state.buckets.len() >= state.sweep_at {
            state.buckets.retain(|_, bucket| !bucket.is_empty(now));
            state.sweep_at = (state.buckets.len() * 2).max(SWEEP_MIN);
        }
        state.buckets.entry(key).or_default().take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10.0, burst: 3 };

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_then_the_lasting_rate_and_the_wait_told_is_enough() {
        let mut bucket = Bucket::default();
        for _ in 0..3 {
            bucket.take(RATE, Instant::now()).unwrap();
        }
        let wait = bucket.take(RATE, Instant::now()).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        tokio::time::advance(wait).await;
        bucket.take(RATE, Instant::now()).unwrap();
        bucket.take(RATE, Instant::now()).unwrap_err();
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_over_its_rate_does_not_stop_another_and_is_forgotten_in_the_end() {
        let buckets = Buckets::new();
        for _ in 0..3 {
            buckets.take(0, RATE).unwrap();
        }
        buckets.take(0, RATE).unwrap_err();
        for key in 1..SWEEP_MIN as u64 {
            buckets.take(key, RATE).unwrap();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        buckets.take(1, RATE).unwrap();
        assert_eq!(buckets.0.lock().buckets.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_means_no_limit() {
        let mut bucket = Bucket::default();
        for _ in 0..100_000 {
            bucket.take(Rate::UNLIMITED, Instant::now()).unwrap();
        }
    }
}
