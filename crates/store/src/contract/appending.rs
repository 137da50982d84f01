//! Appending: positions, duplicates, who may.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use protocol::{ConversationId, UserId, wire::ConversationKind};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{NOW_MS, Scene, change, message, tell, text},
};
use crate::{Act, Appended, Audience, NewEntry, Refused};

/// Many append to one log at once: every position is given once, and each sender's entries keep their order.
pub async fn positions_have_no_gaps_however_many_append(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let users: [UserId; 6] = scene.users().await;
    let group = scene.group(&users).await;
    let mut senders = JoinSet::new();
    for sender in users {
        let scene = scene.clone();
        senders.spawn(async move {
            let mut positions = Vec::new();
            for round in 0..20 {
                let batch = (0..=round % 3).map(|n| message(group, sender, &format!("{round} {n}"))).collect();
                for outcome in scene.store.append(batch).await.unwrap() {
                    positions.push(outcome.unwrap().position);
                }
            }
            positions
        });
    }
    let mut all = vec![1];
    for positions in senders.join_all().await {
        assert!(positions.is_sorted(), "{positions:?}");
        all.extend(positions);
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(1..=all.len() as u64), "{all:?}");
    let page = scene.history(users[0], group).await.unwrap();
    assert!(page.entries.iter().map(|entry| entry.position).eq(all), "history tells every position once");
}

/// Many append the same at once, in several batches and twice in each: one entry.
pub async fn an_id_used_at_once_makes_one_entry(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let entry = message(direct, a, "once");
    let mut attempts = JoinSet::new();
    for _ in 0..8 {
        let (scene, entry) = (scene.clone(), entry.clone());
        attempts.spawn(async move { scene.store.append(vec![entry.clone(), entry]).await.unwrap() });
    }
    let outcomes: Vec<Appended> = attempts.join_all().await.into_iter().flatten().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|appended| !appended.duplicate).count(), 1);
    assert!(outcomes.iter().all(|appended| appended.position == 1));
    assert_eq!(scene.texts(b, direct).await, ["once"]);
}

/// An id leads to the entry it had, whatever happens later; to use it for something else is refused.
pub async fn an_id_names_its_entry_for_good(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let (group, direct) = (scene.group(&[a, b]).await, scene.direct(a, b).await);
    let entry = message(group, b, "hello");
    let first = scene.append(entry.clone()).await.unwrap();
    assert_eq!((first.position, first.time_ms, first.duplicate), (2, NOW_MS, false));
    assert_eq!((first.kind, &first.audience), (ConversationKind::Group, &Audience::Group(group.group())));

    let late = NewEntry { time_ms: NOW_MS + 86_400_000, ..entry.clone() };
    let again = Appended { duplicate: true, ..first };
    assert_eq!(scene.append(late.clone()).await, Ok(again.clone()));
    let elsewhere = NewEntry { conversation: direct, ..entry.clone() };
    assert_eq!(scene.append(elsewhere.clone()).await, Err(Refused::IdReused));
    let otherwise = NewEntry { content: text("bye"), ..entry.clone() };
    assert_eq!(scene.append(otherwise).await, Err(Refused::IdReused));
    scene.say(group, b, "more").await;

    let leaving = change(group, b, false, &[], &[b]);
    let left = scene.append(leaving.clone()).await.unwrap();
    assert_eq!(scene.append(late.clone()).await, Ok(again.clone()), "no member any more, but it is there");
    assert_eq!(scene.append(message(group, b, "new")).await, Err(Refused::NotMember));
    let left_again = scene.append(leaving).await.unwrap();
    assert_eq!(left_again, Appended { duplicate: true, entered: vec![], exited: vec![], ..left });
    assert_eq!(scene.texts(a, group).await, ["", "hello", "more", ""]);
    assert_eq!(scene.texts(a, direct).await, Vec::<String>::new());
    let in_turn = scene.store.append(vec![elsewhere, late, message(direct, b, "x")]).await.unwrap();
    assert_eq!(in_turn[0], Err(Refused::IdReused));
    assert_eq!(in_turn[1], Ok(again));
    assert_eq!(in_turn[2].as_ref().unwrap().position, 1);
}

