//! What is done to messages.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    ConversationId, RawContent, UserId,
    wire::{Edit, Link, Pin, Reaction, Recall, Role, Text, content},
};

use super::{
    Store,
    scene::{NOW_MS, Scene, change, message, moving, tell},
};
use crate::{Act, Change, ChangeKind, Membership, NewEntry, Refused, content_kind};

const RECALLED: u32 = 90;

/// An entry that changes a message.
pub(super) fn changing(
    conversation: ConversationId,
    sender: UserId,
    target: u64,
    kind: ChangeKind,
    content: content::Kind,
) -> NewEntry {
    NewEntry {
        act: Act::Change(Change { target, kind }),
        content: RawContent::from(content).as_bytes().clone(),
        ..message(conversation, sender, "")
    }
}

/// Another text for a message.
pub(super) fn edit(conversation: ConversationId, sender: UserId, target: u64, body: &str) -> NewEntry {
    let content = RawContent::from(content::Kind::Text(Text { body: body.into() }));
    let content = content::Kind::Edit(Edit { position: target, content: Some(Box::new(content)) });
    changing(conversation, sender, target, ChangeKind::Edit { not_before_ms: NOW_MS - 10 }, content)
}

pub(super) fn recall(conversation: ConversationId, sender: UserId, target: u64) -> NewEntry {
    let content = content::Kind::Recall(Recall { position: target });
    changing(conversation, sender, target, ChangeKind::Recall { not_before_ms: NOW_MS - 10 }, content)
}

pub(super) fn react(conversation: ConversationId, sender: UserId, target: u64) -> NewEntry {
    let content = content::Kind::Reaction(Reaction { position: target, reaction: "👍".into(), removed: false });
    changing(conversation, sender, target, ChangeKind::React, content)
}

pub(super) fn pin(conversation: ConversationId, sender: UserId, target: u64, pinned: bool) -> NewEntry {
    let content = content::Kind::Pin(Pin { position: target, removed: !pinned });
    changing(conversation, sender, target, ChangeKind::Pin(pinned), content)
}

async fn content_at(scene: &Scene, reader: UserId, conversation: ConversationId, position: u64) -> Bytes {
    let page = scene.history(reader, conversation).await.unwrap();
    let entry = page.entries.into_iter().find(|entry| entry.position == position).unwrap();
    entry.content.unwrap().as_bytes().clone()
}

/// The positions of the messages that are pinned, as they are told.
async fn pins(scene: &Scene, reader: UserId, conversation: ConversationId) -> Vec<u64> {
    let pins = scene.store.pins(reader, conversation, 10).await.unwrap().unwrap();
    pins.iter().map(|entry| entry.position).collect()
}

/// In time, and into the same kind.
pub async fn only_its_sender_edits_a_message(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let group = scene.group(&[a, b]).await;
    scene.say(group, b, "first").await;
    assert_eq!(scene.append(edit(group, stranger, 2, "x")).await, Err(Refused::NotMember));
    assert_eq!(scene.append(edit(group, a, 2, "x")).await, Err(Refused::NotTheSenders), "the owner neither");
    for nothing in [3, 0, u64::MAX] {
        assert_eq!(scene.append(edit(group, b, nothing, "x")).await, Err(Refused::NoSuchMessage), "{nothing}");
    }
    let late = Act::Change(Change { target: 2, kind: ChangeKind::Edit { not_before_ms: NOW_MS + 1 } });
    let late = NewEntry { act: late, ..edit(group, b, 2, "late") };
    assert_eq!(scene.append(late).await, Err(Refused::TooLate));
    let link = RawContent::from(content::Kind::Link(Link::default()));
    let link = content::Kind::Edit(Edit { position: 2, content: Some(Box::new(link)) });
    let link = changing(group, b, 2, ChangeKind::Edit { not_before_ms: 0 }, link);
    assert_eq!(scene.append(link).await, Err(Refused::OtherKind));

    let edited = edit(group, b, 2, "second");
    assert_eq!(scene.append(edited.clone()).await.unwrap().position, 3);
    assert!(scene.append(edited).await.unwrap().duplicate);
    assert_eq!(scene.append(edit(group, b, 3, "x")).await, Err(Refused::NoSuchMessage), "an edit is no message");
    assert_eq!(scene.texts(a, group).await, ["", "first", ""], "what was said stays");
    assert_eq!(scene.head(a, group).await.unwrap().unread, 1, "changes do not count");
}

