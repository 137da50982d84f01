//! Redis is killed, stands still, cuts connections, and loses what it holds.

use std::{sync::mpsc, thread, time::Duration};

use bytes::Bytes;
use protocol::{GatewayId, UserId};
use queue::{
    Delivered, Presence, Publication, Queue, Topic,
    redis::{Config, RedisQueue},
};
use servers::Redis;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    bed::{self, EVENTUALLY, eventually},
    load::{Account, Gateway, Load, ONE, group, publication},
};

const GROUPS: u64 = 50;
const ALICE: UserId = UserId::new(1_000);
/// What a call may take beside its time, on a machine that does other things too.
const SLACK: Duration = Duration::from_secs(1);

fn url(server: &Redis) -> String {
    format!("redis://{}/1", server.address())
}

fn config(server: &Redis) -> Config {
    Config { bounds: queue::Bounds::DEFAULT, ..bed::config(&url(server)) }
}

/// Asks the server something, over a connection of its own.
pub(crate) async fn ask<T: redis::FromRedisValue>(server: &Redis, command: &[&str]) -> T {
    let client = redis::Client::open(format!("redis://{}/", server.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.unwrap()
}

pub(crate) async fn routes_become(queue: &RedisQueue, user: UserId, wanted: &[GatewayId]) {
    let what = format!("the routes of {user} are {wanted:?}");
    eventually(&what, async || queue.routes(&[user]).await.is_ok_and(|routes| routes[0] == wanted)).await;
}

/// Publishes to a topic until the gateway hears it.
async fn is_heard(queue: &RedisQueue, gateway: &dyn queue::Subscription, topic: Topic) {
    let payload = Bytes::from_static(b"heard again");
    let hear = async {
        loop {
            let _ = queue.publish(vec![Publication { topic, payload: payload.clone() }]).await;
            let Ok(delivered) = timeout(Duration::from_millis(100), gateway.receive(100)).await else { continue };
            if delivered
                .iter()
                .any(|delivered| matches!(delivered, Delivered::Publication(it) if it.payload == payload))
            {
                return;
            }
        }
    };
    timeout(EVENTUALLY, hear).await.expect("it is not heard any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_when_connections_are_killed_is_told_exactly() {
    let server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let hearing = Gateway::open(&gateway, GROUPS).await;
    let load = Load::start(service, GROUPS);
    for kind in ["pubsub", "normal", "pubsub", "pubsub", "normal"] {
        load.goes_on(2_000).await;
        let killed: u64 = ask(&server, &["CLIENT", "KILL", "TYPE", kind]).await;
        assert!(killed > 0);
    }
    // On a busy machine nobody may have published before the gateway was back.
    eventually("something is lost", async || {
        let _: u64 = ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        load.goes_on(500).await;
        gateway.metrics().lost.get() > 0
    })
    .await;
    hearing.hears(&load).await;
    let account = hearing.settle(load.stop().await).await;
    assert!(account.lost > 0, "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_redis_was_killed_and_came_back_empty_everything_heals() {
    let mut server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let hearing = Gateway::open(&gateway, GROUPS).await;
    assert_eq!(service.bind(ALICE, ONE, false).await.unwrap(), Some(Presence::There));
    let load = Load::start(service.clone(), GROUPS);
    for _ in 0..2 {
        load.goes_on(2_000).await;
        server.process.kill();
        load.fails().await;
        server.restart().await.unwrap();
        let back = Instant::now();
        load.goes_on(500).await;
        hearing.hears(&load).await;
        routes_become(&service, ALICE, &[ONE]).await;
        assert!(back.elapsed() < Duration::from_secs(20), "healed only after {:?}", back.elapsed());
    }
    assert!(gateway.metrics().routes_rewritten.get() >= 2);
    assert_eq!(service.unbind(ALICE, ONE).await.unwrap(), Some(Presence::Gone));
    let account = hearing.settle(load.stop().await).await;
    assert!(account.lost > 0, "{account:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_stands_still_calls_fail_in_time_and_afterwards_all_is_accounted_for() {
    let server = bed::own_server(&[]).await;
    let config = Config { timeout: Duration::from_millis(600), ..config(&server) };
    let [gateway, service] = bed::two(&config);
    let hearing = Gateway::open(&gateway, GROUPS).await;
    service.bind(ALICE, ONE, false).await.unwrap();
    let load = Load::start(service.clone(), GROUPS);
    load.goes_on(1_000).await;
    server.process.pause();
    let paused = Instant::now();
    while paused.elapsed() < Duration::from_secs(3) {
        let began = Instant::now();
        assert!(service.routes(&[ALICE]).await.is_err());
        assert!(hearing.subscription.subscribe(vec![group(GROUPS)]).await.is_err());
        let took = began.elapsed();
        assert!(took < config.timeout * 2 + SLACK, "two calls took {took:?}");
    }
    server.process.resume();
    load.goes_on(1_000).await;
    hearing.hears(&load).await;
    routes_become(&service, ALICE, &[ONE]).await;
    let slowest = load.slowest();
    assert!(slowest < config.timeout + SLACK, "publishing took {slowest:?}");
    assert!(load.failed() > 0);
    hearing.settle(load.stop().await).await;
}

/// The gateway's process stands still until Redis has had enough of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_drops_for_a_slow_subscriber_is_told_exactly() {
    const PUBLICATIONS: u64 = 40_000;
    let server = bed::own_server(&["--client-output-buffer-limit", "pubsub", "256kb", "128kb", "1"]).await;
    let config = config(&server);
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let gateway = thread::spawn({
        let config = config.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let queue = RedisQueue::start(config).unwrap();
                let subscription = queue.open(ONE).await.unwrap();
                subscription.subscribe(vec![group(0)]).await.unwrap();
                ready.send(()).unwrap();
                // Nothing of this runtime runs meanwhile, so nothing is read.
                let published: u64 = may_go_on.recv().unwrap();
                let mut account = Account::default();
                account.settle(&*subscription, published).await;
                account
            })
        }
    });
    is_ready.await.unwrap();
    let service = RedisQueue::start(config).unwrap();
    for number in 0..PUBLICATIONS / 100 {
        let began = Instant::now();
        let publications = (0..100).map(|index| {
            let Publication { topic, payload } = publication(0, number * 100 + index);
            Publication { topic, payload: [&payload[..], &[7; 500]].concat().into() }
        });
        service.publish(publications.collect()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "publishing waits for a gateway");
    }
    let dropped: String = ask(&server, &["INFO", "stats"]).await;
    assert!(!dropped.contains("client_output_buffer_limit_disconnections:0\r"), "{dropped}");
    go_on.send(PUBLICATIONS).unwrap();
    let account = tokio::task::spawn_blocking(|| gateway.join().unwrap()).await.unwrap();
    assert!(account.lost > 0 && account.heard > 0, "{account:?}");
}

/// The publisher could not reach Redis, and publishes nothing afterwards.
#[tokio::test]
async fn what_could_not_be_published_is_told_without_another_publication() {
    let mut server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&Config { timeout: Duration::from_millis(500), ..config(&server) });
    let subscription = gateway.open(ONE).await.unwrap();
    subscription.subscribe(vec![group(1)]).await.unwrap();
    service.publish(vec![publication(1, 0)]).await.unwrap();
    server.process.kill();
    service.publish((1..8).map(|number| publication(1, number)).collect()).await.unwrap_err();
    // On a slow machine it is tried for longer than the call waits.
    eventually("they are given up", async || service.metrics().publish_failed.get() == 7).await;
    server.restart().await.unwrap();
    let mut account = Account::default();
    account.settle(&*subscription, 8).await;
    assert_eq!((account.heard, account.lost), (1, 7));
}

