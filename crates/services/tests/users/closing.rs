//! Accounts that end, or are kept out.

use std::sync::atomic::Ordering;

use api::{ListGroupsRequest, MessageService as _, UserService as _};
use prost::Message as _;
use protocol::{
    GatewayId, SessionId, UserId,
    queue::{self as published, delivery::What},
    wire::{self, ErrorCode, Scope, UserInfo, content::Kind},
};

use queue::{Delivered, Queue as _};

use crate::bed::{Bed, DAY_MS, PATIENCE, as_user, by, code_of, id, nobody, of};

fn delete(password: &str) -> wire::DeleteAccount {
    wire::DeleteAccount { password: password.into() }
}

#[tokio::test]
async fn a_deleted_account_leaves_its_messages_and_nothing_else() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let conversation = bed.direct(&alice, of(&bob)).await;
    bed.say(&by(&alice), conversation, "remember me").await.unwrap();
    let theirs = bed.make_group(&bob, &[of(&alice)]).await;
    bed.make_group(&alice, &[]).await;
    let bot = bed.bot(&alice, "helper").await;
    let key = bed.api_key(&alice, bot, &[Scope::Read]).await;
    bed.authenticate(&key.secret).await.unwrap();
    let friend = wire::RequestFriend { id: id(), user: of(&bob), message: String::new() };
    bed.user.request_friend(&by(&alice), friend).await.unwrap();
    let asked = wire::FriendRequested { user: of(&alice), message: String::new(), received: true };
    bed.tells(of(&bob), &Kind::FriendRequested(asked)).await;
    let answer = wire::AnswerFriend { id: id(), user: of(&alice), accept: true };
    bed.user.answer_friend(&by(&bob), answer).await.unwrap();
    bed.tells(of(&alice), &Kind::FriendAdded(wire::FriendAdded { user: of(&bob) })).await;
    assert_eq!(bed.find(&[of(&alice)], &["alice", "helper"]).await.len(), 3);

    assert_eq!(code_of(bed.user.delete_account(&by(&alice), delete("wrong"))).await, ErrorCode::Forbidden);
    bed.user.delete_account(&by(&alice), delete("password")).await.unwrap();
    assert_eq!(code_of(bed.authenticate(&alice.access_token)).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(bed.authenticate(&key.secret)).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(bed.log_in("alice")).await, ErrorCode::WrongCredentials);
    let gone = |id, bot| UserInfo { id, bot, deleted: true, ..UserInfo::default() };
    assert_eq!(bed.find(&[of(&alice)], &["alice", "helper"]).await, [gone(of(&alice), false)]);
    assert_eq!(bed.find(&[bot], &[]).await, [gone(bot, true)]);
    let groups = bed.message.list_groups(&as_user(of(&alice)), ListGroupsRequest {}).await.unwrap().ids;
    assert!(groups.is_empty());
    let list = wire::ListMembers { group: theirs, ..Default::default() };
    assert_eq!(bed.message.list_members(&by(&bob), list).await.unwrap().total, 1);
    bed.tells(of(&bob), &Kind::FriendRemoved(wire::FriendRemoved { user: of(&alice), by_peer: true })).await;
    let history = wire::History { conversation, ..Default::default() };
    let entries = bed.message.history(&by(&bob), history).await.unwrap().entries;
    assert_eq!(entries[0].content.as_ref().unwrap().text().as_deref(), Some("remember me"));
    // Nobody passes for who is gone as long as that is remembered, and nobody becomes a friend of who is gone.
    let register = || wire::Register { name: "Alice".into(), password: "password".into(), device: String::new() };
    assert_eq!(code_of(bed.user.register(&nobody(), register())).await, ErrorCode::NameTaken);
    bed.clock.shift(30 * DAY_MS + 1);
    let newcomer = bed.user.register(&nobody(), register()).await.unwrap();
    assert_ne!(of(&newcomer), of(&alice));
    bed.clock.shift(-30 * DAY_MS - 1);
    let late = wire::RequestFriend { id: id(), user: of(&alice), message: String::new() };
    assert_eq!(code_of(bed.user.request_friend(&by(&bob), late)).await, ErrorCode::NotFound);
    let bed = bed.restart().await;
    assert_eq!(code_of(bed.authenticate(&alice.access_token)).await, ErrorCode::SessionEnded);
}

#[tokio::test]
async fn who_owns_a_group_with_others_ends_nothing_before_it_is_handed_over() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let (owned, other) = (bed.make_group(&alice, &[of(&bob)]).await, bed.make_group(&bob, &[of(&alice)]).await);
    let kept = bed.user.delete_account(&by(&alice), delete("password")).await.unwrap();
    assert_eq!(kept.owned, [owned]);
    let mut groups = bed.message.list_groups(&by(&alice), ListGroupsRequest {}).await.unwrap().ids;
    groups.sort_unstable();
    assert_eq!(groups, [owned, other]);
    bed.authenticate(&alice.access_token).await.unwrap();

    // A dissolved group needs no owner.
    let request = api::AppendRequest {
        conversation: owned,
        sender: of(&alice),
        id: id(),
        content: Some(Kind::GroupDissolved(wire::GroupDissolved {}).into()),
        act: Some(api::append_request::Act::Membership(api::Membership { dissolve: true, ..Default::default() })),
    };
    bed.message.append(&by(&alice), request).await.unwrap();
    bed.user.delete_account(&by(&alice), delete("password")).await.unwrap();
    assert!(bed.message.list_groups(&by(&alice), ListGroupsRequest {}).await.unwrap().ids.is_empty());
}

