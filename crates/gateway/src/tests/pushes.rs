use std::{sync::Arc, time::Duration};

use protocol::{
    WEBSOCKET_JSON,
    queue::{AccountClosed, Delivery, delivery::What},
    wire::{
        ClientFrame, DeleteAccount, GoodbyeReason, LogOut, Ping, Presence, ReadMoved, ServerFrame, SetAway, UserInfo,
        WatchPresence, client_frame::Body as Request, server_frame::Body,
    },
};
use queue::{Bounds, LocalQueue, Topic};

use super::bed::{Bed, connect_body, direct_entry, eventually, pushed_text, unlimited};
use crate::Config;

/// The promise: a client that does not read is closed, and nobody else notices.
#[tokio::test]
async fn a_slow_consumer_is_closed_and_the_others_go_on() {
    let config = Config { outbox_bytes_max: 128 * 1024, write_timeout: Duration::from_secs(60), ..unlimited() };
    let bed = Bed::with(config).await;
    let mut slow = bed.connected(7).await;
    let mut quick = bed.connected(8).await;
    let text = "x".repeat(60_000);
    let mut position = 0;
    while bed.figure("mpim_gateway_slow_consumers_total") == 0 {
        position += 1;
        assert!(position < 1_000, "the slow consumer was never closed");
        bed.publish_direct(&[7, 8], position, &text).await;
        assert_eq!(quick.texts(1).await[0].len(), text.len());
    }
    bed.publish_direct(&[8], position + 1, "still here").await;
    assert_eq!(quick.texts(1).await, ["still here"]);
    eventually("the slow one is gone", || bed.figure("mpim_gateway_users") == 1).await;
    let mut received = 0;
    let last = loop {
        match slow.next().await {
            Some(ServerFrame { body: Some(Body::Entry(_)), .. }) => received += 1,
            other => break other,
        }
    };
    assert!(received < position);
    // Best effort: said if there was room for it.
    if let Some(ServerFrame { body, .. }) = last {
        assert!(matches!(body, Some(Body::Goodbye(goodbye)) if goodbye.reason() == GoodbyeReason::GoodbyeSlowConsumer));
    }
    let mut again = bed.connected(7).await;
    bed.publish_direct(&[7], position + 2, "back").await;
    assert_eq!(again.texts(1).await, ["back"]);
}

#[tokio::test]
async fn a_push_reaches_all_devices_but_the_one_that_caused_it_and_no_one_else() {
    let bed = Bed::new().await;
    let mut first = bed.connected(7).await;
    let mut second = bed.connected(7).await;
    let mut peer = bed.connected(8).await;
    let mut other = bed.connected(9).await;
    let mut json = bed.websocket(Some(WEBSOCKET_JSON)).await;
    json.request(WEBSOCKET_JSON, &ClientFrame { request: 1, body: Some(connect_body(8, 81, false)) }).await;
    json.frame().await;
    // Connections are numbered in the order in which they came.
    let origin = 3 << 40 | 1;
    let delivery =
        Delivery { users: vec![7, 8], origin, what: Some(What::Entry(direct_entry(1, "天气"))), hide_from: 0 };
    bed.publish(Topic::Gateway(protocol::GatewayId::new(3)), delivery).await;
    let pushed = peer.frame().await;
    assert_eq!(pushed_text(&pushed), "天气");
    assert_eq!(second.frame().await, pushed);
    assert_eq!(json.frame().await, pushed);
    first.expect_silence().await;
    other.expect_silence().await;
}

#[tokio::test]
async fn pushes_leave_in_the_order_they_were_published() {
    let bed = Bed::new().await;
    bed.fake.state.lock().groups.insert(7, vec![300]);
    bed.fake.state.lock().members.insert(300, [7].into());
    let mut client = bed.connected(7).await;
    let texts: Vec<String> = (1..=500).map(|i| i.to_string()).collect();
    for (position, text) in (1..).zip(&texts) {
        bed.publish_group(300, position, text).await;
    }
    assert_eq!(client.texts(500).await, texts);
}