/// Redis may have come back without numbers or routes, and then nothing that comes will show a gap.
#[tokio::test]
async fn a_gateway_whose_connection_broke_is_told_that_it_may_have_missed_something() {
    let server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let one = gateway.open(ONE).await.unwrap();
    one.subscribe(vec![group(1)]).await.unwrap();
    for kind in ["pubsub", "normal"] {
        // Both its own connections and those for commands are there.
        gateway.routes(&[ALICE]).await.unwrap();
        until_renewed(&server).await;
        let killed: u64 = ask(&server, &["CLIENT", "KILL", "TYPE", kind]).await;
        assert!(killed > 0, "{kind}");
        let told = timeout(EVENTUALLY, one.receive(1)).await.expect("told in time");
        assert_eq!(told, [Delivered::Lost(0)], "{kind}");
        service.publish(vec![publication(1, 0)]).await.unwrap();
        let heard = timeout(EVENTUALLY, one.receive(1)).await.expect("heard in time");
        assert_eq!(heard, [Delivered::Publication(publication(1, 0))], "{kind}");
    }
}

#[tokio::test]
async fn publications_to_two_topics_lose_nothing_when_a_publisher_starts_anew() {
    let url = bed::shared_server().await;
    let config = bed::config(&url);
    let [gateway, _] = bed::two(&config);
    let subscription = gateway.open(ONE).await.unwrap();
    subscription.subscribe(vec![group(0), group(1)]).await.unwrap();
    let mut account = Account::default();
    for start in 0..3 {
        let service = RedisQueue::start(config.clone()).unwrap();
        for number in 0..10 {
            let number = start * 10 + number;
            service.publish(vec![publication(0, number), publication(1, number)]).await.unwrap();
        }
        service.close().await;
        assert!(service.publish(vec![publication(0, 0)]).await.is_err(), "it is closed");
    }
    account.settle(&*subscription, 60).await;
    assert_eq!(account.lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tens_of_thousands_of_topics_are_heard_again_after_their_connection_broke() {
    const TOPICS: u64 = 20_000;
    let server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let subscription = gateway.open(ONE).await.unwrap();
    for chunk in (0..TOPICS).collect::<Vec<_>>().chunks(5_000) {
        subscription.subscribe(chunk.iter().copied().map(group).collect()).await.unwrap();
    }
    let killed: u64 = ask(&server, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!(killed, 1);
    is_heard(&service, &*subscription, group(TOPICS - 1)).await;
    eventually("all are subscribed", async || {
        let [_, channels]: [String; 2] =
            ask::<Vec<String>>(&server, &["PUBSUB", "NUMSUB", "none"]).await.try_into().unwrap();
        assert_eq!(channels, "0");
        let stats: String = ask(&server, &["INFO", "stats"]).await;
        stats.contains(&format!("pubsub_channels:{}\r", TOPICS + 1))
    })
    .await;
    is_heard(&service, &*subscription, group(0)).await;
}

/// The leases of gateways that died run out; what they left of a user's routes is removed when the user's are changed.
#[tokio::test]
async fn what_a_dead_gateway_left_behind_is_removed_and_ends_by_itself() {
    const TWO: GatewayId = GatewayId::new(2);
    let server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let _one = gateway.open(ONE).await.unwrap();
    service.bind(ALICE, ONE, false).await.unwrap();
    let key: Vec<String> = ask_database(&server, &["KEYS", "*route*"]).await;
    let left: u64 = ask_database(&server, &["PTTL", &key[0]]).await;
    assert!(left > 23 * 3_600_000);
    // A gateway that died without a word: its lease is gone.
    let lease: Vec<String> = ask_database(&server, &["KEYS", "*lease*"]).await;
    let _two = service.open(TWO).await.unwrap();
    service.bind(ALICE, TWO, false).await.unwrap();
    assert_eq!(ask_database::<u64>(&server, &["HLEN", &key[0]]).await, 2);
    gateway.close().await;
    assert_eq!(ask_database::<u64>(&server, &["EXISTS", &lease[0]]).await, 0);
    routes_become(&service, ALICE, &[TWO]).await;
    assert_eq!(service.bind(ALICE, TWO, true).await.unwrap(), Some(Presence::Away));
    assert_eq!(ask_database::<u64>(&server, &["HLEN", &key[0]]).await, 1, "removed on occasion");
}

/// As when an attempt was carried out, but its answer came too late.
#[tokio::test]
async fn what_is_published_again_is_heard_once() {
    let server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let subscription = gateway.open(ONE).await.unwrap();
    subscription.subscribe(vec![group(1)]).await.unwrap();
    let client = redis::Client::open(url(&server)).unwrap();
    let mut eavesdropper = client.get_async_pubsub().await.unwrap();
    eavesdropper.psubscribe("*group*").await.unwrap();
    service.publish(vec![publication(1, 0), publication(1, 1)]).await.unwrap();
    let message = futures_util::StreamExt::next(&mut eavesdropper.on_message()).await.unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for _ in 0..2 {
        let again = redis::cmd("PUBLISH").arg(message.get_channel_name()).arg(message.get_payload_bytes()).to_owned();
        again.query_async::<()>(&mut connection).await.unwrap();
    }
    service.publish(vec![publication(1, 2)]).await.unwrap();
    let mut account = Account::default();
    account.settle(&*subscription, 3).await;
    assert_eq!((account.heard, account.lost, gateway.metrics().repeated.get()), (3, 0, 4));
}

/// While the connections stay: the lease runs out, as when a gateway's process stood still.
#[tokio::test]
async fn routes_count_again_after_their_gateways_lease_was_gone_and_the_gateway_is_told() {
    let server = bed::own_server(&[]).await;
    let [gateway, service] = bed::two(&config(&server));
    let one = gateway.open(ONE).await.unwrap();
    service.bind(ALICE, ONE, false).await.unwrap();
    // The first time it may be written because the connections are new; the second time they are not.
    for _ in 0..2 {
        let lease: Vec<String> = ask_database(&server, &["KEYS", "*lease*"]).await;
        ask_database::<()>(&server, &["DEL", &lease[0]]).await;
        routes_become(&service, ALICE, &[]).await;
        routes_become(&service, ALICE, &[ONE]).await;
        // What was published meanwhile was addressed to nobody.
        let told = timeout(EVENTUALLY, one.receive(1)).await.expect("told in time");
        assert_eq!(told, [Delivered::Lost(0)]);
    }
    assert_eq!(service.presences(&[ALICE]).await.unwrap(), [Presence::There]);
}

/// It hears nothing of what comes, and says so when it is used.
#[tokio::test]
async fn a_subscription_whose_place_was_taken_waits_for_ever_and_may_not_subscribe() {
    for url in [bed::shared_server().await, bed::shared_cluster().await] {
        let [gateway, service] = bed::two(&bed::config(&url));
        let former = gateway.open(ONE).await.unwrap();
        let _again = service.open(ONE).await.unwrap();
        let end = Instant::now() + EVENTUALLY;
        while former.subscribe(vec![group(1)]).await.is_ok() {
            assert!(Instant::now() < end, "it may still subscribe");
        }
        service.publish(vec![publication(1, 0)]).await.unwrap();
        assert!(timeout(Duration::from_millis(300), former.receive(10)).await.is_err());
    }
}

/// Whoever binds tells the gateway's process until it hears it; so what Redis loses later is written again.
#[tokio::test]
async fn a_route_that_was_bound_while_the_gateway_was_cut_off_is_written_again_too() {
    let server = bed::own_server(&[]).await;
    ask::<()>(&server, &["ACL", "SETUSER", "gateway", "on", ">secret", "~*", "&*", "+@all"]).await;
    let config = config(&server);
    let service = RedisQueue::start(config.clone()).unwrap();
    let gateway = Config { url: format!("redis://gateway:secret@{}/1", server.address()), ..config };
    let gateway = RedisQueue::start(gateway).unwrap();
    let subscription = gateway.open(ONE).await.unwrap();
    ask::<()>(&server, &["ACL", "SETUSER", "gateway", "off"]).await;
    ask::<u64>(&server, &["CLIENT", "KILL", "USER", "gateway"]).await;
    assert_eq!(service.bind(ALICE, ONE, true).await.unwrap(), Some(Presence::Away));
    ask::<()>(&server, &["ACL", "SETUSER", "gateway", "on"]).await;
    is_heard(&service, &*subscription, Topic::Gateway(ONE)).await;
    let end = Instant::now() + EVENTUALLY;
    // Each time Redis loses all, once the gateway knows of the route.
    while service.presences(&[ALICE]).await.unwrap() != [Presence::Away]
        || gateway.metrics().routes_rewritten.get() == 0
    {
        assert!(Instant::now() < end, "the route is not written again");
        ask::<()>(&server, &["FLUSHALL"]).await;
        sleep(Duration::from_millis(1_500)).await;
    }
}

/// Waits until the gateway's lease is renewed once more: by then it has noticed all connections there are.
async fn until_renewed(server: &Redis) {
    let lease: Vec<String> = ask_database(server, &["KEYS", "*lease*"]).await;
    for _ in 0..2 {
        let mut left = i64::MAX;
        eventually("the lease is renewed", async || {
            let now: i64 = ask_database(server, &["PTTL", &lease[0]]).await;
            now > std::mem::replace(&mut left, now)
        })
        .await;
    }
}

async fn ask_database<T: redis::FromRedisValue>(server: &Redis, command: &[&str]) -> T {
    let client = redis::Client::open(url(server)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.unwrap()
}
