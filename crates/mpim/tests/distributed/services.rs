//! Services that die, stand still, or disagree, and strangers at their doors.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use api::{MessageService as _, SendRequest, send_result};
use client::{
    EntryId, Profile as _,
    wire::{self, ErrorCode, client_frame::Body as Request},
};
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    device::{Device, PATIENCE},
    http::{self, ask},
    people::{connected, direct, until_texts},
    system::{RPC_SECRET, Setup, System, call, channel},
};

/// Two instances of the message service are told by two callers that they own the same logs, and both append as fast as they can:
/// positions have no gaps, and each is given once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_message_services_that_both_believe_to_own_a_log_give_each_position_once() {
    const LANES: usize = 8;
    const REQUESTS: usize = 15;
    const SENDS: usize = 3;
    let system = System::shared().await;
    let server = system.server("gateway-1");
    let (ann, bob) = (Device::register(&server, "bothann").await, Device::register(&server, "bothbob").await);
    let (here, there) = (connected(&ann, &server).await, connected(&bob, &server).await);
    let alone = direct(&here, &bob).await;
    let owners = [system.messages("message-1"), system.messages("message-2")];
    let append = async |lane: usize| {
        let tokens = ann.profile.tokens().unwrap().unwrap();
        let mut positions = Vec::new();
        for request in 0..REQUESTS {
            let send = |number: usize| wire::Send {
                id: EntryId::generate().to_string(),
                target: Some(wire::send::Target::Conversation(alone.get())),
                content: Some(client::text(format!("{lane} {request} {number}"))),
                ..wire::Send::default()
            };
            let sends: Vec<_> = (0..SENDS).map(send).collect();
            let call = call(tokens.user, tokens.session);
            let answer = owners[lane % 2].send(&call, SendRequest { sends: sends.clone() }).await.unwrap();
            // Asked again at the other one, it is the same message at the same place.
            let again = owners[(lane + 1) % 2].send(&call, SendRequest { sends }).await.unwrap();
            assert_eq!(answer.results, again.results);
            for result in answer.results {
                let Some(send_result::Result::Sent(sent)) = result.result else { panic!("{result:?}") };
                positions.push(sent.position);
            }
        }
        assert!(positions.is_sorted(), "what one caller sends keeps its order");
        positions
    };
    let positions: Vec<u64> = join_all((0..LANES).map(append)).await.into_iter().flatten().collect();
    let unique: HashSet<u64> = positions.iter().copied().collect();
    let count = LANES * REQUESTS * SENDS;
    assert_eq!((positions.len(), unique.len()), (count, count));
    assert_eq!((unique.iter().min(), unique.iter().max()), (Some(&1), Some(&(count as u64))));
    for device in [&ann, &bob] {
        until_texts(device, alone, count).await;
    }
    assert_eq!(ann.logs()[&alone], bob.logs()[&alone]);
    here.go_offline().await;
    there.go_offline().await;
}

/// A service is killed and is there again before the registry has noticed: the old registration and the new one name the same place,
/// or a place where nobody is; callers go on as if nothing had been. The first MPIM called the dead one until its lease ran out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_killed_and_restarted_before_its_old_registration_expires() {
    /// Well before the registration of the killed one ends.
    const SOON: Duration = Duration::from_secs(5);
    let mut system = System::start(Setup::full().with("MPIM_ZOOKEEPER_SESSION_TIMEOUT", 10_000)).await;
    let (one, two) = (system.server("gateway-1"), system.server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "expireann").await, Device::register(&two, "expirebob").await);
    let (here, there) = (connected(&ann, &one).await, connected(&bob, &two).await);
    let alone = direct(&here, &bob).await;
    let mut sent = 0;
    for service in ["message", "user", "group", "presence"] {
        for number in [1, 2] {
            let name = format!("{service}-{number}");
            system.kill(&name);
            let begun = Instant::now();
            system.kill_and_restart(&name).await;
            for _ in 0..4 {
                for online in [&here, &there] {
                    online.send(alone, &format!("{sent}")).await;
                    sent += 1;
                    online.client.find_users(&["expireann".into()]).await.unwrap();
                }
            }
            for device in [&ann, &bob] {
                until_texts(device, alone, sent).await;
            }
            let title = format!("after {name}");
            there
                .client
                .create_group(&title, &[ann.user()], wire::JoinPolicy::Open, EntryId::generate())
                .await
                .unwrap();
            client::log_in(&one, "expirebob", "password", "again").await.unwrap();
            assert!(begun.elapsed() < SOON, "{name}: {:?}", begun.elapsed());
        }
    }
    here.go_offline().await;
    there.go_offline().await;
}

