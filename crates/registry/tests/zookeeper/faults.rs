use std::fs;

use futures_util::future::join_all;
use registry::{Instance, NodeLease, Registration, Registry as _, ZooKeeperRegistry, zookeeper::Config};
use servers::{Ensemble, ZooKeeper};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::timeout,
};
use zookeeper_client::Client;

use super::bed::{SESSION, becomes, config, connect, eventually, instance, raw, reached, three};

/// What must not be noticed by callers, whatever happens to ZooKeeper: two services that see each other.
struct Services {
    config: Config,
    registries: [ZooKeeperRegistry; 2],
    registrations: Vec<Registration>,
    lease: NodeLease,
    watched: watch::Receiver<Vec<Instance>>,
    both: Vec<Instance>,
    /// Watches what the watcher is told, until it is asked what was the least.
    least: (oneshot::Sender<()>, JoinHandle<usize>),
}

impl Services {
    async fn start(servers: &str) -> Self {
        let config = config(servers);
        let registries = [connect(&config).await, connect(&config).await];
        let both = vec![instance("message", 7000), instance("message", 7001)];
        let mut registrations = Vec::new();
        for (registry, instance) in registries.iter().zip(&both) {
            registrations.push(registry.register(instance.clone()).await.unwrap());
        }
        registries[0].set_config("key", Some("value")).await.unwrap();
        let mut watched = registries[0].watch("message").await.unwrap();
        becomes(&mut watched, &both).await;
        let lease = registries[1].lease_node().await.unwrap();
        let (enough, mut stop) = oneshot::channel();
        let mut told = watched.clone();
        let least = tokio::spawn(async move {
            let mut least = usize::MAX;
            loop {
                least = least.min(told.borrow_and_update().len());
                tokio::select! {
                    changed = told.changed() => changed.unwrap(),
                    _ = &mut stop => return least,
                }
            }
        });
        Self { config, registries, registrations, lease, watched, both, least: (enough, least) }
    }

    /// Everything works, and nobody was missed at any time.
    async fn go_on(self) {
        let Self { config, registries, mut registrations, mut watched, both, least: (enough, least), .. } = self;
        for registry in &registries {
            reached(registry, true).await;
        }
        let raw = raw(&config).await;
        eventually("both are announced, in a session that is alive", async || {
            announced(&raw, &config).await.is_some_and(|names| names == 2)
        })
        .await;
        becomes(&mut registries[1].watch("message").await.unwrap(), &both).await;
        becomes(&mut watched, &both).await;
        enough.send(()).unwrap();
        assert_eq!(least.await.unwrap(), 2, "callers were told of fewer");
        // And what is new is told.
        let third = instance("message", 7002);
        let added = registries[1].register(third.clone()).await.unwrap();
        becomes(&mut watched, &vec![both[0].clone(), both[1].clone(), third]).await;
        drop((added, registrations.pop()));
        becomes(&mut watched, &vec![both[0].clone()]).await;
        let mut value = registries[0].config("key").await.unwrap();
        registries[1].set_config("key", Some("another")).await.unwrap();
        becomes(&mut value, &Some("another".into())).await;
        assert!(registries[0].lease_node().await.unwrap().is_held());
    }
}

/// How many instances are there; `None` while it cannot be said.
async fn announced(raw: &Client, config: &Config) -> Option<usize> {
    raw.list_children(&format!("{}/services/message", config.prefix)).await.ok().map(|names| names.len())
}

#[tokio::test]
async fn losing_a_member_takes_away_no_instance_and_no_number() {
    let three = three().await;
    let mut ensemble = three.ensemble.lock().await;
    for index in 0..ensemble.members.len() {
        // The leader is one of them, and so is the one that the registry is connected to.
        let services = Services::start(&three.servers).await;
        ensemble.members[index].process.kill();
        let raw = raw(&services.config).await;
        eventually("served again", async || announced(&raw, &services.config).await == Some(2)).await;
        assert!(services.lease.is_held(), "a member's end costs no number");
        services.go_on().await;
        ensemble.members[index].restart().await.unwrap();
    }
}

#[tokio::test]
async fn callers_keep_what_they_know_while_all_of_zookeeper_is_away_and_all_is_announced_again_when_it_is_back() {
    let three = three().await;
    let mut ensemble = three.ensemble.lock().await;
    let services = Services::start(&three.servers).await;
    for member in &mut ensemble.members {
        member.process.kill();
    }
    for registry in &services.registries {
        reached(registry, false).await;
    }
    timeout(SESSION, services.lease.lost()).await.expect("a number is not held beyond its session");
    let known = services.registries[0].watch("message").await.unwrap();
    assert_eq!(*known.borrow(), services.both);
    // It waits for longer than sessions last, as seen from here: each begins another one.
    assert!(services.registries[0].lease_node().await.is_err(), "there is nobody to lease from");
    restart(&mut ensemble).await;
    services.go_on().await;
}

#[tokio::test]
async fn a_zookeeper_that_stood_still_for_longer_than_a_session_is_told_everything_again() {
    let three = three().await;
    let ensemble = three.ensemble.lock().await;
    let services = Services::start(&three.servers).await;
    for member in &ensemble.members {
        member.process.pause();
    }
    for registry in &services.registries {
        reached(registry, false).await;
    }
    services.lease.lost().await;
    // It waits for longer than sessions last, as seen from here.
    assert!(services.registries[0].lease_node().await.is_err(), "there is nobody to lease from");
    for member in &ensemble.members {
        member.process.resume();
    }
    services.go_on().await;
}

#[tokio::test]
async fn a_zookeeper_that_comes_back_empty_is_told_everything_again_and_nobody_is_missed() {
    let three = three().await;
    let mut ensemble = three.ensemble.lock().await;
    let services = Services::start(&three.servers).await;
    for member in &mut ensemble.members {
        member.process.kill();
    }
    for id in 1..=3 {
        fs::remove_dir_all(three.dir.path().join(format!("zookeeper-{id}/data/version-2"))).unwrap();
    }
    restart(&mut ensemble).await;
    services.go_on().await;
}

async fn restart(ensemble: &mut Ensemble) {
    // Together: alone, none of them serves.
    for started in join_all(ensemble.members.iter_mut().map(ZooKeeper::restart)).await {
        started.unwrap();
    }
}
