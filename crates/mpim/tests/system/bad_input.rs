//! What no client should send, on every transport: each has a named answer or a timed end, and others do not notice.

mod limits;
mod wire_client;

use std::path::Path;

use client::{
    EntryId, Target,
    wire::{self, ErrorCode, GoodbyeReason, client_frame::Body as Request, server_frame::Body as Answer},
};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use self::wire_client::{Transport, WireClient};
use crate::{
    device::{Device, LOOK_AGAIN, PATIENCE},
    http,
    process::Process,
};

/// Silent connections at once.
const CROWD: usize = 2_000;
/// What the server may take in all, with a crowd of silent and slow clients, in KiB; about 40 MiB is the program itself.
const MEMORY_KIB_MAX: u64 = 250 * 1024;

/// A server that loses patience soon.
async fn start(dir: &Path) -> Process {
    let soon =
        ["HANDSHAKE_TIMEOUT=1", "WRITE_TIMEOUT=1", "HTTP_CONNECTION_MAX=2"].map(|set| format!("MPIM_GATEWAY_{set}"));
    let wrapper: Vec<&str> = ["env"].into_iter().chain(soon.iter().map(String::as_str)).collect();
    Process::start_in(dir, &wrapper).await
}

/// Somebody who uses the server as one should, and would notice.
struct Witness {
    online: crate::device::Online,
}

impl Witness {
    async fn start(process: &Process) -> Self {
        let device = Device::register(&process.server(), "witness").await;
        Self { online: device.go_online(&process.tcp_server()) }
    }

    /// Sends, and is answered within the patience of a person.
    async fn is_served(&self) {
        let to_self = Target::Name("witness".into());
        let sent = self.online.client.send(to_self, client::text("still here"), EntryId::generate());
        tokio::time::timeout(PATIENCE / 9, sent).await.expect("a witness is served").unwrap();
    }
}

