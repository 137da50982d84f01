//! Ways into a group.

use api::{GroupService as _, MessageService as _};
use protocol::wire::{self, ErrorCode, GroupEntered, JoinPolicy, JoinRequestClosed, Role, content::Kind};

use crate::bed::{Bed, by, code_of, id};

fn join(group: u64) -> wire::JoinGroup {
    wire::JoinGroup { id: id(), group, message: "please".into(), ..Default::default() }
}

fn join_by(link: &str) -> wire::JoinGroup {
    wire::JoinGroup { id: id(), link: link.into(), ..Default::default() }
}

fn answer(group: u64, user: u64, admit: bool) -> wire::AnswerJoin {
    wire::AnswerJoin { id: id(), group, user, admit }
}

async fn asking(bed: &Bed, admin: u64, group: u64) -> Vec<u64> {
    let list = wire::ListJoinRequests { group, after: 0, limit: 0 };
    let requests = bed.group.list_join_requests(&by(admin), list).await.unwrap().requests;
    requests.iter().map(|request| request.user.as_ref().unwrap().id).collect()
}

fn asked(group: u64, user: u64) -> Kind {
    Kind::JoinRequested(wire::JoinRequested { group, user, message: "please".into() })
}

fn closed(group: u64, user: u64, admitted: bool, by: u64) -> Kind {
    Kind::JoinRequestClosed(JoinRequestClosed { group, user, admitted, by })
}

/// A group by approval, of an owner, an admin and a member; and somebody else.
async fn scene(bed: &Bed) -> (u64, [u64; 4]) {
    let users = [bed.user("ann").await, bed.user("ben").await, bed.user("cat").await, bed.user("dan").await];
    let group = bed.group_joined(&users[..3], JoinPolicy::ByApproval).await;
    let role = wire::SetRole { id: id(), group, user: users[1], role: Role::Admin.into() };
    bed.group.set_role(&by(users[0]), role).await.unwrap();
    (group, users)
}

