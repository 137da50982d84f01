//! Accounts.

use std::sync::Arc;

use protocol::{
    RawContent, SessionId, UserId,
    wire::{ConversationKind, SessionEnded, UserInfo, content},
};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{NOW_MS, Scene, text, token},
};
use crate::{Account, BotRefused, NAME_KEPT, NewAccount, Revision, Rotation, Telling, Users};

/// Of many who register a name at once, one gets it.
pub async fn a_name_is_taken_once_however_many_ask(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let mut attempts = JoinSet::new();
    for _ in 0..8 {
        let scene = scene.clone();
        attempts.spawn(async move {
            let account = scene.account("Alice");
            (account.id, scene.store.create_account(account, Vec::new()).await.unwrap())
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
    assert!(!scene.store.create_account(other, Vec::new()).await.unwrap());
    assert_eq!(scene.store.account(other_id).await.unwrap(), None);
    assert!(scene.heads(other_id, Revision(0), 0).await.0.is_empty());
}

/// A call whose outcome was unknown, made again with the same id, tells that the account is there.
pub async fn an_account_made_again_with_its_id_is_there(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let account = scene.account("bob");
    assert!(scene.store.create_account(account.clone(), Vec::new()).await.unwrap());
    assert!(scene.store.create_account(account.clone(), Vec::new()).await.unwrap());
    assert_eq!(scene.store.sessions(account.id, NOW_MS).await.unwrap().len(), 1);
    let session = scene.session(NOW_MS);
    assert!(scene.store.create_session(account.id, session.clone(), 2, Vec::new()).await.unwrap());
    assert!(scene.store.create_session(account.id, session, 2, Vec::new()).await.unwrap());
    assert_eq!(scene.store.sessions(account.id, NOW_MS).await.unwrap().len(), 2);
}

/// By ids and by names, each once; who does not exist is left out. Every account has a personal log.
pub async fn accounts_are_found_by_name_and_id(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, bob) = (scene.user("Alice").await, scene.user("小明").await);
    let ids = vec![bob, alice, UserId::new(u64::MAX), UserId::new(77_777)];
    let found = Users::find(&*scene.store, ids, vec!["alice".into(), "nobody".into()]).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|user| (UserId::new(user.id), user.name)).collect();
    found.sort();
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
    scene.store.create_account(account, Vec::new()).await.unwrap();
    let other = scene.session(NOW_MS);
    scene.store.create_session(alice, other.clone(), 10, Vec::new()).await.unwrap();
    let over = scene.session(NOW_MS - 5_000_000);
    scene.store.create_session(alice, over.clone(), 10, Vec::new()).await.unwrap();
    let bob = scene.user("bob").await;

    let change = |old: &str| scene.store.change_password(alice, old.into(), "new".into(), keep, NOW_MS + 1, Vec::new());
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

/// What is told of an account's affairs is noted with them, in order, and not where nothing happened.
pub async fn what_is_told_of_an_account_is_noted_with_it(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let telling = |user, body: &str| vec![Telling { user, time_ms: NOW_MS, content: text(body) }];
    let account = scene.account("alice");
    let (alice, first) = (account.id, account.session.id);
    assert!(scene.store.create_account(account, telling(alice, "registered")).await.unwrap());
    let taken = scene.account("alice");
    let other = taken.id;
    assert!(!scene.store.create_account(taken, telling(other, "no")).await.unwrap());
    let second = scene.session(NOW_MS);
    assert!(scene.store.create_session(alice, second.clone(), 2, telling(alice, "logged in")).await.unwrap());
    assert!(!scene.store.create_session(alice, scene.session(NOW_MS), 2, telling(alice, "no")).await.unwrap());
    assert!(scene.store.end_session(alice, second.id, NOW_MS, telling(alice, "ended")).await.unwrap());
    assert!(!scene.store.end_session(alice, second.id, NOW_MS, telling(alice, "no")).await.unwrap());
    let change = |old: &str, told| scene.store.change_password(alice, old.into(), "new".into(), first, NOW_MS, told);
    let third = scene.session(NOW_MS);
    assert!(scene.store.create_session(alice, third.clone(), 2, Vec::new()).await.unwrap());
    assert!(change("hash of alice", telling(alice, "changed")).await.unwrap().is_some());
    assert!(change("hash of alice", telling(alice, "no")).await.unwrap().is_none());
    let effects = scene.store.effects(100).await.unwrap();
    assert!(effects.iter().all(|effect| effect.user == alice && effect.time_ms == NOW_MS && effect.contact.is_none()));
    let told: Vec<_> = effects.into_iter().map(|effect| effect.content).collect();
    let ended = content::Kind::SessionEnded(SessionEnded { session: third.id.get() });
    let ended = RawContent::from(ended).as_bytes().clone();
    assert_eq!(told[..4], ["registered", "logged in", "ended", "changed"].map(text));
    assert_eq!(told[4..], [ended]);
}

/// Of a deleted account its id is left; nobody bears its name, and nothing of it comes back.
pub async fn a_deleted_account_is_an_empty_one(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let account = scene.account("alice");
    let (alice, session) = (account.id, account.session.clone());
    assert!(scene.store.create_account(account, Vec::new()).await.unwrap());
    assert_eq!(scene.store.delete_account(alice, NOW_MS + 1).await.unwrap(), Some(vec![session.id]));
    assert_eq!(scene.store.delete_account(alice, NOW_MS + 2).await.unwrap(), Some(vec![]));
    let deleted = UserInfo { id: alice.get(), deleted: true, ..UserInfo::default() };
    let left = scene.store.account(alice).await.unwrap().unwrap();
    assert_eq!((&left.user, left.password_hash.as_str()), (&deleted, ""));
    assert_eq!(Users::find(&*scene.store, vec![alice], Vec::new()).await.unwrap(), [deleted]);
    assert_eq!(scene.store.account_by_name("alice".into()).await.unwrap(), None);
    assert_eq!(scene.store.account_by_name(String::new()).await.unwrap(), None);
    assert!(!scene.store.create_session(alice, scene.session(NOW_MS), 9, Vec::new()).await.unwrap());
    assert_eq!(scene.store.suspend(alice, true, NOW_MS).await.unwrap(), None);
    let exchange = scene.store.rotate_refresh(session.refresh, [1; 16], token(9_001), NOW_MS + 99, NOW_MS + 2).await;
    assert_eq!(exchange.unwrap(), Rotation::Expired);
}

/// Whoever comes by a deleted account's name while it is remembered would pass for the one who had it.
pub async fn a_deleted_accounts_name_is_kept_for_a_while(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    scene.store.delete_account(alice, NOW_MS).await.unwrap();
    // A second time, which does nothing, does not lengthen it either.
    scene.store.delete_account(alice, NOW_MS + 9).await.unwrap();
    let kept_ms = NAME_KEPT.as_millis() as i64;
    let register = |now_ms| {
        let account = NewAccount { created_ms: now_ms, ..scene.account("alice") };
        let id = account.id;
        let store = scene.store.clone();
        async move { store.create_account(account, Vec::new()).await.unwrap().then_some(id) }
    };
    assert_eq!(register(NOW_MS + kept_ms - 1).await, None);
    let reserved_since = NOW_MS - 1;
    assert_eq!(
        scene.store.rename(bob, "Alice".into(), "alice".into(), NOW_MS + 1, reserved_since).await.unwrap(),
        None
    );
    assert_eq!(scene.store.create_bot(scene.new_bot(bob, "alice"), 9).await.unwrap(), Err(BotRefused::NameTaken));
    let again = register(NOW_MS + kept_ms).await.expect("free again");
    for user in [alice, again] {
        scene.store.delete_account(user, NOW_MS + kept_ms + 1).await.unwrap();
    }
}

/// A suspension ends the sessions and keys of the user and of the user's bots, and lets nobody in until it is lifted.
pub async fn a_suspended_account_is_kept_out_with_its_bots(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let account = scene.account("alice");
    let (alice, session) = (account.id, account.session.clone());
    assert!(scene.store.create_account(account, Vec::new()).await.unwrap());
    let bob = scene.user("bob").await;
    let bot = scene.bot(alice, "helper").await;
    let key = scene.api_key(bot, 0).await;

    let mut ended = scene.store.suspend(alice, true, NOW_MS + 1).await.unwrap().unwrap();
    ended.sort();
    assert_eq!(ended, [(alice, session.id), (bot, key.row.id)]);
    assert!(scene.store.account(alice).await.unwrap().unwrap().suspended);
    assert!(scene.store.account(bot).await.unwrap().unwrap().suspended);
    assert!(!scene.store.account(bob).await.unwrap().unwrap().suspended);
    assert!(!scene.store.create_session(alice, scene.session(NOW_MS), 9, Vec::new()).await.unwrap());
    let rotate = || scene.store.rotate_refresh(session.refresh, [1; 16], token(9_001), NOW_MS + 99, NOW_MS + 2);
    assert_eq!(rotate().await.unwrap(), Rotation::Suspended);
    assert_eq!(scene.store.api_key(key.hash, NOW_MS).await.unwrap(), None);
    let mut told = scene.store.sessions_ended_since(NOW_MS).await.unwrap();
    told.sort();
    assert_eq!(told, [session.id, key.row.id]);

    assert_eq!(scene.store.suspend(alice, false, NOW_MS + 2).await.unwrap(), Some(Vec::new()));
    assert!(!scene.store.account(bot).await.unwrap().unwrap().suspended);
    assert_eq!(rotate().await.unwrap(), Rotation::Expired);
    assert!(scene.store.create_session(alice, scene.session(NOW_MS), 9, Vec::new()).await.unwrap());
    assert_eq!(scene.store.suspend(UserId::new(77_777), true, NOW_MS).await.unwrap(), None);
}

/// That its owner is let in again does not let in a bot that was suspended itself, nor the other way round.
pub async fn a_bots_own_suspension_is_not_its_owners(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let alice = scene.user("alice").await;
    let (good, bad) = (scene.bot(alice, "good").await, scene.bot(alice, "bad").await);
    let suspend = async |user, suspended| scene.store.suspend(user, suspended, NOW_MS).await.unwrap().unwrap();
    let kept_out = async |user| scene.store.account(user).await.unwrap().unwrap().suspended;
    suspend(bad, true).await;
    assert!(kept_out(bad).await && !kept_out(good).await && !kept_out(alice).await);
    suspend(alice, true).await;
    assert!(kept_out(bad).await && kept_out(good).await && kept_out(alice).await);
    suspend(alice, false).await;
    assert!(kept_out(bad).await && !kept_out(good).await && !kept_out(alice).await);
    let key = scene.api_key(bad, 0).await;
    assert_eq!(scene.store.api_key(key.hash, NOW_MS).await.unwrap(), None);
    suspend(alice, true).await;
    suspend(bad, false).await;
    assert!(kept_out(bad).await, "with its owner");
    let late = scene.api_key(bad, 0).await;
    assert_eq!(scene.store.api_key(late.hash, NOW_MS).await.unwrap(), None);
    suspend(alice, false).await;
    assert!(!kept_out(bad).await);
    assert_eq!(scene.store.api_key(late.hash, NOW_MS).await.unwrap(), Some(late.row));
}
