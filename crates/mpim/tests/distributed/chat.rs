//! People who chat by way of two gateways.

use std::time::{Duration, Instant};

use client::{ConversationId, EntryId};
use futures_util::future::join_all;

use crate::{
    device::{Device, Online},
    people::{connected, direct, group, listen, sender, texts, until, until_texts},
    proxy::Proxy,
    system::System,
};

/// Two gateways, users on both with three devices each: all devices see every entry once, in one order, also what their user's
/// other devices sent. Nobody asks whether something got lost: nothing does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_devices_of_users_on_two_gateways_see_every_entry_once_in_order() {
    const MESSAGES: usize = 40;
    let system = System::shared().await;
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let mut devices = Vec::new();
    for name in ["threeann", "threebob"] {
        devices.push(Device::register(&one, name).await);
        devices.push(Device::log_in(&two, name).await);
        devices.push(Device::log_in(&one, name).await);
    }
    let mut online: Vec<Online> = Vec::new();
    for (number, device) in devices.iter().enumerate() {
        online.push(connected(device, if number % 2 == 0 { &one } else { &two }).await);
    }
    let together = group(&[&online[0], &online[3]], "three").await;
    let alone = direct(&online[0], &devices[3]).await;
    let say = async |number: usize| {
        for message in 0..MESSAGES {
            online[number].send(together, &format!("{number} to all {message}")).await;
            online[number].send(alone, &format!("{number} to one {message}")).await;
        }
    };
    join_all((0..online.len()).map(say)).await;
    for device in &devices {
        until_texts(device, together, devices.len() * MESSAGES).await;
        until_texts(device, alone, devices.len() * MESSAGES).await;
    }
    let all = devices[0].logs();
    for device in &devices {
        for conversation in [together, alone] {
            assert_eq!(device.logs()[&conversation], all[&conversation], "one order for everybody");
        }
    }
    join_all(online.into_iter().map(Online::go_offline)).await;
}

/// A user who is written to all the time moves from one gateway to the other, and back, and back again: nothing is missed, nothing
/// comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_moving_between_gateways_while_being_written_to_misses_nothing() {
    const MOVES: usize = 12;
    let system = System::shared().await;
    let gateways = [system.server("gateway-1"), system.tcp_server("gateway-2")];
    let (ann, bob) = (Device::register(&gateways[0], "moveann").await, Device::register(&gateways[1], "movebob").await);
    let writer = connected(&ann, &gateways[0]).await;
    let (alone, together) = {
        let bob = connected(&bob, &gateways[1]).await;
        let conversations = (direct(&writer, &bob.device).await, group(&[&writer, &bob], "moving").await);
        bob.go_offline().await;
        conversations
    };
    let moved = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        let mut sent = 0;
        while !moved.load(std::sync::atomic::Ordering::Relaxed) {
            writer.send(alone, &format!("to one {sent}")).await;
            writer.send(together, &format!("to all {sent}")).await;
            sent += 1;
        }
        sent
    };
    let travel = async {
        for number in 0..MOVES {
            let here = connected(&bob, &gateways[number % 2]).await;
            let before = bob.logs();
            bob.until("news at this gateway", |logs| texts(logs, alone) > texts(&before, alone) + 5).await;
            here.go_offline().await;
        }
        moved.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(write, travel);
    let home = listen(&bob, &gateways[0]);
    until_texts(&bob, alone, sent).await;
    until_texts(&bob, together, sent).await;
    home.go_offline().await;
    writer.go_offline().await;
}

/// The connection is gone for three seconds, in which others write: the receiver comes back and has all of it, in order. The first
/// MPIM lost what was written meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_who_is_away_for_three_seconds() {
    const AWAY: Duration = Duration::from_secs(3);
    let system = System::shared().await;
    let (one, two) = (system.server("gateway-1"), system.server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "awayann").await, Device::register(&two, "awaybob").await);
    let way = Proxy::before(system.reached_at("gateway-2"), usize::MAX).await;
    let (writer, receiver) = (connected(&ann, &one).await, connected(&bob, &way.server()).await);
    let (alone, together) = (direct(&writer, &bob).await, group(&[&writer, &receiver], "away").await);
    let mut sent = 0;
    let mut say = async || {
        writer.send(alone, &format!("{sent}")).await;
        writer.send(together, &format!("{sent}")).await;
        sent += 1;
        sent
    };
    say().await;
    until_texts(&bob, alone, 1).await;
    way.cut();
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < AWAY {
        count = say().await;
    }
    assert!(count > 10 && texts(&bob.logs(), alone) < count, "much was written while the receiver was away");
    way.mend();
    count = say().await;
    until_texts(&bob, alone, count).await;
    until_texts(&bob, together, count).await;
    receiver.go_offline().await;
    writer.go_offline().await;
}

