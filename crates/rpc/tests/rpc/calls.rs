//! Calls that work, and those that nobody waits for.

use std::{collections::HashSet, time::Duration};

use fastrand::Rng;
use proptest::prelude::*;
use protocol::{Advice, wire::ErrorCode};
use rpc::{
    Channel, ChannelConfig, Endpoint, HEALTH, Health, METHODS, MethodList, Nothing, Route, Server, ServerConfig,
    TraceContext,
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::bed::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_call_waits_for_no_other() {
    let (server, _) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    ask(&channel, &ONCE, number(0)).await.unwrap();
    let mut times = Vec::new();
    for n in 1..=200 {
        let begun = Instant::now();
        let answer = ask(&channel, &ONCE, number(n)).await.unwrap();
        times.push(begun.elapsed());
        assert_eq!((answer.number, answer.header.as_str()), (n, "header"));
    }
    times.sort();
    // A round over loopback takes 0.1 ms; any timer on its way would show.
    assert!(times[100] < Duration::from_millis(5), "{:?}", times[100]);
}

/// What a caller does with one of many calls, and what is to come of it.
async fn perform(channel: Channel, n: u64, mut random: Rng) {
    let delay_ms = random.u64(0..30);
    match random.u32(0..10) {
        0..6 => {
            let payload = vec![n as u8; random.usize(0..3_000)];
            let answer = ask(&channel, &ONCE, Ask { delay_ms, payload: payload.clone(), ..number(n) }).await.unwrap();
            assert_eq!((answer.number, answer.payload), (n, payload));
        }
        6..8 => {
            let fail = ErrorCode::Forbidden.into();
            let error = ask(&channel, &ONCE, Ask { delay_ms, fail, ..number(n) }).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::Forbidden);
        }
        _ => {
            let call = ask(&channel, &ONCE, Ask { hang: true, ..number(n) });
            assert!(timeout(Duration::from_millis(delay_ms / 3), call).await.is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn answers_find_their_callers_among_thousands_in_flight(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (server, told) = server().await;
            let (channel, _endpoints) = channel(&[server.address().to_string()]);
            let mut random = Rng::with_seed(seed);
            let mut calls = JoinSet::new();
            for n in 0..4_000 {
                calls.spawn(perform(channel.clone(), n, random.fork()));
            }
            while let Some(done) = calls.join_next().await {
                done.expect("the call ends as it should");
            }
            // Callers have gone: nothing is under way any more, and nothing was done twice.
            assert!(server.stop(PATIENCE).await);
            let dropped: HashSet<u64> = told.dropped.lock().unwrap().iter().copied().collect();
            let begun = told.begun.lock().unwrap();
            assert!(begun.values().all(|times| *times == 1));
            assert!(begun.len() > 3_000 && dropped.is_subset(&begun.keys().copied().collect()));
        });
    }
}

#[tokio::test]
async fn a_method_that_panics_leaves_the_outcome_unknown_and_the_connection_as_it_was() {
    let (server, _) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let error = ask(&channel, &ONCE, Ask { panic: true, ..number(1) }).await.unwrap_err();
    assert_eq!((error.code(), error.advice()), (ErrorCode::OutcomeUnknown, Advice::RetrySameId));
    assert_eq!(ask(&channel, &ONCE, number(2)).await.unwrap().number, 2);
}

#[tokio::test]
async fn a_call_that_nobody_answers_ends_at_its_deadline_on_both_sides() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    ask(&channel, &ONCE, number(0)).await.unwrap();
    let deadline = Instant::now() + Duration::from_millis(150);
    let hang = Ask { hang: true, ..number(1) };
    let error = channel.call::<_, _, Answer>(&AGAIN, Route::Any, deadline, &Nothing {}, &hang).await.unwrap_err();
    assert_eq!((error.code(), error.advice()), (ErrorCode::TimedOut, Advice::RetrySameId));
    let late = Instant::now() - deadline;
    assert!(late < Duration::from_millis(500), "{late:?}");
    assert_eq!(told.begun(1), 1, "a deadline is not retried");
    eventually("the server drops it", || told.dropped.lock().unwrap().contains(&1)).await;

    // Without the caller's cancel, too.
    let mut rogue = Rogue::enter(server.address()).await;
    let mut bytes = request(1, &ONCE, &Ask { hang: true, ..number(2) });
    bytes[4 + 9 + 4..][..4].copy_from_slice(&50u32.to_be_bytes());
    rogue.say(&bytes).await;
    eventually("the server drops it by itself", || told.dropped.lock().unwrap().contains(&2)).await;
    assert!(server.stop(Duration::from_millis(1)).await || rogue.hear_all().await.len() < 1_000);
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_certainly_not_done() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let past = Instant::now();
    let error = channel.call::<_, _, Answer>(&AGAIN, Route::Any, past, &Nothing {}, &number(1)).await.unwrap_err();
    assert_eq!(error.advice(), Advice::RetryLater);
    ask(&channel, &ONCE, number(2)).await.unwrap();
    assert_eq!(told.begun(1), 0);
}