#[tokio::test]
async fn everybody_joins_an_open_group_once_and_nobody_one_by_invitation() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let group = bed.group(&[ann]).await;
    let request = join(group);
    for request in [request.clone(), request, join(group)] {
        let joined = bed.group.join_group(&by(ben), request).await.unwrap();
        assert!(!joined.waiting && joined.conversation.unwrap().id == group);
    }
    assert_eq!(bed.kinds(ben, group).await.len(), 2);
    let closed = bed.group_joined(&[ann], JoinPolicy::ByInvitation).await;
    assert_eq!(code_of(bed.group.join_group(&by(ben), join(closed))).await, ErrorCode::NotFound);
    assert_eq!(code_of(bed.group.join_group(&by(ben), join(7))).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn who_asks_is_let_in_by_an_admin_and_all_of_them_are_told() {
    let bed = Bed::start();
    let (group, [ann, ben, cat, dan]) = scene(&bed).await;
    for _ in 0..2 {
        assert!(bed.group.join_group(&by(dan), join(group)).await.unwrap().waiting);
    }
    for user in [ann, ben, dan] {
        let told = bed.told(user, &asked(group, dan)).await;
        assert_eq!(told.iter().filter(|kind| **kind == asked(group, dan)).count(), 1);
    }
    assert_eq!(asking(&bed, ben, group).await, [dan]);
    let list = wire::ListJoinRequests { group, after: 0, limit: 0 };
    assert_eq!(code_of(bed.group.list_join_requests(&by(cat), list)).await, ErrorCode::Forbidden);
    assert_eq!(code_of(bed.group.answer_join(&by(cat), answer(group, dan, true))).await, ErrorCode::Forbidden);
    let request = answer(group, dan, true);
    for _ in 0..2 {
        bed.group.answer_join(&by(ben), request.clone()).await.unwrap();
    }
    bed.told(dan, &Kind::GroupEntered(GroupEntered { group })).await;
    for user in [ann, ben] {
        bed.told(user, &closed(group, dan, true, ben)).await;
    }
    assert!(asking(&bed, ann, group).await.is_empty());
    let added = Kind::MembersAdded(wire::MembersAdded { members: vec![dan] });
    assert_eq!(bed.kinds(dan, group).await.iter().filter(|kind| **kind == added).count(), 1);
    assert!(!bed.kinds(cat, cat).await.contains(&asked(group, dan)));
}

#[tokio::test]
async fn asking_again_without_a_message_keeps_the_first_one() {
    let bed = Bed::start();
    let (group, [ann, _, _, dan]) = scene(&bed).await;
    let messages = async || {
        let list = wire::ListJoinRequests { group, after: 0, limit: 0 };
        let requests = bed.group.list_join_requests(&by(ann), list).await.unwrap().requests;
        requests.into_iter().map(|request| request.message).collect::<Vec<_>>()
    };
    for (message, kept) in [("please", "please"), ("", "please"), ("pretty please", "pretty please")] {
        let request = wire::JoinGroup { message: message.into(), ..join(group) };
        assert!(bed.group.join_group(&by(dan), request).await.unwrap().waiting);
        assert_eq!(messages().await, [kept]);
    }
}

#[tokio::test]
async fn who_is_refused_is_told_and_may_ask_again() {
    let bed = Bed::start();
    let (group, [ann, ben, _, dan]) = scene(&bed).await;
    bed.group.join_group(&by(dan), join(group)).await.unwrap();
    let request = answer(group, dan, false);
    for _ in 0..2 {
        bed.group.answer_join(&by(ann), request.clone()).await.unwrap();
    }
    for user in [ann, ben, dan] {
        let told = bed.told(user, &closed(group, dan, false, ann)).await;
        assert_eq!(told.iter().filter(|kind| matches!(kind, Kind::JoinRequestClosed(_))).count(), 1);
    }
    assert_eq!(code_of(bed.group.answer_join(&by(ben), answer(group, dan, true))).await, ErrorCode::Conflict);
    assert!(bed.group.join_group(&by(dan), join(group)).await.unwrap().waiting);
    assert_eq!(asking(&bed, ann, group).await, [dan]);
}

#[tokio::test]
async fn two_admins_who_answer_at_once_let_in_one_member_and_leave_no_request() {
    let bed = Bed::start();
    for round in 0..6 {
        let owner = bed.user(&format!("ann{round}")).await;
        let (admin, asker) = (bed.user(&format!("ben{round}")).await, bed.user(&format!("dan{round}")).await);
        let group = bed.group_joined(&[owner, admin], JoinPolicy::ByApproval).await;
        let role = wire::SetRole { id: id(), group, user: admin, role: Role::Admin.into() };
        bed.group.set_role(&by(owner), role).await.unwrap();
        bed.group.join_group(&by(asker), join(group)).await.unwrap();
        let (by_owner, by_admin) = (by(owner), by(admin));
        let (one, other) = tokio::join!(
            bed.group.answer_join(&by_owner, answer(group, asker, true)),
            bed.group.answer_join(&by_admin, answer(group, asker, true)),
        );
        one.unwrap();
        other.unwrap();
        let entered = Kind::GroupEntered(GroupEntered { group });
        let told = bed.told(asker, &entered).await;
        assert_eq!(told.iter().filter(|kind| **kind == entered).count(), 1);
        assert!(asking(&bed, owner, group).await.is_empty());
        let list = wire::ListMembers { group, ..Default::default() };
        assert_eq!(bed.message.list_members(&by(owner), list).await.unwrap().total, 3);
    }
}

#[tokio::test]
async fn a_link_lets_in_as_often_and_as_long_as_it_says() {
    let bed = Bed::start();
    let (ann, ben, cat, dan) =
        (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await, bed.user("dan").await);
    let group = bed.group_joined(&[ann, ben], JoinPolicy::ByInvitation).await;
    let expires_ms = bed.clock.now_ms() + 60_000;
    let create = wire::CreateGroupLink { id: id(), group, expires_ms, uses_max: 1 };
    assert_eq!(code_of(bed.group.create_group_link(&by(ben), create.clone())).await, ErrorCode::Forbidden);
    let link = bed.group.create_group_link(&by(ann), create.clone()).await.unwrap();
    assert_eq!(bed.group.create_group_link(&by(ann), create.clone()).await.unwrap(), link);
    let other = wire::CreateGroupLink { uses_max: 2, ..create };
    assert_eq!(code_of(bed.group.create_group_link(&by(ann), other)).await, ErrorCode::IdReused);
    assert_eq!(link.code.len(), 24);
    let get = || wire::GetGroup { by: Some(wire::get_group::By::Link(link.code.clone())) };
    assert_eq!(bed.group.get_group(&by(cat), get()).await.unwrap().members, 2);
    assert_eq!(code_of(bed.group.join_group(&by(cat), join_by("guessed"))).await, ErrorCode::NotFound);
    let elsewhere = wire::JoinGroup { group: 7, ..join_by(&link.code) };
    assert_eq!(code_of(bed.group.join_group(&by(cat), elsewhere)).await, ErrorCode::Invalid);
    let request = join_by(&link.code);
    for _ in 0..2 {
        assert!(!bed.group.join_group(&by(cat), request.clone()).await.unwrap().waiting);
    }
    assert_eq!(code_of(bed.group.join_group(&by(dan), join_by(&link.code))).await, ErrorCode::NotFound);
    assert_eq!(code_of(bed.group.get_group(&by(dan), get())).await, ErrorCode::NotFound);

    let create = wire::CreateGroupLink { id: id(), group, expires_ms, uses_max: 0 };
    let link = bed.group.create_group_link(&by(ann), create).await.unwrap();
    let listed = bed.group.list_group_links(&by(ann), wire::ListGroupLinks { group }).await.unwrap().links;
    assert_eq!(listed, std::slice::from_ref(&link));
    bed.clock.shift(60_000);
    assert_eq!(code_of(bed.group.join_group(&by(dan), join_by(&link.code))).await, ErrorCode::NotFound);
    let create = wire::CreateGroupLink { id: id(), group, ..Default::default() };
    let link = bed.group.create_group_link(&by(ann), create.clone()).await.unwrap();
    let revoke = wire::RevokeGroupLink { group, code: link.code.clone() };
    assert_eq!(code_of(bed.group.revoke_group_link(&by(cat), revoke.clone())).await, ErrorCode::Forbidden);
    bed.group.revoke_group_link(&by(ann), revoke).await.unwrap();
    assert_eq!(bed.group.create_group_link(&by(ann), create).await.unwrap(), link, "a late retry makes no other");
    assert!(bed.group.list_group_links(&by(ann), wire::ListGroupLinks { group }).await.unwrap().links.is_empty());
    assert_eq!(code_of(bed.group.join_group(&by(dan), join_by(&link.code))).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn a_link_spares_the_asking_and_is_not_used_up_by_the_banned() {
    let bed = Bed::start();
    let (group, [ann, ben, cat, dan]) = scene(&bed).await;
    bed.group.join_group(&by(dan), join(group)).await.unwrap();
    let ban = wire::RemoveMembers { id: id(), group, users: vec![cat], ban: true };
    bed.group.remove_members(&by(ben), ban).await.unwrap();
    let create = wire::CreateGroupLink { id: id(), group, expires_ms: 0, uses_max: 1 };
    let link = bed.group.create_group_link(&by(ann), create).await.unwrap();
    assert_eq!(code_of(bed.group.join_group(&by(cat), join_by(&link.code))).await, ErrorCode::Banned);
    assert_eq!(code_of(bed.group.join_group(&by(cat), join(group))).await, ErrorCode::Banned);
    assert!(!bed.group.join_group(&by(dan), join_by(&link.code)).await.unwrap().waiting);
    bed.told(ann, &closed(group, dan, true, dan)).await;
    assert!(asking(&bed, ann, group).await.is_empty());
}

#[tokio::test]
async fn a_group_has_so_many_links_and_no_more() {
    let bed = Bed::start();
    let ann = bed.user("ann").await;
    let group = bed.group(&[ann]).await;
    let create = || wire::CreateGroupLink { id: id(), group, ..Default::default() };
    for _ in 0..100 {
        bed.group.create_group_link(&by(ann), create()).await.unwrap();
    }
    let refused = code_of(bed.group.create_group_link(&by(ann), create())).await;
    assert_eq!(refused, ErrorCode::LimitExceeded);
}
