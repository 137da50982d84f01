//! What every cache must pass. [`contract_tests!`](crate::contract_tests) makes a test of each promise.
//!
//! The functions take two clients of one fresh cache, so that what crosses processes elsewhere is checked as such. A
//! cache may forget at any time; the suite expects that it does not, of the few keys used here.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::{Cache, Found, Lease};

/// A lifetime that does not end during a test.
const LONG: Duration = Duration::from_secs(3_600);
/// A lifetime whose end is waited for.
const SHORT: Duration = Duration::from_secs(2);
/// How much later than told a value may end.
const LATE_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Two clients of one cache.
pub type Clients = (Arc<dyn Cache>, Arc<dyn Cache>);

/// Makes the tests. Takes an `async` block that makes [`Clients`](crate::contract::Clients) of a fresh cache, and what
/// to give to `tokio::test`: with `start_paused = true` lifetimes take no time.
#[macro_export]
macro_rules! contract_tests {
    (($($tokio:tt)*), $clients:expr) => {
        $crate::contract_tests! { @each ($($tokio)*), $clients;
            what_was_filled_is_found_by_every_client,
            absence_is_told_from_a_miss_and_from_an_empty_value,
            keys_are_found_in_their_order,
            a_value_ends_with_its_lifetime_and_not_before,
            absence_ends_with_its_lifetime_too,
            an_invalidated_key_is_a_miss_for_every_client,
            an_invalidation_revokes_leases_on_keys_that_are_not_there,
            an_invalidation_revokes_leases_of_other_clients,
            a_load_that_began_before_a_commit_leaves_nothing_behind,
            of_two_who_hold_a_lease_the_first_fills,
            an_invalidation_leaves_other_keys_alone,
            a_large_value_comes_back_whole,
            races_of_loads_and_commits_never_leave_an_old_value_behind,
        }
    };
    (@each $tokio:tt, $clients:expr; $($promise:ident,)*) => {
        $( $crate::contract_tests! { @one $tokio, $clients, $promise } )*
    };
    (@one ($($tokio:tt)*), $clients:expr, $promise:ident) => {
        #[tokio::test($($tokio)*)]
        async fn $promise() {
            $crate::contract::$promise($clients.await).await;
        }
    };
}

