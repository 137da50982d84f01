//! Bots, their keys, and the incoming webhooks by which they post.

use std::sync::Arc;

use protocol::{ConversationId, EntryId, SessionId, UserId, wire::ConversationKind};

use super::{
    Store,
    scene::{NOW_MS, Scene, token},
};
use crate::{BotRefused, Incoming, NewBot, NewIncoming, Revision};

/// A request makes one bot, with a personal log; a name is one account's; the limit is the owner's.
pub async fn a_request_makes_one_bot_for_good(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    let new = NewBot { display_name: "The Helper".into(), ..scene.new_bot(alice, "helper") };
    let made = scene.store.create_bot(new.clone(), 2).await.unwrap().unwrap();
    assert_eq!((made.user.id, made.user.name.as_str(), made.created_ms), (new.id.get(), "helper", NOW_MS));
    assert!(made.user.bot && made.user.display_name == "The Helper");
    let again = NewBot { id: UserId::new(scene.number()), ..new.clone() };
    assert_eq!(scene.store.create_bot(again, 0).await.unwrap(), Ok(made.clone()));
    assert_eq!(scene.store.create_bot(scene.new_bot(bob, "helper"), 2).await.unwrap(), Err(BotRefused::NameTaken));
    let second = scene.bot(alice, "second").await;
    assert_eq!(scene.store.create_bot(scene.new_bot(alice, "third"), 2).await.unwrap(), Err(BotRefused::TooMany(2)));
    let bots = scene.store.bots(alice).await.unwrap();
    assert_eq!(bots.iter().map(|bot| UserId::new(bot.user.id)).collect::<Vec<_>>(), [new.id, second]);
    assert_eq!(scene.store.bots(bob).await.unwrap(), []);

    let account = scene.store.account(new.id).await.unwrap().unwrap();
    assert_eq!((account.owner, account.password_hash.as_str()), (Some(alice), ""));
    let (heads, _) = scene.heads(new.id, Revision(0), 0).await;
    assert_eq!(heads.iter().map(|head| head.kind).collect::<Vec<_>>(), [ConversationKind::Personal]);
    let (found, _) = scene.store.search("the h".into(), String::new(), 9).await.unwrap();
    assert_eq!(found, [account.user]);
    scene.store.delete_account(second, NOW_MS).await.unwrap();
    assert_eq!(scene.store.bots(alice).await.unwrap(), [made], "one that is deleted is not listed");
    // Its name is still its owner's, and not free to others.
    assert_eq!(scene.store.create_bot(scene.new_bot(bob, "second"), 2).await.unwrap(), Err(BotRefused::NameTaken));
    scene.bot(alice, "second").await;
}

/// A key is good until its time or until it is ended; the limit counts good ones.
pub async fn an_api_key_is_good_until_it_ends(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let alice = scene.user("alice").await;
    let (bot, other) = (scene.bot(alice, "helper").await, scene.bot(alice, "other").await);
    let (forever, brief) = (scene.api_key(bot, 0).await, scene.api_key(bot, NOW_MS + 50).await);
    let again = crate::NewApiKey { row: scene.new_api_key(bot, 0).row, ..forever.clone() };
    assert!(scene.store.create_api_key(again, 0, NOW_MS).await.unwrap());
    assert_eq!(scene.store.api_keys(bot, NOW_MS).await.unwrap(), [forever.row.clone(), brief.row.clone()]);
    assert_eq!(scene.store.api_key(brief.hash, NOW_MS + 49).await.unwrap(), Some(brief.row.clone()));
    assert_eq!(scene.store.api_key(brief.hash, NOW_MS + 50).await.unwrap(), None);
    assert_eq!(scene.store.api_keys(bot, NOW_MS + 50).await.unwrap(), std::slice::from_ref(&forever.row));
    assert!(!scene.store.create_api_key(scene.new_api_key(bot, 0), 2, NOW_MS + 49).await.unwrap());
    assert!(scene.store.create_api_key(scene.new_api_key(bot, 0), 2, NOW_MS + 50).await.unwrap());

    let end = |bot, key| scene.store.end_api_key(bot, key, NOW_MS + 60);
    assert!(!end(other, forever.row.id).await.unwrap(), "it is another bot's");
    assert!(!end(bot, SessionId::new(77_777)).await.unwrap());
    assert!(end(bot, forever.row.id).await.unwrap());
    assert!(!end(bot, forever.row.id).await.unwrap());
    assert_eq!(scene.store.api_key(forever.hash, NOW_MS).await.unwrap(), None);
    assert_eq!(scene.store.api_key(token(88_888), NOW_MS).await.unwrap(), None);
    assert_eq!(scene.store.api_key_bot(forever.hash).await.unwrap(), Some(bot), "it was the bot's");
    assert_eq!(scene.store.api_key_bot(token(88_888)).await.unwrap(), None);
    assert_eq!(scene.store.sessions_ended_since(NOW_MS + 59).await.unwrap(), [forever.row.id]);
    scene.store.forget_expired(NOW_MS + 61).await.unwrap();
    assert_eq!(scene.store.sessions_ended_since(0).await.unwrap(), []);
    assert_eq!(scene.store.api_keys(bot, NOW_MS).await.unwrap().len(), 1);
}

