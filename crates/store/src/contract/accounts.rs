//! Accounts.

use std::sync::Arc;

use protocol::{
    SessionId, UserId,
    wire::{ConversationKind, UserInfo},
};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{NOW_MS, Scene},
};
use crate::{Account, NewAccount, Revision, Rotation, Users};

/// Of many who register a name at once, one gets it.
pub async fn a_name_is_taken_once_however_many_ask(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let mut attempts = JoinSet::new();
    for _ in 0..8 {
        let scene = scene.clone();
        attempts.spawn(async move {
            let account = scene.account("Alice");
            (account.id, scene.store.create_account(account, vec![]).await.unwrap())
        });
    }
    let made: Vec<_> = attempts.join_all().await.into_iter().filter(|(_, made)| *made).collect();
    assert_eq!(made.len(), 1);
    let found = scene.store.account_by_name("alice".into()).await.unwrap().unwrap();
    let user = UserInfo { id: made[0].0.get(), name: "Alice".into(), ..UserInfo::default() };
    let password_hash = "hash of Alice".into();
    assert_eq!(found, Account { user, password_hash, created_ms: NOW_MS, suspended: false, owner: None });
    let other = NewAccount { name_key: "alice".into(), ..scene.account("ALICE") };
    let other_id = other.id;
    assert!(!scene.store.create_account(other, vec![]).await.unwrap());
    assert_eq!(scene.store.account(other_id).await.unwrap(), None);
    assert!(scene.heads(other_id, Revision(0), 0).await.0.is_empty());
}

/// A call whose outcome was unknown, made again with the same id, tells that the account is there.
pub async fn an_account_made_again_with_its_id_is_there(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let account = scene.account("bob");
    assert!(scene.store.create_account(account.clone(), vec![]).await.unwrap());
    assert!(scene.store.create_account(account.clone(), vec![]).await.unwrap());
    assert_eq!(scene.store.sessions(account.id, NOW_MS).await.unwrap().len(), 1);
    let session = scene.session(NOW_MS);
    assert!(scene.store.create_session(account.id, session.clone(), 2, vec![]).await.unwrap());
    assert!(scene.store.create_session(account.id, session, 2, vec![]).await.unwrap());
    assert_eq!(scene.store.sessions(account.id, NOW_MS).await.unwrap().len(), 2);
}

/// By ids and by names, each once; who does not exist is left out. Every account has a personal log.
pub async fn accounts_are_found_by_name_and_id(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, bob) = (scene.user("Alice").await, scene.user("小明").await);
    let ids = vec![bob, alice, UserId::new(u64::MAX), UserId::new(77_777)];
    let mut found = Users::find(&*scene.store, ids, vec!["alice".into(), "nobody".into()]).await.unwrap();
    found.sort_by_key(|user| user.id);
    let found: Vec<_> = found.into_iter().map(|user| (UserId::new(user.id), user.name)).collect();
    assert_eq!(found, [(alice, "Alice".into()), (bob, "小明".into())]);
    assert_eq!(scene.store.account(alice).await.unwrap().unwrap().user.name, "Alice");
    assert_eq!(scene.store.account_by_name("Alice".into()).await.unwrap(), None, "the key is in lower case");

    let (heads, _) = scene.heads(bob, Revision(0), 0).await;
    assert_eq!(heads.len(), 1);
    assert_eq!((heads[0].conversation, heads[0].kind), (bob.personal_log(), ConversationKind::Personal));
    assert_eq!(scene.history(bob, bob.personal_log()).await.unwrap().last_position, 0);
}

/// A new hash replaces the one that the caller has seen, and all sessions but one end with it.
pub async fn a_password_is_changed_only_from_the_hash_it_had(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let account = scene.account("alice");
    let (alice, keep) = (account.id, account.session.id);
    scene.store.create_account(account, vec![]).await.unwrap();
    let other = scene.session(NOW_MS);
    scene.store.create_session(alice, other.clone(), 10, vec![]).await.unwrap();
    let over = scene.session(NOW_MS - 5_000_000);
    scene.store.create_session(alice, over.clone(), 10, vec![]).await.unwrap();
    let bob = scene.user("bob").await;

    let change = |old: &str| scene.store.change_password(alice, old.into(), "new".into(), keep, NOW_MS + 1, vec![]);
    assert_eq!(change("not the hash").await.unwrap(), None);
    assert_eq!(scene.store.sessions(alice, NOW_MS).await.unwrap().len(), 2);
    assert_eq!(
        change("hash of alice").await.unwrap(),
        Some(vec![other.id, over.id]),
        "whether their time is over or not"
    );
    assert_eq!(change("hash of alice").await.unwrap(), None);
    assert_eq!(scene.store.account(alice).await.unwrap().unwrap().password_hash, "new");
    let live: Vec<_> = scene.store.sessions(alice, NOW_MS + 2).await.unwrap();
    assert_eq!(live.iter().map(|session| SessionId::new(session.id)).collect::<Vec<_>>(), [keep]);
    let rotation = scene.store.rotate_refresh(other.refresh, [1; 16], [9; 32], NOW_MS + 99, NOW_MS + 2).await.unwrap();
    assert_eq!(rotation, Rotation::Expired);
    assert_eq!(scene.store.sessions(bob, NOW_MS).await.unwrap().len(), 1, "other users keep their sessions");
}
