//! What an API key may do, over sockets and over HTTP.

use protocol::{
    GroupId,
    wire::{
        Connect, CreateGroup, ErrorCode, GoodbyeReason, History, ListBots, Ping, Sync, WatchPresence,
        client_frame::Body as Request, connect, server_frame::Body,
    },
};

use crate::dispatch;

use super::{
    bed::{Bed, Tcp, eventually, send},
    http::post,
};

/// A connection with an API key of user 7.
async fn with_key(bed: &Bed, scopes: &str) -> Tcp {
    let mut client = bed.tcp().await;
    let answer = client.ask(connect(scopes, None)).await;
    assert!(matches!(answer, Body::Connected(_)), "{answer:?}");
    client
}

fn connect(scopes: &str, sync: Option<Sync>) -> Request {
    let token = Some(connect::Token::AccessToken(format!("7.71.{scopes}")));
    Request::Connect(Connect { token, sync, heartbeat_ms: 0 })
}

fn refusal(body: Body) -> Option<(ErrorCode, String)> {
    match body {
        Body::Error(error) => Some((error.code(), error.message)),
        _ => None,
    }
}

fn missing(request: &str, scope: &str) -> Option<(ErrorCode, String)> {
    Some((ErrorCode::ScopeMissing, format!("{request}: this API key does not have the scope {scope}")))
}

#[tokio::test]
async fn a_key_without_the_scope_is_refused_on_a_socket_and_told_which() {
    let bed = Bed::new().await;
    let mut writer = with_key(&bed, "WRITE").await;
    assert_eq!(refusal(writer.ask(send(77, "hello")).await), None);
    let history = || Request::History(History { conversation: 5, ..History::default() });
    assert_eq!(refusal(writer.ask(history()).await), missing("history", "READ"));
    let watch = Request::WatchPresence(WatchPresence { users: vec![8] });
    assert_eq!(refusal(writer.ask(watch).await), missing("watch_presence", "READ"));
    assert_eq!(
        refusal(writer.ask(Request::CreateGroup(CreateGroup::default())).await),
        missing("create_group", "GROUPS")
    );
    let (code, message) = refusal(writer.ask(Request::ListBots(ListBots {})).await).unwrap();
    assert_eq!(code, ErrorCode::ScopeMissing);
    assert!(message.contains("a log-in with the password"), "{message}");
    let mut reader = with_key(&bed, "READ,GROUPS").await;
    assert_eq!(refusal(reader.ask(send(77, "no")).await), missing("send", "WRITE"));
    assert_eq!(refusal(reader.ask(history()).await), None);
    assert_eq!(refusal(reader.ask(Request::CreateGroup(CreateGroup::default())).await), None);
    assert_eq!(bed.fake.state.lock().sent, ["hello"]);
}

#[tokio::test]
async fn a_key_without_the_scope_is_refused_over_http_and_told_which() {
    let bed = Bed::new().await;
    let key = Some("7.71.WRITE");
    let refused = post(&bed, "sync", key, "{}").await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "SCOPE_MISSING"));
    assert!(refused.body.contains("READ"), "{}", refused.body);
    assert_eq!(post(&bed, "list_bots", key, "{}").await.status, 403);
    assert_eq!(post(&bed, "list_bots", Some("7.70"), "{}").await.status, 200);
    assert_eq!(post(&bed, "sync", Some("7.71.READ"), "{}").await.status, 200);
}

#[tokio::test]
async fn a_key_that_may_not_read_catches_up_on_nothing_and_hears_no_pushes() {
    let bed = Bed::new().await;
    bed.fake.state.lock().groups.insert(7, vec![300]);
    bed.fake.state.lock().members.insert(300, [7].into());
    let mut deaf = bed.tcp().await;
    assert_eq!(refusal(deaf.ask(connect("WRITE", Some(Sync::default()))).await), missing("sync", "READ"));
    assert!(matches!(deaf.ask(connect("WRITE", None)).await, Body::Connected(_)));
    let mut hears = with_key(&bed, "READ").await;
    bed.publish_direct(&[7], 1, "a").await;
    bed.publish_group(GroupId::new(300).get(), 1, "b").await;
    assert_eq!(hears.texts(2).await, ["a", "b"]);
    deaf.expect_silence().await;
    assert!(matches!(deaf.ask(Request::Ping(Ping {})).await, Body::Pong(_)));
}

#[tokio::test]
async fn a_connection_ends_with_the_time_of_its_key_once_what_is_under_way_is_answered() {
    let bed = Bed::new().await;
    let mut forever = with_key(&bed, "WRITE").await;
    let ends_ms = dispatch::now_ms() + 1_000;
    bed.fake.state.lock().keys_end_ms = ends_ms;
    let mut waiting = with_key(&bed, "WRITE").await;
    let mut idle = with_key(&bed, "WRITE").await;
    let mut session = bed.connected(8).await;
    let sent = waiting.request(send(77, "wait")).await;
    eventually("the send is under way", || !bed.fake.state.lock().batches.is_empty()).await;
    let goodbye = idle.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
    assert!(dispatch::now_ms() >= ends_ms && goodbye.message.contains("API key"), "{goodbye:?}");
    // Its time is over as well by now, or will be in a moment.
    bed.fake.sends.add_permits(1);
    assert_eq!(waiting.frame().await.request, sent);
    waiting.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
    let mut late = with_key(&bed, "WRITE").await;
    late.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
    for client in [&mut forever, &mut session] {
        client.expect_silence().await;
    }
}
