//! Messages, and reading them.

use std::sync::Arc;

use api::MessageService as _;
use prost::Message as _;
use protocol::{
    ConversationId, EntryId, RawContent, queue as pushes,
    wire::{self, ErrorCode, content::Kind},
};
use queue::{Delivered, Queue as _, Topic};
use services::{Clock, message};
use store::{Act, Membership, Messages as _, NewEntry};

use crate::bed::{GATEWAY, PATIENCE, System, by, eventually, heard, text, user_id};

#[tokio::test]
async fn sends_are_stored_and_published_in_the_order_given_and_a_wrong_one_stops_no_other() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let subscription = system.queue.open(GATEWAY).await.unwrap();
    system.queue.bind(user_id(&bob), GATEWAY, false).await.unwrap();
    let mut sends: Vec<_> = (1..=50).map(|i| text(conversation, EntryId::generate(), i.to_string())).collect();
    sends.insert(10, text(conversation, EntryId::generate(), ""));
    sends.insert(20, text(conversation + 1, EntryId::generate(), "not mine"));
    sends.insert(30, text(user_id(&alice).get(), EntryId::generate(), "to the personal log"));
    let outcomes = system.send(&alice, sends).await;
    assert_eq!(outcomes[10], Err(ErrorCode::Invalid));
    assert_eq!(outcomes[20], Err(ErrorCode::NotMember));
    assert_eq!(outcomes[30], Err(ErrorCode::Forbidden));
    let positions: Vec<u64> = outcomes.into_iter().filter_map(Result::ok).collect();
    assert_eq!(positions, (1..=50).collect::<Vec<_>>());
    assert_eq!(system.texts(&bob, conversation).await, (1..=50).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(heard(subscription.as_ref(), conversation, 50).await, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_id_stores_one_entry_eight_times_at_once_after_a_restart_and_a_day_later() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let id = EntryId::generate();
    let at_once = (0..8).map(|_| system.send(&alice, vec![text(conversation, id, "once")]));
    for outcome in futures_util::future::join_all(at_once).await {
        assert_eq!(outcome, [Ok(1)]);
    }
    let system = system.restart().await;
    assert_eq!(system.send(&alice, vec![text(conversation, id, "once")]).await, [Ok(1)]);
    for day_ms in [86_400_000, -172_800_000] {
        system.clock.shift(day_ms);
        assert_eq!(system.send(&alice, vec![text(conversation, id, "once")]).await, [Ok(1)]);
    }
    assert_eq!(system.send(&alice, vec![text(conversation, id, "other")]).await, [Err(ErrorCode::IdReused)]);
    assert_eq!(system.texts(&bob, conversation).await, ["once"]);
}

#[tokio::test]
async fn what_exceeds_the_queue_is_certainly_not_stored() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let config = message::Config { append_queue_bytes_max: 4_096, ..message::Config::default() };
    let system = System::open(dir, config, Clock::system()).await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let send = |i: u32| system.send(&alice, vec![text(conversation, EntryId::generate(), format!("{i:>3000}"))]);
    let outcomes = futures_util::future::join_all((0..20).map(send)).await.concat();
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(outcomes.iter().all(|outcome| outcome.is_ok() || *outcome == Err(ErrorCode::Overloaded)));
    assert!((1..20).contains(&stored), "{stored}");
    assert_eq!(system.texts(&bob, conversation).await.len(), stored);
}

#[tokio::test]
async fn a_change_of_members_that_a_crash_left_untold_is_told_once() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let group = ConversationId::new(4_711);
    let system = {
        // Committed by a process that was killed before it told anybody.
        let (dir, clock) = (system.dir.clone(), system.clock.clone());
        let (message, user) = system.tasks;
        message.stop().await;
        user.stop().await;
        let enter = [&alice, &bob].map(|session| (user_id(session), wire::Role::Member)).to_vec();
        let entry = NewEntry {
            conversation: group,
            sender: user_id(&alice),
            id: EntryId::generate(),
            time_ms: 1,
            content: RawContent::from(Kind::GroupCreated(wire::GroupCreated::default())).as_bytes().clone(),
            act: Act::Membership(Membership { create: true, enter, ..Membership::default() }),
            settles: None,
        };
        system.store.append(vec![entry]).await.unwrap()[0].as_ref().unwrap();
        system.store.close().await;
        drop((system.message, system.user, system.group, system.messages, system.store));
        System::open(dir, message::Config::default(), clock).await
    };
    let entered = Kind::GroupEntered(wire::GroupEntered { group: group.get() });
    for session in [&alice, &bob] {
        eventually(async || system.personal(session).await.contains(&entered).then_some(())).await;
    }
    let system = system.restart().await;
    for session in [&alice, &bob] {
        let told = system.personal(session).await.iter().filter(|kind| **kind == entered).count();
        assert_eq!(told, 1);
    }
}

#[tokio::test]
async fn a_read_position_moves_forward_only_and_the_peer_hears_of_it() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let sends = (0..3).map(|i| text(conversation, EntryId::generate(), i.to_string())).collect();
    system.send(&alice, sends).await;
    let subscription = system.queue.open(GATEWAY).await.unwrap();
    system.queue.bind(user_id(&alice), GATEWAY, false).await.unwrap();
    for position in [2, 1, 9] {
        system.message.read(&by(&bob), wire::Read { conversation, position }).await.unwrap();
    }
    let mut moved = Vec::new();
    while moved.len() < 2 {
        for delivered in tokio::time::timeout(PATIENCE, subscription.receive(10)).await.expect("in time") {
            let Delivered::Publication(publication) = delivered else { panic!("lost") };
            assert_eq!(publication.topic, Topic::Gateway(GATEWAY));
            for delivery in pushes::Batch::decode(publication.payload).unwrap().deliveries {
                let Some(pushes::delivery::What::Frame(frame)) = delivery.what else { continue };
                let Some(wire::server_frame::Body::ReadMoved(read)) = wire::ServerFrame::decode(frame).unwrap().body
                else {
                    continue;
                };
                moved.push(read.position);
            }
        }
    }
    assert_eq!(moved, [2, 3]);
    let head = |session: wire::Session| {
        let message = system.message.clone();
        async move {
            let page = message.sync(&by(&session), wire::Sync::default()).await.unwrap();
            page.heads.into_iter().find(|head| head.conversation.as_ref().unwrap().id == conversation).unwrap()
        }
    };
    let bobs = head(bob).await;
    assert_eq!((bobs.last_position, bobs.read_position, bobs.unread), (3, 3, 0));
    let alices = head(alice).await;
    assert_eq!((alices.read_position, alices.unread, alices.peer_read_position), (3, 0, 3));
}