/// One of two instances is killed and does not come back: all that they do goes on by the other one, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_killed_and_stays_away_is_missed_by_nobody() {
    let mut system = System::start(Setup::full()).await;
    let (one, two) = (system.server("gateway-1"), system.server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "missann").await, Device::register(&two, "missbob").await);
    let (here, there) = (connected(&ann, &one).await, connected(&bob, &two).await);
    let alone = direct(&here, &bob).await;
    let mut sent = 0;
    for name in ["user-1", "message-2", "presence-1", "group-2"] {
        system.kill(name);
        for _ in 0..10 {
            let begun = Instant::now();
            here.send(alone, &format!("{sent}")).await;
            sent += 1;
            there.client.find_users(&["missann".into()]).await.unwrap();
            let group =
                there.client.create_group(name, &[ann.user()], wire::JoinPolicy::Open, EntryId::generate()).await;
            group.unwrap();
            assert!(begun.elapsed() < Duration::from_secs(5), "without {name}: {:?}", begun.elapsed());
        }
        until_texts(&bob, alone, sent).await;
    }
    here.go_offline().await;
    there.go_offline().await;
}

/// The message service stands still, with all connections open: who asks it is told in time, honestly, that the outcome is unknown;
/// nobody else waits; and the same message sent again is stored once. The first MPIM waited for ever, and everybody with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_rpc_that_nobody_answers() {
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
    let mut system = System::start(Setup::full().with("MPIM_GATEWAY_REQUEST_TIMEOUT", REQUEST_TIMEOUT.as_secs())).await;
    let server = system.server("gateway-1");
    let (ann, bob) = (Device::register(&server, "stillann").await, Device::register(&server, "stillbob").await);
    let here = connected(&ann, &server).await;
    let alone = direct(&here, &bob).await;
    let (gateway, token) = (system.reached_at("gateway-1"), ann.profile.tokens().unwrap().unwrap().access_token);
    for name in ["message-1", "message-2"] {
        system.instance(name).process.pause();
    }
    let send = wire::Send {
        id: EntryId::generate().to_string(),
        target: Some(wire::send::Target::Conversation(alone.get())),
        content: Some(client::text("once")),
        ..wire::Send::default()
    };
    let begun = Instant::now();
    let asked = async {
        let answer = ask(gateway, Some(&token), Request::Send(send.clone())).await;
        (answer, begun.elapsed())
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            here.client.find_users(&["stillbob".into()]).await.unwrap();
            slowest = slowest.max(begun.elapsed());
        }
        slowest
    };
    let ((answer, took), slowest) = tokio::join!(asked, others);
    let code = answer.expect_err("nobody has answered");
    assert!(matches!(code, ErrorCode::TimedOut | ErrorCode::OutcomeUnknown), "{code:?}");
    assert!(took < 2 * REQUEST_TIMEOUT, "{took:?}");
    assert!(slowest < REQUEST_TIMEOUT / 2, "somebody else waited {slowest:?}");
    for name in ["message-1", "message-2"] {
        system.instance(name).process.resume();
    }
    let stored = ask(gateway, Some(&token), Request::Send(send)).await.unwrap();
    let position: u64 = stored["sent"]["position"].as_str().or(stored["position"].as_str()).unwrap().parse().unwrap();
    assert_eq!(position, 1);
    here.send(alone, "twice").await;
    until_texts(&ann, alone, 2).await;
    here.go_offline().await;
}

/// Who reaches an RPC port and is not one of us gets not a byte and nothing done, whatever it sends; those who are go on. The first
/// MPIM did what anybody asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_reaches_an_rpc_port_without_being_one_of_us() {
    let system = System::shared().await;
    let address = system.reached_at("user-1");
    let preface_and_rubbish = [&b"MPIMRPC1"[..], &[7; 64]].concat();
    let rubbish: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0; 4096], &preface_and_rubbish, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    for bytes in rubbish {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be closed before all of it is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE / 9, stream.read_to_end(&mut answer)).await.expect("closed in time");
        assert!(answer.is_empty() && read.unwrap_or(0) == 0, "{answer:?}");
    }
    let health = async |secret: &str| {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
        let channel = channel("user", address, secret);
        channel
            .call::<_, _, rpc::Health>(&rpc::HEALTH, rpc::Route::Any, deadline, &rpc::Nothing {}, &rpc::Nothing {})
            .await
    };
    let refused = health("not the secret, but as long as it is").await.unwrap_err();
    assert_eq!(refused.advice(), protocol::Advice::RetryLater, "certainly not done: {refused}");
    assert!(health(RPC_SECRET).await.unwrap().serving, "those who are");
    // And a client of the gateway has no way there.
    let (status, _) = http::post(system.reached_at("gateway-1"), "/api/v1/authenticate", None, "{}").await;
    assert!(matches!(status, 401 | 404), "{status}");
    client::register(&system.server("gateway-2"), "strangernot", "password", "test").await.unwrap();
}
