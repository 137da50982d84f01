//! The programs come up on ports of their own, and come back.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use servers::{
    Ensemble, Error, Known, Lifetime, MariaDb, Nginx, Redis, RedisCluster, Security, Sentinel, ZooKeeper, free_port,
};

const STOP_WITHIN: Duration = Duration::from_secs(30);

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn redis_serves_is_killed_and_serves_again_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut redis = Redis::start("redis", dir.path(), free_port(), &[], Lifetime::Bound).await.unwrap();
    assert!(accepts(redis.address()) && redis.process.is_running());
    redis.process.kill();
    assert!(!accepts(redis.address()) && !redis.process.is_running());
    redis.restart().await.unwrap();
    assert!(accepts(redis.address()));
    let address = redis.address();
    drop(redis);
    assert!(!accepts(address), "a bound server ends with what stands for it");
}

#[tokio::test]
async fn a_detached_server_lives_on_until_it_is_stopped_by_who_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || Redis::start("redis", dir.path(), free_port(), &[], Lifetime::Detached).await.unwrap();
    let given_up = start().await.process.id();
    assert!(Known::of(given_up).is_none(), "nobody knew of it yet");
    let mut redis = start().await;
    let (known, address) = (Known::of(redis.process.id()).unwrap(), redis.address());
    redis.process.leave();
    drop(redis);
    assert!(known.is_running() && accepts(address));
    assert!(known.memory().unwrap() > 0 && known.cpu().is_some());
    let another = Known { began: known.began + 1, ..known };
    assert!(!another.is_running() && another.stop(STOP_WITHIN).await);
    assert!(accepts(address), "who has its id by chance is let be");
    assert!(known.stop(STOP_WITHIN).await);
    assert!(!known.is_running() && !accepts(address));
    assert!(known.stop(STOP_WITHIN).await, "it has ended: nothing is to be done");
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let refused = Redis::start("redis", dir.path(), free_port(), &["--no-such-thing", "1"], Lifetime::Bound).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("no-such-thing"), "{error}");
    let missing = servers::find("no-such-program", "some-package").unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }));
    assert_eq!(missing.to_string(), "no-such-program is not installed: apt-get install some-package");
}

#[tokio::test]
async fn a_cluster_of_redis_serves_all_slots() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = RedisCluster::start(dir.path(), Security::default(), Lifetime::Bound).await.unwrap();
    assert!(cluster.addresses().into_iter().all(accepts));
}

#[tokio::test]
async fn sentinels_know_the_master_the_replica_and_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let sentinel = Sentinel::start(dir.path(), Security::default(), Lifetime::Bound).await.unwrap();
    assert!(sentinel.sentinels.iter().all(|server| accepts(server.address())));
}

#[tokio::test]
async fn mariadb_serves_and_keeps_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--innodb-buffer-pool-size=16M"];
    let mut server = MariaDb::start("mariadb", dir.path(), free_port(), &small, Lifetime::Bound).await.unwrap();
    server.process.kill();
    server.restart().await.unwrap();
    server.process.stop(STOP_WITHIN).await;
    assert!(!accepts(server.address()));
    server.restart().await.unwrap();
}

#[tokio::test]
async fn an_interrupted_installation_of_mariadb_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let small = ["--innodb-buffer-pool-size=16M"];
    let start = || MariaDb::start("mariadb", dir.path(), free_port(), &small, Lifetime::Bound);
    let half_way = async {
        while !dir.path().join("data.new/mysql").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = start() => panic!("it was not interrupted"),
        () = half_way => {}
    }
    assert!(!dir.path().join("data").exists());
    let server = start().await.unwrap();
    assert!(accepts(server.address()) && !dir.path().join("data.new").exists());
}

#[tokio::test]
async fn zookeeper_serves_alone_and_as_three_of_which_one_may_end() {
    let dir = tempfile::tempdir().unwrap();
    let (alone, three) = (dir.path().join("alone"), dir.path().join("three"));
    let mut server = ZooKeeper::start("zookeeper", &alone, free_port(), Lifetime::Bound).await.unwrap();
    server.process.kill();
    server.restart().await.unwrap();
    let mut ensemble = Ensemble::start(&three, Lifetime::Bound).await.unwrap();
    assert_eq!(ensemble.addresses().split(',').count(), 3);
    ensemble.members[0].process.kill();
    ensemble.members[0].restart().await.unwrap();
}

#[tokio::test]
async fn nginx_serves_with_a_configuration_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let server = nginx(dir.path(), address, &configuration(address)).await.unwrap();
    let other: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    server.reload(dir.path(), &configuration(other)).unwrap();
    let taken = async {
        while !accepts(other) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(STOP_WITHIN, taken).await.unwrap();
    drop(server);
    // At the old one its last worker may be heard a moment longer than it.
    let address = ([127, 0, 0, 1], free_port()).into();
    let refused = nginx(dir.path(), address, "events {} nonsense;").await.unwrap_err().to_string();
    assert!(refused.contains("nonsense"), "{refused}");
}

async fn nginx(dir: &Path, address: SocketAddr, text: &str) -> servers::Result<Nginx> {
    Nginx::start("nginx", dir, text, address, Lifetime::Bound).await
}

fn configuration(address: SocketAddr) -> String {
    format!("events {{}} http {{ access_log off; server {{ listen {address}; return 204; }} }}")
}
