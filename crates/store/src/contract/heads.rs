//! Which conversations changed.

use std::{collections::HashSet, sync::Arc};

use protocol::{UserId, limits};
use tokio::task::JoinSet;

use super::{
    Store,
    follower::Follower,
    model,
    scene::{Random, Scene, change},
};
use crate::{ReadMark, Revision};

/// Page after page from the newest change back, each conversation once; asking from the answer's revision tells nothing
/// until something changes.
pub async fn heads_come_last_changed_first_in_pages_without_overlap(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let users: [UserId; 8] = scene.users().await;
    let me = users[0];
    for &other in &users {
        let direct = scene.direct(me, other).await;
        scene.say(direct, other, "hi").await;
        let group = scene.group(&[other, me]).await;
        scene.say(group, other, "hi").await;
    }
    let (all, revision) = scene.heads(me, Revision(0), 0).await;
    assert_eq!(all.len(), 17, "8 direct conversations, 8 groups, 1 personal log");
    assert!(all.is_sorted_by(|one, next| one.revision > next.revision), "no two have the same revision");
    assert!(all.iter().all(|head| head.revision <= revision));

    let mut paged = Vec::new();
    let mut until = None;
    loop {
        let (page, _) = scene.store.heads(me, Revision(0), until, 5, 0).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 5);
        until = Some(Revision(last.revision.0 - 1));
        paged.extend(page);
    }
    assert_eq!(paged, all);
    let since = all[9].revision;
    assert_eq!(scene.heads(me, since, 0).await.0, all[..9]);
    let (some, _) = scene.store.heads(me, since, Some(all[2].revision), 100, 0).await.unwrap();
    assert_eq!(some, all[2..9]);

    assert!(scene.heads(me, revision, 0).await.0.is_empty());
    scene.say(all[16].conversation, me, "first again").await;
    let (changed, next) = scene.heads(me, revision, 0).await;
    assert_eq!(changed.iter().map(|head| head.conversation).collect::<Vec<_>>(), [all[16].conversation]);
    assert!(next > revision);
}

/// Until then, who opened it keeps it to oneself.
pub async fn a_direct_conversation_is_shown_from_its_first_entry(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let (_, before) = scene.heads(b, Revision(0), 0).await;
    let direct = scene.direct(a, b).await;
    assert_eq!(scene.head(a, direct).await, None);
    assert_eq!(scene.head(b, direct).await, None);
    scene.say(direct, a, "hi").await;
    let (heads, _) = scene.heads(b, before, 0).await;
    assert_eq!(heads.len(), 1);
    assert_eq!((heads[0].conversation, heads[0].peer, heads[0].unread), (direct, Some(a), 1));
    assert_eq!((heads[0].read_position, heads[0].peer_read_position), (0, 1));
    assert_eq!(scene.head(a, direct).await.unwrap().peer, Some(b));
}

/// As many of each as asked for; of the last conversations fewer, if they would be too much for one answer.
pub async fn heads_bring_the_last_entries_within_a_bound_of_bytes(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c] = scene.users().await;
    let (small, large) = (scene.direct(a, b).await, scene.direct(a, c).await);
    let body = "y".repeat(limits::TEXT_BYTES_MAX);
    for n in 1..=20_u64 {
        scene.say(large, c, &body).await;
        scene.say(small, b, &n.to_string()).await;
    }
    let (heads, _) = scene.heads(a, Revision(0), 4).await;
    let positions = |n: usize| heads[n].entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
    assert_eq!((heads[0].conversation, positions(0)), (small, vec![17, 18, 19, 20]));
    assert_eq!((heads[1].conversation, positions(1)), (large, vec![17, 18, 19, 20]));
    assert_eq!(heads[0].entries, scene.history(a, small).await.unwrap().entries[16..]);

    let (heads, _) = scene.heads(a, Revision(0), 50).await;
    assert_eq!(heads[0].entries.len(), 20);
    let whole = limits::PAGE_BYTES_MAX / (limits::TEXT_BYTES_MAX + 100);
    let last: Vec<u64> = heads[1].entries.iter().map(|entry| entry.position).collect();
    assert_eq!(last, (21 - whole as u64..=20).collect::<Vec<_>>(), "the last ones, without a gap");
    assert_eq!(heads[2].conversation, a.personal_log());
    let (heads, _) = scene.heads(a, Revision(0), 0).await;
    assert!(heads.iter().all(|head| head.entries.is_empty()));
}

/// Pages are read while others append, read, enter and exit; in the end the follower knows everything.
pub async fn whoever_follows_heads_while_others_write_misses_nothing(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let users: [UserId; 5] = scene.users().await;
    let me = users[0];
    let mut conversations = vec![scene.group(&users).await];
    for &other in &users {
        conversations.push(scene.direct(me, other).await);
    }
    let mut writers = JoinSet::new();
    for (seed, user) in (1..).zip(users) {
        let (scene, conversations, users) = (scene.clone(), conversations.clone(), users);
        writers.spawn(async move {
            let mut random = Random::new(seed);
            for n in 0..60 {
                let conversation = random.pick(&conversations);
                match random.below(4) {
                    0 => {
                        let mark = ReadMark { conversation, user, position: random.below(100) };
                        scene.store.mark_read(vec![mark]).await.unwrap();
                    }
                    1 if user != me => {
                        // Others come and go; `me` stays, and lets them in again.
                        let other = random.pick(&users[1..]);
                        let entry = if random.one_in(2) {
                            change(conversations[0], user, false, &[], &[other])
                        } else {
                            change(conversations[0], me, false, &[other], &[])
                        };
                        let _ = scene.append(entry).await;
                    }
                    _ => {
                        let _ = scene.append(super::scene::message(conversation, user, &n.to_string())).await;
                    }
                }
            }
        });
    }
    let mut follower = Follower::new(me);
    while !writers.is_empty() {
        follower.step(&scene, 2).await;
        while writers.try_join_next().is_some() {}
    }
    follower.finish(&scene).await;
    let seen: HashSet<_> = follower.view().keys().copied().collect();
    assert!(conversations.iter().all(|conversation| seen.contains(conversation)));
}

/// What random users do, and what each of them sees after each step: outcomes, unread counts, last entries, heads.
pub async fn random_histories_agree_with_a_model(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    for seed in 1..=6 {
        model::run(&scene, seed).await;
    }
}
