//! Sessions and refresh tokens.

use std::sync::Arc;

use protocol::{SessionId, UserId};
use tokio::task::JoinSet;

use super::{
    Store,
    scene::{NOW_MS, Scene, TOKEN_MS, token},
};
use crate::{NewSession, Rotation, SessionRow, TokenHash};

/// A user with one session.
async fn alice(scene: &Scene) -> (UserId, NewSession) {
    let account = scene.account("alice");
    let (id, session) = (account.id, account.session.clone());
    assert!(scene.store.create_account(account, Vec::new()).await.unwrap());
    (id, session)
}

async fn rotate(scene: &Scene, old: TokenHash, request: u8, new: TokenHash) -> Rotation {
    scene.store.rotate_refresh(old, [request; 16], new, NOW_MS + 2 * TOKEN_MS, NOW_MS + 10).await.unwrap()
}

async fn live(scene: &Scene, user: UserId, now_ms: i64) -> Vec<SessionId> {
    let sessions = scene.store.sessions(user, now_ms).await.unwrap();
    sessions.iter().map(|session| SessionId::new(session.id)).collect()
}

/// The limit counts live sessions alone, however many start at once.
pub async fn live_sessions_are_limited_and_listed_oldest_first(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, first) = alice(&scene).await;
    let mut attempts = JoinSet::new();
    for _ in 0..6 {
        let scene = scene.clone();
        attempts.spawn(async move {
            let session = scene.session(NOW_MS + 1);
            scene.store.create_session(alice, session, 4, Vec::new()).await.unwrap()
        });
    }
    let started = attempts.join_all().await.into_iter().filter(|started| *started).count();
    assert_eq!(started, 3);
    let listed = scene.store.sessions(alice, NOW_MS).await.unwrap();
    assert_eq!(listed.len(), 4);
    assert_eq!((listed[0].id, &listed[0].device), (first.id.get(), &first.device));
    assert!(listed.is_sorted_by_key(|session| (session.created_ms, session.id)));
    assert!(listed.iter().all(|session| !session.current && session.seen_ms == session.created_ms));
    // When the old ones are over, there is room again.
    assert!(scene.store.create_session(alice, scene.session(NOW_MS + 1 + TOKEN_MS), 1, Vec::new()).await.unwrap());
}

/// Presenting a used token again ends the session with all its tokens.
pub async fn a_refresh_token_is_used_once_and_a_replay_ends_the_session(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    let row = SessionRow { id: session.id, user: alice, name: "alice".into() };
    let (second, third) = (token(1_002), token(1_003));
    assert_eq!(rotate(&scene, session.refresh, 1, second).await, Rotation::Rotated(row.clone()));
    assert_eq!(rotate(&scene, second, 2, third).await, Rotation::Rotated(row.clone()));
    assert_eq!(live(&scene, alice, NOW_MS + TOKEN_MS).await, [session.id], "a refresh prolongs the session");
    assert_eq!(rotate(&scene, session.refresh, 3, token(1_004)).await, Rotation::Replayed(row.clone()));
    assert_eq!(live(&scene, alice, NOW_MS + 11).await, []);
    assert_eq!(rotate(&scene, third, 4, token(1_005)).await, Rotation::Expired);
    assert_eq!(rotate(&scene, second, 5, token(1_006)).await, Rotation::Replayed(row));
    assert_eq!(rotate(&scene, token(1_004), 6, token(1_007)).await, Rotation::NotFound);
    assert_eq!(scene.store.sessions_ended_since(NOW_MS).await.unwrap(), [session.id]);
    assert_eq!(scene.store.effects(9).await.unwrap().len(), 1, "that it ended is told, once");
}

/// The same request may come again, even after its new token was used.
pub async fn a_refresh_whose_answer_got_lost_is_repeated_with_its_request(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    let row = SessionRow { id: session.id, user: alice, name: "alice".into() };
    let (second, third) = (token(1_002), token(1_003));
    for _ in 0..3 {
        assert_eq!(rotate(&scene, session.refresh, 1, second).await, Rotation::Rotated(row.clone()));
    }
    // Another new token than the first time, though the same request: it takes the other's place.
    assert_eq!(rotate(&scene, session.refresh, 1, token(1_009)).await, Rotation::Rotated(row.clone()));
    assert_eq!(rotate(&scene, second, 2, third).await, Rotation::NotFound);
    assert_eq!(rotate(&scene, token(1_009), 2, third).await, Rotation::Rotated(row.clone()));
    assert_eq!(rotate(&scene, session.refresh, 1, token(1_009)).await, Rotation::Rotated(row.clone()));
    assert_eq!(rotate(&scene, third, 3, token(1_004)).await, Rotation::Rotated(row.clone()));
    assert_eq!(live(&scene, alice, NOW_MS + 11).await, [session.id]);
    // A new token in place of one that was used would make two out of one.
    assert_eq!(rotate(&scene, session.refresh, 1, token(1_010)).await, Rotation::Replayed(row));
    assert_eq!(rotate(&scene, token(1_004), 4, token(1_005)).await, Rotation::Expired);
}

