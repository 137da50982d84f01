//! The client against a scripted server.

mod fake;

use std::{sync::Arc, time::Duration};

use protocol::{
    ConversationId, EntryId,
    wire::{self, ErrorCode, GoodbyeReason, client_frame::Body as Request, server_frame::Body as Answer},
};

use crate::{
    Backoff, Client, DiskProfile, Error, Event, Events, MemoryProfile, Options, Profile, SendError, State, Target, text,
};
use fake::{FakeServer, ME, PEER, Peer, entry, session};

const DIRECT: u64 = 500;

fn options(server: &FakeServer, profile: Arc<dyn Profile>) -> Options {
    Options {
        backoff: Backoff { min: Duration::from_millis(5), max: Duration::from_millis(20) },
        gap_patience: Duration::from_millis(5),
        ..Options::new(server.address(), profile)
    }
}

fn start(server: &FakeServer) -> (Client, Events) {
    Client::start(options(server, Arc::new(MemoryProfile::new(session())))).unwrap()
}

fn direct() -> Target {
    Target::Conversation(ConversationId::new(DIRECT))
}

fn head(last_position: u64) -> wire::Head {
    let kind = wire::ConversationKind::Direct.into();
    let peer = Some(wire::UserInfo { id: PEER, name: "bob".into(), ..wire::UserInfo::default() });
    let conversation = Some(wire::Conversation { id: DIRECT, kind, peer, ..wire::Conversation::default() });
    wire::Head { conversation, last_position, ..wire::Head::default() }
}

fn page(heads: Vec<wire::Head>, cursor: &str) -> wire::SyncPage {
    wire::SyncPage { heads, next_page: String::new(), cursor: cursor.into() }
}

fn sent(position: u64) -> Answer {
    Answer::Sent(wire::Sent { conversation: DIRECT, position, time_ms: 1 })
}

/// The positions of the next `count` entries.
async fn positions(events: &mut Events, count: usize) -> Vec<u64> {
    let mut positions = Vec::new();
    while positions.len() < count {
        if let Event::Entry { entry, .. } = next(events).await {
            positions.push(entry.position);
        }
    }
    positions
}

async fn next(events: &mut Events) -> Event {
    fake::soon(events.next()).await.expect("the client has stopped")
}

async fn until<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(next(events).await) {
            return found;
        }
    }
}

#[tokio::test]
async fn sends_leave_in_order_and_resolve_with_their_positions() {
    let server = FakeServer::start().await;
    let (client, mut events) = start(&server);
    let mut peer = server.accept_connected("r1").await;
    let mut submitted = Vec::new();
    for i in 0..5 {
        submitted.push(client.submit(direct(), text(format!("{i}")), EntryId::generate()).await.unwrap());
    }
    for i in 0..5u64 {
        let (request, send) = peer.expect_send().await;
        assert_eq!(send.content.unwrap().text().unwrap(), i.to_string());
        assert_eq!(send.id, submitted[i as usize].id().to_string());
        peer.answer(request, sent(i + 1)).await;
    }
    for (i, submitted) in submitted.into_iter().enumerate() {
        assert_eq!(fake::soon(submitted).await.unwrap().position, i as u64 + 1);
    }
    // The kind of a conversation known only from an own send comes with its head.
    let (request, sync) = peer.expect_sync().await;
    assert_eq!(sync.cursor, "c");
    peer.answer(request, Answer::Sync(page(vec![head(5)], "c2"))).await;
    assert_eq!(positions(&mut events, 5).await, [1, 2, 3, 4, 5], "acknowledged sends are entries");
}

