//! What may be set.

use std::time::Duration;

use client::Backoff;

/// How webhooks are delivered.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a receiver may take for one request, from the look-up of its name to the end of its answer.
    pub timeout: Duration,
    /// How often an entry is posted before it is given up; at least 1.
    pub attempts_max: u32,
    /// The waits between attempts. A receiver's `Retry-After` may lengthen one up to the longest.
    pub backoff: Backoff,
    /// Requests under way at a time, of all webhooks together; each has at most one.
    pub requests_max: usize,
    /// Whether receivers may have addresses that are not public, and be reached without TLS.
    pub allow_private: bool,
    /// How often to look for webhooks that were made or removed elsewhere.
    pub poll_every: Duration,
    /// Dead letters kept of one webhook; the oldest beyond are dropped.
    pub letters_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            attempts_max: 8,
            backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_secs(600) },
            requests_max: 64,
            allow_private: false,
            poll_every: Duration::from_secs(10),
            letters_max: 1_000,
        }
    }
}
