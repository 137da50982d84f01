//! That nobody has to wait for what was stored though the answer to its commit got lost.

use std::collections::HashSet;

use api::{AppendRequest, GroupService as _, MessageService as _};
use prost::Message as _;
use protocol::{
    EntryId, GroupId, queue as pushes,
    wire::{self, ErrorCode, content::Kind, server_frame::Body},
};
use queue::{Delivered, Queue as _, Subscription, Topic};
use store::Messages;

use crate::bed::{GATEWAY, PATIENCE, System, by, code_of, text, user_id};

/// Waits until something is told to catch up: the users it was told, or the topic.
async fn resynced(subscription: &dyn Subscription) -> (Topic, Vec<u64>) {
    loop {
        let delivered = tokio::time::timeout(PATIENCE, subscription.receive(1)).await.expect("in time").remove(0);
        let Delivered::Publication(publication) = delivered else { panic!("lost") };
        for delivery in pushes::Batch::decode(publication.payload).unwrap().deliveries {
            let Some(pushes::delivery::What::Frame(frame)) = delivery.what else { continue };
            if let Some(Body::Resync(_)) = wire::ServerFrame::decode(frame).unwrap().body {
                return (publication.topic, delivery.users);
            }
        }
    }
}

/// Sends something once all effects are told, after which the next entry that is appended is the test's own.
async fn send_when_all_is_told(system: &System, sender: &wire::Session, conversation: u64) {
    let told = async {
        while !Messages::effects(&*system.messages, 1).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("in time");
    let first = text(conversation, EntryId::generate(), "before");
    assert!(system.send(sender, vec![first]).await[0].is_ok());
}

#[tokio::test]
async fn both_of_a_conversation_are_told_to_catch_up_when_the_answer_to_a_commit_gets_lost() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let subscription = system.queue.open(GATEWAY).await.unwrap();
    for session in [&alice, &bob] {
        system.queue.bind(user_id(session), GATEWAY, false).await.unwrap();
    }
    send_when_all_is_told(&system, &alice, conversation).await;
    system.messages.lose_answer("append");
    let send = text(conversation, EntryId::generate(), "stored");
    assert_eq!(system.send(&alice, vec![send]).await, [Err(ErrorCode::OutcomeUnknown)]);
    let mut told = HashSet::new();
    while told.len() < 2 {
        let (topic, users) = resynced(subscription.as_ref()).await;
        assert_eq!(topic, Topic::Gateway(GATEWAY));
        told.extend(users);
    }
    assert_eq!(told, [&alice, &bob].map(|session| user_id(session).get()).into());
    assert_eq!(system.texts(&bob, conversation).await, ["before", "stored"]);
    assert_eq!(system.messages.asked(&["members"]), 1);
}

#[tokio::test]
async fn a_group_is_told_to_catch_up_when_the_answer_to_a_commit_gets_lost() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let create = wire::CreateGroup {
        id: EntryId::generate().to_string(),
        title: "group".into(),
        members: vec![user_id(&bob).get()],
        join_policy: wire::JoinPolicy::Open.into(),
    };
    let group = system.group.create_group(&by(&alice), create).await.unwrap().id;
    let subscription = system.queue.open(GATEWAY).await.unwrap();
    subscription.subscribe(vec![Topic::Group(GroupId::new(group))]).await.unwrap();
    send_when_all_is_told(&system, &alice, group).await;
    system.messages.lose_answer("append");
    let send = text(group, EntryId::generate(), "stored");
    assert_eq!(system.send(&alice, vec![send]).await, [Err(ErrorCode::OutcomeUnknown)]);
    assert_eq!(resynced(subscription.as_ref()).await.0, Topic::Group(GroupId::new(group)));
}

#[tokio::test]
async fn an_act_of_another_version_is_not_told_as_if_it_were_done() {
    let system = System::start().await;
    let alice = system.register("alice").await;
    let user = user_id(&alice).get();
    let changed = wire::SettingsChanged { write_policy: wire::WritePolicy::Friends.into(), invisible: true };
    let request = AppendRequest {
        conversation: user,
        sender: user,
        id: EntryId::generate().to_string(),
        content: Some(Kind::SettingsChanged(changed).into()),
        act: None,
    };
    assert_eq!(code_of(system.message.append(&by(&alice), request)).await, ErrorCode::Unavailable);
    assert!(!system.personal(&alice).await.contains(&Kind::SettingsChanged(changed)));
}
