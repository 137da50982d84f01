//! Groups.

use std::sync::Arc;

use protocol::{EntryId, GroupId, UserId, wire::JoinPolicy};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{NOW_MS, Scene},
};
use crate::{Group, Groups, NewGroup};

fn new(scene: &Scene, request: EntryId, creator: u64, title: &str) -> NewGroup {
    NewGroup {
        id: GroupId::new(scene.number()),
        request,
        creator: UserId::new(creator),
        title: title.into(),
        join_policy: JoinPolicy::ByInvitation,
        created_ms: NOW_MS,
    }
}

/// However often and from wherever it comes; another user's request is another one.
pub async fn a_request_makes_one_group_for_good(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let request = EntryId::generate();
    let mut attempts = JoinSet::new();
    for _ in 0..8 {
        let scene = scene.clone();
        attempts.spawn(async move { scene.store.create(new(&scene, request, 900, "tea")).await.unwrap() });
    }
    let groups = attempts.join_all().await;
    assert!(groups.iter().all(|group| *group == groups[0]), "{groups:?}");
    assert_eq!((groups[0].title.as_str(), groups[0].join_policy), ("tea", JoinPolicy::ByInvitation));
    let later = scene.store.create(new(&scene, request, 900, "coffee")).await.unwrap();
    assert_eq!(later, groups[0]);
    let of_another = scene.store.create(new(&scene, request, 901, "tea")).await.unwrap();
    assert_ne!(of_another.id, groups[0].id);
}

/// Those that do not exist are left out.
pub async fn groups_are_found_by_id(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let tea = scene.store.create(new(&scene, EntryId::generate(), 900, "茶")).await.unwrap();
    let open = NewGroup { join_policy: JoinPolicy::Open, ..new(&scene, EntryId::generate(), 900, "open") };
    let open = scene.store.create(open).await.unwrap();
    let ids = vec![open.id, GroupId::new(u64::MAX), tea.id, GroupId::new(77_777)];
    let mut found = Groups::find(&*scene.store, ids).await.unwrap();
    found.sort_by_key(|group| group.id);
    assert_eq!(found, [tea, open.clone()]);
    let expected = Group {
        id: open.id,
        title: "open".into(),
        description: String::new(),
        avatar: String::new(),
        announcement: String::new(),
        join_policy: JoinPolicy::Open,
        admins_invite: false,
        muted: false,
        dissolved: false,
        created_ms: NOW_MS,
    };
    assert_eq!(found[1], expected);
}