/// Its content, that of its edits, its mentions and its pin; it still counts as a message, and a retry finds it.
pub async fn a_recall_erases_all_that_a_message_said(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let group = scene.group(&[a, b]).await;
    let act = Act::Message { mentions: vec![a], mentions_everyone: false, reply_to: 0 };
    let said = NewEntry { act, ..message(group, b, "secret") };
    scene.append(said.clone()).await.unwrap();
    let edited = edit(group, b, 2, "secret, too");
    scene.append(edited.clone()).await.unwrap();
    scene.append(pin(group, a, 2, true)).await.unwrap();
    scene.append(react(group, a, 2)).await.unwrap();
    scene.say(group, b, "next").await;
    let recalling = recall(group, b, 2);
    assert_eq!(scene.append(recalling.clone()).await.unwrap().position, 7);

    assert_eq!(content_kind(&content_at(&scene, a, group, 2).await), RECALLED);
    let erased = RawContent::from(content::Kind::Edit(Edit { position: 2, content: None }));
    assert_eq!(content_at(&scene, a, group, 3).await, erased.as_bytes());
    assert_eq!(pins(&scene, b, group).await, []);
    let head = scene.head(a, group).await.unwrap();
    assert_eq!((head.unread, head.unread_mentions), (1, 0));
    for again in [said.clone(), edited, recalling] {
        let outcome = scene.append(again.clone()).await.unwrap();
        assert!(outcome.duplicate);
        // Where something was erased, that is told, and not what came again.
        let now = content_at(&scene, a, group, outcome.position).await;
        assert_eq!(outcome.content, (now != again.content).then_some(now));
    }
    let elsewhere = NewEntry { conversation: scene.direct(a, b).await, ..said };
    assert_eq!(scene.append(elsewhere).await, Err(Refused::IdReused));
    for entry in [edit(group, b, 2, "x"), recall(group, b, 2), react(group, a, 2), pin(group, a, 2, true)] {
        assert_eq!(scene.append(entry).await, Err(Refused::NoSuchMessage));
    }
}

/// Members their own in time; owner and admins their own at any time, and those of members below them or gone.
pub async fn who_recalls_is_the_sender_or_above_the_sender(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [owner, admin, member, gone] = scene.users().await;
    let group = scene.group(&[owner, admin, member, gone]).await;
    let roles = Membership { roles: vec![(admin, Role::Admin)], ..Membership::default() };
    scene.append(moving(group, owner, roles)).await.unwrap();
    let early = |sender| NewEntry { time_ms: NOW_MS - 1_000, ..message(group, sender, "early") };
    let said = [owner, admin, member, gone, admin, member].map(early);
    for entry in said {
        scene.append(entry).await.unwrap();
    }
    let [of_owner, of_admin, of_member, of_gone, of_admin_too, of_member_too] = [3, 4, 5, 6, 7, 8];
    scene.append(change(group, gone, false, &[], &[gone])).await.unwrap();
    assert_eq!(scene.append(recall(group, member, of_member)).await, Err(Refused::TooLate));
    assert_eq!(scene.append(recall(group, member, of_gone)).await, Err(Refused::NotTheSenders));
    assert_eq!(scene.append(recall(group, admin, of_owner)).await, Err(Refused::RoleTooLow));
    for (who, target) in
        [(admin, of_admin), (admin, of_member), (admin, of_gone), (owner, of_admin_too), (owner, of_member_too)]
    {
        scene.append(recall(group, who, target)).await.unwrap();
    }
    scene.append(recall(group, owner, of_owner)).await.unwrap();
    scene.say(group, member, "in time").await;
    scene.append(recall(group, member, 16)).await.unwrap();
    let direct = scene.direct(owner, member).await;
    scene.say(direct, member, "hi").await;
    assert_eq!(scene.append(recall(direct, owner, 1)).await, Err(Refused::NotTheSenders));
}

