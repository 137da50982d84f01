use std::time::Duration;

use protocol::wire::{ErrorCode, LogIn, Ping, Register, client_frame::Body as Request, server_frame::Body};

use super::bed::{Bed, Tcp, send, soon, unlimited};
use crate::{Config, Limits, Rate};

fn with(limits: Limits) -> Config {
    Config { limits, ..unlimited() }
}

const TWO: Rate = Rate { per_second: 0.5, burst: 2 };

async fn refusal(client: &mut Tcp, body: Request) -> Option<Duration> {
    match client.ask(body).await {
        Body::Error(error) if error.code() == ErrorCode::RateLimited => {
            Some(Duration::from_millis(error.retry_after_ms.into()))
        }
        Body::Error(error) => panic!("{error:?}"),
        _ => None,
    }
}

#[tokio::test]
async fn a_user_over_the_limit_is_told_when_to_retry_and_others_are_not_held_up() {
    let bed = Bed::with(with(Limits { sends_per_user: TWO, ..unlimited().limits })).await;
    let (mut first, mut second, mut other) = (bed.connected(7).await, bed.connected(7).await, bed.connected(8).await);
    assert_eq!(refusal(&mut first, send(77, "1")).await, None);
    assert_eq!(refusal(&mut second, send(77, "2")).await, None);
    for client in [&mut first, &mut second] {
        let after = refusal(client, send(77, "3")).await.unwrap();
        assert!(after > Duration::ZERO && after <= Duration::from_secs(2), "{after:?}");
    }
    assert_eq!(refusal(&mut other, send(77, "4")).await, None);
    assert_eq!(bed.fake.state.lock().sent, ["1", "2", "4"]);
    bed.gateway.set_limits(unlimited().limits);
    assert_eq!(refusal(&mut first, send(77, "5")).await, None);
}

#[tokio::test]
async fn requests_are_limited_by_connection() {
    let bed = Bed::with(with(Limits { requests_per_connection: TWO, ..unlimited().limits })).await;
    let (mut first, mut other) = (bed.tcp().await, bed.tcp().await);
    for _ in 0..2 {
        assert_eq!(refusal(&mut first, Request::Ping(Ping {})).await, None);
    }
    assert!(refusal(&mut first, Request::Ping(Ping {})).await.is_some());
    assert_eq!(refusal(&mut other, Request::Ping(Ping {})).await, None);
}

#[tokio::test]
async fn account_requests_are_limited_by_address_over_all_connections() {
    let bed = Bed::with(with(Limits { accounts_per_address: TWO, ..unlimited().limits })).await;
    let (mut first, mut second) = (bed.tcp().await, bed.tcp().await);
    let register = Register { name: "user-7".into(), ..Register::default() };
    let log_in = LogIn { name: "user-7".into(), ..LogIn::default() };
    assert_eq!(refusal(&mut first, Request::Register(register)).await, None);
    assert_eq!(refusal(&mut second, Request::LogIn(log_in.clone())).await, None);
    assert!(refusal(&mut first, Request::LogIn(log_in.clone())).await.is_some());
    assert!(refusal(&mut second, Request::LogIn(log_in)).await.is_some());
    // What needs no password is not affected.
    first.connect(7).await;
}

#[tokio::test]
async fn connections_past_the_address_limit_are_closed_and_a_place_that_is_freed_can_be_taken() {
    let bed = Bed::with(Config { connections_per_address_max: 2, ..unlimited() }).await;
    let first = bed.connected(7).await;
    let _second = bed.connected(8).await;
    let mut third = bed.tcp().await;
    assert_eq!(third.next().await, None);
    drop(first);
    soon("a free place", async {
        loop {
            let mut client = bed.tcp().await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, b"\x04\x08\x01\x72\x00").await;
            if client.next().await.is_some() {
                break;
            }
        }
    })
    .await;
    assert!(bed.figure("mpim_gateway_connections_refused_total") >= 1);
}