/// A user's second session comes, by the other gateway, and then the first one closes, in good order or not: the second one goes on
/// hearing. The first MPIM took such a user for gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_of_a_user_whose_older_one_then_closes() {
    let system = System::shared().await;
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (ann, older) = (Device::register(&one, "newerann").await, Device::register(&one, "newerbob").await);
    let writer = connected(&ann, &two).await;
    let alone = direct(&writer, &older).await;
    let mut sent = 0;
    for (older_at, newer_at) in [("gateway-1", "gateway-2"), ("gateway-2", "gateway-1"), ("gateway-1", "gateway-1")] {
        for in_good_order in [true, false] {
            let way = Proxy::before(system.reached_at(older_at), usize::MAX).await;
            let first = connected(&older, &way.server()).await;
            let newer = Device::log_in(&one, "newerbob").await;
            let second = connected(&newer, &system.server(newer_at)).await;
            if in_good_order {
                first.go_offline().await;
            } else {
                way.cut();
            }
            for _ in 0..3 {
                writer.send(alone, &format!("{sent}")).await;
                sent += 1;
                until_texts(&newer, alone, sent).await;
            }
            second.go_offline().await;
        }
    }
    // The same session twice: its newer connection stays when the older one ends.
    let session = client::log_in(&one, "newerbob", "password", "twice").await.unwrap();
    let (older, newer) = (Device::new(session.clone()), Device::new(session));
    let way = Proxy::before(system.reached_at("gateway-1"), usize::MAX).await;
    let (first, second) = (connected(&older, &way.server()).await, connected(&newer, &two).await);
    way.cut();
    writer.send(alone, "to the newer connection").await;
    until_texts(&newer, alone, sent + 1).await;
    second.go_offline().await;
    first.go_offline().await;
    writer.go_offline().await;
}

/// Someone who was away for thousands of entries catches up over connections that break again and again: everything is there in the
/// end, once and in order, and no connection began from the start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_whose_connection_breaks_half_way() {
    const MESSAGES: usize = 3_000;
    const BYTES_A_CONNECTION: usize = 96 * 1024;
    let system = System::shared().await;
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "halfann").await, Device::register(&two, "halfbob").await);
    let writer = connected(&ann, &one).await;
    let alone = direct(&writer, &bob).await;
    let write = async |lane: usize| {
        let client = sender(&ann, &one, None);
        for number in 0..MESSAGES / 10 {
            let text = format!("{lane} {number} {}", "and so on ".repeat(10));
            client.send(client::Target::Conversation(alone), client::text(text), EntryId::generate()).await.unwrap();
        }
        client.close().await;
    };
    join_all((0..10).map(write)).await;
    let way = Proxy::before(system.reached_at("gateway-2"), BYTES_A_CONNECTION).await;
    let options = client::Options::new(way.server(), bob.profile.clone());
    let backoff = client::Backoff { min: Duration::from_millis(5), max: Duration::from_millis(20) };
    let receiver = bob.go_online_with(client::Options { backoff, ..options });
    until_texts(&bob, alone, MESSAGES).await;
    assert!(way.broken() >= 3, "{} connections broke", way.broken());
    let seen = bob.logs()[&alone].clone();
    until_texts(&ann, alone, MESSAGES).await;
    assert!(seen == ann.logs()[&alone], "what a device has that never left");
    receiver.go_offline().await;
    writer.go_offline().await;
}