fn resident_kib(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_exceeds_a_limit_is_refused_by_name_on_every_transport() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path()).await;
    let witness = Witness::start(&process).await;
    let scene = limits::Scene::start(&process).await;
    let mut wrong = String::new();
    for transport in Transport::ALL {
        let mut client = WireClient::connected(process.port(), transport, scene.token()).await;
        for (what, request) in scene.requests() {
            // Over HTTP there is nobody to push to.
            if transport == Transport::Http && matches!(request, Request::WatchPresence(_)) {
                continue;
            }
            match client.ask(request).await {
                Answer::Error(error) if is_named(&error) => {}
                other => wrong += &format!("{what} over {transport:?}: {other:?}\n"),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    witness.is_served().await;
}

/// Refused for what it is, and told what it is.
fn is_named(error: &wire::Error) -> bool {
    matches!(error.code(), ErrorCode::Invalid | ErrorCode::LimitExceeded) && error.message.len() > 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_the_wrong_order_are_refused_and_the_connection_stays() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path()).await;
    let scene = limits::Scene::start(&process).await;
    let code = |answer: Answer| if let Answer::Error(error) = answer { Some(error.code()) } else { None };
    for transport in Transport::SOCKETS {
        let mut client = WireClient::open(process.port(), transport).await;
        let history = Request::History(wire::History::default());
        assert_eq!(code(client.ask(history.clone()).await), Some(ErrorCode::Unauthenticated), "{transport:?}");
        let connect = wire::Connect {
            token: Some(wire::connect::Token::AccessToken(scene.token().to_owned())),
            ..wire::Connect::default()
        };
        assert_eq!(code(client.ask(Request::Connect(connect.clone())).await), None);
        assert!(code(client.ask(Request::Connect(connect)).await).is_some(), "connected twice over {transport:?}");
        // A number that is used again, while it is under way and afterwards, is answered as often as it was used.
        for _ in 0..3 {
            client.send(7, Request::Ping(wire::Ping {})).await;
        }
        for _ in 0..3 {
            let frame = client.next().await.unwrap();
            assert_eq!((frame.request, matches!(frame.body, Some(Answer::Pong(_)))), (7, true));
        }
        // Nobody could tell the answer to request 0 from a push.
        client.send(0, Request::Ping(wire::Ping {})).await;
        let answer = client.next().await.unwrap().body.unwrap();
        assert!(
            matches!(&answer, Answer::Error(error) if error.code() == ErrorCode::Invalid)
                || matches!(&answer, Answer::Goodbye(goodbye) if goodbye.reason() == GoodbyeReason::GoodbyeProtocolError),
            "{transport:?}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_frames_are_refused_or_end_the_connection_and_nobody_else_notices() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path()).await;
    let witness = Witness::start(&process).await;
    let token = limits::Scene::start(&process).await.token().to_owned();
    for text in malformed_json() {
        let mut client = WireClient::connected(process.port(), Transport::WebSocketJson, &token).await;
        client.write_text(&text).await;
        refused_or_ended(&mut client, &text).await;
        let (status, answer) = http::post(process.address(), "/api/v1/send", Some(&token), &text).await;
        assert!((400..500).contains(&status), "{status} {answer} to {}", &text[..text.len().min(80)]);
    }
    for transport in [Transport::Tcp, Transport::WebSocket] {
        for bytes in malformed_protobuf() {
            let mut client = WireClient::connected(process.port(), transport, &token).await;
            client.write_bytes(&bytes).await;
            refused_or_ended(&mut client, &format!("{bytes:x?}")).await;
        }
    }
    witness.is_served().await;
}

async fn refused_or_ended(client: &mut WireClient, what: &str) {
    let answer = tokio::time::timeout(PATIENCE / 9, client.next()).await.expect("an answer or an end");
    match answer.and_then(|frame| frame.body) {
        None | Some(Answer::Error(_) | Answer::Goodbye(_)) => {}
        other => panic!("{other:?} to {}", &what[..what.len().min(80)]),
    }
}

/// JSON that is none, or more than one should have to read.
fn malformed_json() -> Vec<String> {
    let deep = |open: &str, close: &str| open.repeat(10_000) + &close.repeat(10_000);
    vec![
        "{".into(),
        "[]".into(),
        "null".into(),
        "\u{feff}{}".into(),
        r#"{"send": "#.into(),
        r#"{"request": 1, "send": {"conversation": 1e400}}"#.into(),
        r#"{"conversation": 18446744073709551616}"#.into(),
        r#"{"conversation": -1}"#.into(),
        format!(r#"{{"conversation": {}}}"#, "9".repeat(100_000)),
        r#"{"conversation": "1", "id": "\ud800"}"#.into(),
        deep("[", "]"),
        deep(r#"{"send":"#, "}"),
        format!(r#"{{"request": 3, "send": {{"content": {}}}}}"#, deep(r#"{"edit":{"content":"#, "}}")),
        format!(r#"{{"content": {}}}"#, deep(r#"{"edit":{"content":"#, "}}")),
    ]
}

/// What is no frame: cut off, of the wrong types, deeper than any.
fn malformed_protobuf() -> Vec<Vec<u8>> {
    use prost::encoding::{WireType, encode_key, encode_varint};
    // A field of messages within messages: `send.content.edit.content.edit…`, ten thousand deep.
    let mut deep = Vec::new();
    for level in 0..10_000 {
        let mut outer = Vec::new();
        let tag = if level % 2 == 0 { 2 } else { 112 };
        encode_key(tag, WireType::LengthDelimited, &mut outer);
        encode_varint(deep.len() as u64, &mut outer);
        if outer.len() + deep.len() > 60_000 {
            break;
        }
        outer.extend(deep);
        deep = outer;
    }
    let mut send = Vec::new();
    encode_key(4, WireType::LengthDelimited, &mut send);
    encode_varint(deep.len() as u64, &mut send);
    send.extend(deep);
    vec![
        vec![0x08],
        vec![0x08, 0x01, 0xfa, 0x01, 0x7f],
        vec![0x0b, 0x0b, 0x0b],
        vec![0xff; 32],
        vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        // A log-in whose name is no UTF-8.
        vec![0x08, 0x01, 0x5a, 0x04, 0x0a, 0x02, 0xc3, 0x28],
        [vec![0x08, 0x01, 0xfa, 0x01], length(send.len()), send].concat(),
    ]
}

fn length(length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(length as u64, &mut bytes);
    bytes
}

/// Two thousand connections that say nothing, or but a part, cost little; those without a protocol are closed first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_crowd_is_closed_in_time_and_costs_little() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path()).await;
    let witness = Witness::start(&process).await;
    let beginnings: [&[u8]; 4] = [b"", b"MPI", b"MPIM/1\xff", b"POST /api/v1/send HTTP/1.1\r\nContent-Le"];
    let mut crowd = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        let mut stream = tokio::net::TcpStream::connect(process.address()).await.unwrap();
        stream.write_all(beginnings[number % beginnings.len()]).await.unwrap();
        crowd.push(stream);
    }
    witness.is_served().await;
    let resident = resident_kib(&process);
    assert!(resident < MEMORY_KIB_MAX, "{resident} KiB");
    // Who has begun to speak the protocol has longer than the others; see the gateway's own tests, in whose time it can pass.
    let (speaking, others): (Vec<_>, Vec<_>) =
        crowd.into_iter().enumerate().partition(|(number, _)| matches!(number % 4, 1 | 2));
    let ended = others.into_iter().map(|(_, mut stream)| async move {
        // An error is as good: what nobody read resets the connection.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    tokio::time::timeout(PATIENCE, join_all(ended)).await.expect("all are closed in time");
    witness.is_served().await;
    drop(speaking);
    let mut after = u64::MAX;
    let gone = async {
        while after > 2 {
            after = process.figure("mpim_gateway_connections").await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("{after} connections are left"));
}

/// Who writes a request byte by byte is served or closed, who reads nothing is closed; neither is in the way of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_writers_and_slow_readers_are_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path()).await;
    let witness = Witness::start(&process).await;
    let scene = limits::Scene::start(&process).await;
    let slow_writers = (0..32).map(|_| async {
        let mut client = WireClient::connected(process.port(), Transport::Tcp, scene.token()).await;
        client.write_slowly(9, Request::Ping(wire::Ping {})).await;
        assert!(
            matches!(client.next().await.unwrap().body, Some(Answer::Pong(_))),
            "byte by byte is slow, and no fault"
        );
    });
    join_all(slow_writers).await;
    scene.fill(&process).await;
    // All are there before the first one asks for more than it reads: who comes late may be too late to say who it is.
    let readers = (0..16).map(|_| WireClient::connected(process.port(), Transport::Tcp, scene.token()));
    let slow_readers = join_all(readers).await.into_iter().map(async |mut client| {
        // Far more than all buffers on the way take; the server ends it, sooner or later.
        let ended = async { while client.try_send(scene.long_history()).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("who does not read is closed");
    });
    let watching = async {
        loop {
            witness.is_served().await;
            let resident = resident_kib(&process);
            assert!(resident < MEMORY_KIB_MAX, "{resident} KiB");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        _ = join_all(slow_readers) => {}
        () = watching => {}
    }
    witness.is_served().await;
}
