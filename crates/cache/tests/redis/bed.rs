//! Servers for the tests: some for all tests that leave them as they are, others for those that break them.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cache::redis::Config;
use servers::{Lifetime, Redis, RedisCluster, Security, Sentinel, free_port};
use tokio::sync::OnceCell;

/// What must become true becomes true within this.
pub(crate) const EVENTUALLY: Duration = Duration::from_secs(60);
/// Between two looks at whether it is.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

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
pub(crate) async fn own_server() -> Redis {
    Redis::start("redis", &dir("cache-redis"), free_port(), &[], Lifetime::Bound).await.unwrap()
}

/// The URL of the server that all share.
pub(crate) async fn shared_server() -> String {
    static SERVER: OnceCell<Redis> = OnceCell::const_new();
    url(SERVER.get_or_init(async || own_server().await).await)
}

pub(crate) fn url(server: &Redis) -> String {
    format!("redis://{}/0", server.address())
}

/// The URL of the cluster that all share.
pub(crate) async fn shared_cluster() -> String {
    static CLUSTER: OnceCell<RedisCluster> = OnceCell::const_new();
    let start =
        async || RedisCluster::start(&dir("cache-cluster"), Security::default(), Lifetime::Bound).await.unwrap();
    cluster_url(CLUSTER.get_or_init(start).await)
}

pub(crate) fn cluster_url(cluster: &RedisCluster) -> String {
    let hosts: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    format!("redis+cluster://{}", hosts.join(","))
}

/// The URL of the Sentinels that all share; they ask for a password, and the servers for another.
pub(crate) async fn shared_sentinel() -> String {
    static SENTINEL: OnceCell<Sentinel> = OnceCell::const_new();
    let security = Security { password: "servers", sentinel_password: "sentinels", ..Security::default() };
    let start = async || Sentinel::start(&dir("cache-sentinel"), security, Lifetime::Bound).await.unwrap();
    let hosts = sentinel_hosts(SENTINEL.get_or_init(start).await);
    format!("redis+sentinel://:servers@{hosts}/{}?sentinel_password=sentinels", Sentinel::MASTER)
}

pub(crate) fn sentinel_hosts(sentinel: &Sentinel) -> String {
    let hosts: Vec<String> = sentinel.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
    hosts.join(",")
}

/// Settings for a system of one's own on a server.
pub(crate) fn config(url: &str) -> Config {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let prefix = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Config { url: url.into(), prefix, ..Config::default() }
}