fn value(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

fn found(text: &'static str) -> Found {
    Found::Value(Bytes::from_static(text.as_bytes()))
}

async fn get(cache: &Arc<dyn Cache>, key: &str) -> Found {
    let mut found = cache.get(&[key.to_owned()]).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn lease(cache: &Arc<dyn Cache>, key: &str) -> Lease {
    match get(cache, key).await {
        Found::Miss(lease) => lease,
        found => panic!("{key} should not be there, but is {found:?}"),
    }
}

async fn fill(cache: &Arc<dyn Cache>, key: &str, value: Option<Bytes>, ttl: Duration) {
    let lease = lease(cache, key).await;
    cache.fill(key, lease, value, ttl).await.unwrap();
}

async fn invalidate(cache: &Arc<dyn Cache>, key: &str) {
    cache.invalidate(&[key.to_owned()]).await.unwrap();
}

async fn ends(cache: &Arc<dyn Cache>, key: &str, began: Instant) {
    while !matches!(get(cache, key).await, Found::Miss(_)) {
        assert!(began.elapsed() < SHORT + LATE_MAX, "{key} is still there after {:?}", began.elapsed());
        sleep(POLL).await;
    }
    assert!(began.elapsed() >= SHORT - POLL, "{key} is gone after {:?}", began.elapsed());
}

/// Also over the other client.
pub async fn what_was_filled_is_found_by_every_client((one, two): Clients) {
    fill(&one, "user:1", value("alice"), LONG).await;
    assert_eq!(get(&one, "user:1").await, found("alice"));
    assert_eq!(get(&two, "user:1").await, found("alice"));
}

/// Three different answers.
pub async fn absence_is_told_from_a_miss_and_from_an_empty_value((one, two): Clients) {
    fill(&one, "user:1", None, LONG).await;
    fill(&one, "user:2", value(""), LONG).await;
    assert_eq!(get(&two, "user:1").await, Found::Absent);
    assert_eq!(get(&two, "user:2").await, found(""));
    assert!(matches!(get(&two, "user:3").await, Found::Miss(_)));
}

/// A key named twice is found twice.
pub async fn keys_are_found_in_their_order((one, two): Clients) {
    fill(&one, "user:1", value("alice"), LONG).await;
    fill(&one, "user:2", value("bob"), LONG).await;
    let keys = ["user:2", "user:9", "user:1", "user:2"].map(str::to_owned);
    let all = two.get(&keys).await.unwrap();
    assert_eq!((all.len(), &all[0], &all[2], &all[3]), (4, &found("bob"), &found("alice"), &found("bob")));
    assert!(matches!(all[1], Found::Miss(_)));
    assert!(two.get(&[]).await.unwrap().is_empty());
}

/// Within the tolerance.
pub async fn a_value_ends_with_its_lifetime_and_not_before((one, _): Clients) {
    let began = Instant::now();
    fill(&one, "user:1", value("alice"), SHORT).await;
    fill(&one, "user:2", value("bob"), LONG).await;
    ends(&one, "user:1", began).await;
    assert_eq!(get(&one, "user:2").await, found("bob"));
    fill(&one, "user:1", value("alice again"), LONG).await;
    assert_eq!(get(&one, "user:1").await, found("alice again"));
}

/// As a value does.
pub async fn absence_ends_with_its_lifetime_too((one, _): Clients) {
    let began = Instant::now();
    fill(&one, "user:1", None, SHORT).await;
    ends(&one, "user:1", began).await;
}

/// Several at once, those not there included.
pub async fn an_invalidated_key_is_a_miss_for_every_client((one, two): Clients) {
    fill(&one, "user:1", value("alice"), LONG).await;
    fill(&one, "user:2", None, LONG).await;
    two.invalidate(&["user:1", "user:2", "user:3"].map(str::to_owned)).await.unwrap();
    for key in ["user:1", "user:2", "user:3"] {
        assert!(matches!(get(&one, key).await, Found::Miss(_)));
        assert!(matches!(get(&two, key).await, Found::Miss(_)));
    }
}

/// The key need not be there to be invalidated.
pub async fn an_invalidation_revokes_leases_on_keys_that_are_not_there((one, _): Clients) {
    let old = lease(&one, "user:1").await;
    invalidate(&one, "user:1").await;
    one.fill("user:1", old, value("old"), LONG).await.unwrap();
    one.fill("user:1", old, None, LONG).await.unwrap();
    fill(&one, "user:1", value("new"), LONG).await;
    assert_eq!(get(&one, "user:1").await, found("new"));
}

/// The writer is in another process than the reader.
pub async fn an_invalidation_revokes_leases_of_other_clients((reader, writer): Clients) {
    let old = lease(&reader, "user:1").await;
    invalidate(&writer, "user:1").await;
    reader.fill("user:1", old, value("old"), LONG).await.unwrap();
    assert!(matches!(get(&writer, "user:1").await, Found::Miss(_)));
}

/// The reader loads the old value, the writer commits and invalidates, another reader stores the new value, and only
/// then the first comes to store the old one.
pub async fn a_load_that_began_before_a_commit_leaves_nothing_behind((slow, quick): Clients) {
    let old = lease(&slow, "user:1").await;
    invalidate(&quick, "user:1").await;
    fill(&quick, "user:1", value("new"), LONG).await;
    slow.fill("user:1", old, value("old"), LONG).await.unwrap();
    assert_eq!(get(&slow, "user:1").await, found("new"));
    assert_eq!(get(&quick, "user:1").await, found("new"));
}

/// A lease ends when somebody fills the key.
pub async fn of_two_who_hold_a_lease_the_first_fills((one, two): Clients) {
    let (first, second) = (lease(&one, "user:1").await, lease(&two, "user:1").await);
    // One of the two is valid at least: back ends may hand out one at a time.
    one.fill("user:1", first, value("first"), LONG).await.unwrap();
    let before = get(&one, "user:1").await;
    two.fill("user:1", second, value("second"), LONG).await.unwrap();
    let after = get(&one, "user:1").await;
    match before {
        Found::Value(_) => assert_eq!((&before, &after), (&found("first"), &found("first"))),
        _ => assert_eq!(after, found("second")),
    }
}

/// Nor does a prefix count.
pub async fn an_invalidation_leaves_other_keys_alone((one, _): Clients) {
    fill(&one, "user:1", value("alice"), LONG).await;
    fill(&one, "user:11", value("bob"), LONG).await;
    invalidate(&one, "user:1").await;
    assert_eq!(get(&one, "user:11").await, found("bob"));
}

/// Any bytes.
pub async fn a_large_value_comes_back_whole((one, two): Clients) {
    let large = Bytes::from((0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    fill(&one, "group:1", Some(large.clone()), LONG).await;
    assert_eq!(get(&two, "group:1").await, Found::Value(large));
}

/// A reader and a writer race many times; whoever comes after both finds the new value or none.
pub async fn races_of_loads_and_commits_never_leave_an_old_value_behind((reader, writer): Clients) {
    use std::sync::atomic::{AtomicU32, Ordering};

    let truth = Arc::new(AtomicU32::new(0));
    for version in 1..=500 {
        let readers = [&reader, &writer].map(|cache| {
            let (cache, truth) = (Arc::clone(cache), Arc::clone(&truth));
            tokio::spawn(async move {
                if let Found::Miss(lease) = get(&cache, "user:1").await {
                    let loaded = truth.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    let value = Bytes::copy_from_slice(&loaded.to_be_bytes());
                    cache.fill("user:1", lease, Some(value), LONG).await.unwrap();
                }
            })
        });
        tokio::task::yield_now().await;
        truth.store(version, Ordering::SeqCst);
        invalidate(&writer, "user:1").await;
        for reading in readers {
            reading.await.unwrap();
        }
        match get(&reader, "user:1").await {
            Found::Value(value) => assert_eq!(value, version.to_be_bytes().as_slice()),
            Found::Absent => panic!("nobody stored an absence"),
            Found::Miss(_) => {}
        }
    }
}
