//! How long values are kept.

use super::*;

#[tokio::test(start_paused = true)]
async fn lifetimes_are_spread_by_a_tenth() {
    let bed = Bed::new();
    for id in 0..200 {
        bed.database.set(id, "somebody");
        bed.get(id).await.unwrap();
    }
    let lifetimes = bed.back_end.lifetimes.lock();
    assert!(lifetimes.iter().all(|lifetime| (TTL.mul_f64(0.9)..=TTL.mul_f64(1.1)).contains(lifetime)));
    let different: HashSet<_> = lifetimes.iter().collect();
    assert!(different.len() > 50, "{} different lifetimes", different.len());
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_that_is_changed_counts_for_what_is_stored_from_then_on() {
    let lifetime = Lifetime::from(TTL);
    let bed = Bed::with(LookupConfig::new("user", lifetime.clone()));
    bed.database.set(1, "alice");
    bed.database.set(2, "bob");
    bed.get(1).await.unwrap();
    lifetime.set(Duration::from_secs(1));
    bed.get(2).await.unwrap();
    bed.get(3).await.unwrap();
    let stored: Vec<u64> = bed.back_end.lifetimes.lock().iter().map(|lifetime| lifetime.as_secs_f64() as u64).collect();
    assert!(stored[0] > 3_000 && stored[1..].iter().all(|seconds| *seconds <= 1), "{stored:?}");
    sleep(Duration::from_secs(2)).await;
    bed.get(1).await.unwrap();
    assert_eq!(bed.database.loads(), 3, "the first is still there");
    bed.get(2).await.unwrap();
    assert_eq!(bed.database.loads(), 4);
}

#[tokio::test(start_paused = true)]
async fn with_too_much_owed_what_was_stored_for_a_former_longer_lifetime_is_not_read_either() {
    let lifetime = Lifetime::from(TTL);
    let bed = Bed::with(LookupConfig::new("user", lifetime.clone()));
    bed.database.set(1, "old");
    bed.get(1).await.unwrap();
    lifetime.set(Duration::from_secs(1));
    bed.back_end.fail(true);
    bed.database.set(1, "new");
    bed.lookup.invalidate(&(0..10_200).collect::<Vec<u64>>()).await;
    bed.back_end.fail(false);
    sleep(TTL / 2).await;
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))));
}
