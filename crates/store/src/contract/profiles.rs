//! Profiles and names, and looking for users by them.

use std::sync::Arc;

use protocol::{
    RawContent, UserId,
    wire::{ProfileChanged, UserInfo, content},
};

use super::{
    Store,
    scene::{NOW_MS, Scene},
};
use crate::{BotRefused, ProfileChange};

/// No name is kept: all were given up before.
const ANY_TIME: i64 = i64::MAX;
const LATE: i64 = NOW_MS + 1_000;

fn shown(name: &str) -> ProfileChange {
    let display_name = Some((name.to_owned(), name.to_lowercase()));
    ProfileChange { display_name, ..ProfileChange::default() }
}

async fn rename(scene: &Scene, user: UserId, name: &str, kept_since_ms: i64) -> Option<UserInfo> {
    scene.store.rename(user, name.into(), name.to_lowercase(), LATE, kept_since_ms).await.unwrap()
}

/// The profiles that are to be told in personal logs.
async fn told(scene: &Scene) -> Vec<UserInfo> {
    let effects = scene.store.effects(100).await.unwrap();
    let told = effects.into_iter().map(|effect| match RawContent::from_bytes(effect.content).view().unwrap().kind {
        Some(content::Kind::ProfileChanged(ProfileChanged { user: Some(user) })) => {
            assert_eq!(effect.user, UserId::new(user.id));
            user
        }
        other => panic!("{other:?}"),
    });
    told.collect()
}

/// Fields that are not given stay; a change is told once, and what is so already is not.
pub async fn a_profile_changes_as_told(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let alice = scene.user("alice").await;
    let change = ProfileChange { avatar: Some("https://a/b.png".into()), ..shown("Alice in W.") };
    let first = scene.store.update_profile(alice, change, LATE).await.unwrap().unwrap();
    let change = ProfileChange {
        status_line: Some("busy".into()),
        language: Some("zh-CN".into()),
        avatar: Some(String::new()),
        ..ProfileChange::default()
    };
    let second = scene.store.update_profile(alice, change.clone(), LATE).await.unwrap().unwrap();
    let expected = UserInfo {
        id: alice.get(),
        name: "alice".into(),
        display_name: "Alice in W.".into(),
        status_line: "busy".into(),
        language: "zh-CN".into(),
        ..UserInfo::default()
    };
    assert_eq!(second, expected);
    assert_eq!(scene.store.update_profile(alice, change.clone(), LATE).await.unwrap(), Some(second.clone()));
    assert_eq!(scene.store.account(alice).await.unwrap().unwrap().user, second);
    assert_eq!(told(&scene).await, [first, second]);
    scene.store.delete_account(alice, LATE).await.unwrap();
    for nobody in [alice, UserId::new(77_777)] {
        assert_eq!(scene.store.update_profile(nobody, change.clone(), LATE).await.unwrap(), None);
    }
}

/// A name that was given up is its former owner's for a while, and then anybody's.
pub async fn a_name_given_up_is_kept_for_a_while(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    assert_eq!(rename(&scene, alice, "Bob", ANY_TIME).await, None, "it is taken");
    let renamed = rename(&scene, alice, "Alicia", ANY_TIME).await.unwrap();
    assert_eq!((renamed.id, renamed.name.as_str()), (alice.get(), "Alicia"));
    assert_eq!(scene.store.account_by_name("alice".into()).await.unwrap(), None);
    assert_eq!(scene.store.account_by_name("alicia".into()).await.unwrap().unwrap().user, renamed);
    assert_eq!(scene.store.renamed_since(LATE - 1).await.unwrap(), [(alice, "Alicia".into())]);
    assert_eq!(scene.store.renamed_since(LATE).await.unwrap(), []);

    // To others it is not free, however they come by a name.
    assert_eq!(rename(&scene, bob, "alice", LATE - 1).await, None);
    let mut newcomer = scene.account("alice");
    newcomer.created_ms = LATE + 1;
    assert!(!scene.store.create_account(newcomer, Vec::new()).await.unwrap());
    assert_eq!(scene.store.create_bot(scene.new_bot(bob, "alice"), 9).await.unwrap(), Err(BotRefused::NameTaken));
    // Its former owner may go back, with another way to write it as well.
    assert_eq!(rename(&scene, alice, "ALICE", LATE - 1).await.unwrap().name, "ALICE");
    assert_eq!(rename(&scene, alice, "alice", LATE - 1).await.unwrap().name, "alice");
    assert_eq!(rename(&scene, alice, "Alicia", LATE - 1).await.unwrap().name, "Alicia");
    let times = told(&scene).await.len();
    assert_eq!(rename(&scene, alice, "Alicia", LATE - 1).await.unwrap().name, "Alicia");
    assert_eq!(told(&scene).await.len(), times, "nothing changed");
    assert_eq!(times, 4);
    // Later it is anybody's.
    assert_eq!(rename(&scene, bob, "alice", LATE).await.unwrap().name, "alice");
    let kept_ms = i64::try_from(crate::NAME_KEPT.as_millis()).unwrap();
    let mut newcomer = scene.account("bob");
    newcomer.created_ms = LATE + kept_ms;
    assert!(scene.store.create_account(newcomer, Vec::new()).await.unwrap());
    assert_eq!(rename(&scene, UserId::new(77_777), "nobody", ANY_TIME).await, None);
}

/// Names first, then display names, each in alphabetical order, in pages without overlap.
pub async fn users_are_found_by_how_their_names_begin(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let mut ids = Vec::new();
    for name in ["anna", "Anton", "zoe", "an", "bert", "andrea", "小明", "gone"] {
        ids.push(scene.user(name).await);
    }
    for (place, display_name) in [(4, "Ann B."), (2, "Andy"), (0, "Anna the Great"), (6, "Ann B."), (7, "Ann")] {
        scene.store.update_profile(ids[place], shown(display_name), LATE).await.unwrap();
    }
    scene.store.delete_account(ids[7], LATE).await.unwrap();
    let names = |users: Vec<UserInfo>| users.into_iter().map(|user| user.name).collect::<Vec<_>>();
    let expected = ["an", "andrea", "anna", "Anton", "zoe", "bert", "小明"];
    let (all, next) = scene.store.search("an".into(), String::new(), 100).await.unwrap();
    assert_eq!((names(all), next), (expected.map(String::from).to_vec(), None));
    for limit in 1..=8 {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let (page, next) = scene.store.search("an".into(), after, limit).await.unwrap();
            assert!(page.len() <= limit as usize && !page.is_empty());
            found.extend(names(page));
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
    for (prefix, expected) in [("小", vec!["小明"]), ("anna", vec!["anna"]), ("nn", vec![]), ("%", vec![])] {
        let (found, next) = scene.store.search(prefix.into(), String::new(), 10).await.unwrap();
        assert_eq!((names(found), next), (expected.into_iter().map(String::from).collect(), None), "{prefix}");
    }
    let (found, next) = scene.store.search("an".into(), "made up".into(), 10).await.unwrap();
    assert_eq!((found, next), (Vec::new(), None));
    // Without a display name one is found by the name alone.
    scene.store.update_profile(ids[4], shown(""), LATE).await.unwrap();
    let (found, _) = scene.store.search("ann b".into(), String::new(), 10).await.unwrap();
    assert_eq!(names(found), ["小明"]);
}
