use std::time::Duration;

use protocol::wire::{GoodbyeReason, client_frame::Body as Request, server_frame::Body};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::bed::{Bed, Tcp, eventually, send, soon, unlimited};
use crate::Config;

const GRACE: Duration = Duration::from_secs(10);

/// The promise: who is connected is told when to come back, what is under way is answered, and nobody is left behind.
#[tokio::test]
async fn a_gateway_that_drains_answers_what_is_under_way_and_tells_everybody_when_to_reconnect() {
    let bed = Bed::with(Config { drain_reconnect_spread: Duration::from_secs(5), ..unlimited() }).await;
    let mut clients = Vec::new();
    for user in 1..=20 {
        clients.push(bed.connected(user).await);
    }
    let mut unbound = bed.tcp().await;
    unbound.expect_silence().await;
    let mut busy = bed.connected(99).await;
    let request = busy.request(send(77, "wait")).await;
    eventually("the send is under way", || !bed.fake.state.lock().batches.is_empty()).await;
    let address = bed.gateway.local_addr();
    let draining = tokio::spawn(bed.gateway.drain(GRACE));
    let mut delays = Vec::new();
    for client in &mut clients {
        delays.push(client.expect_goodbye(GoodbyeReason::GoodbyeDraining).await.reconnect_after_ms);
    }
    unbound.expect_goodbye(GoodbyeReason::GoodbyeDraining).await;
    assert!(delays.iter().all(|delay| *delay < 5_000), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 10, "not spread: {delays:?}");
    assert!(TcpStream::connect(address).await.is_err(), "still accepts");
    assert!(!draining.is_finished());
    bed.fake.sends.add_permits(1);
    let answer = busy.frame().await;
    assert_eq!(answer.request, request);
    assert!(matches!(answer.body, Some(Body::Sent(_))));
    busy.expect_goodbye(GoodbyeReason::GoodbyeDraining).await;
    soon("drained", draining).await.unwrap();
    let routes = bed.fake.state.lock().routes.clone();
    let gone = routes.iter().filter(|route| route.starts_with('-')).count();
    assert_eq!((routes.len(), gone), (42, 21));
}

/// The promise: who looks whether the gateway is ready learns that it is not before a client that was sent to it fails.
#[tokio::test]
async fn a_gateway_that_is_told_to_stop_is_not_ready_at_once_and_still_serves_for_the_notice() {
    let bed = Bed::with(Config { drain_notice: Duration::from_secs(2), ..unlimited() }).await;
    let address = bed.gateway.local_addr();
    let ready = async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split(' ').nth(1).map(str::to_owned)
    };
    assert_eq!(ready().await.as_deref(), Some("200"));
    let mut old = bed.connected(7).await;
    let began = Instant::now();
    let draining = tokio::spawn(bed.gateway.drain(GRACE));
    soon("not ready", async { while ready().await.as_deref() != Some("503") {} }).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let mut new = Tcp::on(TcpStream::connect(address).await.unwrap()).await;
    new.connect(8).await;
    for client in [&mut old, &mut new] {
        client.expect_goodbye(GoodbyeReason::GoodbyeDraining).await;
    }
    soon("drained", draining).await.unwrap();
    assert_eq!(ready().await, None, "still accepts");
}

#[tokio::test]
async fn draining_ends_within_the_grace_though_a_request_hangs_and_a_client_does_not_read() {
    let bed = Bed::new().await;
    let mut hangs = bed.connected(7).await;
    hangs.request(send(77, "wait")).await;
    let unread = bed.connected(8).await;
    bed.publish_direct(&[8], 1, &"x".repeat(900_000)).await;
    let mute = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
    eventually("the send is under way", || !bed.fake.state.lock().batches.is_empty()).await;
    let started = Instant::now();
    let grace = Duration::from_secs(1);
    bed.gateway.drain(grace).await;
    // A little for a machine that is busy.
    assert!(started.elapsed() < grace + Duration::from_millis(500), "{:?}", started.elapsed());
    let mut routes = bed.fake.state.lock().routes.clone();
    routes.sort();
    assert_eq!(routes, ["+7", "+8", "-7", "-8"]);
    drop((mute, unread));
}

#[tokio::test]
async fn a_gateway_that_is_dropped_stops_at_once() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    client.request(send(77, "wait")).await;
    client.request(Request::Ping(protocol::wire::Ping {})).await;
    assert!(matches!(client.frame().await.body, Some(Body::Pong(_))));
    let address = bed.gateway.local_addr();
    drop(bed.gateway);
    assert_eq!(client.next().await, None);
    soon("no more accepted", async { while TcpStream::connect(address).await.is_ok() {} }).await;
}
