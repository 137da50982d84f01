use std::{sync::Arc, time::Duration};

use protocol::NodeNumber;
use registry::{
    Error, Registry,
    zookeeper::{Config, Credentials},
};
use tokio::{runtime::Runtime, time::Instant};
use zookeeper_client::{Acls, CreateMode, Error as ZkError};

use super::{
    bed::{Alone, SESSION, alone, becomes, config, connect, eventually, instance, raw},
    proxy::Proxy,
};

/// Both clients, and the server for as long as the test runs.
async fn two() -> (registry::contract::Clients, Arc<Alone>) {
    let alone = alone().await;
    let config = config(&alone.server.address().to_string());
    ((Arc::new(connect(&config).await), Arc::new(connect(&config).await)), alone)
}

mod contract {
    macro_rules! promises {
        ($($promise:ident,)*) => {$(
            #[tokio::test]
            async fn $promise() {
                let (clients, _server) = super::two().await;
                registry::contract::$promise(clients).await;
            }
        )*};
    }
    promises! {
        nobody_else_holds_a_node_number,
        an_instance_is_seen_from_registration_until_it_is_dropped,
        watchers_begin_with_the_present_state,
        services_do_not_mix,
        equal_instances_are_two,
        what_is_not_set_in_the_live_configuration_is_none,
    }
}

async fn settings() -> (Config, Arc<Alone>) {
    let alone = alone().await;
    (config(&alone.server.address().to_string()), alone)
}

#[tokio::test]
async fn a_number_given_back_is_not_the_next_to_be_given_out_to_anybody() {
    let (config, _server) = settings().await;
    let (here, there) = (connect(&config).await, connect(&config).await);
    let first = here.lease_node().await.unwrap();
    let number = first.number();
    drop(first);
    let raw = raw(&config).await;
    let path = format!("{}/nodes/{}", config.prefix, number.get());
    eventually("given back", async || raw.check_stat(&path).await.unwrap().is_none()).await;
    assert_ne!(there.lease_node().await.unwrap().number(), number);
    assert_ne!(here.lease_node().await.unwrap().number(), number);
}

#[tokio::test]
async fn when_all_numbers_are_held_there_is_none_until_one_is_given_back() {
    let (config, _server) = settings().await;
    let (registry, raw) = (connect(&config).await, raw(&config).await);
    drop(registry.lease_node().await.unwrap());
    let nodes = format!("{}/nodes", config.prefix);
    eventually("given back", async || raw.list_children(&nodes).await.unwrap().is_empty()).await;
    let mut all = raw.new_multi_writer();
    for number in 0..NodeNumber::COUNT {
        all.add_create(&format!("{nodes}/{number}"), &[], &CreateMode::Persistent.with_acls(Acls::anyone_all()))
            .unwrap();
    }
    all.commit().await.unwrap();
    assert!(matches!(registry.lease_node().await, Err(Error::NoNodeNumber)));
    raw.delete(&format!("{nodes}/17"), None).await.unwrap();
    assert_eq!(registry.lease_node().await.unwrap().number().get(), 17);
}

