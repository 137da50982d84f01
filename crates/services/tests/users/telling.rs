//! That what happens to an account is told in its personal log, whatever is killed.

use api::UserService as _;
use protocol::{
    RawContent, SessionId, UserId,
    wire::{self, content::Kind},
};
use store::{Telling, Users as _};

use crate::bed::{Bed, by, id, nobody, of};

#[tokio::test]
async fn sessions_and_passwords_are_told_once_and_in_order() {
    let bed = Bed::start().await;
    let phone = bed.register("alice").await;
    let (desk, tablet) = (bed.log_in("alice").await.unwrap(), bed.log_in("Alice").await.unwrap());
    bed.user.revoke_session(&by(&phone), wire::RevokeSession { session: desk.id }).await.unwrap();
    let change = wire::ChangePassword { old_password: "password".into(), new_password: "new password".into() };
    bed.user.change_password(&by(&phone), change).await.unwrap();
    let started = |session: &wire::Session, device: &str| {
        Kind::SessionStarted(wire::SessionStarted { session: session.id, device: device.into() })
    };
    let ended = |session: &wire::Session| Kind::SessionEnded(wire::SessionEnded { session: session.id });
    bed.tells(of(&phone), &ended(&tablet)).await;
    let expected = [
        started(&phone, "phone"),
        started(&desk, "desk"),
        started(&tablet, "desk"),
        ended(&desk),
        Kind::PasswordChanged(wire::PasswordChanged {}),
        ended(&tablet),
    ];
    assert_eq!(bed.told(of(&phone)).await, expected);
    assert_eq!(bed.restart().await.told(of(&phone)).await, expected);
}

#[tokio::test]
async fn a_session_that_a_replay_ended_is_told() {
    let bed = Bed::start().await;
    let first = bed.register("alice").await;
    let refresh = |token: &str| wire::Refresh { refresh_token: token.into(), id: id() };
    bed.user.refresh(&nobody(), refresh(&first.refresh_token)).await.unwrap();
    bed.user.refresh(&nobody(), refresh(&first.refresh_token)).await.unwrap_err();
    bed.tells(of(&first), &Kind::SessionEnded(wire::SessionEnded { session: first.id })).await;
}

#[tokio::test]
async fn what_a_killed_process_had_stored_and_not_told_is_told_at_the_next_start() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let ended = Kind::SessionEnded(wire::SessionEnded { session: alice.id });
    let content = RawContent::from(ended.clone()).as_bytes().clone();
    let (user, session) = (UserId::new(of(&alice)), SessionId::new(alice.id));
    // Past the service: as if it had been killed after the commit.
    let tell = vec![Telling { user, time_ms: 1, content }];
    assert!(bed.store.end_session(user, session, bed.clock.now_ms(), tell).await.unwrap());
    let bed = bed.restart().await;
    bed.tells(of(&alice), &ended).await;
    assert_eq!(bed.told(of(&alice)).await.len(), 2, "once, after the session's start");
}
