use std::{future::Future, pin::Pin, time::Duration};

use protocol::{
    TCP_PREFACE, WEBSOCKET_JSON, WEBSOCKET_PROTOBUF,
    limits::CLIENT_FRAME_BYTES_MAX,
    queue::{Delivery, delivery::What},
    wire::{
        ClientFrame, DeleteAccount, ErrorCode, FindUsers, GoodbyeReason, History, ListMembers, LogIn, OpenDirect, Ping,
        ServerFrame, Sync, client_frame::Body as Request, open_direct, send::Target, server_frame::Body,
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite;

use super::{
    bed::{Bed, Tcp, connect_body, direct_entry, eventually, send, send_to, soon, unlimited},
    services::DELETED,
};
use crate::{Config, session, transport};

fn code(body: &Body) -> ErrorCode {
    match body {
        Body::Error(error) => error.code(),
        other => panic!("not an error: {other:?}"),
    }
}

/// The promise: whichever way a client comes, it gets the same.
#[tokio::test]
async fn answers_over_tcp_and_over_websocket_in_protobuf_and_in_json_are_equal() {
    let bed = Bed::new().await;
    {
        let mut state = bed.fake.state.lock();
        state.groups.insert(7, vec![300, 301]);
        state.members.insert(300, [7, 8, 9].into());
    }
    let mut tcp = bed.tcp().await;
    let mut binary = bed.websocket(Some(WEBSOCKET_PROTOBUF)).await;
    let mut text = bed.websocket(Some(WEBSOCKET_JSON)).await;
    let mut unnamed = bed.websocket(None).await;
    let mut requests = vec![
        connect_body(7, 70, true),
        Request::FindUsers(FindUsers { ids: vec![8, 2_000], names: vec!["user-9".into()] }),
        Request::History(History { conversation: 1 << 60, limit: 500, ..History::default() }),
        Request::Sync(Sync::default()),
        Request::ListMembers(ListMembers { group: 300, ..ListMembers::default() }),
        Request::OpenDirect(OpenDirect { peer: Some(open_direct::Peer::Name("User-8".into())) }),
        Request::OpenDirect(OpenDirect { peer: Some(open_direct::Peer::User(2_000)) }),
        Request::ListSessions(protocol::wire::ListSessions {}),
        Request::Fetch(protocol::wire::Fetch::default()),
        send(404, "hello"),
    ];
    requests.reverse();
    while let Some(body) = requests.pop() {
        let request = tcp.request(body.clone()).await;
        let expected = without_time(tcp.frame().await);
        assert_eq!(expected.request, request);
        let frame = ClientFrame { request, body: Some(body) };
        for (websocket, protocol) in
            [(&mut binary, WEBSOCKET_PROTOBUF), (&mut text, WEBSOCKET_JSON), (&mut unnamed, WEBSOCKET_JSON)]
        {
            websocket.request(protocol, &frame).await;
            assert_eq!(without_time(websocket.frame().await), expected);
        }
    }
}

fn without_time(mut frame: ServerFrame) -> ServerFrame {
    if let Some(Body::Connected(connected)) = &mut frame.body {
        assert!(connected.time_ms > 1_700_000_000_000);
        connected.time_ms = 0;
    }
    frame
}

#[tokio::test]
async fn answers_bear_the_names_and_titles_that_the_message_service_does_not_know() {
    let bed = Bed::new().await;
    {
        let mut state = bed.fake.state.lock();
        state.groups.insert(7, vec![300]);
        state.members.insert(300, [7, 8].into());
    }
    let mut client = bed.tcp().await;
    let connected = client.connect(7).await;
    let heads = connected.sync.unwrap().heads;
    let conversations: Vec<_> = heads.into_iter().map(|head| head.conversation.unwrap()).collect();
    assert_eq!(conversations[0].peer.as_ref().unwrap().name, "user-9");
    assert_eq!(conversations[1].title, "group-300");
    let Body::Members(members) =
        client.ask(Request::ListMembers(ListMembers { group: 300, ..ListMembers::default() })).await
    else {
        panic!()
    };
    let names: Vec<_> = members.members.into_iter().map(|member| member.user.unwrap().name).collect();
    assert_eq!(names, ["user-7", "user-8"]);
    let Body::Conversation(opened) =
        client.ask(Request::OpenDirect(OpenDirect { peer: Some(open_direct::Peer::User(8)) })).await
    else {
        panic!()
    };
    assert_eq!((opened.id, opened.peer.unwrap().name), (10_008, "user-8".into()));
    let unknown = OpenDirect { peer: Some(open_direct::Peer::Name("nobody".into())) };
    let Body::Error(error) = client.ask(Request::OpenDirect(unknown)).await else { panic!() };
    assert_eq!((error.code(), error.message.as_str()), (ErrorCode::NotFound, "user \"nobody\" does not exist"));
    let owner = DeleteAccount { password: "300,301".into() };
    let Body::Error(error) = client.ask(Request::DeleteAccount(owner)).await else { panic!() };
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert!(error.message.contains(r#""group-300" (300), "group-301" (301)"#), "{}", error.message);
    let gone = OpenDirect { peer: Some(open_direct::Peer::User(DELETED)) };
    let Body::Error(error) = client.ask(Request::OpenDirect(gone)).await else { panic!() };
    assert_eq!((error.code(), error.message.as_str()), (ErrorCode::NotFound, "user 999 does not exist"));
}

/// The promise: a connection's sends are appended in the order they came, however they are pipelined.
#[tokio::test]
async fn pipelined_sends_are_appended_and_answered_in_the_order_they_came() {
    let bed = Bed::new().await;
    let client = bed.connected(7).await;
    let (mut reader, mut writer) = client.stream.into_split();
    let texts: Vec<String> = (0..2_000).map(|i| i.to_string()).collect();
    let mut bytes = Vec::new();
    for (i, text) in (1..).zip(&texts) {
        let frame = ClientFrame { request: i, body: Some(send(77, text)) };
        bytes.extend(prost::Message::encode_length_delimited_to_vec(&frame));
    }
    let write = tokio::spawn(async move {
        for piece in bytes.chunks(1_777) {
            writer.write_all(piece).await.unwrap();
        }
        writer
    });
    let mut incoming = bytes::BytesMut::new();
    for i in 1..=2_000 {
        let frame: ServerFrame = soon("an answer", async {
            loop {
                if let Ok(frame) = prost::Message::decode_length_delimited(&incoming[..]) {
                    break frame;
                }
                assert_ne!(reader.read_buf(&mut incoming).await.unwrap(), 0);
            }
        })
        .await;
        let _ = incoming.split_to(prost::Message::encode_length_delimited_to_vec(&frame).len());
        assert_eq!(frame.request, i);
        assert!(matches!(frame.body, Some(Body::Sent(sent)) if sent.position == u64::from(i)));
    }
    write.await.unwrap();
    let state = bed.fake.state.lock();
    assert_eq!(state.sent, texts);
    assert!(state.batches.len() < 1_000, "sends do not gather: {} batches", state.batches.len());
}

#[tokio::test]
async fn sends_gather_while_a_batch_is_under_way_and_go_as_the_next_one() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    let first = client.request(send(77, "wait")).await;
    eventually("it is under way", || !bed.fake.state.lock().batches.is_empty()).await;
    let second = client.request(send(77, "b")).await;
    let third = client.request(send(77, "c")).await;
    client.expect_silence().await;
    bed.fake.sends.add_permits(1);
    for request in [first, second, third] {
        assert_eq!(client.frame().await.request, request);
    }
    let state = bed.fake.state.lock();
    assert_eq!(
        (state.batches.as_slice(), state.sent.as_slice()),
        (&[1, 2][..], &["wait", "b", "c"].map(String::from)[..])
    );
}

#[tokio::test]
async fn a_send_to_a_name_goes_to_the_direct_conversation_and_one_to_nobody_fails_alone() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    for (name, text) in [("user-8", "a"), ("nobody", "b"), ("USER-8", "c"), ("a b", "d"), ("user-9", "e")] {
        client.request(send_to(Target::To(name.into()), text)).await;
    }
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(match client.frame().await.body.unwrap() {
            Body::Sent(sent) => Ok(sent.conversation),
            other => Err(code(&other)),
        });
    }
    let expected = [Ok(10_008), Err(ErrorCode::NotFound), Ok(10_008), Err(ErrorCode::Invalid), Ok(10_009)];
    assert_eq!(answers, expected);
    assert_eq!(bed.fake.state.lock().sent, ["a", "c", "e"]);
}

#[tokio::test]
async fn what_is_not_allowed_here_and_now_is_refused_and_the_connection_stays() {
    let bed = Bed::new().await;
    let mut client = bed.tcp().await;
    assert!(matches!(client.ask(Request::Ping(Ping {})).await, Body::Pong(_)));
    assert_eq!(code(&client.ask(send(77, "too early")).await), ErrorCode::Unauthenticated);
    let no_token = Request::Connect(protocol::wire::Connect::default());
    assert_eq!(code(&client.ask(no_token).await), ErrorCode::Invalid);
    let log_in = LogIn { name: "user-7".into(), ..LogIn::default() };
    assert!(matches!(client.ask(Request::LogIn(log_in)).await, Body::Session(_)));
    client.connect(7).await;
    assert_eq!(code(&client.ask(connect_body(7, 70, false)).await), ErrorCode::Invalid);
    // Request 15 and a body that only a later version knows.
    client.write(b"\x06\x08\x0f\xa2\x3f\x01\x00").await;
    let frame = client.frame().await;
    assert_eq!((frame.request, code(frame.body.as_ref().unwrap())), (15, ErrorCode::UnknownRequest));
    let unnumbered = ClientFrame { request: 0, body: Some(Request::Ping(Ping {})) };
    client.write(&prost::Message::encode_length_delimited_to_vec(&unnumbered)).await;
    let frame = client.frame().await;
    assert_eq!((frame.request, code(frame.body.as_ref().unwrap())), (0, ErrorCode::Invalid));
    client.expect_silence().await;
}

#[tokio::test]
async fn requests_sent_right_behind_connect_wait_for_it() {
    let bed = Bed::new().await;
    let mut client = bed.tcp().await;
    client.request(connect_body(7, 70, true)).await;
    client.request(send(77, "eager")).await;
    assert!(matches!(client.frame().await.body, Some(Body::Connected(_))));
    assert!(matches!(client.frame().await.body, Some(Body::Sent(_))));
}

/// Who was told to close did not include a connection that was just being made.
#[tokio::test]
async fn a_session_that_ends_while_it_connects_is_not_connected() {
    let bed = Bed::new().await;
    bed.fake.state.lock().ended_meanwhile.insert(70);
    let mut client = bed.tcp().await;
    assert_eq!(code(&client.ask(connect_body(7, 70, false)).await), ErrorCode::SessionEnded);
    assert_eq!(code(&client.ask(send(404, "hello")).await), ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_json_text_that_is_no_request_is_answered_and_the_connection_stays() {
    let bed = Bed::new().await;
    let mut client = bed.websocket(Some(WEBSOCKET_JSON)).await;
    for (text, request) in [("{", 0), (r#"{"request": 5, "send": {"conversation": []}}"#, 5), ("天", 0)] {
        client.send_text(text).await;
        let frame = client.frame().await;
        assert_eq!((frame.request, code(frame.body.as_ref().unwrap())), (request, ErrorCode::Invalid));
    }
    client.send_text(r#"{"request": 6, "dance": {}}"#).await;
    assert_eq!(code(&client.frame().await.body.unwrap()), ErrorCode::UnknownRequest);
    client.send_text(r#"{"request": 7, "ping": {}, "later": true}"#).await;
    assert!(matches!(client.frame().await, ServerFrame { request: 7, body: Some(Body::Pong(_)) }));
}

#[tokio::test]
async fn garbage_and_oversized_frames_end_with_a_goodbye() {
    let bed = Bed::new().await;
    let mut oversized = Vec::new();
    prost::encoding::encode_varint(CLIENT_FRAME_BYTES_MAX as u64 + 1, &mut oversized);
    for bytes in [oversized, b"\x02\xff\xff".to_vec(), b"\xff\xff\xff\xff\xff\xff".to_vec()] {
        let mut client = bed.connected(7).await;
        client.write(&bytes).await;
        client.expect_goodbye(GoodbyeReason::GoodbyeProtocolError).await;
    }
    for (protocol, message) in [
        (WEBSOCKET_PROTOBUF, tungstenite::Message::binary(&b"\xff\xff"[..])),
        (WEBSOCKET_PROTOBUF, tungstenite::Message::text("{}")),
        (WEBSOCKET_JSON, tungstenite::Message::binary(&b"{}"[..])),
        (WEBSOCKET_JSON, tungstenite::Message::text(" ".repeat(CLIENT_FRAME_BYTES_MAX + 1))),
    ] {
        let mut client = bed.websocket(Some(protocol)).await;
        futures_util::SinkExt::send(&mut client.0, message).await.unwrap();
        let Some(Body::Goodbye(goodbye)) = client.frame().await.body else { panic!() };
        assert_eq!(goodbye.reason(), GoodbyeReason::GoodbyeProtocolError);
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn what_is_neither_http_nor_the_protocol_is_closed() {
    let bed = Bed::new().await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"MPIM/2\x00", b"SSH-2.0-x\r\n", &[0; 64]] {
        let mut stream = tokio::net::TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // An error is as good: the bytes that nobody read reset the connection.
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    }
    let mut stream = tokio::net::TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
    stream.write_all(&TCP_PREFACE[..3]).await.unwrap();
    drop(stream);
    eventually("all closed", || bed.figure("mpim_gateway_connections") == 0).await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_by_what_it_may_have_done() {
    let bed = Bed::with(Config { request_timeout: Duration::from_millis(50), ..unlimited() }).await;
    let mut client = bed.connected(7).await;
    assert_eq!(code(&client.ask(send(77, "wait")).await), ErrorCode::TimedOut);
    let history = History { conversation: 1, ..History::default() };
    assert_eq!(code(&client.ask(Request::History(history)).await), ErrorCode::Unavailable);
    assert!(matches!(client.ask(send(77, "next")).await, Body::Sent(_)));
}

#[tokio::test]
async fn slow_requests_do_not_hold_up_quick_ones() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    client.request(Request::History(History { conversation: 1, ..History::default() })).await;
    client.request(send(77, "wait")).await;
    client.expect_silence().await;
    let find = Request::FindUsers(FindUsers { ids: vec![8], names: Vec::new() });
    assert!(matches!(client.ask(find).await, Body::Users(_)));
}

/// A session over a connection in memory, so that the clock can be paused.
fn session_in_memory(bed: &Bed) -> (tokio::io::DuplexStream, Pin<Box<impl Future<Output = ()> + use<>>>) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let address = std::net::IpAddr::from([127, 0, 0, 1]);
    (client, Box::pin(session::run(transport::Tcp::new(server), bed.gateway.shared(), address)))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_for_twice_the_heartbeat_is_closed_and_pings_keep_it() {
    let bed = Bed::new().await;
    let (mut client, session) = session_in_memory(&bed);
    let session = tokio::spawn(session);
    let started = tokio::time::Instant::now();
    let Request::Connect(mut request) = connect_body(7, 70, false) else { unreachable!() };
    request.heartbeat_ms = 1;
    let connect = ClientFrame { request: 1, body: Some(Request::Connect(request)) };
    client.write_all(TCP_PREFACE).await.unwrap();
    client.write_all(&prost::Message::encode_length_delimited_to_vec(&connect)).await.unwrap();
    let ping = ClientFrame { request: 2, body: Some(Request::Ping(Ping {})) };
    for _ in 0..5 {
        // More than a heartbeat, less than two: the shortest allowed is 5 s.
        tokio::time::sleep(Duration::from_secs(9)).await;
        client.write_all(&prost::Message::encode_length_delimited_to_vec(&ping)).await.unwrap();
    }
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    let silent_for = started.elapsed() - Duration::from_secs(45);
    drop(client);
    session.await.unwrap();
    assert!((10..11).contains(&silent_for.as_secs()), "{silent_for:?}");
    let mut frames = Vec::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        frames.push(<ServerFrame as prost::Message>::decode_length_delimited(&mut rest).unwrap().body.unwrap());
    }
    assert!(matches!(&frames[0], Body::Connected(connected) if connected.heartbeat_ms == 5_000));
    assert_eq!(frames.len(), 7);
    assert!(matches!(&frames[6], Body::Goodbye(goodbye) if goodbye.reason() == GoodbyeReason::GoodbyeSilent));
}

/// Readers that do not read cannot fill the memory together, though each stays below its own bound.
#[tokio::test]
async fn pages_are_refused_while_too_much_waits_for_readers_on_all_connections() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    let history = || Request::History(History { conversation: 1 << 60, limit: 5, ..History::default() });
    let elsewhere = session::ALL_UNWRITTEN_BYTES_MAX + 1;
    let unwritten = bed.gateway.shared().unwritten.clone();
    unwritten.fetch_add(elsewhere, std::sync::atomic::Ordering::Relaxed);
    let Body::Error(refused) = client.ask(history()).await else { panic!("refused") };
    assert_eq!((refused.code(), refused.retry_after_ms), (ErrorCode::Overloaded, 1_000));
    assert!(matches!(client.ask(Request::Ping(Ping {})).await, Body::Pong(_)), "what is small goes on");
    unwritten.fetch_sub(elsewhere, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(client.ask(history()).await, Body::History(_)));
    eventually("what was written counts no more", || unwritten.load(std::sync::atomic::Ordering::Relaxed) == 0).await;
}

/// Pings keep a user's connection, not a stranger's.
#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_connects_is_closed_though_it_pings() {
    let bed = Bed::new().await;
    let (mut client, session) = session_in_memory(&bed);
    let session = tokio::spawn(session);
    let started = tokio::time::Instant::now();
    client.write_all(TCP_PREFACE).await.unwrap();
    let ping = ClientFrame { request: 1, body: Some(Request::Ping(Ping {})) };
    for _ in 0..5 {
        client.write_all(&prost::Message::encode_length_delimited_to_vec(&ping)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    client.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 30);
    drop(client);
    session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_answers_unread_is_closed_after_the_write_timeout() {
    let bed = Bed::new().await;
    let (mut client, session) = session_in_memory(&bed);
    let session = tokio::spawn(session);
    let started = tokio::time::Instant::now();
    client.write_all(TCP_PREFACE).await.unwrap();
    let connect = ClientFrame { request: 1, body: Some(connect_body(7, 70, false)) };
    client.write_all(&prost::Message::encode_length_delimited_to_vec(&connect)).await.unwrap();
    for request in 2..12 {
        let page = History { conversation: 2, limit: 500, ..History::default() };
        let history = ClientFrame { request, body: Some(Request::History(page)) };
        client.write_all(&prost::Message::encode_length_delimited_to_vec(&history)).await.unwrap();
    }
    session.await.unwrap();
    // The write timeout, and what it takes at most to say goodbye.
    let took = started.elapsed().as_secs();
    assert!((10..=12).contains(&took), "{took}");
    assert_eq!(bed.figure("mpim_gateway_slow_consumers_total"), 1);
}

/// What was pushed before has the time that readers have, and not only that of a goodbye.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_whose_session_ends_is_given_the_pushes_before_it_first() {
    let bed = Bed::new().await;
    let (client, session) = session_in_memory(&bed);
    let session = tokio::spawn(session);
    let mut client = Tcp::on(client).await;
    client.connect(7).await;
    let text = "x".repeat(30_000);
    for position in 1..=4 {
        bed.publish_direct(&[7], position, &text).await;
        // Until nobody has anything to do: the connection is full, and the session almost.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let to_7 = |what| Delivery { users: vec![7], what: Some(what), ..Delivery::default() };
    let deliveries = vec![to_7(What::Entry(direct_entry(5, &text))), to_7(What::EndedSession(70))];
    bed.publish_batch(deliveries).await;
    // Longer than a goodbye may take, but not than a reader.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!session.is_finished());
    assert_eq!(client.texts(5).await, [(); 5].map(|()| text.clone()));
    client.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
    drop(client);
    session.await.unwrap();
}

#[test]
fn a_session_is_small() {
    type Session = session::Session<transport::WebSocket<tokio::net::TcpStream>>;
    let size = std::mem::size_of::<Session>();
    assert!(size <= 768, "{size} bytes");
}
