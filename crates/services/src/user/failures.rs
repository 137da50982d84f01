//! Guessing passwords is slow: after a few wrong ones a name has to wait.

use std::time::Duration;

use parking_lot::Mutex;
use protocol::{Error, Result, wire::ErrorCode};
use quick_cache::unsync::Cache;

/// Wrong passwords in a window before a name has to wait.
const FAILURES_MAX: u32 = 10;
const WINDOW_MS: i64 = 60_000;
/// Names remembered; an attacker who tries more forgets the first, and has gained nothing on any one name.
const NAMES_MAX: usize = 100_000;

#[derive(Clone, Copy)]
struct Failures {
    since_ms: i64,
    count: u32,
}

/// Wrong passwords by name.
pub(super) struct FailedLogIns {
    names: Mutex<Cache<String, Failures>>,
}

impl FailedLogIns {
    pub(super) fn new() -> Self {
        Self { names: Mutex::new(Cache::new(NAMES_MAX)) }
    }

    /// Counts a try, which fails unless it is [forgotten](Self::forget).
    ///
    /// # Errors
    ///
    /// The name was tried wrongly too often of late.
    pub(super) fn attempt(&self, name_key: &str, now_ms: i64) -> Result<()> {
        let mut names = self.names.lock();
        let failures = names.get(name_key).copied().filter(|failures| now_ms - failures.since_ms < WINDOW_MS);
        let mut failures = failures.unwrap_or(Failures { since_ms: now_ms, count: 0 });
        if failures.count >= FAILURES_MAX {
            let wait = Duration::from_millis((failures.since_ms + WINDOW_MS - now_ms).unsigned_abs());
            tracing::info!(name = name_key, "too many wrong passwords");
            let message = format!("too many wrong passwords for this name; try again in {} s", wait.as_secs() + 1);
            return Err(Error::new(ErrorCode::RateLimited, message).with_retry_after(wait));
        }
        failures.count += 1;
        names.insert(name_key.to_owned(), failures);
        Ok(())
    }

    /// The password was right.
    pub(super) fn forget(&self, name_key: &str) {
        self.names.lock().remove(name_key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_passwords_make_a_name_wait_for_a_minute() {
        let failed = FailedLogIns::new();
        for _ in 0..10 {
            failed.attempt("a", 5_000).unwrap();
        }
        let error = failed.attempt("a", 6_000).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(59)));
        failed.attempt("b", 6_000).unwrap();
        failed.attempt("a", 65_000).unwrap();
    }

    #[test]
    fn a_right_password_clears_the_count() {
        let failed = FailedLogIns::new();
        for _ in 0..100 {
            failed.attempt("a", 5_000).unwrap();
            failed.forget("a");
        }
    }
}