/// Two users may use the same id.
pub async fn an_id_belongs_to_its_sender(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let entry = message(direct, a, "hi");
    let outcomes = scene.store.append(vec![entry.clone(), NewEntry { sender: b, ..entry }]).await.unwrap();
    let positions: Vec<u64> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().position).collect();
    assert_eq!(positions, [1, 2]);
    assert_eq!(outcomes[1].as_ref().unwrap().audience, Audience::Users(vec![a, b]));
}

/// In one batch some are refused: the others get positions as if those had not been there.
pub async fn what_is_refused_stops_nothing_else_and_stores_nothing(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let nowhere = ConversationId::new(77_777);
    let beyond = ConversationId::new(u64::MAX);
    let refused = message(direct, stranger, "let me in");
    let batch = vec![
        message(direct, a, "1"),
        refused.clone(),
        message(nowhere, a, "where?"),
        message(beyond, a, "where?"),
        message(direct, b, "2"),
        change(direct, a, false, &[stranger], &[]),
        change(direct, a, true, &[stranger], &[b]),
        message(direct, a, "3"),
    ];
    let outcomes = scene.store.append(batch).await.unwrap();
    let positions: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map(|appended| appended.position)).collect();
    let no = Err(Refused::NotMember);
    assert_eq!(positions, [Ok(1), no, no, no, Ok(2), no, no, Ok(3)]);
    assert_eq!(scene.texts(b, direct).await, ["1", "2", "3"]);
    assert_eq!(scene.history(stranger, direct).await, None);
    assert_eq!(scene.append(refused).await, Err(Refused::NotMember), "a refused entry did not use its id up");
    assert!(scene.store.append(vec![]).await.unwrap().is_empty());
}

/// Nobody else writes to a user's personal log, nor enters it.
pub async fn a_personal_log_takes_entries_of_its_user_alone(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let log = a.personal_log();
    let appended = scene.append(tell(log, a, "mine")).await.unwrap();
    assert_eq!((appended.position, appended.kind), (1, ConversationKind::Personal));
    assert_eq!(appended.audience, Audience::Users(vec![a]));
    assert_eq!(scene.append(message(log, b, "mine, too")).await, Err(Refused::NotMember));
    assert_eq!(scene.append(change(log, b, false, &[b], &[])).await, Err(Refused::NotMember));
    assert_eq!(scene.append(change(log, b, true, &[b], &[a])).await, Err(Refused::NotMember));
    assert_eq!(scene.texts(a, log).await, ["mine"]);
    assert_eq!(scene.history(b, log).await, None);
}

/// Whoever stops waiting does not halve the batch.
pub async fn an_append_is_done_wholly_though_its_future_is_dropped(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for round in 0..20_u64 {
        let batch = (0..10).map(|n| message(direct, a, &format!("{round} {n}"))).collect();
        {
            let mut append = pin!(scene.store.append(batch));
            let poll = append.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(poll, Poll::Pending | Poll::Ready(Ok(_))));
        }
        let appended = scene.say(direct, b, "after").await;
        let texts = scene.texts(b, direct).await;
        // Nobody waits for the batch, so that it may come before or after.
        assert!(texts.len() as u64 >= appended.position);
        let whole = (0..10).map(|n| format!("{round} {n}"));
        let stored: Vec<_> = texts.into_iter().filter(|text| text.starts_with(&format!("{round} "))).collect();
        assert!(stored.is_empty() || stored.iter().cloned().eq(whole), "{stored:?}");
    }
}

/// What is answered is in the log before the answer, also in one batch.
pub async fn a_message_answers_what_is_there(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    let answer = |reply_to| {
        let act = Act::Message { mentions: vec![], mentions_everyone: false, reply_to };
        NewEntry { act, ..message(direct, b, &format!("to {reply_to}")) }
    };
    assert_eq!(scene.append(answer(1)).await, Err(Refused::AnswersNothing));
    let batch = vec![answer(1), message(direct, a, "hi"), answer(2), answer(1), answer(u64::MAX)];
    let outcomes = scene.store.append(batch.clone()).await.unwrap();
    let places: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map(|appended| appended.position)).collect();
    let refused = Err(Refused::AnswersNothing);
    assert_eq!(places, [refused, Ok(1), refused, Ok(2), refused]);
    assert!(scene.append(batch[3].clone()).await.unwrap().duplicate);
    assert_eq!(scene.texts(a, direct).await, ["hi", "to 1"]);
}
