//! Lifetimes that may be changed while they are used.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long values are kept. It may be changed while look-ups use it, and counts for what is kept from then on; what is kept
/// already ends as it was told before. Clones are the same lifetime. In whole milliseconds.
///
/// ```
/// # use std::time::Duration;
/// # use cache::Lifetime;
/// let lifetime = Lifetime::from(Duration::from_secs(3_600));
/// let same = lifetime.clone();
/// lifetime.set(Duration::from_secs(60));
/// assert_eq!(same.get(), Duration::from_secs(60));
/// ```
#[derive(Clone)]
pub struct Lifetime(Arc<Milliseconds>);

struct Milliseconds {
    now: AtomicU64,
    longest: AtomicU64,
}

impl Lifetime {
    /// What it is now.
    pub fn get(&self) -> Duration {
        Duration::from_millis(self.0.now.load(Ordering::Relaxed))
    }

    /// Changes it, for all who use it.
    pub fn set(&self, lifetime: Duration) {
        let ms = whole_ms(lifetime);
        // First, so that nothing is kept for longer than the longest.
        self.0.longest.fetch_max(ms, Ordering::SeqCst);
        self.0.now.store(ms, Ordering::SeqCst);
    }

    /// The longest that it ever was: by then whatever was kept has ended.
    pub(super) fn longest(&self) -> Duration {
        Duration::from_millis(self.0.longest.load(Ordering::SeqCst))
    }
}

impl From<Duration> for Lifetime {
    fn from(lifetime: Duration) -> Self {
        let ms = whole_ms(lifetime);
        Self(Arc::new(Milliseconds { now: AtomicU64::new(ms), longest: AtomicU64::new(ms) }))
    }
}

impl fmt::Debug for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

fn whole_ms(lifetime: Duration) -> u64 {
    u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX)
}
