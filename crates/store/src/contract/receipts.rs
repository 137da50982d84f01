//! How far members have received.

use std::sync::Arc;

use protocol::{ConversationId, UserId, limits};

use super::{Store, scene::Scene};
use crate::{Audience, Moved, ReadMark, ReceiptCounts, Revision};

async fn deliver(scene: &Scene, conversation: ConversationId, user: UserId, position: u64) -> Option<Moved> {
    let marks = vec![ReadMark { conversation, user, position }];
    scene.store.mark_delivered(marks).await.unwrap().pop().unwrap()
}

/// As read positions do; reading is receiving.
pub async fn delivered_positions_go_forward_and_along_with_reading(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for n in 1..=5 {
        scene.say(direct, a, &n.to_string()).await;
    }
    let both = |position| Some(Moved { position, audience: Audience::Users(vec![a, b]) });
    let (_, before) = scene.heads(a, Revision(0), 0).await;
    assert_eq!(deliver(&scene, direct, b, 2).await, both(2));
    let (heads, _) = scene.heads(a, before, 0).await;
    assert_eq!((heads.len(), heads[0].peer_delivered_position, heads[0].peer_read_position), (1, 2, 0));
    assert_eq!(deliver(&scene, direct, b, 1).await, None);
    let read = ReadMark { conversation: direct, user: b, position: 4 };
    scene.store.mark_read(vec![read]).await.unwrap();
    assert_eq!(deliver(&scene, direct, b, 4).await, None);
    assert_eq!(scene.head(a, direct).await.unwrap().peer_delivered_position, 4);
    assert_eq!(deliver(&scene, direct, b, 77).await, both(5));
    assert_eq!(deliver(&scene, direct, stranger, 5).await, None);
    assert_eq!(deliver(&scene, ConversationId::new(77_777), b, 5).await, None);
    assert_eq!(scene.head(b, direct).await.unwrap().read_position, 4);
}

/// To all members of a small group; a large one would drown in it. Heads do not move by it.
pub async fn receiving_concerns_all_of_a_small_group(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let crowd: Vec<UserId> = (1..limits::LIVE_RECEIPTS_MEMBERS_MAX).map(|n| UserId::new(100_000 + n)).collect();
    let small = scene.group(&[&[a], &crowd[..]].concat()).await;
    let large = scene.group(&[&[a, b], &crowd[..]].concat()).await;
    for group in [small, large] {
        scene.say(group, a, "hi").await;
    }
    let (_, before) = scene.heads(crowd[0], Revision(0), 0).await;
    let told = async |group| deliver(&scene, group, crowd[0], 2).await.unwrap().audience;
    assert_eq!(told(small).await, Audience::Group(small.group()));
    assert_eq!(told(large).await, Audience::Users(vec![crowd[0]]));
    assert!(scene.heads(crowd[0], before, 0).await.0.is_empty());
    assert_eq!(scene.store.member(small, crowd[0]).await.unwrap().unwrap().delivered_position, 2);
    let read = ReadMark { conversation: large, user: crowd[0], position: 2 };
    let read = scene.store.mark_read(vec![read]).await.unwrap().pop().unwrap().unwrap();
    assert_eq!(read.audience, Audience::Users(vec![crowd[0]]));
}

/// Of the other members; told to the sender alone.
pub async fn receipts_are_counted_for_the_sender(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c, d, stranger] = scene.users().await;
    let group = scene.group(&[a, b, c, d]).await;
    scene.say(group, a, "2").await;
    scene.say(group, a, "3").await;
    deliver(&scene, group, b, 3).await;
    deliver(&scene, group, c, 2).await;
    scene.store.mark_read(vec![ReadMark { conversation: group, user: d, position: 2 }]).await.unwrap();
    let counts = async |reader, position| scene.store.receipts(reader, group, position).await.unwrap();
    assert_eq!(counts(a, 2).await, Some(ReceiptCounts { members: 3, delivered: 3, read: 1 }));
    assert_eq!(counts(a, 3).await, Some(ReceiptCounts { members: 3, delivered: 1, read: 0 }));
    assert_eq!((counts(b, 2).await, counts(stranger, 2).await, counts(a, 9).await), (None, None, None));
}
