//! Facts of which only the newest matters, written in the background.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Facts waiting at most; further keys are dropped, as each is only of small use.
const PENDING_MAX: usize = 100_000;
/// Facts in one write; messages that wait for the store go in between.
const WRITE_MAX: usize = 100;
/// How long to wait after a write failed.
const RETRY: Duration = Duration::from_secs(1);

/// When something was last seen, by key: noting is cheap and never waits; one task writes what gathered while it wrote
/// before. Notes of the last moment may be lost in a crash.
#[derive(Debug)]
pub(crate) struct Noted<K> {
    pending: Mutex<HashMap<K, i64>>,
    wake: Notify,
}

impl<K: Copy + Eq + Hash> Noted<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { pending: Mutex::new(HashMap::new()), wake: Notify::new() })
    }

    pub(crate) fn note(&self, key: K, seen_ms: i64) {
        let mut pending = self.pending.lock();
        if pending.len() < PENDING_MAX || pending.contains_key(&key) {
            let seen = pending.entry(key).or_insert(seen_ms);
            *seen = seen_ms.max(*seen);
            drop(pending);
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Vec<(K, i64)> {
        let mut pending = self.pending.lock();
        let taken: Vec<_> = pending.iter().map(|(key, seen_ms)| (*key, *seen_ms)).take(WRITE_MAX).collect();
        for (key, _) in &taken {
            pending.remove(key);
        }
        if pending.is_empty() {
            // A storm's worth of room is not kept.
            *pending = HashMap::new();
        }
        taken
    }

    /// Writes until `stop`, then what is left.
    pub(crate) async fn run<R>(self: Arc<Self>, stop: CancellationToken, write: impl Fn(Vec<(K, i64)>) -> R)
    where
        R: Future<Output = store::Result<()>>,
    {
        loop {
            let stopping = stop.is_cancelled();
            let seen = self.take();
            let is_empty = seen.is_empty();
            if !is_empty && let Err(error) = write(seen.clone()).await {
                tracing::warn!(%error, "could not note when users were last seen");
                if stopping {
                    return;
                }
                for (key, seen_ms) in seen {
                    self.note(key, seen_ms);
                }
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            if !is_empty {
                continue;
            }
            if stopping {
                return;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