#[tokio::test]
async fn work_is_dropped_when_its_caller_goes() {
    let (server, told) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, &ONCE, Ask { hang: true, ..number(1) }).await }
    });
    eventually("the call is begun", || told.begun(1) == 1).await;
    assert!(told.dropped.lock().unwrap().is_empty());
    call.abort();
    eventually("the call is dropped", || *told.dropped.lock().unwrap() == [1]).await;

    // Or its whole process.
    let mut rogue = Rogue::enter(server.address()).await;
    rogue.say(&request(1, &ONCE, &Ask { hang: true, ..number(2) })).await;
    eventually("the call is begun", || told.begun(2) == 1).await;
    drop(rogue);
    eventually("the call is dropped", || *told.dropped.lock().unwrap() == [1, 2]).await;
}

#[tokio::test]
async fn a_trace_reaches_the_called_method() {
    let (server, _) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let trace = TraceContext { trace: 0xabc, span: 0xdef, flags: 1 };
    assert_eq!(trace.scope(ask(&channel, &ONCE, number(1))).await.unwrap().trace, trace.to_string());
    assert_eq!(ask(&channel, &ONCE, number(2)).await.unwrap().trace, "");
}

#[tokio::test]
async fn an_older_instance_says_that_it_does_not_know_a_method() {
    let (server, _) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    assert_eq!(ask(&channel, &UNKNOWN, number(1)).await.unwrap_err().code(), ErrorCode::UnknownRequest);
    assert_eq!(ask(&channel, &ONCE, number(2)).await.unwrap().number, 2);
}

#[tokio::test]
async fn a_server_tells_whether_it_is_well_and_what_it_can_be_asked() {
    let (server, _) = server().await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let health: Health = channel.call(&HEALTH, Route::Any, soon(), &Nothing {}, &Nothing {}).await.unwrap();
    assert!(health.serving);
    let list: MethodList = channel.call(&METHODS, Route::Any, soon(), &Nothing {}, &Nothing {}).await.unwrap();
    let names: HashSet<_> = list.methods.iter().map(|method| (method.name.as_str(), method.idempotent)).collect();
    assert!(names.contains(&(AGAIN.name, true)) && names.contains(&(ONCE.name, false)), "{names:?}");
    assert!(names.contains(&(HEALTH.name, true)));
}

#[tokio::test]
async fn calls_beyond_the_servers_limit_are_certainly_not_done() {
    let config = ServerConfig { calls_max: 10, ..server_config() };
    let (server, told) = server_with(secret(), config).await;
    let (channel, _endpoints) = channel(&[server.address().to_string()]);
    let mut hanging = JoinSet::new();
    for n in 0..10 {
        let channel = channel.clone();
        hanging.spawn(async move { ask(&channel, &ONCE, Ask { hang: true, ..number(n) }).await });
    }
    eventually("all are begun", || told.begun_total() == 10).await;
    let error = ask(&channel, &ONCE, number(11)).await.unwrap_err();
    assert_eq!((error.code(), error.advice()), (ErrorCode::Overloaded, Advice::RetryLater));
    assert_eq!(told.begun(11), 0);
    hanging.shutdown().await;
    eventually("there is room again", || told.dropped.lock().unwrap().len() == 10).await;
    ask(&channel, &ONCE, number(12)).await.unwrap();
}

#[tokio::test]
async fn calls_with_one_key_meet_in_one_instance() {
    let servers = [server().await, server().await, server().await];
    let addresses: Vec<_> = servers.iter().map(|(server, _)| server.address().to_string()).collect();
    let (one, _endpoints) = channel(&addresses);
    // Another caller, which knows the instances in another order.
    let (other, _endpoints) = channel(&addresses.iter().rev().cloned().collect::<Vec<_>>());
    for channel in [&one, &other] {
        let all = || {
            let owners = channel.owners();
            (0..1_000).filter_map(|key| owners.of(Route::Key(key))).collect::<HashSet<_>>().len()
        };
        eventually("all instances are connected", || all() == 3).await;
    }
    let mut owners = HashSet::new();
    for key in 0..50 {
        let by = async |channel: &Channel| {
            let answer = channel.call(&ONCE, Route::Key(key), soon(), &Nothing {}, &number(key)).await;
            let Answer { server, .. } = answer.unwrap();
            server
        };
        let owner = by(&one).await;
        assert_eq!(owner, by(&other).await);
        owners.insert(owner);
    }
    assert_eq!(owners.len(), 3);
}

#[tokio::test]
async fn the_own_zone_is_preferred_while_it_can_be_reached() {
    let (near, told_near) = server().await;
    let (far, told_far) = server().await;
    let config = ChannelConfig { zone: "a".into(), ..channel_config() };
    let (channel, endpoints) = channel_with(&[], secret(), config, &metrics());
    let in_zone = |server: &Server, zone: &str| Endpoint { zone: zone.into(), ..endpoint(server.address()) };
    endpoints.send_replace(vec![in_zone(&near, "a"), in_zone(&far, "b")]);
    let all = || {
        let owners = channel.owners();
        (0..100).filter_map(|key| owners.of(Route::Key(key))).collect::<HashSet<_>>().len()
    };
    eventually("both are connected", || all() == 2).await;
    for n in 0..50 {
        ask(&channel, &ONCE, number(n)).await.unwrap();
    }
    assert_eq!((told_near.begun_total(), told_far.begun_total()), (50, 0));
    near.stop(PATIENCE).await;
    for n in 50..60 {
        ask(&channel, &ONCE, number(n)).await.unwrap();
    }
    assert_eq!(told_far.begun_total(), 10);
}
