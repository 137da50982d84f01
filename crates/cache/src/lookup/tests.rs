mod lifetimes;
mod outages;

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::*;
use crate::{Error, LocalCache, Result};

#[derive(Clone, PartialEq, Message)]
struct Name {
    #[prost(string, tag = "1")]
    text: String,
}

fn name(text: &str) -> Name {
    Name { text: text.into() }
}

/// A load that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed;

/// A back end that can be made to fail or to hang, and notes the lifetimes it was told.
#[derive(Default)]
struct Flaky {
    cache: LocalCache,
    failing: AtomicBool,
    hanging: AtomicBool,
    hanging_in_fill: AtomicBool,
    calls: AtomicUsize,
    lifetimes: Mutex<Vec<Duration>>,
}

impl Flaky {
    async fn call(&self) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if self.hanging.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.failing.load(Ordering::Relaxed) { Err(Error("switched off".into())) } else { Ok(()) }
    }

    fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }
}

#[async_trait]
impl Cache for Flaky {
    async fn get(&self, keys: &[String]) -> Result<Vec<Found>> {
        self.call().await?;
        self.cache.get(keys).await
    }

    async fn fill(&self, key: &str, lease: Lease, value: Option<Bytes>, ttl: Duration) -> Result<()> {
        self.call().await?;
        self.lifetimes.lock().push(ttl);
        if self.hanging_in_fill.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        self.cache.fill(key, lease, value, ttl).await
    }

    async fn invalidate(&self, keys: &[String]) -> Result<()> {
        self.call().await?;
        self.cache.invalidate(keys).await
    }
}

/// The database: values by id, with counted loads that wait at a gate if it is shut.
#[derive(Default)]
struct Database {
    names: Mutex<HashMap<u64, Name>>,
    loads: AtomicU32,
    at_once: AtomicU32,
    at_once_max: AtomicU32,
    shut: AtomicBool,
    failing: AtomicBool,
    gate: Notify,
}

impl Database {
    fn set(&self, id: u64, text: &str) {
        self.names.lock().insert(id, name(text));
    }

    /// Reads first and then waits at the gate, as a load that began before a commit does.
    async fn load(&self, ids: Vec<u64>) -> Result<Vec<(u64, Name)>, Failed> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.at_once_max.fetch_max(at_once, Ordering::Relaxed);
        let read: Vec<_> = {
            let names = self.names.lock();
            ids.iter().filter_map(|id| Some((*id, names.get(id)?.clone()))).collect()
        };
        if self.shut.load(Ordering::Relaxed) {
            self.gate.notified().await;
        }
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        if self.failing.load(Ordering::Relaxed) { Err(Failed) } else { Ok(read) }
    }

    fn loads(&self) -> u32 {
        self.loads.load(Ordering::Relaxed)
    }

    fn shut(&self) {
        self.shut.store(true, Ordering::Relaxed);
    }

    fn open(&self) {
        self.shut.store(false, Ordering::Relaxed);
        self.gate.notify_waiters();
    }
}

struct Bed {
    back_end: Arc<Flaky>,
    database: Arc<Database>,
    lookup: Arc<Lookup<Name, Failed>>,
}

const TTL: Duration = Duration::from_secs(3_600);

fn config() -> LookupConfig {
    LookupConfig::new("user", TTL)
}

impl Bed {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: LookupConfig) -> Self {
        let back_end = Arc::new(Flaky::default());
        let lookup = Arc::new(Lookup::new(Arc::clone(&back_end) as Arc<dyn Cache>, config));
        Self { back_end, database: Arc::default(), lookup }
    }

    async fn get(&self, id: u64) -> Result<Option<Name>, Failed> {
        let load = || async move { Ok(self.database.load(vec![id]).await?.pop().map(|(_, name)| name)) };
        self.lookup.get(id, load).await
    }

    async fn get_many(&self, ids: &[u64]) -> Vec<Option<String>> {
        let load = |ids| self.database.load(ids);
        let names = self.lookup.get_many(ids, load).await.unwrap();
        names.into_iter().map(|name| Some(name?.text)).collect()
    }

    fn start_get(self: &Arc<Self>, id: u64) -> tokio::task::JoinHandle<Result<Option<Name>, Failed>> {
        let bed = Arc::clone(self);
        tokio::spawn(async move { bed.get(id).await })
    }
}

/// Lets everything run that can. The clock is paused and moves only when nothing else is left to do.
async fn settle() {
    sleep(Duration::from_micros(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_value_is_loaded_once_and_then_found() {
    let bed = Bed::new();
    bed.database.set(1, "alice");
    for _ in 0..3 {
        assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    }
    assert_eq!(bed.lookup.counts(), Counts { hits: 2, misses: 1, loads: 1, ..Counts::default() });
    assert_eq!(bed.database.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn absence_is_kept_for_its_own_shorter_time() {
    let bed = Bed::new();
    for _ in 0..3 {
        assert_eq!(bed.get(1).await, Ok(None));
    }
    assert_eq!(bed.database.loads(), 1);
    bed.database.set(1, "alice");
    sleep(LookupConfig::ABSENT_TTL_DEFAULT.mul_f64(1.2)).await;
    assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_there_is_one_load() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "alice");
    bed.database.shut();
    let asking: Vec<_> = (0..100).map(|_| bed.start_get(1)).collect();
    settle().await;
    bed.database.open();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), Ok(Some(name("alice"))));
    }
    assert_eq!(bed.database.loads(), 1);
    assert_eq!(bed.back_end.calls.load(Ordering::Relaxed), 2, "one get and one fill");
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_a_load_share_its_failure_and_it_is_not_kept() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "alice");
    bed.database.shut();
    bed.database.failing.store(true, Ordering::Relaxed);
    let asking: Vec<_> = (0..10).map(|_| bed.start_get(1)).collect();
    settle().await;
    bed.database.open();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), Err(Failed));
    }
    assert_eq!(bed.database.loads(), 1);
    bed.database.failing.store(false, Ordering::Relaxed);
    assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
}

