//! Copies in this process of what the back end holds, for look-ups on every message's path. They are dropped when the
//! back end tells that they were invalidated, and all of them when it cannot tell.
//!
//! A copy must not be older than the last invalidation told: who reads takes a ticket first, the count of what happened to
//! the key's stripe, and keeps what it read only if nothing happened since.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::Watcher;

/// Counts, each for its part of the keys; a power of two.
const STRIPES: usize = 256;

/// How much is kept in the process, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    /// Entries at most; what is used least makes room.
    pub entries_max: usize,
    /// How long an entry is kept at most. An invalidation that is lost on its way leaves the old value for so long.
    pub ttl: Duration,
}

impl Near {
    /// For look-ups of every message.
    pub const DEFAULT: Self = Self { entries_max: 10_000, ttl: Duration::from_secs(10) };
}

pub(super) struct NearLevel<V> {
    /// Before a key's own part, so that others' keys are passed over.
    prefix: &'static str,
    entries: Cache<String, Entry<V>>,
    ttl: Duration,
    hasher: RandomState,
    stripes: Box<[Mutex<u64>]>,
    hears: AtomicBool,
}

#[derive(Clone)]
struct Entry<V> {
    value: Option<V>,
    expires: Instant,
}

/// The permission to keep what is read from now on.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

impl<V: Clone> NearLevel<V> {
    pub(super) fn new(prefix: &'static str, Near { entries_max, ttl }: Near) -> Self {
        Self {
            prefix,
            entries: Cache::new(entries_max.max(1)),
            ttl,
            hasher: RandomState::new(),
            stripes: (0..STRIPES).map(|_| Mutex::new(0)).collect(),
            hears: AtomicBool::new(false),
        }
    }

    /// What is kept of a key.
    pub(super) fn get(&self, key: &str) -> Option<Option<V>> {
        let entry = self.entries.get(key)?;
        (Instant::now() < entry.expires).then_some(entry.value)
    }

    /// To be taken before the back end is asked.
    pub(super) fn ticket(&self, key: &str) -> Ticket {
        Ticket(*self.stripe(key).lock())
    }

    /// Keeps what was read, for `ttl` if that is shorter, unless it may have been invalidated since.
    pub(super) fn keep(&self, key: &str, ticket: Ticket, value: Option<V>, ttl: Duration) {
        let count = self.stripe(key).lock();
        // With the count held: whoever stops hearing moves it on afterwards.
        if *count == ticket.0 && self.hears.load(Ordering::Acquire) {
            let expires = Instant::now() + self.ttl.min(ttl);
            self.entries.insert(key.to_owned(), Entry { value, expires });
        }
    }

    pub(super) fn forget(&self, key: &str) {
        let mut count = self.stripe(key).lock();
        *count += 1;
        self.entries.remove(key);
    }

    fn stripe(&self, key: &str) -> &Mutex<u64> {
        &self.stripes[self.hasher.hash_one(key) as usize % STRIPES]
    }
}

impl<V: Clone + Send + Sync + 'static> Watcher for NearLevel<V> {
    fn invalidated(&self, keys: &[&str]) {
        let is_own = |key: &&&str| key.split_once(':').is_some_and(|(prefix, _)| prefix == self.prefix);
        keys.iter().filter(is_own).for_each(|key| self.forget(key));
    }

    fn hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::Release);
        // What was read before is not kept, and what was kept before is dropped.
        self.stripes.iter().for_each(|stripe| *stripe.lock() += 1);
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn level() -> NearLevel<u32> {
        let level = NearLevel::new("user", Near::DEFAULT);
        level.hears(true);
        level
    }

    #[test]
    fn nothing_is_kept_while_invalidations_are_not_heard() {
        let level = level();
        level.keep("user:1", level.ticket("user:1"), Some(1), LONG);
        assert_eq!(level.get("user:1"), Some(Some(1)));
        level.hears(false);
        assert_eq!(level.get("user:1"), None);
        let ticket = level.ticket("user:1");
        level.keep("user:1", ticket, Some(1), LONG);
        assert_eq!(level.get("user:1"), None);
        level.hears(true);
        level.keep("user:1", ticket, Some(1), LONG);
        assert_eq!(level.get("user:1"), None, "read before it was heard again");
    }

    #[test]
    fn what_was_read_before_an_invalidation_is_not_kept_after_it() {
        let level = level();
        let ticket = level.ticket("user:1");
        level.invalidated(&["user:1", "group:7"]);
        level.keep("user:1", ticket, Some(1), LONG);
        assert_eq!(level.get("user:1"), None);
        level.keep("user:1", level.ticket("user:1"), None, LONG);
        assert_eq!(level.get("user:1"), Some(None));
        level.invalidated(&["user:1"]);
        assert_eq!(level.get("user:1"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_with_the_shorter_of_both_lifetimes() {
        let level = level();
        level.keep("user:1", level.ticket("user:1"), Some(1), LONG);
        level.keep("user:2", level.ticket("user:2"), Some(2), Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((level.get("user:1"), level.get("user:2")), (Some(Some(1)), None));
        tokio::time::sleep(Near::DEFAULT.ttl).await;
        assert_eq!(level.get("user:1"), None);
    }

    #[test]
    fn the_bound_in_entries_holds() {
        let level: NearLevel<u32> = NearLevel::new("user", Near { entries_max: 100, ttl: LONG });
        level.hears(true);
        for number in 0..10_000 {
            let key = format!("user:{number}");
            level.keep(&key, level.ticket(&key), Some(number), LONG);
        }
        assert!(level.entries.len() <= 100);
    }
}