/// A key ends with its bot.
pub async fn a_deleted_bot_has_no_keys(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let alice = scene.user("alice").await;
    let bot = scene.bot(alice, "helper").await;
    let key = scene.api_key(bot, 0).await;
    assert_eq!(scene.store.delete_account(bot, NOW_MS + 1).await.unwrap(), Some(vec![key.row.id]));
    assert_eq!(scene.store.api_key(key.hash, NOW_MS).await.unwrap(), None);
    // Not even one that was being made meanwhile.
    let late = scene.api_key(bot, 0).await;
    assert_eq!(scene.store.api_key(late.hash, NOW_MS).await.unwrap(), None);
}

/// Whichever comes first, a new bot or the end of its owner's account, the other is refused.
pub async fn no_bot_is_without_its_owner(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    for round in 0..20 {
        let owner = scene.user(&format!("owner{round}")).await;
        let new = scene.new_bot(owner, &format!("bot{round}"));
        let made = tokio::spawn({
            let (store, new) = (scene.store.clone(), new.clone());
            async move { store.create_bot(new, 9).await.unwrap() }
        });
        let deleted = scene.store.delete_account(owner, NOW_MS).await.unwrap();
        match made.await.unwrap() {
            Ok(_) => {
                assert_eq!(deleted, None, "it has a bot");
                assert!(!scene.store.account(owner).await.unwrap().unwrap().user.deleted);
                scene.store.delete_account(new.id, NOW_MS).await.unwrap().expect("a bot has no bots");
                scene.store.delete_account(owner, NOW_MS).await.unwrap().expect("all of them are gone");
            }
            Err(refused) => assert_eq!((refused, deleted.map(|ended| ended.len())), (BotRefused::NoOwner, Some(1))),
        }
        let late = scene.new_bot(owner, &format!("late{round}"));
        assert_eq!(scene.store.create_bot(late, 9).await.unwrap(), Err(BotRefused::NoOwner));
    }
}

/// Incoming webhooks are found by their token, once made for a request, and gone once deleted.
pub async fn an_incoming_webhook_is_found_by_its_token(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let alice = scene.user("alice").await;
    let bot = scene.bot(alice, "helper").await;
    let new = || {
        let id = scene.number();
        let conversation = ConversationId::new(scene.number());
        let row = Incoming { id, bot, conversation, label: format!("hook {id}"), created_ms: NOW_MS };
        NewIncoming { row, request: EntryId::generate(), hash: token(id) }
    };
    let (first, second) = (new(), new());
    for incoming in [&first, &second, &first] {
        assert!(scene.store.create_incoming(incoming.clone(), 2).await.unwrap());
    }
    assert!(!scene.store.create_incoming(new(), 2).await.unwrap());
    assert_eq!(scene.store.incoming(bot).await.unwrap(), [first.row.clone(), second.row.clone()]);
    assert_eq!(scene.store.incoming_by_hash(first.hash).await.unwrap(), Some(first.row.clone()));
    assert_eq!(scene.store.incoming_by_id(second.row.id).await.unwrap(), Some(second.row.clone()));
    assert!(scene.store.delete_incoming(first.row.id).await.unwrap());
    assert!(!scene.store.delete_incoming(first.row.id).await.unwrap());
    assert_eq!(scene.store.incoming_by_hash(first.hash).await.unwrap(), None);
    scene.store.delete_account(bot, NOW_MS).await.unwrap();
    assert_eq!(scene.store.incoming_by_id(second.row.id).await.unwrap(), None);
}
