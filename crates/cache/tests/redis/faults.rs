//! Redis is killed, stands still and answers slowly, while look-ups go on.

use std::{sync::Arc, time::Duration};

use cache::{Cache, Found, LookupConfig, redis::Config};
use servers::{Lifetime, Redis, RedisCluster, Security, Sentinel};
use tokio::time::Instant;

use crate::{
    bed::{self, eventually},
    lookups::{Database, Process, lookup},
};

/// What a look-up may take beside its patience with Redis, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(2);

fn two(config: &Config) -> (Arc<Database>, [Process; 2]) {
    let database = Arc::new(Database::default());
    for id in 0..100 {
        database.set(id, format!("name {id}"));
    }
    let processes = [(); 2].map(|()| Process::start(config, lookup(), &database));
    (database, processes)
}

async fn ask<T: redis::FromRedisValue>(server: &Redis, command: &[&str]) -> T {
    let client = redis::Client::open(bed::url(server)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.unwrap()
}

/// Every look-up is answered rightly from the database, quickly once it is known that Redis does not answer.
async fn answers_come_from_the_database(process: &Process, database: &Database) {
    let patience = LookupConfig::TIMEOUT_DEFAULT;
    let began = Instant::now();
    assert_eq!(process.get(0).await.unwrap(), "name 0");
    assert!(began.elapsed() < patience + SLACK, "the first took {:?}", began.elapsed());
    let (before, began) = (database.loads(), Instant::now());
    let asked = futures_util::future::join_all((0..100).map(|id| process.get(id))).await;
    assert!(asked.iter().enumerate().all(|(id, name)| name.as_deref() == Some(&format!("name {id}"))));
    assert!(began.elapsed() < patience + SLACK * 2, "100 took {:?}", began.elapsed());
    assert_eq!(database.loads() - before, 100);
    let at_once = database.at_once_max();
    assert!(at_once <= LookupConfig::DIRECT_LOADS_MAX_DEFAULT as u64, "{at_once} loads at once");
}

#[tokio::test]
async fn while_redis_is_gone_look_ups_go_on_and_use_it_again_when_it_is_back() {
    let mut server = bed::own_server().await;
    let (database, [process, _]) = two(&bed::config(&bed::url(&server)));
    process.is_found_again(1).await;
    for _ in 0..2 {
        server.process.kill();
        answers_come_from_the_database(&process, &database).await;
        server.restart().await.unwrap();
        process.is_found_again(1).await;
    }
    assert!(process.names.counts().errors > 0 && process.cache.metrics().errors.get() > 0);
}

#[tokio::test]
async fn while_redis_stands_still_look_ups_go_on_and_use_it_again_when_it_goes_on() {
    let server = bed::own_server().await;
    let (database, [process, other]) = two(&bed::config(&bed::url(&server)));
    process.is_found_again(1).await;
    other.is_found_again(1).await;
    server.process.pause();
    answers_come_from_the_database(&process, &database).await;
    eventually("the connection is given up", async || {
        assert_eq!(process.get(1).await.unwrap(), "name 1");
        process.cache.metrics().connected.get() == 0
    })
    .await;
    process.set(1, "new").await;
    assert_eq!(process.get(1).await.unwrap(), "new");
    server.process.resume();
    process.is_found_again(1).await;
    assert_eq!(process.get(1).await.unwrap(), "new");
    assert_eq!(other.get(1).await.unwrap(), "new");
}

#[tokio::test]
async fn a_slow_redis_is_passed_by() {
    let server = bed::own_server().await;
    let (database, [process, _]) = two(&bed::config(&bed::url(&server)));
    process.is_found_again(1).await;
    ask::<()>(&server, &["CLIENT", "PAUSE", "1500"]).await;
    answers_come_from_the_database(&process, &database).await;
    process.is_found_again(1).await;
}

/// The writer cannot reach Redis, others can: they read the old value no longer than until the writer can, too.
#[tokio::test]
async fn an_invalidation_that_failed_is_made_good_for_everybody_although_nobody_asks() {
    let server = bed::own_server().await;
    ask::<()>(&server, &["ACL", "SETUSER", "writer", "on", ">secret", "~*", "&*", "+@all"]).await;
    let config = bed::config(&bed::url(&server));
    let writer = Config { url: format!("redis://writer:secret@{}/0", server.address()), ..config.clone() };
    let (database, [reader, _]) = two(&config);
    let writer = Process::start(&writer, lookup(), &database);
    writer.is_found_again(1).await;
    reader.is_found_again(1).await;
    ask::<()>(&server, &["ACL", "SETUSER", "writer", "off"]).await;
    ask::<u64>(&server, &["CLIENT", "KILL", "USER", "writer"]).await;
    writer.set(1, "new").await;
    assert_eq!(reader.get(1).await.unwrap(), "name 1", "the test is to no purpose if it is not there");
    assert_eq!(writer.get(1).await.unwrap(), "new");
    assert_eq!(writer.cache.metrics().invalidations_owed.get(), 1);
    ask::<()>(&server, &["ACL", "SETUSER", "writer", "on"]).await;
    eventually("what is owed is paid", async || reader.get(1).await.unwrap() == "new").await;
    assert_eq!(writer.cache.metrics().invalidations_owed.get(), 0);
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_told_again() {
    let server = bed::own_server().await;
    let (_, [process, other]) = two(&bed::config(&bed::url(&server)));
    process.is_found_again(1).await;
    ask::<()>(&server, &["SCRIPT", "FLUSH"]).await;
    process.is_found_again(2).await;
    assert_eq!(process.names.counts().errors, 0);
    other.set(2, "new").await;
    assert_eq!(process.get(2).await.unwrap(), "new");
}

#[tokio::test]
async fn what_redis_uses_and_how_it_answers_is_counted() {
    let server = bed::own_server().await;
    let (_, [process, _]) = two(&bed::config(&bed::url(&server)));
    process.is_found_again(1).await;
    let metrics = process.cache.metrics();
    assert!(metrics.hits.get() > 0 && metrics.misses.get() > 0);
    eventually("the memory is told", async || metrics.memory_bytes.get() >= 100_000).await;
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("cache_connected 1") && text.contains("cache_response_seconds_count"), "{text}");
    process.cache.close().await;
    assert!(process.cache.get(&["name:1".to_owned()]).await.is_err());
}

#[tokio::test]
async fn look_ups_use_the_master_that_sentinels_chose() {
    // The servers ask for a password, the Sentinels for none.
    let security = Security { password: "servers", ..Security::default() };
    let mut servers = Sentinel::start(&bed::dir("cache-failover"), security, Lifetime::Bound).await.unwrap();
    let url = format!("redis+sentinel://:servers@{}/{}", bed::sentinel_hosts(&servers), Sentinel::MASTER);
    let (_, [process, other]) = two(&bed::config(&url));
    process.is_found_again(1).await;
    servers.servers[0].process.kill();
    assert_eq!(process.get(1).await.unwrap(), "name 1");
    process.is_found_again(1).await;
    other.set(1, "new").await;
    other.is_found_again(1).await;
    process.is_found_again(1).await;
    assert_eq!(process.get(1).await.unwrap(), "new");
}

#[tokio::test]
async fn a_server_of_the_cluster_that_is_gone_keeps_nobody_from_an_answer() {
    let mut cluster = RedisCluster::start(&bed::dir("cache-lame"), Security::default(), Lifetime::Bound).await.unwrap();
    let (_, [process, other]) = two(&bed::config(&bed::cluster_url(&cluster)));
    for id in 0..20 {
        process.is_found_again(id).await;
    }
    cluster.nodes[1].process.kill();
    for id in 0..20 {
        assert_eq!(process.get(id).await.unwrap(), format!("name {id}"));
    }
    cluster.nodes[1].restart().await.unwrap();
    for id in 0..20 {
        process.is_found_again(id).await;
    }
    other.set(3, "new").await;
    assert_eq!(other.get(3).await.unwrap(), "new");
    let Found::Value(_) = process.cache.get(&["name:3".to_owned()]).await.unwrap().remove(0) else {
        panic!("not there")
    };
    process.is_found_again(3).await;
    assert_eq!(process.get(3).await.unwrap(), "new");
}
