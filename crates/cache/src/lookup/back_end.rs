//! The back end behind a timeout: what fails or is slow is passed by for a while, then tried by one call. Nothing that
//! was invalidated in vain is read from it later.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout},
};

use super::{Counts, Lifetime, SPREAD_MAX};
use crate::{Cache, Error, Found, Lease, Result};

/// Keys remembered that could not be invalidated. With more the back end is not read until all that it holds has ended.
const OWED_MAX: usize = 10_000;
/// How much longer than its lifetime it is not read then, for loads under way that are stored yet.
const UNREAD_SLACK: Duration = Duration::from_secs(60);

pub(super) struct BackEnd {
    cache: Arc<dyn Cache>,
    timeout: Duration,
    probe_interval: Duration,
    ttl: Lifetime,
    health: Mutex<Health>,
    direct_loads: Semaphore,
    near_hits: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    loads: AtomicU64,
    errors: AtomicU64,
}

#[derive(Default)]
struct Health {
    /// Passed by until then, and after that by all but the one that tries it.
    failing_until: Option<Instant>,
    /// Keys that could not be invalidated, each with the number of the failure: only that which was owed before an
    /// invalidation began is settled by it.
    owed: HashMap<String, u64>,
    failures: u64,
    /// More was owed than could be remembered: not read before then.
    unread_until: Option<Instant>,
}

/// A value for the back end.
pub(super) struct Filled {
    pub(super) key: String,
    pub(super) lease: Lease,
    pub(super) value: Option<Bytes>,
    pub(super) ttl: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct TooSlow(Duration);

impl BackEnd {
    pub(super) fn new(
        cache: Arc<dyn Cache>,
        ttl: Lifetime,
        timeout: Duration,
        probe_interval: Duration,
        direct_loads_max: usize,
    ) -> Self {
        Self {
            cache,
            timeout,
            probe_interval,
            ttl,
            health: Mutex::default(),
            direct_loads: Semaphore::new(direct_loads_max.clamp(1, Semaphore::MAX_PERMITS)),
            near_hits: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        }
    }

    /// What the back end knows; `None` if it is passed by.
    pub(super) async fn get(&self, keys: &[String]) -> Option<Vec<Found>> {
        let owed = {
            let mut health = self.health.lock();
            let now = Instant::now();
            if health.unread_until.is_some_and(|until| now < until) || !self.may_try(&mut health, now) {
                return None;
            }
            health.unread_until = None;
            health.owed.clone()
        };
        if !owed.is_empty() {
            self.settle(owed).await?;
        }
        let found = self.within(self.cache.get(keys)).await?;
        let missed = found.iter().filter(|found| matches!(found, Found::Miss(_))).count();
        self.misses.fetch_add(missed as u64, Ordering::Relaxed);
        self.hits.fetch_add((found.len() - missed) as u64, Ordering::Relaxed);
        Some(found)
    }

    /// Stores, unless the back end is passed by. A value that is not stored is merely loaded again.
    pub(super) async fn fill(&self, filled: Vec<Filled>) {
        if filled.is_empty() || self.health.lock().failing_until.is_some() {
            return;
        }
        let fills = filled.into_iter().map(|Filled { key, lease, value, ttl }| {
            let cache = &self.cache;
            async move { cache.fill(&key, lease, value, ttl).await }
        });
        self.within(try_join_all(fills)).await;
    }

    /// Invalidates now, or owes it: also if the caller is dropped meanwhile. It is tried also while the back end is passed by: this
    /// process may not ask again for long, and others that do not pass it by would read the old value.
    pub(super) async fn invalidate(&self, keys: &[String]) {
        let mut debt = Debt { back_end: self, keys };
        if self.within(self.cache.invalidate(keys)).await.is_some() {
            debt.keys = &[];
        }
    }

    /// Permission for a load past the back end. Waits for the loads that were there before.
    pub(super) async fn direct_load_permit(&self) -> SemaphorePermit<'_> {
        self.direct_loads.acquire().await.expect("this semaphore is never closed")
    }

    pub(super) fn note_near_hits(&self, count: usize) {
        self.near_hits.fetch_add(count as u64, Ordering::Relaxed);
        self.cache.note_near_hits(count as u64);
    }

    pub(super) fn note_loads(&self, count: usize) {
        self.loads.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            near_hits: self.near_hits.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            loads: self.loads.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
        }
    }

    /// Whether it is not passed by, or it is this call's turn to try it.
    fn may_try(&self, health: &mut Health, now: Instant) -> bool {
        match &mut health.failing_until {
            Some(until) if now < *until => false,
            Some(until) => {
                *until = now + self.probe_interval;
                true
            }
            None => true,
        }
    }

    /// Makes good what was owed.
    async fn settle(&self, owed: HashMap<String, u64>) -> Option<()> {
        let keys: Vec<_> = owed.keys().cloned().collect();
        self.within(self.cache.invalidate(&keys)).await?;
        let mut health = self.health.lock();
        health.owed.retain(|key, failure| owed.get(key) != Some(failure));
        Some(())
    }

    fn owe(&self, keys: &[String]) {
        let mut health = self.health.lock();
        health.failures += 1;
        let failure = health.failures;
        health.owed.extend(keys.iter().map(|key| (key.clone(), failure)));
        if health.owed.len() > OWED_MAX {
            health.owed = HashMap::new();
            // By then whatever is stored now has ended.
            health.unread_until = Some(Instant::now() + self.ttl.longest().mul_f64(SPREAD_MAX) + UNREAD_SLACK);
        }
    }

    /// The answer, if it comes in time; notes how it went.
    async fn within<T>(&self, call: impl Future<Output = Result<T>>) -> Option<T> {
        let answer = timeout(self.timeout, call).await.unwrap_or_else(|_| Err(Error(Box::new(TooSlow(self.timeout)))));
        let mut health = self.health.lock();
        match answer {
            Ok(answer) => {
                if health.failing_until.take().is_some() {
                    tracing::info!("the cache answers again");
                }
                Some(answer)
            }
            Err(error) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
                if health.failing_until.replace(Instant::now() + self.probe_interval).is_none() {
                    tracing::warn!(%error, "passing the cache by, asking the database directly");
                }
                None
            }
        }
    }
}

/// Keys whose invalidation is owed unless it is done.
struct Debt<'a> {
    back_end: &'a BackEnd,
    keys: &'a [String],
}

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        if !self.keys.is_empty() {
            self.back_end.owe(self.keys);
        }
    }
}