/// Different requests with one token: the first is served, the second is a replay.
pub async fn of_two_who_use_a_token_at_once_one_wins_and_the_session_ends(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    let mut attempts = JoinSet::new();
    for request in 1..=4 {
        let (scene, old) = (scene.clone(), session.refresh);
        attempts.spawn(async move { rotate(&scene, old, request, token(2_000 + u64::from(request))).await });
    }
    let outcomes = attempts.join_all().await;
    let rotated = outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Rotated(_))).count();
    let replayed = outcomes.iter().filter(|outcome| matches!(outcome, Rotation::Replayed(_))).count();
    assert_eq!((rotated, replayed), (1, 3), "{outcomes:?}");
    assert_eq!(live(&scene, alice, NOW_MS + 11).await, []);
}

/// A token ends at its time, and the session with its newest token.
pub async fn what_is_over_is_not_live_and_refreshes_nothing(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    let end = session.refresh_expires_ms;
    assert_eq!(live(&scene, alice, end - 1).await, [session.id]);
    assert_eq!(live(&scene, alice, end).await, []);
    let late = scene.store.rotate_refresh(session.refresh, [1; 16], token(1_002), end + 100, end).await.unwrap();
    assert_eq!(late, Rotation::Expired);
    let in_time = scene.store.rotate_refresh(session.refresh, [1; 16], token(1_003), end + 100, end - 1).await.unwrap();
    assert!(matches!(in_time, Rotation::Rotated(_)));
    assert_eq!(live(&scene, alice, end + 99).await, [session.id]);
    assert!(
        scene.store.end_session(alice, session.id, end + 200, Vec::new()).await.unwrap(),
        "it can be ended all the same"
    );
}

/// Ending is for the session's user, and tells whether there was something to end.
pub async fn only_its_user_ends_a_session_and_once(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    let bob = scene.user("bob").await;
    assert!(!scene.store.end_session(bob, session.id, NOW_MS + 1, Vec::new()).await.unwrap());
    assert!(!scene.store.end_session(alice, SessionId::new(77_777), NOW_MS + 1, Vec::new()).await.unwrap());
    assert!(scene.store.end_session(alice, session.id, NOW_MS + 1, Vec::new()).await.unwrap());
    assert!(!scene.store.end_session(alice, session.id, NOW_MS + 2, Vec::new()).await.unwrap());
    assert_eq!(live(&scene, alice, NOW_MS + 2).await, []);
    assert_eq!(rotate(&scene, session.refresh, 1, token(1_002)).await, Rotation::Expired);
}

/// Forgetting takes what was over before a time, and nothing else.
pub async fn ended_sessions_are_told_until_forgotten(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, first) = alice(&scene).await;
    let second = scene.session(NOW_MS);
    scene.store.create_session(alice, second.clone(), 10, Vec::new()).await.unwrap();
    let third = scene.session(NOW_MS);
    scene.store.create_session(alice, third.clone(), 10, Vec::new()).await.unwrap();
    assert!(scene.store.end_session(alice, first.id, NOW_MS + 100, Vec::new()).await.unwrap());
    assert!(scene.store.end_session(alice, second.id, NOW_MS + 200, Vec::new()).await.unwrap());
    let mut ended = scene.store.sessions_ended_since(NOW_MS + 99).await.unwrap();
    ended.sort();
    assert_eq!(ended, [first.id, second.id]);
    assert_eq!(scene.store.sessions_ended_since(NOW_MS + 100).await.unwrap(), [second.id]);

    scene.store.forget_expired(NOW_MS + 150).await.unwrap();
    assert_eq!(scene.store.sessions_ended_since(0).await.unwrap(), [second.id]);
    assert_eq!(rotate(&scene, first.refresh, 1, token(1_002)).await, Rotation::NotFound);
    assert_eq!(rotate(&scene, second.refresh, 1, token(1_003)).await, Rotation::Expired);
    assert_eq!(live(&scene, alice, NOW_MS).await, [third.id]);
    scene.store.forget_expired(NOW_MS + TOKEN_MS + 1).await.unwrap();
    assert_eq!(rotate(&scene, third.refresh, 1, token(1_004)).await, Rotation::NotFound);
}

/// An older time changes nothing, nor does use after the end.
pub async fn use_of_a_session_is_noted_forward_only(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    for (seen_ms, expected) in [(NOW_MS + 50, NOW_MS + 50), (NOW_MS + 20, NOW_MS + 50), (NOW_MS + 60, NOW_MS + 60)] {
        scene.store.touch_sessions(vec![(session.id, seen_ms)], 0).await.unwrap();
        assert_eq!(scene.store.sessions(alice, NOW_MS).await.unwrap()[0].seen_ms, expected);
    }
}

/// A device that is used every day stays logged in, and its session can be ended for as long.
pub async fn use_prolongs_a_session_and_its_unused_token(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (alice, session) = alice(&scene).await;
    let late = NOW_MS + 3 * TOKEN_MS;
    scene.store.touch_sessions(vec![(session.id, late - 1)], TOKEN_MS).await.unwrap();
    scene.store.forget_expired(late).await.unwrap();
    assert_eq!(live(&scene, alice, late).await, [session.id]);
    let exchange = scene.store.rotate_refresh(session.refresh, [1; 16], token(2_001), late + TOKEN_MS, late).await;
    assert!(matches!(exchange.unwrap(), Rotation::Rotated(_)));
    assert!(scene.store.end_session(alice, session.id, late + 9 * TOKEN_MS, Vec::new()).await.unwrap());
    scene.store.touch_sessions(vec![(session.id, late + 10 * TOKEN_MS)], TOKEN_MS).await.unwrap();
    assert_eq!(live(&scene, alice, late).await, []);
}
