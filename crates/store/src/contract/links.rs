//! Requests to be let into a group, and links.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{EntryId, GroupId, UserId};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{NOW_MS, Scene},
};
use crate::{GroupLink, JoinRequestRow, LINK_RETRY_MS, Telling};

const GROUP: GroupId = GroupId::new(500);

fn request(user: UserId, message: &str) -> JoinRequestRow {
    JoinRequestRow { user, message: message.into(), time_ms: NOW_MS }
}

fn telling(user: UserId) -> Vec<Telling> {
    vec![Telling { user, time_ms: NOW_MS, content: Bytes::from_static(b"told") }]
}

fn link(code: &str, expires_ms: i64, uses_max: u32) -> GroupLink {
    let creator = UserId::new(7);
    GroupLink { code: code.into(), group: GROUP, creator, created_ms: NOW_MS, expires_ms, uses_max, uses: 0 }
}

/// Told once; asking again changes the message.
pub async fn a_join_request_is_noted_once_until_it_is_closed(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, owner] = scene.users().await;
    assert!(scene.store.put_join_request(GROUP, request(b, "me"), telling(owner)).await.unwrap());
    assert!(!scene.store.put_join_request(GROUP, request(b, "me, please"), telling(owner)).await.unwrap());
    assert!(scene.store.put_join_request(GROUP, request(a, ""), vec![]).await.unwrap());
    let effects = scene.store.effects(10).await.unwrap();
    assert_eq!(effects.iter().map(|effect| (effect.user, effect.contact.clone())).collect::<Vec<_>>(), [(owner, None)]);
    let all = scene.store.join_requests(GROUP, UserId::new(0), 10).await.unwrap();
    assert_eq!(all, [request(a, ""), request(b, "me, please")]);
    assert_eq!(scene.store.join_requests(GROUP, a, 10).await.unwrap(), all[1..]);
    assert_eq!(scene.store.join_requests(GROUP, UserId::new(0), 1).await.unwrap(), all[..1]);
    assert_eq!(scene.store.join_requests(GroupId::new(501), UserId::new(0), 10).await.unwrap(), []);
    assert!(scene.store.close_join_request(GROUP, b, telling(b)).await.unwrap());
    assert!(!scene.store.close_join_request(GROUP, b, telling(b)).await.unwrap());
    assert_eq!(scene.store.effects(10).await.unwrap().len(), 2);
    assert_eq!(scene.store.join_requests(GROUP, UserId::new(0), 10).await.unwrap(), all[..1]);
}

/// The same request makes the same link; those that cannot be used take no room.
pub async fn links_are_made_once_and_limited(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let create = async |link: GroupLink, request, links_max| {
        scene.store.create_link(link, request, links_max, NOW_MS).await.unwrap()
    };
    let first = EntryId::generate();
    assert_eq!(create(link("one", 0, 0), first, 2).await, Some(link("one", 0, 0)));
    assert_eq!(create(link("another", 0, 0), first, 1).await, Some(link("one", 0, 0)));
    let made = async |creator, request| scene.store.made_link(UserId::new(creator), request).await.unwrap();
    assert_eq!(made(7, first).await, Some(link("one", 0, 0)));
    assert_eq!((made(8, first).await, made(7, EntryId::generate()).await), (None, None));
    assert!(create(link("over", NOW_MS, 0), EntryId::generate(), 2).await.is_some());
    assert!(create(link("two", NOW_MS + 1, 0), EntryId::generate(), 2).await.is_some());
    assert_eq!(create(link("three", 0, 0), EntryId::generate(), 2).await, None);
    let codes: Vec<String> =
        scene.store.links(GROUP, NOW_MS).await.unwrap().into_iter().map(|link| link.code).collect();
    assert_eq!(codes, ["one", "two"]);
    assert_eq!(scene.store.link("over".into()).await.unwrap(), Some(link("over", NOW_MS, 0)));
    assert_eq!(scene.store.link("another".into()).await.unwrap(), None);
    assert!(!scene.store.revoke_link(GroupId::new(501), "one".into()).await.unwrap());
    assert!(scene.store.revoke_link(GROUP, "one".into()).await.unwrap());
    assert!(!scene.store.revoke_link(GROUP, "one".into()).await.unwrap());
    assert!(!scene.store.use_link("one".into(), UserId::new(1), NOW_MS).await.unwrap());
    // A late retry makes no second one, and what was taken back takes no room.
    assert_eq!(made(7, first).await, Some(link("one", 0, 0)));
    assert_eq!(create(link("again", 0, 0), first, 9).await, Some(link("one", 0, 0)));
    assert_eq!(scene.store.link("one".into()).await.unwrap(), None);
    assert_eq!(scene.store.links(GROUP, NOW_MS).await.unwrap().len(), 1);
    assert!(create(link("three", 0, 0), EntryId::generate(), 2).await.is_some());
}

/// Until then a retry makes no other; those that were not revoked are never forgotten.
pub async fn a_revoked_link_is_forgotten_when_no_retry_comes_any_more(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (kept, revoked) = (EntryId::generate(), EntryId::generate());
    for (code, request) in [("kept", kept), ("revoked", revoked)] {
        assert!(scene.store.create_link(link(code, 0, 0), request, 9, NOW_MS).await.unwrap().is_some());
    }
    assert!(scene.store.revoke_link(GROUP, "revoked".into()).await.unwrap());
    let made = async |request| scene.store.made_link(UserId::new(7), request).await.unwrap();
    scene.store.forget_expired(NOW_MS + LINK_RETRY_MS).await.unwrap();
    assert_eq!(made(revoked).await, Some(link("revoked", 0, 0)));
    scene.store.forget_expired(NOW_MS + LINK_RETRY_MS + 1).await.unwrap();
    assert_eq!(made(revoked).await, None);
    assert_eq!(made(kept).await, Some(link("kept", 0, 0)));
}

/// However many come at once; the same user counts once.
pub async fn a_link_is_used_no_more_often_than_it_may(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    scene.store.create_link(link("two", NOW_MS + 10, 2), EntryId::generate(), 5, NOW_MS).await.unwrap();
    let mut uses = JoinSet::new();
    for n in 0..8 {
        let store = scene.store.clone();
        uses.spawn(async move {
            let user = UserId::new(n / 2);
            store.use_link("two".into(), user, NOW_MS).await.unwrap().then_some(user)
        });
    }
    let used: Vec<UserId> = uses.join_all().await.into_iter().flatten().collect();
    assert_eq!(used.len(), 4, "two users, twice each");
    assert_eq!(scene.store.link("two".into()).await.unwrap().unwrap().uses, 2);
    assert!(scene.store.links(GROUP, NOW_MS).await.unwrap().is_empty());
    assert!(scene.store.use_link("two".into(), used[0], NOW_MS + 9).await.unwrap());
    assert!(!scene.store.use_link("two".into(), used[0], NOW_MS + 10).await.unwrap(), "it is over");
}
