//! Read positions.

use std::sync::Arc;

use protocol::{ConversationId, UserId};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{Scene, change},
};
use crate::{Audience, Moved, ReadMark};

async fn mark(scene: &Scene, conversation: ConversationId, user: UserId, position: u64) -> Option<Moved> {
    let marks = vec![ReadMark { conversation, user, position }];
    scene.store.mark_read(marks).await.unwrap().pop().unwrap()
}

fn moved(users: &[UserId], position: u64) -> Moved {
    Moved { position, audience: Audience::Users(users.to_vec()) }
}

/// Positions (read, unread) of a member.
async fn read(scene: &Scene, user: UserId, conversation: ConversationId) -> (u64, u64) {
    let head = scene.head(user, conversation).await.unwrap();
    (head.read_position, head.unread)
}

/// Never back, never past the log's end; only a move is told.
pub async fn read_positions_go_forward_and_not_past_the_end(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let direct = scene.direct(a, b).await;
    assert_eq!(mark(&scene, direct, b, 1).await, None, "an empty log cannot be read");
    for n in 1..=5 {
        scene.say(direct, a, &n.to_string()).await;
    }
    assert_eq!(read(&scene, b, direct).await, (0, 5));
    assert_eq!(mark(&scene, direct, b, 3).await, Some(moved(&[a, b], 3)));
    assert_eq!(read(&scene, b, direct).await, (3, 2));
    assert_eq!(mark(&scene, direct, b, 3).await, None);
    assert_eq!(mark(&scene, direct, b, 1).await, None);
    assert_eq!(mark(&scene, direct, b, u64::MAX).await, Some(moved(&[a, b], 5)));
    assert_eq!(mark(&scene, direct, b, 6).await, None);
    assert_eq!(read(&scene, b, direct).await, (5, 0));
    assert_eq!(scene.head(a, direct).await.unwrap().peer_read_position, 5);
    assert_eq!(mark(&scene, direct, stranger, 2).await, None);
    assert_eq!(mark(&scene, ConversationId::new(77_777), a, 2).await, None);
    // One batch: each sees those before it.
    scene.say(direct, a, "6").await;
    scene.say(direct, a, "7").await;
    let marks = [6, 5, 7, 7].map(|position| ReadMark { conversation: direct, user: b, position });
    let moved: Vec<_> = scene.store.mark_read(marks.to_vec()).await.unwrap();
    assert_eq!(
        moved.into_iter().map(|moved| moved.map(|moved| moved.position)).collect::<Vec<_>>(),
        [Some(6), None, Some(7), None]
    );
}

/// Concurrent marks of one reader end at the largest.
pub async fn marks_at_once_end_at_the_furthest(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let direct = scene.direct(a, b).await;
    for n in 1..=20 {
        scene.say(direct, a, &n.to_string()).await;
    }
    let mut marks = JoinSet::new();
    for position in [7, 19, 3, 12, 1, 18, 5, 11] {
        let scene = scene.clone();
        marks.spawn(async move { mark(&scene, direct, b, position).await });
    }
    let furthest = marks.join_all().await.into_iter().flatten().map(|moved| moved.position).max();
    assert_eq!(furthest, Some(19));
    assert_eq!(read(&scene, b, direct).await, (19, 1));
}

/// And so is all before it; other kinds of entries are not counted.
pub async fn ones_own_message_is_read(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c] = scene.users().await;
    let group = scene.group(&[a, b]).await;
    scene.say(group, a, "2").await;
    scene.append(change(group, a, false, &[c], &[])).await.unwrap();
    scene.say(group, a, "4").await;
    assert_eq!(read(&scene, a, group).await, (4, 0));
    assert_eq!(read(&scene, b, group).await, (1, 2), "entering is not a message");
    assert_eq!(read(&scene, c, group).await, (3, 1));
    scene.say(group, b, "5").await;
    assert_eq!(read(&scene, b, group).await, (5, 0));
    assert_eq!(read(&scene, a, group).await, (4, 1));
    assert_eq!(read(&scene, c, group).await, (3, 2));
    mark(&scene, group, c, 4).await;
    assert_eq!(read(&scene, c, group).await, (4, 1));
    scene.append(change(group, b, false, &[], &[c])).await.unwrap();
    assert_eq!(read(&scene, a, group).await, (4, 1));
    assert_eq!(read(&scene, b, group).await, (6, 0));
}

/// Whom a move concerns.
pub async fn reading_concerns_the_other_of_two_and_all_of_a_small_group(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let (direct, group) = (scene.direct(b, a).await, scene.group(&[a, b]).await);
    scene.say(direct, a, "hi").await;
    scene.say(group, a, "hi").await;
    assert_eq!(mark(&scene, direct, b, 1).await, Some(moved(&[a, b], 1)));
    assert_eq!(mark(&scene, group, b, 2).await, Some(Moved { position: 2, audience: Audience::Group(group.group()) }));
    let (_, before) = scene.heads(a, crate::Revision(0), 0).await;
    scene.say(direct, a, "more").await;
    mark(&scene, direct, b, 2).await;
    scene.say(group, a, "more").await;
    let (_, after) = scene.heads(a, before, 0).await;
    mark(&scene, group, b, 3).await;
    assert!(scene.heads(a, after, 0).await.0.is_empty(), "another's reading of a group is not told");
    assert_eq!(scene.heads(b, after, 0).await.0.len(), 1, "one's own other devices are told");
}
