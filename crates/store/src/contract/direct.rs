//! Direct conversations.

use std::{collections::HashSet, sync::Arc};

use protocol::{ConversationId, UserId, wire::ConversationKind};
use tokio::task::JoinSet;

use super::{Store, scene::Scene};
use crate::{Audience, ReadMark};

/// Each with an id of their own: all get the same.
pub async fn two_users_who_open_at_once_get_one_conversation(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c] = scene.users().await;
    let mut attempts = JoinSet::new();
    for n in 0..8 {
        let scene = scene.clone();
        attempts.spawn(async move { if n % 2 == 0 { scene.direct(a, b).await } else { scene.direct(b, a).await } });
    }
    let opened: HashSet<ConversationId> = attempts.join_all().await.into_iter().collect();
    assert_eq!(opened.len(), 1);
    assert!(!opened.contains(&scene.direct(a, c).await));
    let appended = scene.say(scene.direct(b, a).await, b, "hi").await;
    assert_eq!(appended.audience, Audience::Users(vec![a, b]));
    assert_eq!(appended.kind, ConversationKind::Direct);
}

/// A conversation with oneself has one member.
pub async fn one_may_talk_to_oneself(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let notes = scene.direct(a, a).await;
    assert_eq!(scene.direct(a, a).await, notes);
    assert_ne!(scene.direct(a, b).await, notes);
    assert_eq!(scene.say(notes, a, "milk").await.audience, Audience::Users(vec![a]));
    let head = scene.head(a, notes).await.unwrap();
    assert_eq!((head.peer, head.unread, head.peer_read_position), (Some(a), 0, 1));
}

/// To be spoken to makes nobody a peer: else a stranger could look who is online.
pub async fn those_are_visible_who_wrote_or_read_in_a_direct_conversation(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c, d] = scene.users().await;
    let with_b = scene.direct(a, b).await;
    let with_c = scene.direct(c, a).await;
    scene.group(&[a, d]).await;
    let everyone = || vec![d, c, a, UserId::new(u64::MAX), b];
    assert_eq!(scene.store.filter_visible(a, everyone()).await.unwrap(), []);
    scene.say(with_b, a, "hello?").await;
    scene.say(with_c, a, "hello?").await;
    assert_eq!(scene.store.filter_visible(a, everyone()).await.unwrap(), []);
    assert_eq!(scene.store.filter_visible(b, vec![a, c]).await.unwrap(), [a]);
    scene.say(with_b, b, "hello").await;
    let mark = ReadMark { conversation: with_c, user: c, position: 1 };
    scene.store.mark_read(vec![mark]).await.unwrap();
    let peers = scene.store.filter_visible(a, everyone()).await.unwrap();
    assert_eq!(peers.into_iter().collect::<HashSet<_>>(), HashSet::from([b, c]));
}
