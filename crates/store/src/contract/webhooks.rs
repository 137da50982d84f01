//! Outgoing webhooks.

use std::sync::Arc;

use protocol::{ConversationId, EntryId, UserId};

use super::{
    Store,
    scene::{NOW_MS, Scene},
};
use crate::{DeadLetterRow, NewWebhook, WebhookRow, WebhookState};

fn new(scene: &Scene, bot: UserId) -> NewWebhook {
    let id = scene.number();
    let row = WebhookRow {
        id,
        bot,
        url: format!("https://example.com/{id}"),
        secret: vec![7; 24],
        created_ms: NOW_MS,
        dead_letters: 0,
        last_error: String::new(),
    };
    NewWebhook { row, request: EntryId::generate() }
}

fn state(cursor: &str, positions: &[(u64, u64)]) -> WebhookState {
    let positions = positions.iter().map(|&(conversation, position)| (ConversationId::new(conversation), position));
    WebhookState { cursor: cursor.into(), positions: positions.collect() }
}

fn letter(id: u64) -> DeadLetterRow {
    DeadLetterRow {
        id,
        conversation: ConversationId::new(5),
        position: id + 100,
        time_ms: NOW_MS,
        attempts: 8,
        error: "status 500".into(),
        redeliver: false,
    }
}

/// A request makes one, which begins where it is told to; the limit is the bot's.
pub async fn a_request_makes_one_webhook_for_good(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [bot, other] = [UserId::new(901), UserId::new(902)];
    let (first, second) = (new(&scene, bot), new(&scene, other));
    assert!(scene.store.create_webhook(first.clone(), state("from here", &[(1, 2)]), 1).await.unwrap());
    let again = NewWebhook { row: new(&scene, bot).row, ..first.clone() };
    assert!(scene.store.create_webhook(again, state("elsewhere", &[]), 1).await.unwrap());
    assert!(!scene.store.create_webhook(new(&scene, bot), state("", &[]), 1).await.unwrap());
    assert!(scene.store.create_webhook(second.clone(), state("there", &[]), 1).await.unwrap());
    assert_eq!(scene.store.webhooks(Some(bot)).await.unwrap(), std::slice::from_ref(&first.row));
    assert_eq!(scene.store.webhooks(None).await.unwrap(), [first.row.clone(), second.row.clone()]);
    assert_eq!(scene.store.webhook(first.row.id).await.unwrap(), Some(first.row.clone()));
    assert_eq!(scene.store.webhook_state(first.row.id).await.unwrap(), state("from here", &[(1, 2)]));

    assert!(scene.store.delete_webhook(first.row.id).await.unwrap());
    assert!(!scene.store.delete_webhook(first.row.id).await.unwrap());
    assert_eq!(scene.store.webhook(first.row.id).await.unwrap(), None);
    // What a delivery that was under way notes of it is not kept.
    scene.store.put_webhook_state(first.row.id, state("late", &[(1, 9)])).await.unwrap();
    scene.store.add_dead_letter(first.row.id, letter(1), 9).await.unwrap();
    assert_eq!(scene.store.webhook_state(first.row.id).await.unwrap(), WebhookState::default());
    assert_eq!(scene.store.dead_letters(first.row.id, 0, 9, false).await.unwrap(), []);
    scene.store.delete_account(other, NOW_MS).await.unwrap();
    assert_eq!(scene.store.webhooks(None).await.unwrap(), [], "a bot's webhooks go with it");
}

/// Positions only grow; a cursor stays until there is another.
pub async fn a_webhook_never_goes_back(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let webhook = new(&scene, UserId::new(901));
    let id = webhook.row.id;
    scene.store.create_webhook(webhook, state("a", &[]), 1).await.unwrap();
    scene.store.put_webhook_state(id, state("", &[(1, 5), (2, 7)])).await.unwrap();
    assert_eq!(scene.store.webhook_state(id).await.unwrap(), state("a", &[(1, 5), (2, 7)]));
    scene.store.put_webhook_state(id, state("b", &[(1, 4), (2, 8), (3, 1)])).await.unwrap();
    assert_eq!(scene.store.webhook_state(id).await.unwrap(), state("b", &[(1, 5), (2, 8), (3, 1)]));
    scene.store.put_webhook_error(id, "no route".into()).await.unwrap();
    assert_eq!(scene.store.webhook(id).await.unwrap().unwrap().last_error, "no route");
    scene.store.put_webhook_error(id, String::new()).await.unwrap();
    assert_eq!(scene.store.webhook(id).await.unwrap().unwrap().last_error, "");
}

/// What was given up is kept within a bound, the newest; and tried again if asked for.
pub async fn dead_letters_are_kept_within_a_bound(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let webhook = new(&scene, UserId::new(901));
    let id = webhook.row.id;
    scene.store.create_webhook(webhook, state("a", &[]), 1).await.unwrap();
    for number in 1..=5 {
        scene.store.add_dead_letter(id, letter(number), 3).await.unwrap();
    }
    let ids = async |after, limit, redeliver| {
        let letters = scene.store.dead_letters(id, after, limit, redeliver).await.unwrap();
        letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0, 9, false).await, [3, 4, 5]);
    assert_eq!(scene.store.dead_letters(id, 3, 1, false).await.unwrap(), [letter(4)]);
    assert_eq!(scene.store.webhook(id).await.unwrap().unwrap().dead_letters, 3);
    assert_eq!(ids(0, 9, true).await, []);
    scene.store.redeliver(id, vec![4, 99]).await.unwrap();
    assert_eq!(ids(0, 9, true).await, [4]);
    // It failed again.
    scene.store.add_dead_letter(id, DeadLetterRow { attempts: 16, ..letter(4) }, 3).await.unwrap();
    assert_eq!(ids(0, 9, true).await, []);
    assert_eq!(scene.store.dead_letters(id, 3, 1, false).await.unwrap()[0].attempts, 16);
    scene.store.redeliver(id, Vec::new()).await.unwrap();
    assert_eq!(ids(0, 9, true).await, [3, 4, 5]);
    scene.store.remove_dead_letter(id, 4).await.unwrap();
    assert_eq!(ids(0, 9, false).await, [3, 5]);
}
