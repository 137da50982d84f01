//! Masters are replaced, and slots move.

use std::{process::Stdio, time::Duration};

use protocol::UserId;
use queue::{
    Presence, Queue,
    redis::{Config, RedisQueue},
};
use servers::{Lifetime, RedisCluster, Security, Sentinel, answers};
use tokio::process::Command;

use crate::{
    bed,
    faults::{ask, routes_become},
    load::{Gateway, Load, ONE},
};

const GROUPS: u64 = 50;
const ALICE: UserId = UserId::new(1_000);

fn two(url: &str) -> [RedisQueue; 2] {
    bed::two(&Config { bounds: queue::Bounds::DEFAULT, timeout: Duration::from_secs(2), ..bed::config(url) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sentinels_replaced_the_master_everything_heals() {
    let security = Security { password: "servers", sentinel_password: "sentinels", ..Security::default() };
    let mut servers = Sentinel::start(&bed::dir("queue-sentinel"), security, Lifetime::Bound).await.unwrap();
    let hosts: Vec<String> = servers.sentinels.iter().map(|sentinel| sentinel.address().to_string()).collect();
    let (hosts, master) = (hosts.join(","), Sentinel::MASTER);
    let url = format!("redis+sentinel://:servers@{hosts}/{master}/1?sentinel_password=sentinels");
    let [gateway, service] = two(&url);
    let hearing = Gateway::open(&gateway, GROUPS).await;
    assert_eq!(service.bind(ALICE, ONE, false).await.unwrap(), Some(Presence::There));
    let load = Load::start(service.clone(), GROUPS);
    load.goes_on(1_000).await;
    servers.servers[0].process.kill();
    // One that hangs must not hold up the others, either.
    servers.sentinels[0].process.pause();
    load.goes_on(1_000).await;
    hearing.hears(&load).await;
    servers.sentinels[0].process.resume();
    routes_become(&service, ALICE, &[ONE]).await;
    assert!(answers(servers.servers[1].address(), "AUTH servers\r\nROLE\r\n", "master").await);
    let account = hearing.settle(load.stop().await).await;
    assert!(account.lost > 0, "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_and_routes_follow_their_slots_and_survive_a_server_of_the_cluster() {
    let mut cluster =
        RedisCluster::start(&bed::dir("queue-moving"), Security::default(), Lifetime::Bound).await.unwrap();
    let hosts: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    let [gateway, service] = two(&format!("redis+cluster://{}", hosts.join(",")));
    let hearing = Gateway::open(&gateway, GROUPS).await;
    assert_eq!(service.bind(ALICE, ONE, false).await.unwrap(), Some(Presence::There));
    let load = Load::start(service.clone(), GROUPS);
    load.goes_on(1_000).await;

    let [from, to]: [String; 2] =
        [ask(&cluster.nodes[0], &["CLUSTER", "MYID"]).await, ask(&cluster.nodes[1], &["CLUSTER", "MYID"]).await];
    let output = Command::new("redis-cli")
        .args(["--cluster", "reshard", &hosts[0], "--cluster-from", &from, "--cluster-to", &to])
        .args(["--cluster-slots", "3000", "--cluster-yes"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    load.goes_on(1_000).await;
    hearing.hears(&load).await;
    routes_become(&service, ALICE, &[ONE]).await;

    cluster.nodes[2].process.kill();
    load.fails().await;
    cluster.nodes[2].restart().await.unwrap();
    load.goes_on(1_000).await;
    hearing.hears(&load).await;
    routes_become(&service, ALICE, &[ONE]).await;
    let account = hearing.settle(load.stop().await).await;
    assert!(account.lost > 0, "{account:?}");
}
