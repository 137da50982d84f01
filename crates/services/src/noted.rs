//! Facts of which only the newest matters, written in the background.

use std::{collections::HashMap, hash::Hash, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// Facts waiting at most; further keys are dropped, as each is only of small use.
const PENDING_MAX: usize = 100_000;
/// Facts in one write; messages that wait for the store go in between.
const WRITE_MAX: usize = 100;
/// After a write, further facts gather for so long, unless they fill one: when thousands come at once, each commit is of many.
const GATHER: Duration = Duration::from_millis(100);
/// How long to wait after a write failed.
const RETRY: Duration = Duration::from_secs(1);

/// When something was last seen, by key: noting is cheap and never waits; one task writes what has gathered. Notes of the last
/// moment may be lost in a crash.
#[derive(Debug)]
pub(crate) struct Noted<K> {
    pending: Mutex<HashMap<K, i64>>,
    wake: Notify,
}

impl<K: Copy + Eq + Hash> Noted<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { pending: Mutex::default(), wake: Notify::new() })
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
            if seen.is_empty() {
                if stopping {
                    return;
                }
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            if let Err(error) = write(seen.clone()).await {
                tracing::warn!(%error, "could not note when users were last seen");
                if stopping {
                    return;
                }
                for (key, seen_ms) in seen {
                    self.note(key, seen_ms);
                }
                tokio::select! {
                    () = sleep(RETRY) => {}
                    () = stop.cancelled() => {}
                }
            } else {
                tokio::select! {
                    () = self.gather() => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    async fn gather(&self) {
        let until = Instant::now() + GATHER;
        while self.pending.lock().len() < WRITE_MAX {
            if timeout_at(until, self.wake.notified()).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Writes = Arc<Mutex<Vec<Vec<(u64, i64)>>>>;

    /// Writes to a list, until it is stopped.
    fn writing(noted: &Arc<Noted<u64>>) -> (Writes, impl AsyncFnOnce()) {
        let (writes, stop) = (Writes::default(), CancellationToken::new());
        let task = tokio::spawn(Arc::clone(noted).run(stop.clone(), {
            let writes = Arc::clone(&writes);
            move |seen| {
                writes.lock().push(seen);
                std::future::ready(Ok(()))
            }
        }));
        let end = async move || {
            stop.cancel();
            task.await.unwrap();
        };
        (writes, end)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_note_is_written_at_once_and_what_comes_close_after_it_together() {
        let noted = Noted::new();
        let (writes, end) = writing(&noted);
        for key in 0..50 {
            noted.note(key, 7);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(writes.lock().len(), 1, "{key}");
        }
        sleep(GATHER).await;
        assert_eq!(writes.lock().iter().map(Vec::len).collect::<Vec<_>>(), [1, 49]);
        end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_fills_writes_and_waits_for_nothing_and_the_rest_is_written_at_the_end() {
        let noted = Noted::new();
        let (writes, end) = writing(&noted);
        let keys = 10 * WRITE_MAX as u64 + 7;
        (0..keys).for_each(|key| noted.note(key, key.cast_signed()));
        // Nobody's time passes: the clock goes on only when all wait.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(writes.lock().iter().map(Vec::len).collect::<Vec<_>>(), [WRITE_MAX; 10]);
        noted.note(keys, 9);
        noted.note(keys, 8);
        end().await;
        let last = writes.lock().pop().unwrap();
        assert!(last.len() == 8 && last.contains(&(keys, 9)), "the newest counts: {last:?}");
    }
}