#[tokio::test]
async fn what_a_lost_connection_leaves_unanswered_goes_out_again_in_order_with_the_same_ids() {
    let server = FakeServer::start().await;
    let (client, mut events) = start(&server);
    let mut peer = server.accept_connected("r1").await;
    let mut submitted = Vec::new();
    for i in 0..4 {
        submitted.push(client.submit(direct(), text(format!("{i}")), EntryId::generate()).await.unwrap());
    }
    let mut ids = Vec::new();
    for _ in 0..4 {
        let (request, send) = peer.expect_send().await;
        ids.push((request, send.id));
    }
    // Only the second is answered before the connection breaks.
    peer.answer(ids[1].0, sent(2)).await;
    fake::soon(submitted.remove(1)).await.unwrap();
    drop(peer);
    let error = until(&mut events, |event| match event {
        Event::Disconnected { error, .. } => Some(error),
        _ => None,
    });
    assert!(matches!(error.await, Error::Broken(_)));

    let (mut peer, connect) = server.accept().await;
    assert_eq!(connect.token, Some(wire::connect::Token::ResumeToken("r1".into())), "it resumes");
    peer.connected("r2", page(Vec::new(), "c")).await;
    for i in [0, 2, 3] {
        let (request, send) = peer.expect_send().await;
        assert_eq!(send.id, ids[i].1);
        peer.answer(request, sent(i as u64 + 1)).await;
    }
    for submitted in submitted {
        fake::soon(submitted).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_send_tells_that_it_was_not_stored_and_a_pause_is_kept() {
    let server = FakeServer::start().await;
    let (client, _events) = start(&server);
    let mut peer = server.accept_connected("r1").await;
    let first = client.submit(direct(), text("1"), EntryId::generate()).await.unwrap();
    let (request, _) = peer.expect_send().await;
    peer.refuse(request, ErrorCode::NotMember, 0).await;
    match fake::soon(first).await {
        Err(SendError::NotStored { error: Error::Refused(error) }) => assert_eq!(error.code(), ErrorCode::NotMember),
        other => panic!("{other:?}"),
    }
    let second = client.submit(direct(), text("2"), EntryId::generate()).await.unwrap();
    let (request, send) = peer.expect_send().await;
    let before = tokio::time::Instant::now();
    peer.refuse(request, ErrorCode::RateLimited, 150).await;
    let (request, again) = peer.expect_send().await;
    assert!(before.elapsed() >= Duration::from_millis(150), "it waits as long as it was told to");
    assert_eq!(again.id, send.id);
    peer.refuse(request, ErrorCode::OutcomeUnknown, 0).await;
    let (request, again) = peer.expect_send().await;
    assert_eq!(again.id, send.id);
    peer.answer(request, sent(1)).await;
    assert_eq!(fake::soon(second).await.unwrap().position, 1);
}

#[tokio::test]
async fn a_send_that_is_given_up_tells_honestly_whether_it_may_have_been_stored() {
    let server = FakeServer::start().await;
    let profile = Arc::new(MemoryProfile::new(session()));
    let options = Options { send_timeout: Some(Duration::from_millis(200)), ..options(&server, profile) };
    let (client, _events) = Client::start(options).unwrap();
    // Nobody has seen it: certainly not stored.
    drop(server.accept().await);
    match fake::soon(client.send(direct(), text("1"), EntryId::generate())).await {
        Err(SendError::NotStored { error: Error::TimedOut { source: Some(source), .. } }) => {
            assert!(matches!(*source, Error::Broken(_)), "it tells why there is no connection: {source:?}");
        }
        other => panic!("{other:?}"),
    }
    let mut peer = server.accept_connected("r1").await;
    // Refused for the moment each time: certainly not stored.
    let second = client.submit(direct(), text("2"), EntryId::generate()).await.unwrap();
    let (request, _) = peer.expect_send().await;
    peer.refuse(request, ErrorCode::Overloaded, 60_000).await;
    match fake::soon(second).await {
        Err(SendError::NotStored { error: Error::TimedOut { source: Some(source), .. } }) => {
            assert!(matches!(&*source, Error::Refused(error) if error.code() == ErrorCode::Overloaded));
        }
        other => panic!("{other:?}"),
    }
    drop(peer);
    // Seen, and not answered: unknown, also if a later try is refused for the moment.
    let mut peer = server.accept_connected("r1").await;
    let third = client.submit(direct(), text("3"), EntryId::generate()).await.unwrap();
    peer.expect_send().await;
    drop(peer);
    let mut peer = server.accept_connected("r1").await;
    let (request, _) = peer.expect_send().await;
    peer.refuse(request, ErrorCode::Overloaded, 60_000).await;
    assert!(matches!(fake::soon(third).await, Err(SendError::OutcomeUnknown { .. })));
    client.close().await;
}

#[tokio::test]
async fn tokens_fall_back_from_resume_over_access_to_an_exchange_that_is_repeated_with_its_id() {
    let server = FakeServer::start().await;
    let profile = Arc::new(MemoryProfile::new(session()));
    profile.store_resume_token(profile.tokens().unwrap().unwrap().session, "old").unwrap();
    let (_client, mut events) = Client::start(options(&server, profile.clone())).unwrap();
    let mut peer = server.accept_raw().await;
    let (request, connect) = peer.expect_connect().await;
    assert_eq!(connect.token, Some(wire::connect::Token::ResumeToken("old".into())));
    peer.refuse(request, ErrorCode::TokenExpired, 0).await;
    let (request, connect) = peer.expect_connect().await;
    assert_eq!(connect.token, Some(wire::connect::Token::AccessToken("access".into())));
    peer.refuse(request, ErrorCode::TokenExpired, 0).await;
    let Request::Refresh(refresh) = peer.expect().await.1 else { panic!() };
    assert_eq!(refresh.refresh_token, "refresh");
    // The answer gets lost.
    drop(peer);
    let mut peer = server.accept_raw().await;
    let (request, again) = peer.expect().await;
    assert_eq!(again, Request::Refresh(refresh), "the same exchange");
    let renewed = wire::Session { access_token: "new".into(), refresh_token: "next".into(), ..session() };
    peer.answer(request, Answer::Session(renewed)).await;
    let (request, connect) = peer.expect_connect().await;
    assert_eq!(connect.token, Some(wire::connect::Token::AccessToken("new".into())));
    peer.connected_to(request, "r9", page(Vec::new(), "c")).await;
    let round_trips = until(&mut events, |event| match event {
        Event::Connected { round_trips } => Some(round_trips),
        _ => None,
    });
    assert_eq!(round_trips.await, 2);
    let tokens = profile.tokens().unwrap().unwrap();
    assert_eq!((tokens.refresh_token.as_str(), tokens.refresh_id), ("next", None));
    assert_eq!(tokens.resume_token.as_deref(), Some("r9"));
}

#[tokio::test]
async fn a_session_that_has_ended_stops_the_client_and_answers_who_waits() {
    let server = FakeServer::start().await;
    let (client, mut events) = start(&server);
    let submitted = client.submit(direct(), text("1"), EntryId::generate()).await.unwrap();
    let mut peer = server.accept_raw().await;
    let (request, _) = peer.expect_connect().await;
    peer.refuse(request, ErrorCode::SessionEnded, 0).await;
    let (request, refresh) = peer.expect().await;
    assert!(matches!(refresh, Request::Refresh(_)));
    peer.refuse(request, ErrorCode::SessionEnded, 0).await;
    let error = until(&mut events, |event| match event {
        Event::SessionEnded { error } => Some(error),
        _ => None,
    });
    assert!(matches!(error.await, Error::SessionEnded(_)));
    assert!(matches!(fake::soon(submitted).await, Err(SendError::NotStored { error: Error::SessionEnded(_) })));
    assert!(matches!(client.sessions().await, Err(Error::SessionEnded(_))));
    assert!(matches!(client.state(), State::Stopped { error: Some(_) }));
    assert!(fake::soon(events.next()).await.is_none());
    client.close().await;
}

#[tokio::test]
async fn a_draining_server_is_left_for_as_long_as_it_says_and_a_final_goodbye_is_final() {
    let server = FakeServer::start().await;
    let (_client, mut events) = start(&server);
    let mut peer = server.accept_connected("r1").await;
    peer.goodbye(GoodbyeReason::GoodbyeDraining, 120).await;
    let retry_in = until(&mut events, |event| match event {
        Event::Disconnected { retry_in, .. } => Some(retry_in),
        _ => None,
    });
    assert_eq!(retry_in.await, Duration::from_millis(120));
    let mut peer = server.accept_connected("r2").await;
    peer.goodbye(GoodbyeReason::GoodbyeSessionEnded, 0).await;
    until(&mut events, |event| matches!(event, Event::SessionEnded { .. }).then_some(())).await;
    assert!(fake::soon(events.next()).await.is_none());
}

#[tokio::test]
async fn a_silent_server_is_left_and_a_living_one_kept_by_pings() {
    let server = FakeServer::start().await;
    let profile = Arc::new(MemoryProfile::new(session()));
    let options = Options { silence_timeout: Duration::from_millis(150), ..options(&server, profile) };
    let (_client, mut events) = Client::start(options).unwrap();
    let (mut peer, _) = server.accept().await;
    peer.connected_with_heartbeat("r1", page(Vec::new(), "c"), 50).await;
    for _ in 0..5 {
        let (request, ping) = peer.expect().await;
        assert_eq!(ping, Request::Ping(wire::Ping {}));
        peer.answer(request, Answer::Pong(wire::Pong { time_ms: 1 })).await;
    }
    // The next ones are not answered.
    let error = until(&mut events, |event| match event {
        Event::Disconnected { error, .. } => Some(error),
        _ => None,
    });
    assert!(matches!(error.await, Error::Broken(_)));
    server.accept().await;
}

#[tokio::test]
async fn requests_are_answered_by_number_and_time_out_alone() {
    let server = FakeServer::start().await;
    let profile = Arc::new(MemoryProfile::new(session()));
    let options = Options { request_timeout: Duration::from_millis(300), ..options(&server, profile) };
    let (client, _events) = Client::start(options).unwrap();
    let mut peer = server.accept_connected("r1").await;
    let names = ["bob".to_owned()];
    let (one, two, ()) = tokio::join!(client.sessions(), client.find_users(&names), async {
        let requests = [peer.expect().await, peer.expect().await];
        for (request, body) in requests.into_iter().rev() {
            if let Request::FindUsers(_) = body {
                let users = vec![wire::UserInfo { id: PEER, name: "bob".into(), ..wire::UserInfo::default() }];
                peer.answer(request, Answer::Users(wire::Users { users, ..wire::Users::default() })).await;
            }
        }
    });
    assert!(matches!(one, Err(Error::TimedOut { .. })), "{one:?}");
    assert_eq!(two.unwrap()[0].id, PEER);
    let users = [protocol::UserId::new(PEER)];
    assert_eq!(&*client.names(&users).await.unwrap()[&users[0]], "bob", "a name once found is not asked for again");
}

#[tokio::test]
async fn lost_pushes_are_fetched_and_nothing_comes_twice() {
    let server = FakeServer::start().await;
    let (_client, mut events) = start(&server);
    let (mut peer, connect) = server.accept().await;
    assert_eq!(connect.sync.unwrap().cursor, "");
    let mut first = head(2);
    first.entries = vec![entry(1), entry(2)];
    peer.connected("r1", page(vec![first], "c")).await;
    for position in [4, 2, 4, 5] {
        peer.push_entry(DIRECT, position).await;
    }
    let (request, fetch) = peer.expect_fetch().await;
    let from = Some(wire::history::From::After(2));
    assert_eq!(fetch.histories, [wire::History { conversation: DIRECT, from, limit: 1 }]);
    let entries = vec![entry(3)];
    let history = wire::HistoryPage { conversation: DIRECT, entries, last_position: 5 };
    peer.answer(request, Answer::Fetched(wire::Fetched { pages: vec![history] })).await;
    peer.push_entry(DIRECT, 6).await;
    assert_eq!(positions(&mut events, 6).await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn the_cursor_is_stored_only_after_everything_before_it_was_taken() {
    let server = FakeServer::start().await;
    let profile = Arc::new(MemoryProfile::new(session()));
    let (client, mut events) = Client::start(options(&server, profile.clone())).unwrap();
    let (mut peer, _) = server.accept().await;
    peer.connected("r1", page(vec![head(3)], "later")).await;
    let (request, fetch) = peer.expect_fetch().await;
    assert_eq!(fetch.histories[0].limit, 3);
    let entries = vec![entry(1), entry(2), entry(3)];
    let history = wire::HistoryPage { conversation: DIRECT, entries, last_position: 3 };
    peer.answer(request, Answer::Fetched(wire::Fetched { pages: vec![history] })).await;
    assert_eq!(positions(&mut events, 3).await, [1, 2, 3]);
    assert_eq!(profile.load().unwrap().cursor, "", "the third entry was yielded, but not taken");
    assert!(matches!(next(&mut events).await, Event::CaughtUp));
    events.save().await;
    let stored = profile.load().unwrap();
    assert_eq!(stored.cursor, "later");
    assert_eq!(stored.conversations[&ConversationId::new(DIRECT)].applied, 3);
    client.close().await;
    drop(peer);
    // A later run resumes there, and repeats nothing.
    let (_client, mut events) = Client::start(options(&server, profile)).unwrap();
    let (mut peer, connect) = server.accept().await;
    assert_eq!(connect.sync.unwrap().cursor, "later");
    peer.connected("r2", page(vec![head(3)], "later")).await;
    peer.push_entry(DIRECT, 3).await;
    peer.push_entry(DIRECT, 4).await;
    assert_eq!(positions(&mut events, 1).await, [4]);
}

#[tokio::test]
async fn an_application_that_does_not_take_events_gets_answers_and_later_every_entry() {
    let server = FakeServer::start().await;
    let (client, mut events) = start(&server);
    let mut peer = server.accept_connected("r1").await;
    let last = 3_000;
    for position in 1..=last {
        peer.push_entry(DIRECT, position).await;
        if position % 10 == 0 {
            // So that they come in more reads than there is room for.
            tokio::task::yield_now().await;
        }
    }
    let (answered, ()) = tokio::join!(client.sessions(), async {
        let (request, _) = peer.expect().await;
        peer.answer(request, Answer::Sessions(wire::Sessions::default())).await;
    });
    answered.unwrap();
    let served = tokio::spawn(async move {
        loop {
            match peer.try_expect().await {
                Some((request, Request::Fetch(fetch))) => {
                    let pages = fetch.histories.iter().map(|history| {
                        let Some(wire::history::From::After(after)) = history.from else { panic!() };
                        let entries = (after + 1..=last).take(history.limit as usize).map(entry).collect();
                        wire::HistoryPage { conversation: DIRECT, entries, last_position: last }
                    });
                    let pages = pages.collect();
                    peer.answer(request, Answer::Fetched(wire::Fetched { pages })).await;
                }
                Some((request, Request::Sync(_))) => {
                    peer.answer(request, Answer::Sync(page(vec![head(last)], "c"))).await;
                }
                Some(_) => {}
                None => return,
            }
        }
    });
    let expected: Vec<u64> = (1..=last).collect();
    assert_eq!(positions(&mut events, last as usize).await, expected);
    client.close().await;
    fake::soon(served).await.unwrap();
}

#[tokio::test]
async fn messages_that_a_killed_process_left_are_sent_by_the_next_with_the_same_ids() {
    let server = FakeServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let profile = DiskProfile::open(directory.path()).unwrap();
    profile.store_tokens(&session().into()).unwrap();
    let profile: Arc<dyn Profile> = Arc::new(profile);
    let (client, events) = Client::start(options(&server, profile.clone())).unwrap();
    let mut ids = Vec::new();
    for i in 0..3 {
        let id = EntryId::generate();
        drop(client.submit(direct(), text(format!("{i}")), id).await.unwrap());
        ids.push(id);
    }
    let mut peer = server.accept_connected("r0").await;
    peer.expect_send().await;
    // As a kill would: nothing is flushed, nothing is said; the lock of the owner goes with the last reference.
    client.abort().await;
    drop((client, events, profile));

    let profile: Arc<dyn Profile> = Arc::new(DiskProfile::open(directory.path()).unwrap());
    let (client, _events) = Client::start(options(&server, profile.clone())).unwrap();
    let mut peer = server.accept_connected("r1").await;
    for (i, id) in ids.iter().enumerate() {
        let (request, send) = peer.expect_send().await;
        assert_eq!(send.id, id.to_string());
        assert_eq!(send.content.unwrap().text().unwrap(), i.to_string());
        peer.answer(request, sent(i as u64 + 1)).await;
    }
    tokio::join!(client.close(), peer.until_closed());
    assert_eq!(profile.load().unwrap().outgoing, []);
}

#[tokio::test]
async fn closing_waits_for_acknowledgements_and_keeps_what_is_left_in_a_durable_outbox() {
    let server = FakeServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let profile = DiskProfile::open(directory.path()).unwrap();
    profile.store_tokens(&session().into()).unwrap();
    let profile: Arc<dyn Profile> = Arc::new(profile);
    let options = Options { close_timeout: Duration::from_millis(300), ..options(&server, profile.clone()) };
    let (client, _events) = Client::start(options).unwrap();
    let mut peer = server.accept_connected("r1").await;
    let first = client.submit(direct(), text("1"), EntryId::generate()).await.unwrap();
    let second = client.submit(direct(), text("2"), EntryId::generate()).await.unwrap();
    let kept = second.id();
    tokio::join!(client.close(), async {
        let (request, _) = peer.expect_send().await;
        peer.answer(request, sent(1)).await;
        peer.expect_send().await;
        peer.until_closed().await;
    });
    assert_eq!(fake::soon(first).await.unwrap().position, 1);
    assert!(matches!(fake::soon(second).await, Err(SendError::OutcomeUnknown { .. })));
    let left: Vec<EntryId> = profile.load().unwrap().outgoing.into_iter().map(|message| message.id).collect();
    assert_eq!(left, [kept]);
    assert!(matches!(client.send(direct(), text("3"), EntryId::generate()).await, Err(SendError::NotStored { .. })));
    let _: &Peer = &peer;
    assert_eq!(client.user().get(), ME);
}

#[tokio::test]
async fn a_request_after_a_long_quiet_has_the_whole_time_for_its_answer() {
    let server = FakeServer::start().await;
    let (client, mut events) = start(&server);
    let mut peer = server.accept_connected("r1").await;
    until(&mut events, |event| matches!(event, Event::CaughtUp).then_some(())).await;
    // Longer than the server may be silent when it owes an answer, and shorter than anything else takes.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(25)).await;
    tokio::time::resume();
    let answered = async {
        let (request, _) = peer.expect().await;
        peer.answer(request, Answer::Users(wire::Users::default())).await;
    };
    let ask = client.request(Request::FindUsers(wire::FindUsers { ids: vec![PEER], names: Vec::new() }));
    let (found, ()) = tokio::join!(fake::soon(ask), answered);
    assert!(matches!(found, Ok(Answer::Users(_))), "{found:?}");
}
