//! A back end that fails or hangs, and what is owed to it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_failing_back_end_is_passed_by_and_tried_again_by_a_probe() {
    let bed = Bed::new();
    bed.database.set(1, "alice");
    bed.back_end.fail(true);
    for _ in 0..10 {
        assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    }
    assert_eq!(bed.back_end.calls.load(Ordering::Relaxed), 1);
    assert_eq!(bed.database.loads(), 10);
    sleep(LookupConfig::PROBE_INTERVAL_DEFAULT).await;
    for _ in 0..10 {
        bed.get(1).await.unwrap();
    }
    assert_eq!(bed.back_end.calls.load(Ordering::Relaxed), 2, "one call tries it");
    assert_eq!(bed.lookup.counts().errors, 2);
    bed.back_end.fail(false);
    sleep(LookupConfig::PROBE_INTERVAL_DEFAULT).await;
    let before = bed.database.loads();
    for _ in 0..10 {
        bed.get(1).await.unwrap();
    }
    assert_eq!(bed.database.loads(), before + 1, "found again once it answers");
}

#[tokio::test(start_paused = true)]
async fn a_back_end_that_hangs_costs_one_timeout() {
    let bed = Bed::new();
    bed.database.set(1, "alice");
    bed.back_end.hanging.store(true, Ordering::Relaxed);
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    }
    assert!(began.elapsed() >= LookupConfig::TIMEOUT_DEFAULT);
    assert!(began.elapsed() < LookupConfig::TIMEOUT_DEFAULT * 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn while_one_call_tries_a_hanging_back_end_the_others_pass_it_by() {
    let bed = Arc::new(Bed::new());
    bed.back_end.hanging.store(true, Ordering::Relaxed);
    bed.get(1).await.unwrap();
    sleep(LookupConfig::PROBE_INTERVAL_DEFAULT).await;
    let before = bed.back_end.calls.load(Ordering::Relaxed);
    let asking: Vec<_> = (0..10).map(|id| bed.start_get(id)).collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), Ok(None));
    }
    assert_eq!(bed.back_end.calls.load(Ordering::Relaxed), before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_database_is_not_run_over_while_the_back_end_is_passed_by() {
    let bed = Arc::new(Bed::with(LookupConfig { direct_loads_max: 3, ..config() }));
    bed.back_end.fail(true);
    bed.database.shut();
    let asking: Vec<_> = (0..20).map(|id| bed.start_get(id)).collect();
    settle().await;
    assert_eq!(bed.database.at_once.load(Ordering::Relaxed), 3);
    bed.database.open();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), Ok(None));
    }
    assert_eq!(bed.database.at_once_max.load(Ordering::Relaxed), 3);
}

/// The back end has the old name of 1, and fails now; it was to be told of the new one.
async fn bed_that_owes_one() -> Bed {
    let bed = Bed::new();
    bed.database.set(1, "old");
    bed.get(1).await.unwrap();
    bed.back_end.fail(true);
    bed.database.set(1, "new");
    bed.lookup.invalidate(&[1]).await;
    bed
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_invalidated_is_before_the_back_end_is_used_again() {
    let bed = bed_that_owes_one().await;
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))), "passed by");
    bed.back_end.fail(false);
    sleep(LookupConfig::PROBE_INTERVAL_DEFAULT).await;
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))), "made good");
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))));
}

/// The one who writes passes the back end by because of a moment's trouble, and does not ask again; others use it.
#[tokio::test(start_paused = true)]
async fn an_invalidation_is_tried_although_the_back_end_is_passed_by() {
    let bed = Bed::new();
    bed.database.set(1, "old");
    bed.get(1).await.unwrap();
    bed.back_end.fail(true);
    bed.get(2).await.unwrap();
    bed.back_end.fail(false);
    bed.database.set(1, "new");
    bed.lookup.invalidate(&[1]).await;
    let other: Lookup<Name, Failed> = Lookup::new(Arc::clone(&bed.back_end) as Arc<dyn Cache>, config());
    assert_eq!(other.get_many(&[1], |ids| bed.database.load(ids)).await, Ok(vec![Some(name("new"))]));
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_whose_caller_gave_up_is_made_good() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "old");
    bed.get(1).await.unwrap();
    bed.database.set(1, "new");
    bed.back_end.hanging.store(true, Ordering::Relaxed);
    let invalidating = {
        let bed = Arc::clone(&bed);
        tokio::spawn(async move { bed.lookup.invalidate(&[1]).await })
    };
    settle().await;
    invalidating.abort();
    settle().await;
    bed.back_end.hanging.store(false, Ordering::Relaxed);
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))));
}

#[tokio::test(start_paused = true)]
async fn with_too_much_owed_nothing_old_is_read_until_it_has_ended() {
    let bed = bed_that_owes_one().await;
    bed.lookup.invalidate(&(100..10_200).collect::<Vec<u64>>()).await;
    bed.back_end.fail(false);
    sleep(LookupConfig::PROBE_INTERVAL_DEFAULT).await;
    let calls = bed.back_end.calls.load(Ordering::Relaxed);
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))));
    assert_eq!(bed.back_end.calls.load(Ordering::Relaxed), calls, "not read");
    sleep(TTL * 2).await;
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))));
    assert!(bed.back_end.calls.load(Ordering::Relaxed) > calls, "read again");
}