#[tokio::test]
async fn a_bots_end_is_its_owners_to_say_and_an_account_is_not_ended_by_a_key() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let key = bed.api_key(&alice, bot, &[Scope::Read, Scope::Profile]).await;
    let identity = bed.authenticate(&key.secret).await.unwrap();
    let by_key = crate::bed::identified(&identity);
    assert_eq!(code_of(bed.user.delete_account(&by_key, delete("password"))).await, ErrorCode::Forbidden);
    bed.user.delete_bot(&by(&alice), wire::DeleteBot { bot }).await.unwrap();
    assert_eq!(code_of(bed.authenticate(&key.secret)).await, ErrorCode::SessionEnded);
    assert_eq!(bed.user.list_bots(&by(&alice), wire::ListBots {}).await.unwrap().bots, []);
    assert_eq!(code_of(bed.user.delete_bot(&by(&alice), wire::DeleteBot { bot })).await, ErrorCode::NotFound);
    bed.bot(&alice, "helper").await;
}

#[tokio::test]
async fn guesses_at_the_password_are_limited_when_an_account_is_to_end() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    for _ in 0..10 {
        assert_eq!(code_of(bed.user.delete_account(&by(&alice), delete("wrong"))).await, ErrorCode::Forbidden);
    }
    assert_eq!(code_of(bed.user.delete_account(&by(&alice), delete("password"))).await, ErrorCode::RateLimited);
}

#[tokio::test]
async fn a_suspended_account_is_kept_out_until_it_is_let_in() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let key = bed.api_key(&alice, bot, &[Scope::Read]).await;
    bed.authenticate(&key.secret).await.unwrap();
    let suspend = |name: &str, suspended| wire::Suspend { name: name.into(), suspended };
    let resume_token = bed.connect(&alice.access_token).await.unwrap().resume_token;
    let identity = bed.authenticate(&alice.access_token).await.unwrap();
    let gateway = GatewayId::new(1);
    let subscription = bed.queue.open(gateway).await.unwrap();
    for user in [of(&alice), bot] {
        bed.queue.bind(UserId::new(user), gateway, false).await.unwrap();
    }
    assert_eq!(code_of(bed.user.suspend(&nobody(), suspend("nobody", true))).await, ErrorCode::NotFound);
    bed.user.suspend(&nobody(), suspend("Alice", true)).await.unwrap();
    assert_eq!(code_of(bed.authenticate(&alice.access_token)).await, ErrorCode::Suspended);
    assert_eq!(code_of(bed.connect(&resume_token)).await, ErrorCode::Suspended);
    assert_eq!(code_of(bed.user.check_session(&nobody(), identity)).await, ErrorCode::Suspended);
    assert_eq!(code_of(bed.authenticate(&key.secret)).await, ErrorCode::Suspended);
    // What her personal log tells may come in between.
    let delivery = loop {
        let delivered = tokio::time::timeout(PATIENCE, subscription.receive(1)).await.unwrap();
        let Delivered::Publication(publication) = &delivered[0] else { panic!("lost") };
        let delivery = published::Batch::decode(publication.payload.clone()).unwrap().deliveries.remove(0);
        if !matches!(delivery.what, Some(What::Entry(_))) {
            break delivery;
        }
    };
    assert_eq!(delivery.what, Some(What::AccountClosed(published::AccountClosed::Suspended.into())));
    assert_eq!(delivery.users.len(), 2, "alice and the bot");
    assert_eq!(code_of(bed.log_in("alice")).await, ErrorCode::Suspended);
    let wrong = wire::LogIn { name: "alice".into(), password: "a wrong one".into(), device: String::new() };
    assert_eq!(code_of(bed.user.log_in(&nobody(), wrong)).await, ErrorCode::WrongCredentials);
    let refresh = wire::Refresh { refresh_token: alice.refresh_token.clone(), id: id() };
    assert_eq!(code_of(bed.user.refresh(&nobody(), refresh)).await, ErrorCode::Suspended);
    let bed = bed.restart().await;
    assert_eq!(code_of(bed.authenticate(&alice.access_token)).await, ErrorCode::Suspended);
    for _ in 0..2 {
        assert_eq!(code_of(bed.authenticate(&key.secret)).await, ErrorCode::Suspended, "whatever is known of the key");
    }
    bed.user.suspend(&nobody(), suspend("alice", false)).await.unwrap();
    bed.log_in("alice").await.unwrap();
    assert_eq!(code_of(bed.authenticate(&alice.access_token)).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(bed.authenticate(&key.secret)).await, ErrorCode::Unauthenticated, "keys end for good");
}

#[tokio::test]
async fn whoever_acts_for_bots_is_told_when_one_may_no_longer_or_may_again() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    let may_act = || async { bed.user.bot_access(UserId::new(bot), SessionId::new(5)).await.unwrap().is_some() };
    let told = || bed.standings_changed.load(Ordering::Relaxed);
    let suspend = |name: &str, suspended| wire::Suspend { name: name.into(), suspended };
    assert!(told() == 0 && may_act().await);
    for (count, name, suspended) in [(1, "alice", true), (2, "alice", false), (3, "helper", true), (4, "helper", false)]
    {
        bed.user.suspend(&nobody(), suspend(name, suspended)).await.unwrap();
        assert_eq!((told(), may_act().await), (count, !suspended), "{name}");
    }
    bed.user.delete_bot(&by(&alice), wire::DeleteBot { bot }).await.unwrap();
    assert!(told() == 5 && !may_act().await);
}
