//! Guessing passwords is slow: after a few wrong ones a name has to wait.

use std::time::Duration;

use protocol::{Error, Result, wire::ErrorCode};
use quick_cache::sync::Cache;

/// Wrong passwords in a window before a name has to wait.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Names remembered; an attacker who tries more forgets the first, and has gained nothing on any one name.
const NAMES_MAX: usize = 100_000;

#[derive(Clone, Copy, Default)]
struct Failures {
    since_ms: i64,
    count: u32,
}

/// Wrong passwords by name.
pub(super) struct FailedLogIns {
    names: Cache<String, Failures>,
}

impl FailedLogIns {
    pub(super) fn new() -> Self {
        Self { names: Cache::new(NAMES_MAX) }
    }

    /// Refuses a name that was tried wrongly too often of late.
    pub(super) fn check(&self, name_key: &str, now_ms: i64) -> Result<()> {
        let failures = self.names.get(name_key).unwrap_or_default();
        let wait_ms = failures.since_ms + WINDOW.as_millis() as i64 - now_ms;
        if failures.count < FAILURES_MAX || wait_ms <= 0 {
            return Ok(());
        }
        let message = "too many wrong passwords for this name; wait before the next try";
        Err(Error::new(ErrorCode::RateLimited, message).with_retry_after(Duration::from_millis(wait_ms.unsigned_abs())))
    }

    pub(super) fn note(&self, name_key: &str, now_ms: i64) {
        let mut failures = self.names.get(name_key).unwrap_or_default();
        if failures.count == 0 || now_ms - failures.since_ms >= WINDOW.as_millis() as i64 {
            failures = Failures { since_ms: now_ms, count: 0 };
        }
        failures.count += 1;
        self.names.insert(name_key.to_owned(), failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_passwords_make_a_name_wait_for_a_minute() {
        let failed = FailedLogIns::new();
        for _ in 0..10 {
            failed.check("a", 5_000).unwrap();
            failed.note("a", 5_000);
        }
        let error = failed.check("a", 6_000).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(59)));
        failed.check("b", 6_000).unwrap();
        failed.check("a", 65_000).unwrap();
        failed.note("a", 65_000);
        failed.check("a", 65_000).unwrap();
    }
}