/// The promise: nothing falls between what `sync` reads and what is pushed.
#[tokio::test]
async fn topics_are_heard_before_sync_reads_and_pushes_come_after_connected() {
    let bed = Arc::new(Bed::new().await);
    bed.fake.state.lock().groups.insert(7, vec![300]);
    bed.fake.state.lock().members.insert(300, [7].into());
    let publisher = bed.clone();
    *bed.fake.on_sync.lock() = Some(Arc::new(move || {
        let bed = publisher.clone();
        // Ready at the first poll, so that it is published within `sync`.
        let published = futures_util::FutureExt::now_or_never(async move {
            bed.publish_group(300, 4, "meanwhile").await;
            bed.publish_direct(&[7], 1, "and this").await;
        });
        assert!(published.is_some());
    }));
    let mut client = bed.tcp().await;
    client.connect(7).await;
    let mut texts = client.texts(2).await;
    texts.sort();
    assert_eq!(texts, ["and this", "meanwhile"]);
    *bed.fake.on_sync.lock() = None;
}

#[tokio::test]
async fn clients_are_told_to_catch_up_when_pushes_were_lost() {
    let bounds = Bounds { publications_max: 4, ..Bounds::DEFAULT };
    let bed = Bed::on(LocalQueue::with_bounds(bounds), unlimited()).await;
    let mut client = bed.connected(7).await;
    let mut new = bed.tcp().await;
    // No await in between: the gateway has no chance to take any of them.
    let payload: bytes::Bytes = prost::Message::encode_to_vec(&protocol::queue::Batch::default()).into();
    let topic = Topic::Gateway(protocol::GatewayId::new(3));
    let publications = vec![queue::Publication { topic, payload }; 20];
    queue::Queue::publish(&bed.queue, publications).await.unwrap();
    assert!(matches!(client.frame().await.body, Some(Body::Resync(_))));
    assert!(bed.figure("mpim_gateway_queue_lost_total") > 0);
    new.expect_silence().await;
}

#[tokio::test]
async fn a_session_that_ended_while_pushes_were_lost_loses_its_connections() {
    let bounds = Bounds { publications_max: 4, ..Bounds::DEFAULT };
    let bed = Bed::on(LocalQueue::with_bounds(bounds), unlimited()).await;
    let mut ended = bed.connected(7).await;
    let mut other = bed.connected(8).await;
    bed.fake.state.lock().ended_meanwhile.insert(70);
    let payload: bytes::Bytes = prost::Message::encode_to_vec(&protocol::queue::Batch::default()).into();
    let topic = Topic::Gateway(protocol::GatewayId::new(3));
    queue::Queue::publish(&bed.queue, vec![queue::Publication { topic, payload }; 20]).await.unwrap();
    for client in [&mut ended, &mut other] {
        assert!(matches!(client.frame().await.body, Some(Body::Resync(_))));
    }
    ended.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
    other.expect_silence().await;
}

#[tokio::test]
async fn an_ended_session_loses_its_connections_and_others_of_the_user_stay() {
    let bed = Bed::new().await;
    let mut ended = bed.connected(7).await;
    let mut shares_it = bed.connected(7).await;
    let mut other = bed.tcp().await;
    other.ask(connect_body(7, 71, false)).await;
    bed.publish_direct(&[7], 1, "last").await;
    bed.publish_to(&[7], What::EndedSession(70)).await;
    for client in [&mut ended, &mut shares_it] {
        assert_eq!(client.texts(1).await, ["last"]);
        client.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
    }
    assert_eq!(other.texts(1).await, ["last"]);
    other.expect_silence().await;
}

#[tokio::test]
async fn logging_out_is_answered_before_the_goodbye() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    assert!(matches!(client.ask(Request::LogOut(LogOut {})).await, Body::Done(_)));
    client.expect_goodbye(GoodbyeReason::GoodbyeSessionEnded).await;
}

