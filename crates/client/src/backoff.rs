//! How long to wait before trying again.

use std::time::Duration;

/// Exponential growth between two bounds, with jitter, so that clients which lost a server together do not come back
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait, before jitter.
    pub min: Duration,
    /// No wait is longer.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(200), max: Duration::from_secs(20) }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (at least 1): between half of the exponential and all of it.
    pub fn wait(&self, failures: u32) -> Duration {
        let doubled = self.min.saturating_mul(1 << failures.saturating_sub(1).min(20));
        jittered(doubled.min(self.max))
    }
}

/// Something between half of a time and all of it.
pub(crate) fn jittered(time: Duration) -> Duration {
    // Without randomness, which no machine we know is without, jitter would be lost, not correctness.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    time.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_but_stay_within_their_bounds() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };
        for failures in 1..200 {
            let exponential = (100u64 << (failures - 1).min(10)).min(5_000);
            let wait = backoff.wait(failures);
            assert!(wait >= Duration::from_millis(exponential / 2), "{failures} {wait:?}");
            assert!(wait <= Duration::from_millis(exponential), "{failures} {wait:?}");
        }
    }
}
