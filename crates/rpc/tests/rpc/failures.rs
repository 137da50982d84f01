//! Instances that fail, and connections that break.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prometheus_client::{encoding::text::encode, registry::Registry};
use protocol::{Advice, wire::ErrorCode};
use rpc::{ChannelConfig, Metrics, RETRIES_PER_SECOND_MIN, Route, ServerConfig};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::bed::*;

/// A figure of the metrics, all labels together.
fn figure(registry: &Registry, name: &str) -> u64 {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
    values.map(|value| value.parse::<f64>().unwrap() as u64).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_told_honestly() {
    let (server, told) = server().await;
    let proxy = Proxy::to(server.address().to_string()).await;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let (channel, _endpoints) =
        channel_with(std::slice::from_ref(&proxy.address), secret(), channel_config(), &metrics);
    ask(&channel, &ONCE, number(0)).await.unwrap();
    // Some requests stay in sockets on the way, some are not even sent: the proxy takes nothing any more.
    let mut calls = JoinSet::new();
    let call = |n| {
        let channel = channel.clone();
        async move {
            let payload = vec![1; 512 * 1024];
            (n, ask(&channel, &ONCE, Ask { delay_ms: 300, payload, ..number(n) }).await)
        }
    };
    calls.spawn(call(1));
    eventually("the first is begun", || told.begun(1) == 1).await;
    proxy.freeze(true);
    for n in 2..100 {
        calls.spawn(call(n));
    }
    // They are more than sockets take.
    eventually("all are made", || figure(&registry, "mpim_rpc_calls_total") == 100).await;
    proxy.end();
    let (mut unknown, mut not_done) = (0, 0);
    while let Some(call) = calls.join_next().await {
        let (n, answer) = call.unwrap();
        match answer.unwrap_err().advice() {
            Advice::RetrySameId => unknown += 1,
            Advice::RetryLater => {
                not_done += 1;
                assert_eq!(told.begun(n), 0, "call {n} was done");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(unknown > 0 && not_done > 0, "{unknown} unknown, {not_done} not done");
    assert!((0..100).all(|n| told.begun(n) <= 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_goes_elsewhere_and_what_may_be_repeated_is() {
    let (server, told) = server().await;
    let (other, told_other) = self::server().await;
    let proxy = Proxy::to(server.address().to_string()).await;
    let (channel, endpoints) = channel(std::slice::from_ref(&proxy.address));
    ask(&channel, &AGAIN, number(0)).await.unwrap();
    let mut calls = JoinSet::new();
    for n in 1..=5 {
        let channel = channel.clone();
        calls.spawn(async move { ask(&channel, &AGAIN, Ask { delay_ms: 500, ..number(n) }).await });
    }
    eventually("all are begun", || told.begun_total() == 6).await;
    endpoints.send_replace(vec![endpoint(&proxy.address), endpoint(other.address())]);
    proxy.end();
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert_eq!(told_other.begun_total(), 5);
}

#[tokio::test]
async fn an_outcome_that_is_unknown_stays_so_though_a_second_attempt_was_certainly_not_done() {
    let (server, told) = server().await;
    let (full, told_full) = server_with(secret(), ServerConfig { calls_max: 0, ..server_config() }).await;
    let proxy = Proxy::to(server.address().to_string()).await;
    let (channel, endpoints) = channel(std::slice::from_ref(&proxy.address));
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, &AGAIN, Ask { hang: true, ..number(1) }).await }
    });
    eventually("the call is begun", || told.begun(1) == 1).await;
    endpoints.send_replace(vec![endpoint(&proxy.address), endpoint(full.address())]);
    let all = || {
        let owners = channel.owners();
        (0..100).filter_map(|key| owners.of(Route::Key(key))).collect::<HashSet<_>>().len()
    };
    eventually("both are connected", || all() == 2).await;
    proxy.end();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.advice(), Advice::RetrySameId, "{error}");
    assert_eq!(told_full.begun_total(), 0);
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_by_both_sides() {
    const HEARTBEAT: Duration = Duration::from_millis(200);
    let (server, told) = server_with(secret(), ServerConfig { heartbeat: HEARTBEAT, ..server_config() }).await;
    let proxy = Proxy::to(server.address().to_string()).await;
    let config = ChannelConfig { heartbeat: HEARTBEAT, ..channel_config() };
    let (channel, _endpoints) = channel_with(std::slice::from_ref(&proxy.address), secret(), config, &metrics());
    let begun = Instant::now();
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, &ONCE, Ask { hang: true, ..number(1) }).await }
    });
    eventually("the call is begun", || told.begun(1) == 1).await;
    // A quiet connection that is alive is kept.
    sleep(HEARTBEAT * 6).await;
    assert!(!call.is_finished());
    proxy.freeze(true);
    assert_eq!(call.await.unwrap().unwrap_err().code(), ErrorCode::OutcomeUnknown);
    assert!(begun.elapsed() < PATIENCE / 2);
    eventually("the server drops the call", || *told.dropped.lock().unwrap() == [1]).await;
    proxy.freeze(false);
    ask(&channel, &ONCE, number(2)).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_keeps_failing_is_set_aside_and_comes_back() {
    let (good, told_good) = server().await;
    let (bad, told_bad) = server().await;
    let config = ChannelConfig { eject_for: Duration::from_secs(3), ..channel_config() };
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let addresses = [good.address().to_string(), bad.address().to_string()];
    let (channel, _endpoints) = channel_with(&addresses, secret(), config, &metrics);
    told_bad.broken.store(true, Ordering::Relaxed);
    let mut n = 0;
    let mut failed = 0;
    while figure(&registry, "mpim_rpc_ejections_total") == 0 {
        n += 1;
        assert!(n < 10_000, "it is not set aside");
        failed += u32::from(ask(&channel, &ONCE, number(n)).await.is_err());
    }
    assert!(failed >= 5, "{failed}");
    let before = told_bad.begun_total();
    for n in 20_000..20_020 {
        ask(&channel, &ONCE, number(n)).await.expect("only the good one is asked");
    }
    assert_eq!(told_bad.begun_total(), before);
    told_bad.broken.store(false, Ordering::Relaxed);
    let since = Instant::now();
    for n in 30_000.. {
        if told_bad.begun_total() > before {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "it does not come back");
        ask(&channel, &ONCE, number(n)).await.unwrap();
    }
    assert!(told_good.begun_total() > 0);
}

