//! Servers for the tests: one alone and one cluster for all tests that leave them as they are, others for those that break
//! them.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use queue::{
    Bounds,
    redis::{Config, RedisQueue},
};
use servers::{Lifetime, Redis, RedisCluster, Security, free_port};
use tokio::sync::OnceCell;

/// What must become true becomes true within this.
pub(crate) const EVENTUALLY: Duration = Duration::from_secs(60);
/// Between two looks at whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// More than this a gateway does not leave unread in these tests.
pub(crate) const MAILBOX: usize = 1_000;

/// Looks again and again whether something is so; fails if it does not come about.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    assert!(tokio::time::timeout(EVENTUALLY, look).await.is_ok(), "not within {EVENTUALLY:?}: {what}");
}

/// A directory for a server. All are below the build's, which nobody minds.
pub(crate) fn dir(name: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{process}-{number}"))
}

/// A server of one's own.
pub(crate) async fn own_server(arguments: &[&str]) -> Redis {
    Redis::start("redis", &dir("queue-redis"), free_port(), arguments, Lifetime::Bound).await.unwrap()
}

/// The URL of the server that all share.
pub(crate) async fn shared_server() -> String {
    static SERVER: OnceCell<Redis> = OnceCell::const_new();
    let server = SERVER.get_or_init(async || own_server(&[]).await).await;
    format!("redis://{}/1", server.address())
}

/// The URL of the cluster that all share.
pub(crate) async fn shared_cluster() -> String {
    static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
    let cluster = CLUSTER
        .get_or_init(async || {
            RedisCluster::start(&dir("queue-cluster"), Security::default(), Lifetime::Bound).await.unwrap()
        })
        .await;
    let hosts: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

/// Settings for a system of one's own on a server.
pub(crate) fn config(url: &str) -> Config {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Config {
        url: url.into(),
        prefix: format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed)),
        bounds: Bounds { publications_max: MAILBOX, ..Bounds::DEFAULT },
        ..Config::default()
    }
}

/// Two clients of one queue.
pub(crate) fn two(config: &Config) -> [RedisQueue; 2] {
    [(); 2].map(|()| RedisQueue::start(config.clone()).unwrap())
}