/// The promise that ids are unique stands on this: at no time do two hold a number, though one of them cannot hear that its
/// session has ended.
#[tokio::test]
async fn a_holder_that_is_cut_off_knows_that_its_number_is_lost_before_anybody_else_can_have_it() {
    let (config, server) = settings().await;
    let proxy = Proxy::to(server.server.address()).await;
    let cut_off = connect(&Config { servers: proxy.address.to_string(), ..config.clone() }).await;
    let lease = cut_off.lease_node().await.unwrap();
    let raw = raw(&config).await;
    let path = format!("{}/nodes/{}", config.prefix, lease.number().get());
    // Renewed, it is held for longer than a session.
    let renewed_until = Instant::now() + SESSION + SESSION / 2;
    while Instant::now() < renewed_until {
        assert!(lease.is_held(), "it was renewed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proxy.cut();
    let mut was_held = lease.is_held();
    assert!(was_held);
    eventually("the session has ended", async || {
        // The order matters: what was held before the look must not be free at the look.
        let held = lease.is_held();
        assert!(was_held || !held, "what is lost stays lost");
        was_held = held;
        let is_free = raw.check_stat(&path).await.unwrap().is_none();
        assert!(!(held && is_free), "it was held, and free for others");
        is_free
    })
    .await;
    lease.lost().await;
    proxy.mend();
    let anew = cut_off.lease_node().await.unwrap();
    assert!(anew.is_held() && !lease.is_held());
    assert_ne!(anew.number(), lease.number());
    // The lost one's end does not take away what is somebody's.
    drop(lease);
    drop(anew);
    eventually("given back", async || raw.list_children(&format!("{}/nodes", config.prefix)).await.unwrap().is_empty())
        .await;
}

#[tokio::test]
async fn a_number_that_was_taken_away_is_lost_and_not_deleted_from_who_has_it_now() {
    let (config, _server) = settings().await;
    let (registry, raw) = (connect(&config).await, raw(&config).await);
    let lease = registry.lease_node().await.unwrap();
    let path = format!("{}/nodes/{}", config.prefix, lease.number().get());
    let mut replace = raw.new_multi_writer();
    replace.add_delete(&path, None).unwrap();
    replace.add_create(&path, &[], &CreateMode::Ephemeral.with_acls(Acls::anyone_all())).unwrap();
    replace.commit().await.unwrap();
    lease.lost().await;
    drop(lease);
    registry.close().await;
    assert!(raw.check_stat(&path).await.unwrap().is_some());
}

#[tokio::test]
async fn a_service_that_is_killed_and_started_again_is_seen_at_once_and_its_old_self_vanishes() {
    let (config, _server) = settings().await;
    let watching = connect(&config).await;
    let mut watched = watching.watch("message").await.unwrap();
    // A process that is killed closes its connections, and says nothing.
    let killed = Runtime::new().unwrap();
    let its_config = config.clone();
    let old = instance("message", 7000);
    let its_instance = old.clone();
    let registered = killed.spawn(async move {
        let registry = connect(&its_config).await;
        Box::leak(Box::new(registry.register(its_instance).await.unwrap()));
    });
    registered.await.unwrap();
    becomes(&mut watched, &vec![old.clone()]).await;
    killed.shutdown_background();
    let restarted = connect(&config).await;
    let new = instance("message", 7001);
    let _registration = restarted.register(new.clone()).await.unwrap();
    let began = Instant::now();
    becomes(&mut watched, &vec![old, new.clone()]).await;
    assert!(began.elapsed() < SESSION / 2, "the new one is seen only after {:?}", began.elapsed());
    becomes(&mut watched, &vec![new]).await;
}

#[tokio::test]
async fn closing_withdraws_everything_at_once() {
    let (config, _server) = settings().await;
    let (leaving, watching) = (connect(&config).await, connect(&config).await);
    let mut watched = watching.watch("user").await.unwrap();
    let one = instance("user", 7000);
    let _registration = leaving.register(one.clone()).await.unwrap();
    let lease = leaving.lease_node().await.unwrap();
    becomes(&mut watched, &vec![one]).await;
    let began = Instant::now();
    leaving.close().await;
    assert!(began.elapsed() < SESSION / 4, "took {:?}", began.elapsed());
    becomes(&mut watched, &vec![]).await;
    assert!(!lease.is_held(), "it is not renewed");
    let nodes = raw(&config).await.list_children(&format!("{}/nodes", config.prefix)).await.unwrap();
    assert!(nodes.is_empty());
    assert!(matches!(leaving.register(instance("user", 1)).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn live_configuration_reaches_everybody_who_watches_it_and_wakes_them_only_when_it_changes() {
    let (config, _server) = settings().await;
    let (here, there) = (connect(&config).await, connect(&config).await);
    let mut level = there.config("log.level").await.unwrap();
    assert_eq!(*level.borrow_and_update(), None);
    here.set_config("log.level", Some("info")).await.unwrap();
    becomes(&mut level, &Some("info".into())).await;
    level.mark_unchanged();
    here.set_config("log.level", Some("info")).await.unwrap();
    here.set_config("other", Some("1")).await.unwrap();
    becomes(&mut there.config("other").await.unwrap(), &Some("1".into())).await;
    assert!(!level.has_changed().unwrap());
    // What is not text is not taken.
    raw(&config).await.set_data(&format!("{}/config/log.level", config.prefix), &[0xff], None).await.unwrap();
    here.set_config("other", None).await.unwrap();
    becomes(&mut there.config("other").await.unwrap(), &None).await;
    assert_eq!(level.borrow_and_update().as_deref(), Some("info"));
    here.set_config("log.level", None).await.unwrap();
    here.set_config("log.level", None).await.unwrap();
    becomes(&mut level, &None).await;
}

#[tokio::test]
async fn what_newer_versions_tell_of_an_instance_is_tolerated_and_nonsense_hides_nobody_else() {
    let (config, _server) = settings().await;
    let (registry, raw) = (connect(&config).await, raw(&config).await);
    let mut watched = registry.watch("group").await.unwrap();
    let one = instance("group", 7000);
    let _registration = registry.register(one.clone()).await.unwrap();
    let path = |name: &str| format!("{}/services/group/{name}", config.prefix);
    let put = async |name: &str, data: &str| {
        raw.create(&path(name), data.as_bytes(), &CreateMode::Ephemeral.with_acls(Acls::anyone_all())).await.unwrap();
    };
    put("broken", "{").await;
    put("newer", r#"{"address": "10.0.0.1:7001", "weight": 7, "rack": {"row": 1}}"#).await;
    let newer =
        registry::Instance { zone: String::new(), version: String::new(), weight: 7, ..instance("group", 7001) };
    becomes(&mut watched, &vec![one.clone(), newer]).await;
    raw.set_data(&path("newer"), br#"{"address": "10.0.0.1:7002", "version": "1.2.3", "zone": "north"}"#, None)
        .await
        .unwrap();
    becomes(&mut watched, &vec![one, instance("group", 7002)]).await;
}

#[tokio::test]
async fn an_instance_that_somebody_deletes_is_announced_again() {
    let (config, _server) = settings().await;
    let (registry, raw) = (connect(&config).await, raw(&config).await);
    let _registration = registry.register(instance("user", 7000)).await.unwrap();
    let service = format!("{}/services/user", config.prefix);
    let before = raw.list_children(&service).await.unwrap();
    let path = format!("{service}/{}", before[0]);
    let made = raw.check_stat(&path).await.unwrap().unwrap().czxid;
    raw.delete(&path, None).await.unwrap();
    eventually("made again", async || raw.check_stat(&path).await.unwrap().is_some_and(|stat| stat.czxid > made)).await;
}

#[tokio::test]
async fn prefixes_do_not_mix() {
    let (one, _server) = settings().await;
    let other = config(&one.servers);
    let (here, there) = (connect(&one).await, connect(&other).await);
    let _registration = here.register(instance("user", 7000)).await.unwrap();
    here.set_config("key", Some("value")).await.unwrap();
    assert!(there.watch("user").await.unwrap().borrow().is_empty());
    assert_eq!(*there.config("key").await.unwrap().borrow(), None);
}

#[tokio::test]
async fn what_is_written_with_credentials_is_closed_to_who_has_none() {
    let (config, _server) = settings().await;
    let credentials = Some(Credentials { user: "mpim".into(), password: "secret".into() });
    let trusted = Config { credentials, ..config.clone() };
    let (one, other) = (connect(&trusted).await, connect(&trusted).await);
    let _registration = one.register(instance("user", 7000)).await.unwrap();
    becomes(&mut other.watch("user").await.unwrap(), &vec![instance("user", 7000)]).await;
    drop(other.lease_node().await.unwrap());
    let credentials = Some(Credentials { user: "mpim".into(), password: "wrong".into() });
    let mistaken = Config { credentials, ..config.clone() };
    for (stranger, who) in
        [(&config, "names no user and password"), (&mistaken, "the user \"mpim\" with this password")]
    {
        // Not waited for: it would not become right.
        let stranger = connect(&Config { connect_timeout: Duration::from_secs(3_600), ..stranger.clone() }).await;
        let errors = [
            stranger.watch("user").await.unwrap_err(),
            stranger.lease_node().await.unwrap_err(),
            stranger.register(instance("user", 7001)).await.unwrap_err(),
            stranger.set_config("key", Some("value")).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::NotAuthorized { .. }), "{error}");
            assert!(error.to_string().contains(who) && !error.to_string().contains("wrong"), "{error}");
        }
        stranger.close().await;
    }
    let raw = raw(&config).await;
    let listed = raw.list_children(&format!("{}/services/user", config.prefix)).await;
    assert_eq!(listed, Err(ZkError::NoAuth));
}

#[tokio::test]
async fn a_start_without_zookeeper_ends_in_time_and_says_what_cannot_be_reached() {
    let nobody = format!("127.0.0.1:{}", servers::free_port());
    let mute = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let silent = mute.local_addr().unwrap();
    let bound = Duration::from_millis(700);
    let config = Config { connect_timeout: bound, ..config(&format!("{nobody},{silent}")) };
    let began = Instant::now();
    let error = registry::ZooKeeperRegistry::connect(config).await.unwrap_err().to_string();
    assert!(began.elapsed() >= bound && began.elapsed() < bound + Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(error.contains(&format!("{nobody}: Connection refused")), "{error}");
    assert!(error.contains(&format!("{silent}: accepts connections, but gives no session")), "{error}");
}

#[tokio::test]
async fn a_start_waits_for_zookeeper() {
    let dir = tempfile::tempdir().unwrap();
    let port = servers::free_port();
    let config = config(&format!("127.0.0.1:{port}"));
    let connecting = tokio::spawn(async move { connect(&config).await });
    let starting = servers::ZooKeeper::start("zookeeper", dir.path(), port, servers::Lifetime::Bound);
    let _server = starting.await.unwrap();
    let registry = connecting.await.unwrap();
    assert!(registry.reach().borrow().connected);
}