#[tokio::test]
async fn never_are_all_instances_set_aside() {
    let servers = [server().await, server().await];
    let config = ChannelConfig { eject_for: Duration::from_secs(60), ..channel_config() };
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let addresses: Vec<_> = servers.iter().map(|(server, _)| server.address().to_string()).collect();
    let (channel, endpoints) = channel_with(&addresses, secret(), config, &metrics);
    servers.iter().for_each(|(_, told)| told.broken.store(true, Ordering::Relaxed));
    for n in 0..200 {
        assert!(ask(&channel, &ONCE, number(n)).await.is_err());
    }
    assert_eq!(figure(&registry, "mpim_rpc_ejections_total"), 1);
    // If the one that was kept goes, the other is better than none.
    let (kept, _) = servers.iter().max_by_key(|(_, told)| told.begun_total()).unwrap();
    let left = addresses.iter().find(|address| **address != kept.address().to_string()).unwrap();
    servers.iter().for_each(|(_, told)| told.broken.store(false, Ordering::Relaxed));
    endpoints.send_replace(vec![endpoint(left)]);
    eventually("the other one is gone", || channel.owners().of(Route::Key(1)).is_some()).await;
    ask(&channel, &ONCE, number(1_000)).await.unwrap();
}

#[tokio::test]
async fn retries_stay_within_their_budget_and_are_of_idempotent_methods_only() {
    let servers = [server().await, server().await];
    let addresses: Vec<_> = servers.iter().map(|(server, _)| server.address().to_string()).collect();
    let (channel, _endpoints) = channel(&addresses);
    let begun = || servers.iter().map(|(_, told)| told.begun_total()).sum::<u32>();
    servers.iter().for_each(|(_, told)| told.broken.store(true, Ordering::Relaxed));
    const CALLS: u32 = 1_000;
    for n in 0..CALLS {
        assert!(ask(&channel, &ONCE, number(n.into())).await.is_err());
    }
    assert_eq!(begun(), CALLS, "what may not be repeated is not");
    let since = Instant::now();
    for n in 0..CALLS {
        assert!(ask(&channel, &AGAIN, number(n.into())).await.is_err());
    }
    let retries = begun() - 2 * CALLS;
    // A tenth of the calls of the last ten seconds, and so many a second in any case.
    let seconds = 10 + since.elapsed().as_secs() as u32;
    let allowed = 2 * CALLS / 10 + RETRIES_PER_SECOND_MIN * seconds;
    assert!(retries > 0 && retries <= allowed, "{retries} retries, {allowed} are allowed");
}

#[tokio::test]
async fn without_an_instance_a_call_is_certainly_not_done() {
    let config = ChannelConfig { reach_timeout: Duration::from_millis(100), ..channel_config() };
    // Nobody listens there.
    let (server, _) = server().await;
    let address = server.address().to_string();
    server.stop(Duration::ZERO).await;
    let (channel, _endpoints) = channel_with(&[address], secret(), config, &metrics());
    let error = ask(&channel, &AGAIN, number(1)).await.unwrap_err();
    assert_eq!((error.code(), error.advice()), (ErrorCode::Unavailable, Advice::RetryLater));
    assert!(error.message().contains("no instance of the test service"), "{error}");
    channel.close().await;
}

#[tokio::test]
async fn a_channel_that_is_dropped_ends_its_connections() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    ask(&channel, &ONCE, number(1)).await.unwrap();
    drop(channel);
    assert!(server.stop(PATIENCE).await);
    assert_eq!(Arc::strong_count(&told), 1, "the server has let go of its service");
}
