//! Copies in the processes, invalidated through Redis.

use std::{sync::Arc, time::Duration};

use cache::{LookupConfig, Near};
use tokio::time::Instant;

use crate::{
    bed::{self, eventually},
    lookups::{Database, Process, lookup},
};

fn hot() -> LookupConfig {
    // Longer than a test takes: what is dropped was invalidated.
    LookupConfig { near: Some(Near { ttl: Duration::from_secs(3_600), ..Near::DEFAULT }), ..lookup() }
}

fn two(url: &str) -> [Process; 2] {
    let database = Arc::new(Database::default());
    (0..100).for_each(|id| database.set(id, "old"));
    let config = bed::config(url);
    [(); 2].map(|()| Process::start(&config, hot(), &database))
}

/// Asks until the process answers from its own copy.
async fn is_near(process: &Process, id: u64) {
    eventually("it is kept near", async || {
        let hits = process.names.counts().near_hits;
        process.get(id).await;
        process.names.counts().near_hits > hits
    })
    .await;
}

async fn becomes(process: &Process, id: u64, wanted: &str) -> Duration {
    let began = Instant::now();
    eventually("the copy is dropped", async || process.get(id).await.unwrap() == wanted).await;
    began.elapsed()
}

pub(crate) async fn copies_are_dropped_when_another_process_invalidates(url: &str) {
    let [one, two] = two(url);
    for id in 0..10 {
        is_near(&one, id).await;
        is_near(&two, id).await;
    }
    let (before, metrics) = (one.names.counts(), one.cache.metrics());
    let counted = (metrics.hits.get(), metrics.near_hits.get(), metrics.misses.get());
    assert_eq!(one.get(1).await.unwrap(), "old");
    let after = one.names.counts();
    assert_eq!((after.hits, after.misses, after.near_hits), (before.hits, before.misses, before.near_hits + 1));
    let shown = (metrics.hits.get(), metrics.near_hits.get(), metrics.misses.get());
    assert_eq!(shown, (counted.0 + 1, counted.1 + 1, counted.2), "a hit like others on the dashboard");
    two.set(1, "new").await;
    assert_eq!(two.get(1).await.unwrap(), "new", "the process that invalidated has no old copy");
    let took = becomes(&one, 1, "new").await;
    assert!(took < Duration::from_secs(5), "told only after {took:?}");
    let near = one.names.counts().near_hits;
    one.get(2).await;
    assert_eq!(one.names.counts().near_hits, near + 1, "others stay");
}

#[tokio::test]
async fn copies_are_dropped_when_another_process_invalidates_alone() {
    copies_are_dropped_when_another_process_invalidates(&bed::shared_server().await).await;
}

#[tokio::test]
async fn copies_are_dropped_when_another_process_invalidates_in_a_cluster() {
    copies_are_dropped_when_another_process_invalidates(&bed::shared_cluster().await).await;
}

#[tokio::test]
async fn copies_are_dropped_when_another_process_invalidates_behind_sentinels() {
    copies_are_dropped_when_another_process_invalidates(&bed::shared_sentinel().await).await;
}

#[tokio::test]
async fn a_process_that_cannot_be_told_keeps_no_copies() {
    let mut server = bed::own_server().await;
    let [one, two] = two(&bed::url(&server));
    is_near(&one, 1).await;
    server.process.kill();
    two.set(1, "new").await;
    let took = becomes(&one, 1, "new").await;
    assert!(took < Duration::from_secs(5), "kept for {took:?}");
    server.restart().await.unwrap();
    is_near(&one, 1).await;
    assert_eq!(one.get(1).await.unwrap(), "new");
}

/// Nothing tells that Redis stands still but that it does not answer.
#[tokio::test]
async fn copies_are_dropped_soon_after_redis_stands_still() {
    let server = bed::own_server().await;
    let [one, two] = two(&bed::url(&server));
    is_near(&one, 1).await;
    server.process.pause();
    two.set(1, "new").await;
    let took = becomes(&one, 1, "new").await;
    server.process.resume();
    assert!(took < Duration::from_secs(10), "kept for {took:?}");
    is_near(&one, 1).await;
    assert_eq!(one.get(1).await.unwrap(), "new");
}

/// Readers in two processes race with a writer; after each commit everybody has the new value soon, and for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_of_readers_and_a_writer_leave_no_old_copy_behind() {
    let [one, two] = two(&bed::shared_server().await).map(Arc::new);
    is_near(&one, 1).await;
    for version in 0..200 {
        let text = format!("version {version}");
        let readers = [&one, &two].map(|process| {
            let process = Arc::clone(process);
            tokio::spawn(async move {
                for _ in 0..20 {
                    process.get(1).await;
                }
            })
        });
        two.set(1, &text).await;
        assert_eq!(two.get(1).await.unwrap(), text);
        becomes(&one, 1, &text).await;
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(one.get(1).await.unwrap(), text, "it was there before");
    }
    assert!(one.names.counts().near_hits > 200);
}
