use std::time::Duration;

use protocol::{
    UserId,
    wire::{
        CreateBot, CreateGroup, ErrorCode, LogIn, Ping, Register, Report, RequestFriend, SaveDraft, SearchUsers,
        Typing, client_frame::Body as Request, send::Target, server_frame::Body,
    },
};

use super::bed::{Bed, Tcp, send, send_to, soon, unlimited};
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

/// The promise: whoever floods one group is not in the way of the others.
#[tokio::test]
async fn a_conversation_over_its_rate_does_not_slow_others() {
    let bed = Bed::with(with(Limits { sends_per_conversation: TWO, ..unlimited().limits })).await;
    let (mut flood, mut member) = (bed.connected(7).await, bed.connected(8).await);
    for text in ["1", "2"] {
        assert_eq!(refusal(&mut flood, send(300, text)).await, None);
    }
    assert!(refusal(&mut flood, send(300, "3")).await.is_some());
    assert!(refusal(&mut member, send(300, "4")).await.is_some(), "the rate is all members'");
    assert_eq!(refusal(&mut member, send(301, "5")).await, None);
    assert_eq!(refusal(&mut flood, send(301, "6")).await, None);
    assert_eq!(bed.fake.state.lock().sent, ["1", "2", "5", "6"]);
}

#[tokio::test]
async fn sends_by_name_count_against_their_conversation() {
    let bed = Bed::with(with(Limits { sends_per_conversation: TWO, ..unlimited().limits })).await;
    let mut client = bed.connected(7).await;
    let to = |name: &str, text: &str| send_to(Target::To(name.into()), text);
    assert_eq!(refusal(&mut client, to("user-8", "1")).await, None);
    assert_eq!(refusal(&mut client, send(10_008, "2")).await, None);
    assert!(refusal(&mut client, to("User-8", "3")).await.is_some(), "however it is named");
    assert!(refusal(&mut client, send(10_008, "4")).await.is_some());
    assert_eq!(refusal(&mut client, to("user-9", "5")).await, None);
    assert_eq!(bed.fake.state.lock().sent, ["1", "2", "5"]);
}

/// Someone who may send no more must not use up what the others of the conversation have.
#[tokio::test]
async fn what_is_refused_for_its_sender_does_not_count_against_the_conversation() {
    let limits = Limits {
        sends_per_user: TWO,
        sends_per_conversation: Rate { per_second: 0.5, burst: 3 },
        ..unlimited().limits
    };
    let bed = Bed::with(with(limits)).await;
    let (mut flood, mut member) = (bed.connected(7).await, bed.connected(8).await);
    for _ in 0..20 {
        refusal(&mut flood, send(300, "x")).await;
    }
    assert_eq!(refusal(&mut member, send(300, "y")).await, None);
}

#[tokio::test]
async fn each_kind_of_request_has_a_rate_of_its_own_for_each_user() {
    let limits = Limits {
        contacts_per_user: TWO,
        groups_per_user: TWO,
        searches_per_user: TWO,
        bots_per_user: TWO,
        reports_per_user: TWO,
        drafts_per_user: TWO,
        ..unlimited().limits
    };
    let bed = Bed::with(with(limits)).await;
    let (mut client, mut again, mut other) = (bed.connected(7).await, bed.connected(7).await, bed.connected(8).await);
    for request in [
        Request::RequestFriend(RequestFriend::default()),
        Request::CreateGroup(CreateGroup::default()),
        Request::SearchUsers(SearchUsers::default()),
        Request::CreateBot(CreateBot::default()),
        Request::Report(Report::default()),
        Request::SaveDraft(SaveDraft::default()),
    ] {
        for _ in 0..2 {
            assert_eq!(refusal(&mut client, request.clone()).await, None, "{request:?}");
        }
        let after = refusal(&mut again, request.clone()).await.expect("on another connection as well");
        assert!(after > Duration::ZERO && after <= Duration::from_secs(2), "{after:?}");
        assert_eq!(refusal(&mut other, request).await, None);
    }
}

#[tokio::test]
async fn notices_of_typing_over_the_rate_are_dropped_without_a_word() {
    let bed = Bed::with(with(Limits { typing_per_user: TWO, ..unlimited().limits })).await;
    let mut client = bed.connected(7).await;
    for _ in 0..5 {
        let answer = client.ask(Request::Typing(Typing { conversation: 77 })).await;
        assert!(matches!(answer, Body::Done(_)), "{answer:?}");
    }
    let over_http = super::http::post(&bed, "typing", Some("7.70"), r#"{"conversation": "77"}"#).await;
    assert_eq!((over_http.status, over_http.body.as_str()), (200, "{}"));
    assert_eq!(bed.fake.state.lock().asked, [("typing", 7), ("typing", 7)]);
}

#[tokio::test]
async fn a_new_account_has_a_part_of_the_rates() {
    let limits = Limits {
        sends_per_user: Rate { per_second: 0.5, burst: 8 },
        new_account_age: Duration::from_secs(3_600),
        new_account_percent: 25,
        ..unlimited().limits
    };
    let bed = Bed::with(with(limits)).await;
    let age_ms = |ms: i64| u64::try_from(crate::dispatch::now_ms() - ms - UserId::new(0).created_ms()).unwrap();
    for (made, allowed) in [(age_ms(60_000), 2), (age_ms(2 * 3_600_000), 8)] {
        let mut client = bed.connected(made << 22 | 5).await;
        for i in 0..=allowed {
            assert_eq!(refusal(&mut client, send(77, "x")).await.is_some(), i == allowed, "{i} of {allowed}");
        }
    }
}