/// What strangers to UTF-8 send is refused by name and hurts nobody; what may hold any byte arrives as it is. The first MPIM stored
/// the beginning, up to the NUL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_utf8_or_holds_a_nul() {
    use crate::wire_client::{Transport, WireClient};
    use client::wire::{self, content::Kind, server_frame::Body as Answer};

    let system = System::shared().await;
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "bytesann").await, Device::register(&two, "bytesbob").await);
    let (writer, receiver) = (connected(&ann, &one).await, connected(&bob, &two).await);
    let alone = direct(&writer, &bob).await;

    let target = || client::Target::Conversation(alone);
    let refused = writer.client.send(target(), client::text("before\0after"), EntryId::generate()).await;
    let Err(client::SendError::NotStored { error: client::Error::Refused(error) }) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.message().contains("NUL"), "{error}");

    let every_byte: Vec<u8> = (0..=u8::MAX).chain([0, 0xc3, 0x28, 0]).collect();
    let opaque =
        wire::Opaque { r#type: "com.example.bytes".into(), payload: every_byte.into(), ..wire::Opaque::default() };
    writer.client.send(target(), Kind::Opaque(opaque.clone()).into(), EntryId::generate()).await.unwrap();
    writer.send(alone, "\u{1f600} \u{feff}日本\u{301}").await;
    until_texts(&bob, alone, 1).await;
    let seen = bob.logs()[&alone].clone();
    assert_eq!(seen.len(), 2, "what was refused is nowhere");
    assert_eq!((&seen[0].kind, seen[1].text()), (&Kind::Opaque(opaque), Some("\u{1f600} \u{feff}日本\u{301}")));

    // The same on the wire, where a client may write anything.
    let token = client::Profile::tokens(&*ann.profile).unwrap().unwrap().access_token;
    for transport in [Transport::Tcp, Transport::WebSocket] {
        let mut client = WireClient::connected(system.reached_at("gateway-1").port(), transport, &token).await;
        client.write_bytes(&send_of(alone, b"\xc3\x28")).await;
        let answer = tokio::time::timeout(crate::device::PATIENCE, client.next()).await.expect("an answer in time");
        match answer.and_then(|frame| frame.body) {
            Some(Answer::Error(error)) => assert!(error.message.contains("UTF-8"), "{error:?}"),
            Some(Answer::Goodbye(goodbye)) => assert!(!goodbye.message.is_empty(), "{goodbye:?}"),
            other => panic!("{other:?}"),
        }
    }
    writer.send(alone, "all is well").await;
    until_texts(&bob, alone, 2).await;
    assert_eq!(bob.logs()[&alone].len(), 3);
    receiver.go_offline().await;
    writer.go_offline().await;
}

/// A frame with a text of these bytes.
fn send_of(conversation: ConversationId, bytes: &[u8]) -> Vec<u8> {
    use client::wire::{self, ClientFrame, client_frame::Body as Request};
    use prost::Message as _;

    const PLACE: &str = "$$$$$$$$$$";
    let send = wire::Send {
        id: EntryId::generate().to_string(),
        target: Some(wire::send::Target::Conversation(conversation.get())),
        content: Some(client::text(PLACE)),
        ..wire::Send::default()
    };
    let mut frame = ClientFrame { request: 7, body: Some(Request::Send(send)) }.encode_to_vec();
    let at = frame.windows(PLACE.len()).position(|window| window == PLACE.as_bytes()).unwrap();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// Eight people register at the same instant, by both gateways: all are somebody of their own. And eight who want the same name:
/// one gets it, the others are told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_people_registering_at_the_same_instant() {
    const PEOPLE: usize = 8;
    const TIMES: usize = 5;
    let system = System::shared().await;
    let gateways = [system.server("gateway-1"), system.tcp_server("gateway-2")];
    for time in 0..TIMES {
        let register = async |number: usize, name: String| {
            client::register(&gateways[number % 2], &name, "password", "test").await
        };
        let all = join_all((0..PEOPLE).map(|number| register(number, format!("eight{time}x{number}")))).await;
        let ids: std::collections::HashSet<u64> =
            all.into_iter().map(|session| session.unwrap().user.unwrap().id).collect();
        assert_eq!(ids.len(), PEOPLE);

        let all = join_all((0..PEOPLE).map(|number| register(number, format!("same{time}")))).await;
        let (got, told): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!((got.len(), told.len()), (1, PEOPLE - 1));
        for error in told.into_iter().map(Result::unwrap_err) {
            let client::Error::Refused(error) = &error else { panic!("{error:?}") };
            assert_eq!(error.code(), client::wire::ErrorCode::NameTaken, "{error}");
        }
    }
}

/// Devices that are idle for a while, longer than it takes to tell: what is written then comes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_comes_at_once_to_a_user_of_the_other_gateway() {
    let system = System::shared().await;
    let (one, two) = (system.tcp_server("gateway-1"), system.tcp_server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "onceann").await, Device::register(&two, "oncebob").await);
    let (writer, receiver) = (connected(&ann, &one).await, connected(&bob, &two).await);
    let alone = direct(&writer, &bob).await;
    let mut slowest = Duration::ZERO;
    for number in 1..=20 {
        writer.send(alone, &format!("{number}")).await;
        let took = until("it has come", async || texts(&bob.logs(), alone) == number).await;
        slowest = slowest.max(took);
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}: it came by other means than being pushed");
    receiver.go_offline().await;
    writer.go_offline().await;
}
