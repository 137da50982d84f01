//! Sessions, and the passwords and tokens that make them.

use api::{Token, UserService as _};
use protocol::{
    EntryId,
    wire::{self, ErrorCode, content::Kind},
};

use crate::bed::{System, by, code_of, eventually, nobody};

#[tokio::test]
async fn a_refresh_token_is_used_once_its_lost_answer_is_repeated_and_its_replay_ends_the_session() {
    let system = System::start().await;
    let first = system.register("alice").await;
    let refresh = |token: &str, id: EntryId| {
        let request = wire::Refresh { refresh_token: token.into(), id: id.to_string() };
        let user = system.user.clone();
        async move { user.refresh(&nobody(), request).await }
    };
    let id = EntryId::generate();
    let second = refresh(&first.refresh_token, id).await.unwrap();
    let repeated = refresh(&first.refresh_token, id).await.unwrap();
    assert_eq!(second.refresh_token, repeated.refresh_token);
    assert_ne!(first.refresh_token, second.refresh_token);
    let third = refresh(&second.refresh_token, EntryId::generate()).await.unwrap();
    // A thief comes with the first.
    assert_eq!(code_of(refresh(&first.refresh_token, EntryId::generate())).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(refresh(&third.refresh_token, EntryId::generate())).await, ErrorCode::SessionEnded);
    let token = Token { token: third.access_token.clone() };
    assert_eq!(code_of(system.user.authenticate(&nobody(), token.clone())).await, ErrorCode::SessionEnded);
    let system = system.restart().await;
    assert_eq!(code_of(system.user.connect(&nobody(), token)).await, ErrorCode::SessionEnded);
    let garbage = wire::Refresh { refresh_token: "garbage".into(), id: id.to_string() };
    assert_eq!(code_of(system.user.refresh(&nobody(), garbage)).await, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_and_a_revoked_one_cannot_resume() {
    let system = System::start().await;
    let phone = system.register("alice").await;
    let log_in = |password: &str| {
        let request = wire::LogIn { name: "ALICE".into(), password: password.into(), device: "desk".into() };
        let user = system.user.clone();
        async move { user.log_in(&nobody(), request).await }
    };
    assert_eq!(code_of(log_in("wrong")).await, ErrorCode::WrongCredentials);
    let (desk, tablet) = (log_in("password").await.unwrap(), log_in("password").await.unwrap());
    let connect = |token: &str| {
        let (user, token) = (system.user.clone(), Token { token: token.into() });
        async move { user.connect(&nobody(), token).await }
    };
    let resume = connect(&desk.access_token).await.unwrap().resume_token;
    connect(&resume).await.unwrap();
    let token = Token { token: resume.clone() };
    assert_eq!(code_of(system.user.authenticate(&nobody(), token)).await, ErrorCode::Unauthenticated);
    system.user.revoke_session(&by(&phone), wire::RevokeSession { session: desk.id }).await.unwrap();
    assert_eq!(code_of(connect(&resume)).await, ErrorCode::SessionEnded);
    let again = system.user.revoke_session(&by(&phone), wire::RevokeSession { session: desk.id }).await;
    assert_eq!(again.unwrap_err().code(), ErrorCode::NotFound);

    let change = |old: &str| wire::ChangePassword { old_password: old.into(), new_password: "new password".into() };
    assert_eq!(code_of(system.user.change_password(&by(&phone), change("wrong"))).await, ErrorCode::Forbidden);
    system.user.change_password(&by(&phone), change("password")).await.unwrap();
    assert_eq!(code_of(connect(&tablet.access_token)).await, ErrorCode::SessionEnded);
    connect(&phone.access_token).await.unwrap();
    assert_eq!(code_of(log_in("password")).await, ErrorCode::WrongCredentials);
    let back = log_in("new password").await.unwrap();
    let sessions = system.user.list_sessions(&by(&back), wire::ListSessions {}).await.unwrap().sessions;
    assert_eq!(sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [phone.id, back.id]);
    assert_eq!(sessions.iter().filter(|session| session.current).count(), 1);
}

/// What is removed when it is over must not be missed while tokens of it are about.
#[tokio::test]
async fn a_revoked_session_stays_revoked_when_what_is_over_is_removed() {
    let system = System::start().await;
    let (phone, lost) = (system.register("alice").await, {
        let request = wire::LogIn { name: "alice".into(), password: "password".into(), device: "lost".into() };
        system.user.log_in(&nobody(), request).await.unwrap()
    });
    let resume = system.user.connect(&nobody(), Token { token: lost.access_token.clone() }).await.unwrap().resume_token;
    system.user.revoke_session(&by(&phone), wire::RevokeSession { session: lost.id }).await.unwrap();
    // Each start removes what is over.
    system.clock.shift(1_000);
    let system = system.restart().await.restart().await;
    let token = Token { token: resume };
    assert_eq!(code_of(system.user.connect(&nobody(), token)).await, ErrorCode::SessionEnded);
}

/// What is stored and what follows from it belong together, though the connection broke in between.
#[tokio::test]
async fn a_revocation_whose_caller_goes_is_carried_out_whole() {
    let system = System::start().await;
    let phone = system.register("alice").await;
    let request = wire::LogIn { name: "alice".into(), password: "password".into(), device: "lost".into() };
    let lost = system.user.log_in(&nobody(), request).await.unwrap();
    let call = by(&phone);
    let mut revoking = Box::pin(system.user.revoke_session(&call, wire::RevokeSession { session: lost.id }));
    assert!(futures_util::poll!(&mut revoking).is_pending());
    drop(revoking);
    eventually(async || {
        let token = Token { token: lost.access_token.clone() };
        let outcome = system.user.authenticate(&nobody(), token).await;
        outcome.err().map(|error| assert_eq!(error.code(), ErrorCode::SessionEnded))
    })
    .await;
    let identity = api::Identity { session: lost.id, ..api::Identity::default() };
    assert_eq!(code_of(system.user.check_session(&nobody(), identity)).await, ErrorCode::SessionEnded);
    let ended = Kind::SessionEnded(wire::SessionEnded { session: lost.id });
    eventually(async || system.personal(&phone).await.contains(&ended).then_some(())).await;
}

#[tokio::test]
async fn the_old_password_makes_no_session_that_outlives_its_change() {
    let system = System::start().await;
    let phone = system.register("alice").await;
    let mut password = "password".to_owned();
    for round in 0..10 {
        let new_password = format!("password {round}");
        let log_ins = (0..6).map(|_| {
            let request = wire::LogIn { name: "alice".into(), password: password.clone(), device: "thief".into() };
            let user = system.user.clone();
            async move { user.log_in(&nobody(), request).await.map(drop) }
        });
        let change = wire::ChangePassword { old_password: password.clone(), new_password: new_password.clone() };
        let call = by(&phone);
        let (_, changed) =
            tokio::join!(futures_util::future::join_all(log_ins), system.user.change_password(&call, change),);
        changed.unwrap();
        let live = system.user.list_sessions(&by(&phone), wire::ListSessions {}).await.unwrap().sessions;
        assert_eq!(live.iter().map(|session| session.id).collect::<Vec<_>>(), [phone.id], "round {round}");
        password = new_password;
    }
}

/// Many may be tried at once; a right one in between helps nobody but its owner.
#[tokio::test]
async fn passwords_guessed_at_once_are_limited_as_if_one_after_the_other() {
    let system = System::start().await;
    system.register("alice").await;
    let guess = |_| {
        let request = wire::LogIn { name: "alice".into(), password: "a wrong guess".into(), device: String::new() };
        let user = system.user.clone();
        async move { code_of(user.log_in(&nobody(), request)).await }
    };
    let codes = futures_util::future::join_all((0..15).map(guess)).await;
    assert_eq!(codes.iter().filter(|code| **code == ErrorCode::WrongCredentials).count(), 10);
    assert_eq!(codes.iter().filter(|code| **code == ErrorCode::RateLimited).count(), 5);
}
