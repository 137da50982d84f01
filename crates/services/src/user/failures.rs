//! Guessing passwords is slow: after a few wrong ones whoever guesses has to wait, and only they, as far as that can be told.

use std::{net::IpAddr, time::Duration};

use parking_lot::Mutex;
use protocol::{Error, Result, wire::ErrorCode};
use quick_cache::unsync::Cache;

/// Wrong passwords for a name from one address in a window, before that address has to wait with that name.
const ADDRESS_FAILURES_MAX: u32 = 10;
/// Wrong passwords for a name from all addresses in a window, before addresses have to wait from which nobody has logged in
/// by this name.
const NAME_FAILURES_MAX: u32 = 100;
const WINDOW_MS: i64 = 60_000;
/// Names, and names with addresses, that are remembered; an attacker who tries more forgets the first, and has gained
/// nothing on any one name.
const REMEMBERED_MAX: usize = 100_000;

#[derive(Clone, Copy)]
struct Failures {
    since_ms: i64,
    count: u32,
}

/// Wrong passwords of late.
pub(super) struct FailedLogIns(Mutex<Tries>);

struct Tries {
    by_address: Cache<(String, Option<IpAddr>), Failures>,
    by_name: Cache<String, Failures>,
    /// From where somebody has logged in: strangers who guess do not lock them out.
    known: Cache<(String, Option<IpAddr>), ()>,
}

impl FailedLogIns {
    pub(super) fn new() -> Self {
        let (by_address, by_name) = (Cache::new(REMEMBERED_MAX), Cache::new(REMEMBERED_MAX));
        Self(Mutex::new(Tries { by_address, by_name, known: Cache::new(REMEMBERED_MAX) }))
    }

    /// Counts a try, which fails unless it is [forgotten](Self::forget).
    ///
    /// # Errors
    ///
    /// The name was tried wrongly too often of late.
    pub(super) fn attempt(&self, name_key: &str, address: Option<IpAddr>, now_ms: i64) -> Result<()> {
        let mut tries = self.0.lock();
        let from = (name_key.to_owned(), address.map(network));
        let here = current(tries.by_address.get(&from), now_ms);
        let everywhere = current(tries.by_name.get(name_key), now_ms);
        let is_known = tries.known.get(&from).is_some();
        if here.count >= ADDRESS_FAILURES_MAX {
            return Err(too_many(name_key, here, now_ms));
        }
        if everywhere.count >= NAME_FAILURES_MAX && !is_known {
            return Err(too_many(name_key, everywhere, now_ms));
        }
        tries.by_name.insert(from.0.clone(), everywhere.plus_one());
        tries.by_address.insert(from, here.plus_one());
        Ok(())
    }

    /// The password was right.
    pub(super) fn forget(&self, name_key: &str, address: Option<IpAddr>) {
        let mut tries = self.0.lock();
        let from = (name_key.to_owned(), address.map(network));
        // What others tried remains counted.
        if let Some(mut everywhere) = tries.by_name.get_mut(name_key) {
            everywhere.count = everywhere.count.saturating_sub(1);
        }
        tries.by_address.remove(&from);
        tries.known.insert(from, ());
    }
}

impl Failures {
    fn plus_one(self) -> Self {
        Self { count: self.count.saturating_add(1), ..self }
    }
}

fn current(failures: Option<&Failures>, now_ms: i64) -> Failures {
    let failures = failures.copied().filter(|failures| now_ms - failures.since_ms < WINDOW_MS);
    failures.unwrap_or(Failures { since_ms: now_ms, count: 0 })
}

fn too_many(name_key: &str, failures: Failures, now_ms: i64) -> Error {
    let wait = Duration::from_millis((failures.since_ms + WINDOW_MS - now_ms).unsigned_abs());
    // An attacker would fill the log.
    tracing::debug!(name = name_key, "too many wrong passwords");
    let message = format!("too many wrong passwords for this name; try again in {} s", wait.as_secs() + 1);
    Error::new(ErrorCode::RateLimited, message).with_retry_after(wait)
}

/// What belongs to one subscriber: of IPv6 a /64, within which one machine has as many addresses as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(six) => match six.to_ipv4_mapped() {
            Some(four) => four.into(),
            None => IpAddr::V6((six.to_bits() & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn ten_wrong_passwords_make_an_address_wait_for_a_minute_with_a_name() {
        let failed = FailedLogIns::new();
        for _ in 0..10 {
            failed.attempt("a", address(1), 5_000).unwrap();
        }
        let error = failed.attempt("a", address(1), 6_000).unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(59)));
        failed.attempt("b", address(1), 6_000).unwrap();
        failed.attempt("a", address(2), 6_000).unwrap();
        failed.attempt("a", address(1), 65_000).unwrap();
    }

    #[test]
    fn nobody_is_locked_out_where_they_logged_in_before_by_whoever_guesses_from_everywhere() {
        let failed = FailedLogIns::new();
        failed.attempt("a", address(200), 1_000).unwrap();
        failed.forget("a", address(200));
        let guesses = (0..=100).map(|i| failed.attempt("a", address(i), 5_000));
        assert_eq!(guesses.filter(Result::is_ok).count(), 100, "all of them together may guess so often");
        failed.attempt("a", address(200), 6_000).unwrap();
        failed.forget("a", address(200));
        assert!(failed.attempt("a", address(101), 6_000).is_err(), "a right password leaves what others tried");
        for _ in 0..10 {
            failed.attempt("a", address(200), 6_000).unwrap();
        }
        assert!(failed.attempt("a", address(200), 6_000).is_err(), "there too not everything may be tried");
    }

    #[test]
    fn a_right_password_clears_the_count() {
        let failed = FailedLogIns::new();
        for _ in 0..1_000 {
            failed.attempt("a", address(1), 5_000).unwrap();
            failed.forget("a", address(1));
        }
    }

    #[test]
    fn the_addresses_of_one_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::5"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::5"), of("2001:db8:1:3::5"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
