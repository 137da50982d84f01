//! Friends, requests, remarks, blocks.

use api::UserService as _;
use protocol::wire::{self, ErrorCode, FriendRequest, content::Kind};

use crate::bed::{Bed, by, code_of, id, of};

fn request(user: u64, message: &str) -> wire::RequestFriend {
    wire::RequestFriend { id: id(), user, message: message.into() }
}

#[tokio::test]
async fn a_request_that_is_accepted_makes_friends_of_both() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    bed.user.request_friend(&by(&alice), request(of(&bob), "hi Bob")).await.unwrap();
    let received = wire::FriendRequested { user: of(&alice), message: "hi Bob".into(), received: true };
    bed.tells(of(&bob), &Kind::FriendRequested(received)).await;
    let contact = bed.contact(&bob, of(&alice)).await.unwrap();
    assert_eq!((contact.request(), contact.message.as_str()), (FriendRequest::Received, "hi Bob"));
    assert_eq!(contact.user.unwrap().name, "alice", "names are filled in");
    let answer = |user, accept| wire::AnswerFriend { id: id(), user, accept };
    bed.user.answer_friend(&by(&bob), answer(of(&alice), true)).await.unwrap();
    bed.tells(of(&alice), &Kind::FriendAdded(wire::FriendAdded { user: of(&bob) })).await;
    assert!(bed.contact(&alice, of(&bob)).await.unwrap().friend);
    assert_eq!(code_of(bed.user.request_friend(&by(&alice), request(of(&bob), ""))).await, ErrorCode::Conflict);

    let remark = wire::SetRemark { id: id(), user: of(&bob), remark: " Bobby ".into() };
    bed.user.set_remark(&by(&alice), remark).await.unwrap();
    assert_eq!(bed.contact(&alice, of(&bob)).await.unwrap().remark, "Bobby");
    bed.user.remove_friend(&by(&alice), wire::RemoveFriend { id: id(), user: of(&bob) }).await.unwrap();
    bed.tells(of(&bob), &Kind::FriendRemoved(wire::FriendRemoved { user: of(&alice), by_peer: true })).await;
    assert_eq!(bed.contact(&bob, of(&alice)).await, None);
    let again = wire::RemoveFriend { id: id(), user: of(&bob) };
    assert_eq!(code_of(bed.user.remove_friend(&by(&alice), again)).await, ErrorCode::Conflict);
    assert_eq!(code_of(bed.user.answer_friend(&by(&bob), answer(of(&alice), true))).await, ErrorCode::Conflict);
    bed.user.request_friend(&by(&alice), request(of(&bob), "")).await.unwrap();
    bed.user.withdraw_friend(&by(&alice), wire::WithdrawFriend { id: id(), user: of(&bob) }).await.unwrap();
    let closed = wire::FriendRequestClosed { user: of(&alice), withdrawn: true, received: true };
    bed.tells(of(&bob), &Kind::FriendRequestClosed(closed)).await;
}

#[tokio::test]
async fn contacts_are_other_users_who_exist() {
    let bed = Bed::start().await;
    let alice = bed.register("alice").await;
    let bot = bed.bot(&alice, "helper").await;
    assert_eq!(code_of(bed.user.request_friend(&by(&alice), request(of(&alice), ""))).await, ErrorCode::Invalid);
    assert_eq!(code_of(bed.user.request_friend(&by(&alice), request(77, ""))).await, ErrorCode::NotFound);
    let long = request(bot, &"x".repeat(201));
    assert_eq!(code_of(bed.user.request_friend(&by(&alice), long)).await, ErrorCode::LimitExceeded);
    bed.user.request_friend(&by(&alice), request(bot, "")).await.unwrap();
    let remark = |remark: String| wire::SetRemark { id: id(), user: bot, remark };
    assert_eq!(code_of(bed.user.set_remark(&by(&alice), remark("x".repeat(65)))).await, ErrorCode::LimitExceeded);
    assert_eq!(code_of(bed.user.set_remark(&by(&alice), remark("a\nb".into()))).await, ErrorCode::Invalid);
}

#[tokio::test]
async fn who_is_blocked_writes_and_is_not_heard() {
    let bed = Bed::start().await;
    let (alice, bob) = (bed.register("alice").await, bed.register("bob").await);
    let block = |blocked| wire::SetBlocked { id: id(), user: of(&bob), blocked };
    bed.user.set_blocked(&by(&alice), block(true)).await.unwrap();
    bed.tells(of(&alice), &Kind::BlockChanged(wire::BlockChanged { user: of(&bob), blocked: true })).await;
    assert!(bed.contact(&alice, of(&bob)).await.unwrap().blocked);
    let conversation = bed.direct(&bob, of(&alice)).await;
    bed.say(&by(&bob), conversation, "hi").await.unwrap();
    bed.user.set_blocked(&by(&alice), block(false)).await.unwrap();
    assert_eq!(bed.contact(&alice, of(&bob)).await, None);
}
