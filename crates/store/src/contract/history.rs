//! History in pages.

use std::sync::Arc;

use protocol::{ConversationId, UserId};

use super::{
    Store,
    scene::{Scene, text},
};
use crate::{ENTRY_BYTES, Headed, Page, PageRequest};

async fn page(scene: &Scene, reader: UserId, conversation: ConversationId, from: Headed, limit: u32) -> Vec<u64> {
    let request = PageRequest { conversation, from, limit };
    let page = scene.store.read_pages(reader, vec![request], usize::MAX).await.unwrap().pop().unwrap().unwrap();
    assert_eq!(page.last_position, 10);
    positions(&page)
}

fn positions(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.position).collect()
}

/// The first ones after a position or the last ones before it, always ascending.
pub async fn pages_go_both_ways_from_any_position(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let (direct, other) = (scene.direct(a, b).await, scene.direct(a, a).await);
    for n in 1..=10_u64 {
        assert_eq!(scene.say(direct, if n % 3 == 0 { a } else { b }, &n.to_string()).await.position, n);
        scene.say(other, a, "elsewhere").await;
    }
    for position in (0..=12).chain([u64::MAX - 1, u64::MAX]) {
        for limit in [0, 1, 3, 100] {
            let after: Vec<u64> = (1..=10).filter(|&n| n > position).take(limit as usize).collect();
            assert_eq!(page(&scene, b, direct, Headed::After(position), limit).await, after, "{position} {limit}");
            let mut before: Vec<u64> = (1..=10).rev().filter(|&n| n < position).take(limit as usize).collect();
            before.reverse();
            assert_eq!(page(&scene, b, direct, Headed::Before(position), limit).await, before, "{position} {limit}");
        }
    }
    let entries = scene.history(a, direct).await.unwrap().entries;
    for (n, entry) in (1..).zip(&entries) {
        let sender = if n % 3 == 0 { a } else { b };
        assert_eq!((entry.position, entry.sender), (n, sender.get()));
        assert_eq!(entry.content.as_ref().unwrap().as_bytes(), &text(&n.to_string()));
    }
    assert_eq!(scene.history(b, direct).await.unwrap().entries, entries);
}

/// The first page without room is cut, those after it are empty; but something is always read.
pub async fn pages_hold_no_more_bytes_than_asked_for_but_one_entry(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let (first, second, empty) = (scene.direct(a, b).await, scene.direct(a, a).await, scene.direct(b, b).await);
    let body = "x".repeat(100);
    let bytes = ENTRY_BYTES + text(&body).len();
    for _ in 0..5 {
        scene.say(first, a, &body).await;
        scene.say(second, a, &body).await;
    }
    let after = |conversation| PageRequest { conversation, from: Headed::After(0), limit: 3 };
    let before = |conversation| PageRequest { conversation, from: Headed::Before(6), limit: 3 };
    for (bytes_max, expected) in [
        (0, [vec![1], vec![], vec![]]),
        (bytes, [vec![1], vec![], vec![]]),
        (2 * bytes + 1, [vec![1, 2], vec![], vec![]]),
        (3 * bytes, [vec![1, 2, 3], vec![], vec![]]),
        (4 * bytes, [vec![1, 2, 3], vec![5], vec![]]),
        (6 * bytes, [vec![1, 2, 3], vec![3, 4, 5], vec![]]),
        (7 * bytes, [vec![1, 2, 3], vec![3, 4, 5], vec![1]]),
        (usize::MAX, [vec![1, 2, 3], vec![3, 4, 5], vec![1, 2, 3]]),
    ] {
        let requests = vec![after(first), before(second), after(second)];
        let pages = scene.store.read_pages(a, requests, bytes_max).await.unwrap();
        let pages: Vec<Page> = pages.into_iter().map(Option::unwrap).collect();
        assert_eq!(pages.iter().map(positions).collect::<Vec<_>>(), expected, "{bytes_max}");
        assert!(pages.iter().all(|page| page.last_position == 5));
    }
    // What would fit after the cut is left out as well.
    let small = scene.group(&[a]).await;
    let pages = scene.store.read_pages(a, vec![after(first), after(small)], 2 * bytes + bytes / 2).await.unwrap();
    let pages: Vec<_> = pages.iter().map(|page| positions(page.as_ref().unwrap())).collect();
    assert_eq!(pages, [vec![1, 2], vec![]]);
    // The one entry comes from the first page that has any.
    let pages = scene.store.read_pages(b, vec![after(empty), after(second), before(first)], 1).await.unwrap();
    assert_eq!(pages[0], Some(Page::default()));
    assert_eq!(pages[1], None);
    assert_eq!(positions(pages[2].as_ref().unwrap()), [5]);
}

/// Neither strangers nor those who left.
pub async fn strangers_read_nothing(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, stranger] = scene.users().await;
    let (direct, group) = (scene.direct(a, b).await, scene.group(&[a, b]).await);
    scene.say(direct, a, "secret").await;
    for conversation in [direct, group, a.personal_log(), ConversationId::new(77_777), ConversationId::new(u64::MAX)] {
        assert_eq!(scene.history(stranger, conversation).await, None);
    }
    scene.append(super::scene::change(group, b, false, &[], &[b])).await.unwrap();
    assert_eq!(scene.history(b, group).await, None);
    assert!(scene.history(a, group).await.is_some());
}
