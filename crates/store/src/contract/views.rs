//! What users make of conversations for themselves.

use std::sync::Arc;

use protocol::{
    ConversationId, RawContent, UserId,
    wire::{ConversationSettings, Draft, DraftChanged, Hidden, content},
};

use super::{
    Store,
    changes::{edit, react},
    scene::{NOW_MS, Scene, message},
};
use crate::{Act, ConversationAct, NewEntry, Refused};

fn entry(user: UserId, of: ConversationId, act: ConversationAct) -> NewEntry {
    NewEntry { act: Act::Conversation(of, act), ..message(user.personal_log(), user, "told") }
}

fn draft(user: UserId, of: ConversationId, text: Option<&str>) -> NewEntry {
    let draft = text.map(|text| Draft { text: text.into(), reply_to: 0, time_ms: NOW_MS });
    let kind = content::Kind::DraftChanged(DraftChanged { conversation: of.get(), draft: draft.clone() });
    let content = RawContent::from(kind).as_bytes().clone();
    NewEntry { content, ..entry(user, of, ConversationAct::Draft(draft)) }
}

fn delete(user: UserId, of: ConversationId, positions: &[u64], up_to: u64) -> NewEntry {
    entry(user, of, ConversationAct::Delete { positions: positions.to_vec(), up_to })
}

/// The user's own, in the head; of members alone, in their own personal logs.
pub async fn settings_of_a_conversation_are_its_members_own(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let direct = scene.direct(a, b).await;
    scene.say(direct, a, "hi").await;
    let settings = ConversationSettings { pinned: true, ..ConversationSettings::default() };
    scene.append(entry(a, direct, ConversationAct::Settings(settings))).await.unwrap();
    assert_eq!(scene.head(a, direct).await.unwrap().own.settings, Some(settings));
    assert_eq!(scene.head(b, direct).await.unwrap().own, crate::OwnView::default());
    let by_a_stranger = entry(stranger, direct, ConversationAct::Settings(settings));
    assert_eq!(scene.append(by_a_stranger).await, Err(Refused::NotMember));
    let elsewhere = NewEntry { conversation: direct, ..entry(a, direct, ConversationAct::Settings(settings)) };
    assert_eq!(scene.append(elsewhere).await, Err(Refused::NotMember));
}

/// One draft is kept for each conversation; an entry tells no longer what was replaced, though its id is known.
pub async fn a_draft_that_is_replaced_is_erased(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let (direct, other) = (scene.direct(a, b).await, scene.direct(a, a).await);
    scene.say(direct, a, "hi").await;
    let first = draft(a, direct, Some("dear"));
    for entry in [first.clone(), draft(a, other, Some("milk")), draft(a, direct, Some("dear b"))] {
        scene.append(entry).await.unwrap();
    }
    let log = async || -> Vec<Option<String>> {
        let page = scene.history(a, a.personal_log()).await.unwrap();
        let told = page.entries.into_iter().map(|entry| entry.content.unwrap().view().unwrap().kind.unwrap());
        told.map(|kind| match kind {
            content::Kind::DraftChanged(changed) => changed.draft.map(|draft| draft.text),
            other => panic!("{other:?}"),
        })
        .collect()
    };
    assert_eq!(log().await, [None, Some("milk".into()), Some("dear b".into())]);
    assert_eq!(scene.head(a, direct).await.unwrap().own.draft.unwrap().text, "dear b");
    assert!(scene.append(first).await.unwrap().duplicate);
    scene.append(draft(a, direct, None)).await.unwrap();
    assert_eq!(log().await, [None, Some("milk".into()), None, None]);
    assert_eq!(scene.head(a, direct).await.unwrap().own.draft, None);
}

/// As a message does.
pub async fn a_draft_answers_what_is_there(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let answering = |reply_to| {
        let told = Draft { text: "yes".into(), reply_to, time_ms: NOW_MS };
        entry(a, direct, ConversationAct::Draft(Some(told)))
    };
    assert_eq!(scene.append(answering(1)).await, Err(Refused::AnswersNothing));
    scene.say(direct, b, "well?").await;
    let kept = answering(1);
    assert!(!scene.append(kept.clone()).await.unwrap().duplicate);
    assert!(scene.append(kept).await.unwrap().duplicate);
    assert_eq!(scene.append(answering(2)).await, Err(Refused::AnswersNothing));
    assert_eq!(scene.head(a, direct).await.unwrap().own.draft.unwrap().reply_to, 1);
}

/// Hidden in all that the user reads, and read; the other sees them as before.
pub async fn what_a_user_deletes_is_hidden_from_that_user(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for n in 1..=6 {
        scene.say(direct, a, &n.to_string()).await;
    }
    scene.append(delete(b, direct, &[5, 99, 5], 0)).await.unwrap();
    let unread = async || scene.head(b, direct).await.unwrap().unread;
    assert_eq!(unread().await, 5);
    scene.append(delete(b, direct, &[], 2)).await.unwrap();
    scene.append(delete(b, direct, &[1], 1)).await.unwrap();
    let head = scene.head(b, direct).await.unwrap();
    assert_eq!((head.own.deleted_up_to, head.unread, head.read_position), (2, 3, 0));
    let hidden = RawContent::from(content::Kind::Hidden(Hidden {}));
    let shown = scene.history(b, direct).await.unwrap().entries;
    let seen: Vec<u64> =
        shown.iter().filter(|entry| entry.content.as_ref() != Some(&hidden)).map(|e| e.position).collect();
    assert_eq!((seen, shown.len()), (vec![3, 4, 6], 6));
    let scan = scene.store.scan(b, direct, 0, 10).await.unwrap().unwrap();
    assert_eq!(scan.messages.iter().map(|entry| entry.position).collect::<Vec<_>>(), [6, 4, 3]);
    assert_eq!(scene.texts(a, direct).await, ["1", "2", "3", "4", "5", "6"]);
    scene.append(delete(b, direct, &[], u64::MAX)).await.unwrap();
    let head = scene.head(b, direct).await.unwrap();
    assert_eq!((head.own.deleted_up_to, head.unread), (6, 0));
    scene.say(direct, a, "7").await;
    assert_eq!(unread().await, 1);
}

/// An edit says what the message says.
pub async fn edits_of_what_a_user_deletes_are_hidden_as_well(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for n in 1..=3 {
        scene.say(direct, a, &n.to_string()).await;
    }
    for target in 1..=3 {
        scene.append(edit(direct, a, target, "edited")).await.unwrap();
    }
    scene.append(react(direct, a, 2)).await.unwrap();
    scene.append(delete(b, direct, &[2], 0)).await.unwrap();
    scene.append(delete(b, direct, &[], 1)).await.unwrap();
    scene.append(edit(direct, a, 2, "edited again")).await.unwrap();
    let hidden = RawContent::from(content::Kind::Hidden(Hidden {}));
    let hidden_in = |entries: Vec<protocol::wire::Entry>| -> Vec<u64> {
        let hidden = entries.iter().filter(|entry| entry.content.as_ref() == Some(&hidden));
        hidden.map(|entry| entry.position).collect()
    };
    assert_eq!(hidden_in(scene.history(b, direct).await.unwrap().entries), [1, 2, 4, 5, 8]);
    let changes = scene.store.changes(b, direct, vec![1, 2, 3], 0, 10).await.unwrap().unwrap();
    assert_eq!(hidden_in(changes), [4, 5, 8]);
    assert_eq!(hidden_in(scene.history(a, direct).await.unwrap().entries), [0; 0]);
}