/// In a group by owner and admins, else by both; those pinned last come first.
pub async fn pins_are_set_and_removed_by_those_who_may(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let (group, direct) = (scene.group(&[a, b]).await, scene.direct(a, b).await);
    for _ in 0..3 {
        scene.say(group, b, "hi").await;
        scene.say(direct, a, "hi").await;
    }
    assert_eq!(scene.append(pin(group, b, 2, true)).await, Err(Refused::RoleTooLow));
    for target in [3, 2, 4] {
        scene.append(pin(group, a, target, true)).await.unwrap();
    }
    assert_eq!(pins(&scene, b, group).await, [4, 2, 3]);
    scene.append(pin(group, a, 2, false)).await.unwrap();
    assert_eq!(scene.append(pin(group, a, 2, false)).await, Err(Refused::NothingThere));
    scene.append(pin(group, a, 3, true)).await.unwrap();
    assert_eq!(pins(&scene, b, group).await, [3, 4]);
    assert_eq!(scene.store.pins(a, group, 1).await.unwrap().unwrap().len(), 1);
    scene.append(pin(direct, b, 1, true)).await.unwrap();
    assert_eq!(pins(&scene, a, direct).await, [1]);
    assert_eq!(scene.store.pins(stranger, direct, 10).await.unwrap(), None);
}

/// Ascending, those of the messages that were asked for.
pub async fn the_changes_of_messages_are_found(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for _ in 0..3 {
        scene.say(direct, a, "hi").await;
    }
    for entry in [react(direct, b, 3), edit(direct, a, 1, "x"), react(direct, b, 1), react(direct, b, 2)] {
        scene.append(entry).await.unwrap();
    }
    let changes = async |targets: &[u64], after, limit| -> Vec<u64> {
        let found = scene.store.changes(b, direct, targets.to_vec(), after, limit).await.unwrap().unwrap();
        found.iter().map(|entry| entry.position).collect()
    };
    assert_eq!(changes(&[1, 3, 1], 0, 10).await, [4, 5, 6]);
    assert_eq!(changes(&[3, 1], 4, 1).await, [5]);
    assert_eq!(changes(&[9, u64::MAX], 0, 10).await, Vec::<u64>::new());
    assert_eq!(scene.store.changes(stranger, direct, vec![1], 0, 10).await.unwrap(), None);
}

/// Backwards in steps, messages only, not those recalled; an edited one says what it says now.
pub async fn a_scan_tells_messages_as_they_say_now(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for body in ["one", "two", "three"] {
        scene.say(direct, a, body).await;
    }
    scene.append(NewEntry { content: Bytes::new(), ..tell(direct, a, "") }).await.unwrap();
    for entry in [edit(direct, a, 1, "1"), recall(direct, a, 2), edit(direct, a, 1, "uno")] {
        scene.append(entry).await.unwrap();
    }
    let mut found = Vec::new();
    let mut before = 0;
    loop {
        let scan = scene.store.scan(b, direct, before, 2).await.unwrap().unwrap();
        let told = scan.messages.iter().map(|entry| (entry.position, entry.content.as_ref().unwrap().text().unwrap()));
        found.extend(told);
        before = scan.next_before;
        if before == 0 {
            break;
        }
    }
    assert_eq!(found, [(3, "three".into()), (1, "uno".into())]);
    assert_eq!(scene.store.scan(stranger, direct, 0, 2).await.unwrap(), None);
}

/// For good, by this sender.
pub async fn an_id_is_known_to_be_used(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let entry = message(direct, a, "hi");
    assert_eq!(scene.store.find_entry(a, entry.id).await.unwrap(), None);
    scene.append(entry.clone()).await.unwrap();
    let (conversation, found) = scene.store.find_entry(a, entry.id).await.unwrap().unwrap();
    assert_eq!((conversation, found.position, found.sender), (direct, 1, a.get()));
    assert_eq!(found.content.unwrap().as_bytes(), &entry.content);
    assert_eq!(scene.store.find_entry(b, entry.id).await.unwrap(), None);
}