#[tokio::test(start_paused = true)]
async fn if_the_one_who_loads_gives_up_another_goes_on() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "alice");
    bed.database.shut();
    let leader = bed.start_get(1);
    settle().await;
    let followers: Vec<_> = (0..10).map(|_| bed.start_get(1)).collect();
    settle().await;
    leader.abort();
    settle().await;
    bed.database.open();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), Ok(Some(name("alice"))));
    }
    assert_eq!(bed.database.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_are_returned_in_their_order_and_only_the_missing_loaded() {
    let bed = Bed::new();
    bed.database.set(1, "alice");
    bed.database.set(2, "bob");
    bed.database.set(3, "carol");
    bed.get(2).await.unwrap();
    let names = bed.get_many(&[3, 2, 9, 1, 3]).await;
    assert_eq!(
        names,
        [Some("carol"), Some("bob"), None, Some("alice"), Some("carol")].map(|name| name.map(str::to_owned))
    );
    assert_eq!(bed.database.loads(), 2);
    assert_eq!(bed.lookup.counts().loads, 4);
    assert_eq!(bed.get_many(&[1, 2, 3, 9]).await.len(), 4);
    assert_eq!(bed.database.loads(), 2);
    assert!(bed.get_many(&[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_each_others_keys_all_come_home() {
    let bed = Arc::new(Bed::new());
    for id in 0..20 {
        bed.database.set(id, &format!("user {id}"));
    }
    bed.database.shut();
    let calls: Vec<_> = (0..20)
        .map(|start: u64| {
            let bed = Arc::clone(&bed);
            let ids: Vec<_> = (0..20).map(|step| (start * 7 + step * 3) % 20).collect();
            tokio::spawn(async move { (bed.get_many(&ids).await, ids) })
        })
        .collect();
    settle().await;
    bed.database.open();
    for call in calls {
        let (names, ids) = call.await.unwrap();
        let wanted: Vec<_> = ids.iter().map(|id| Some(format!("user {id}"))).collect();
        assert_eq!(names, wanted);
    }
    assert_eq!(bed.lookup.counts().loads, 20);
}

#[tokio::test(start_paused = true)]
async fn a_load_under_way_during_a_commit_is_neither_stored_nor_joined_after_it() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "old");
    bed.database.shut();
    let early = bed.start_get(1);
    settle().await;
    bed.database.set(1, "new");
    bed.lookup.invalidate(&[1]).await;
    let late = bed.start_get(1);
    settle().await;
    bed.database.open();
    assert_eq!(early.await.unwrap(), Ok(Some(name("old"))), "it asked before the commit");
    assert_eq!(late.await.unwrap(), Ok(Some(name("new"))));
    assert_eq!(bed.get(1).await, Ok(Some(name("new"))));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_load_before_a_commit_leaves_the_one_after_it_joinable() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "old");
    bed.database.shut();
    let early = bed.start_get(1);
    settle().await;
    bed.database.set(1, "new");
    bed.lookup.invalidate(&[1]).await;
    let late = bed.start_get(1);
    settle().await;
    bed.database.gate.notify_one();
    assert_eq!(early.await.unwrap(), Ok(Some(name("old"))));
    let later = bed.start_get(1);
    settle().await;
    bed.database.open();
    assert_eq!(late.await.unwrap(), Ok(Some(name("new"))));
    assert_eq!(later.await.unwrap(), Ok(Some(name("new"))));
    assert_eq!(bed.database.loads(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_asks_while_a_loaded_value_is_being_stored_has_it_at_once() {
    let bed = Arc::new(Bed::new());
    bed.database.set(1, "alice");
    bed.back_end.hanging_in_fill.store(true, Ordering::Relaxed);
    let storing = bed.start_get(1);
    settle().await;
    let began = Instant::now();
    assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(bed.database.loads(), 1);
    assert_eq!(storing.await.unwrap(), Ok(Some(name("alice"))));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_decoded_is_loaded_anew() {
    let bed = Bed::new();
    bed.database.set(1, "alice");
    let key = "user:1".to_owned();
    let Found::Miss(lease) = bed.back_end.cache.get(std::slice::from_ref(&key)).await.unwrap().remove(0) else {
        panic!("empty")
    };
    bed.back_end.cache.fill(&key, lease, Some(Bytes::from_static(b"\xff\xff")), TTL).await.unwrap();
    assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    assert_eq!(bed.get(1).await, Ok(Some(name("alice"))));
    assert_eq!(bed.database.loads(), 2, "the second load is stored");
}