#[tokio::test]
async fn presence_is_pushed_of_those_who_may_be_seen_from_the_answer_on() {
    let bed = Bed::new().await;
    bed.fake.state.lock().visible = [8, 9].into();
    bed.fake.watches.forget_permits(usize::MAX);
    let mut client = bed.connected(7).await;
    let request = client.request(Request::WatchPresence(WatchPresence { users: vec![8, 9, 10, 8] })).await;
    // While the service thinks about it, users come and go; who is visible is told with the answer.
    client.expect_silence().await;
    for (user, online) in [(8, true), (10, true), (8, false), (9, true)] {
        bed.publish_presence(user, online).await;
    }
    // Behind them in the queue.
    bed.publish_direct(&[7], 1, "now").await;
    assert_eq!(client.texts(1).await, ["now"]);
    bed.fake.watches.add_permits(10);
    let answer = client.frame().await;
    assert_eq!(answer.request, request);
    assert!(matches!(answer.body, Some(Body::Presences(presences)) if presences.presences.len() >= 2));
    let mut changes = Vec::new();
    for _ in 0..2 {
        match client.frame().await.body {
            Some(Body::PresenceChanged(presence)) => changes.push((presence.user, presence.online)),
            other => panic!("{other:?}"),
        }
    }
    changes.sort_unstable();
    assert_eq!(changes, [(8, false), (9, true)]);
    bed.publish_presence(10, false).await;
    bed.publish_presence(8, true).await;
    assert!(matches!(client.frame().await.body, Some(Body::PresenceChanged(presence)) if presence.user == 8));
    // The next watch takes the place of the first.
    client.ask(Request::WatchPresence(WatchPresence { users: vec![9] })).await;
    bed.publish_presence(8, false).await;
    bed.publish_presence(9, false).await;
    assert!(matches!(client.frame().await.body, Some(Body::PresenceChanged(presence)) if presence.user == 9));
}

#[tokio::test]
async fn who_is_shown_but_not_followed_is_heard_of_in_the_answer_alone() {
    let bed = Bed::new().await;
    bed.fake.state.lock().visible = [8, 9].into();
    bed.fake.state.lock().unfollowed = [8].into();
    let mut client = bed.connected(7).await;
    let answer = client.ask(Request::WatchPresence(WatchPresence { users: vec![8, 9] })).await;
    assert!(matches!(answer, Body::Presences(presences) if presences.presences.len() == 2));
    bed.publish_presence(8, true).await;
    bed.publish_presence(9, true).await;
    assert!(matches!(client.frame().await.body, Some(Body::PresenceChanged(presence)) if presence.user == 9));
    eventually("the topic is dropped", || is_unheard(&bed.queue, Topic::Presence(protocol::UserId::new(8)))).await;
}

#[tokio::test]
async fn nobody_is_watched_for_a_connection_that_has_gone() {
    let bed = Bed::new().await;
    bed.fake.state.lock().visible = [8].into();
    let mut client = bed.connected(7).await;
    client.ask(Request::WatchPresence(WatchPresence { users: vec![8] })).await;
    bed.publish_presence(8, true).await;
    assert!(matches!(client.frame().await.body, Some(Body::PresenceChanged(_))));
    drop(client);
    eventually("the topic is dropped", || is_unheard(&bed.queue, Topic::Presence(protocol::UserId::new(8)))).await;
}

/// Whether nobody hears a topic; a publication to it tells.
pub(super) fn is_unheard(queue: &LocalQueue, topic: Topic) -> bool {
    let before = queue.delivered() + queue.length() as u64;
    let payload: bytes::Bytes = prost::Message::encode_to_vec(&protocol::queue::Batch::default()).into();
    let published = queue::Queue::publish(queue, vec![queue::Publication { topic, payload }]);
    futures_util::FutureExt::now_or_never(published).unwrap().unwrap();
    queue.delivered() + queue.length() as u64 == before
}

