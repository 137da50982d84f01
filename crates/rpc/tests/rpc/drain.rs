//! Instances that come and go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rpc::Server;
use tokio::{net::TcpListener, task::JoinSet};

use crate::bed::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_loses_no_call_though_none_may_be_repeated() {
    let (first, told_first) = server().await;
    let (second, told_second) = server().await;
    let address = first.address();
    let (channel, _endpoints) = channel(&[address.to_string(), second.address().to_string()]);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let (channel, stop, next) = (channel.clone(), stop.clone(), next.clone());
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                ask(&channel, &ONCE, Ask { delay_ms: n % 4, ..number(n) }).await.unwrap();
            }
        });
    }
    eventually("both answer", || told_first.begun_total() > 200 && told_second.begun_total() > 200).await;
    assert!(first.stop(PATIENCE).await, "callers leave a server that drains");
    let begun_first = told_first.begun_total();
    // It comes back at the same address.
    let again = Arc::new(Told::default());
    let listener = TcpListener::bind(address).await.unwrap();
    let first = Server::start(listener, vec![again.clone()], secret(), server_config(), &metrics()).unwrap();
    eventually("callers come back", || again.begun_total() > 200).await;
    assert!(second.stop(PATIENCE).await);
    stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.expect("no call failed");
    }
    assert_eq!(told_first.begun_total(), begun_first, "a server that has stopped begins nothing");
    for n in 0..next.load(Ordering::Relaxed) {
        assert_eq!(told_first.begun(n) + told_second.begun(n) + again.begun(n), 1, "call {n}");
    }
    drop(first);
}

#[tokio::test]
async fn calls_under_way_on_a_leaving_instance_finish() {
    let (server, told) = server().await;
    let (channel, endpoints) = channel(&[server.address().to_string()]);
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, &ONCE, Ask { delay_ms: 300, ..number(1) }).await }
    });
    eventually("the call is begun", || told.begun(1) == 1).await;
    endpoints.send_replace(Vec::new());
    assert_eq!(call.await.unwrap().unwrap().number, 1);
    let error = ask(&channel, &ONCE, number(2)).await.unwrap_err();
    assert_eq!(error.advice(), protocol::Advice::RetryLater);
    assert_eq!(told.begun(2), 0);
    // The callers' connections have ended by themselves.
    assert!(server.stop(PATIENCE).await);
}

#[tokio::test]
async fn what_is_under_way_finishes_when_a_server_stops_and_what_takes_too_long_is_dropped() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let mut calls = JoinSet::new();
    for (n, hang) in [(1, false), (2, true)] {
        let channel = channel.clone();
        calls.spawn(async move { (n, ask(&channel, &ONCE, Ask { delay_ms: 100, hang, ..number(n) }).await) });
    }
    eventually("both are begun", || told.begun_total() == 2).await;
    assert!(!server.stop(Duration::from_millis(400)).await);
    while let Some(call) = calls.join_next().await {
        match call.unwrap() {
            (1, answer) => assert_eq!(answer.unwrap().number, 1),
            (_, answer) => assert_eq!(answer.unwrap_err().advice(), protocol::Advice::RetrySameId),
        }
    }
    assert_eq!(*told.dropped.lock().unwrap(), [2]);
}

#[tokio::test]
async fn the_last_known_instances_stay_in_use_when_nobody_tells_of_them() {
    let (server, _) = server().await;
    let (channel, endpoints) = channel(&[server.address().to_string()]);
    ask(&channel, &ONCE, number(1)).await.unwrap();
    drop(endpoints);
    for n in 2..10 {
        ask(&channel, &ONCE, number(n)).await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_that_comes_later_is_waited_for() {
    let (channel, endpoints) = channel(&[]);
    let call = tokio::spawn(async move { ask(&channel, &ONCE, number(1)).await });
    let (server, _) = server().await;
    endpoints.send_replace(vec![endpoint(server.address())]);
    assert_eq!(call.await.unwrap().unwrap().number, 1);
}