#[tokio::test]
async fn a_user_arrives_with_the_first_connection_and_leaves_with_the_last() {
    let bed = Bed::new().await;
    let first = bed.connected(7).await;
    let second = bed.connected(7).await;
    drop(first);
    eventually("one connection left", || bed.figure("mpim_gateway_connections") == 1).await;
    assert_eq!(bed.fake.state.lock().routes, ["+7"]);
    drop(second);
    eventually("the user leaves", || bed.fake.state.lock().routes.len() == 2).await;
    assert_eq!(bed.fake.state.lock().routes, ["+7", "-7"]);
}

#[tokio::test]
async fn a_user_who_is_back_within_the_grace_was_never_gone() {
    let bed = Bed::with(Config { departure_grace: Duration::from_secs(3_600), ..unlimited() }).await;
    drop(bed.connected(7).await);
    eventually("no connection", || bed.figure("mpim_gateway_connections") == 0).await;
    let back = bed.connected(7).await;
    assert_eq!(bed.fake.state.lock().routes, ["+7"]);
    drop(back);
    let fake = bed.fake.clone();
    bed.gateway.drain(Duration::from_secs(5)).await;
    assert_eq!(fake.state.lock().routes, ["+7", "-7"], "a gateway that stops tells all departures");
}

/// The promise: however a user's connections come and go, the route told last is the right one.
#[tokio::test]
async fn routes_end_up_right_when_connections_come_and_go_at_once() {
    let bed = Arc::new(Bed::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let bed = bed.clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                drop(bed.connected(7).await);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let stays = bed.connected(7).await;
    eventually("only one is left", || bed.figure("mpim_gateway_connections") == 1).await;
    eventually("the user is there", || bed.fake.state.lock().routes.last().is_some_and(|last| last == "+7")).await;
    drop(stays);
    eventually("the user is gone", || bed.fake.state.lock().routes.last().is_some_and(|last| last == "-7")).await;
    let routes = bed.fake.state.lock().routes.clone();
    assert!(routes.chunks(2).all(|pair| pair == ["+7", "-7"]), "{routes:?}");
}

#[tokio::test]
async fn frames_are_passed_on_as_they_were_published() {
    let bed = Bed::new().await;
    let mut client = bed.connected(7).await;
    let moved = ReadMoved { conversation: 77, user: 8, position: 5 };
    let frame = ServerFrame { request: 0, body: Some(Body::ReadMoved(moved)) };
    bed.publish_to(&[7], What::Frame(prost::Message::encode_to_vec(&frame).into())).await;
    assert_eq!(client.frame().await, frame);
    // What cannot be read is counted, and no more.
    let topic = Topic::Gateway(protocol::GatewayId::new(3));
    let payload = bytes::Bytes::from_static(b"\xff");
    queue::Queue::publish(&bed.queue, vec![queue::Publication { topic, payload }]).await.unwrap();
    eventually("it is counted", || bed.figure("mpim_gateway_queue_malformed_total") == 1).await;
    assert!(matches!(client.ask(Request::Ping(Ping {})).await, Body::Pong(_)));
}

#[tokio::test]
async fn a_user_is_away_once_all_connections_are_and_back_with_the_first_that_is() {
    let bed = Bed::new().await;
    let (mut first, mut second) = (bed.connected(7).await, bed.connected(7).await);
    let away = |away| Request::SetAway(SetAway { away });
    assert!(matches!(first.ask(away(true)).await, Body::Done(_)));
    assert_eq!(bed.fake.state.lock().routes, ["+7"], "there at one of them");
    second.ask(away(true)).await;
    second.ask(away(true)).await;
    assert_eq!(bed.fake.state.lock().routes, ["+7", "+7 away"]);
    first.ask(away(false)).await;
    assert_eq!(bed.fake.state.lock().routes, ["+7", "+7 away", "+7"]);
    // The one at which the user was has gone.
    drop(first);
    eventually("away again", || bed.fake.state.lock().routes.last().is_some_and(|last| last == "+7 away")).await;
    // A new device is one that somebody is at.
    let third = bed.connected(7).await;
    eventually("there again", || bed.fake.state.lock().routes.last().is_some_and(|last| last == "+7")).await;
    drop(third);
    drop(second);
    eventually("gone", || bed.fake.state.lock().routes.last().is_some_and(|last| last == "-7")).await;
}

/// The promise: from the last word on, nothing is heard of a user who hides.
#[tokio::test]
async fn a_user_who_hides_from_another_is_watched_by_them_no_longer_and_by_others_still() {
    let bed = Bed::new().await;
    bed.fake.state.lock().visible = [9].into();
    let topic = Topic::Presence(protocol::UserId::new(9));
    let (mut blocked, mut other) = (bed.connected(7).await, bed.connected(8).await);
    for client in [&mut blocked, &mut other] {
        client.ask(Request::WatchPresence(WatchPresence { users: vec![9] })).await;
    }
    let gone =
        ServerFrame { request: 0, body: Some(Body::PresenceChanged(Presence { user: 9, ..Presence::default() })) };
    let frame = What::Frame(prost::Message::encode_to_vec(&gone).into());
    bed.publish(topic, Delivery { what: Some(frame), hide_from: 7, ..Delivery::default() }).await;
    bed.publish_presence(9, true).await;
    assert_eq!(blocked.frame().await, gone);
    assert!(matches!(other.frame().await.body, Some(Body::PresenceChanged(presence)) if presence.online));
    blocked.expect_silence().await;
    drop(other);
    eventually("nobody watches", || is_unheard(&bed.queue, topic)).await;
}

#[tokio::test]
async fn changes_of_profiles_go_to_those_who_watch() {
    let bed = Bed::new().await;
    bed.fake.state.lock().visible = [8].into();
    let mut client = bed.connected(7).await;
    client.ask(Request::WatchPresence(WatchPresence { users: vec![8] })).await;
    let changed = Body::UserChanged(UserInfo { id: 8, display_name: "Acht".into(), ..UserInfo::default() });
    let frame = ServerFrame { request: 0, body: Some(changed) };
    let what = What::Frame(prost::Message::encode_to_vec(&frame).into());
    let delivery = Delivery { what: Some(what), ..Delivery::default() };
    bed.publish(Topic::Presence(protocol::UserId::new(8)), delivery).await;
    assert_eq!(client.frame().await, frame);
}

#[tokio::test]
async fn an_account_that_is_deleted_loses_all_its_connections_after_the_answer() {
    let bed = Bed::new().await;
    let (mut client, mut other_device) = (bed.connected(7).await, bed.tcp().await);
    other_device.ask(connect_body(7, 71, false)).await;
    let answer = client.ask(Request::DeleteAccount(DeleteAccount::default())).await;
    assert!(matches!(answer, Body::Done(_)));
    for device in [&mut client, &mut other_device] {
        device.expect_goodbye(GoodbyeReason::GoodbyeAccountClosed).await;
    }
    let mut third = bed.connected(8).await;
    assert_eq!(super::http::post(&bed, "delete_account", Some("8.80"), "{}").await.status, 200);
    third.expect_goodbye(GoodbyeReason::GoodbyeAccountClosed).await;
}

#[tokio::test]
async fn an_account_that_is_closed_loses_all_its_connections_and_is_told_why() {
    let bed = Bed::new().await;
    for (user, why, word) in [(7, AccountClosed::Suspended, "suspended"), (8, AccountClosed::Deleted, "deleted")] {
        let (mut client, mut other_device, mut other) =
            (bed.connected(user).await, bed.tcp().await, bed.connected(9).await);
        other_device.ask(connect_body(user, 71, false)).await;
        bed.publish_to(&[user], What::AccountClosed(why.into())).await;
        for device in [&mut client, &mut other_device] {
            let goodbye = device.expect_goodbye(GoodbyeReason::GoodbyeAccountClosed).await;
            assert!(goodbye.message.contains(word), "{goodbye:?}");
        }
        other.expect_silence().await;
    }
}
