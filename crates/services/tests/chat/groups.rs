//! Who may do what in a group.

use api::{GroupService as _, MessageService as _};
use protocol::wire::{self, ErrorCode, GroupChanged, JoinPolicy, Role, WritePolicy, content::Kind};

use crate::bed::{Bed, by, code_of, id, text};

fn invite(group: u64, users: &[u64]) -> wire::Invite {
    wire::Invite { id: id(), group, users: users.to_vec() }
}

fn update(group: u64, change: GroupChanged) -> wire::UpdateGroup {
    wire::UpdateGroup { id: id(), group, change: Some(change) }
}

fn remove(group: u64, users: &[u64], ban: bool) -> wire::RemoveMembers {
    wire::RemoveMembers { id: id(), group, users: users.to_vec(), ban }
}

fn set_role(group: u64, user: u64, role: Role) -> wire::SetRole {
    wire::SetRole { id: id(), group, user, role: role.into() }
}

async fn roles(bed: &Bed, reader: u64, group: u64) -> Vec<(u64, Role)> {
    let list = wire::ListMembers { group, ..Default::default() };
    let members = bed.message.list_members(&by(reader), list).await.unwrap().members;
    members.iter().map(|member| (member.user.as_ref().unwrap().id, member.role())).collect()
}

async fn is_member(bed: &Bed, group: u64, user: u64) -> bool {
    let request = api::ConversationRequest { conversation: group };
    bed.message.get_member(&by(user), request).await.unwrap().user.is_some()
}

#[tokio::test]
async fn members_invite_unless_only_admins_may() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben]).await;
    let change = GroupChanged { admins_invite: Some(true), ..Default::default() };
    bed.group.update_group(&by(ann), update(group, change)).await.unwrap();
    assert_eq!(code_of(bed.group.invite(&by(ben), invite(group, &[cat]))).await, ErrorCode::Forbidden);
    assert_eq!(code_of(bed.group.invite(&by(cat), invite(group, &[cat, ann]))).await, ErrorCode::NotMember);
    bed.group.set_role(&by(ann), set_role(group, ben, Role::Admin)).await.unwrap();
    bed.group.invite(&by(ben), invite(group, &[cat, ann])).await.unwrap();
    let added = Kind::MembersAdded(wire::MembersAdded { members: vec![cat] });
    assert_eq!(bed.kinds(cat, group).await.last(), Some(&added));
    // All are members: there is nothing to tell.
    bed.group.invite(&by(cat), invite(group, &[ann])).await.unwrap_err();
    bed.group.invite(&by(ben), invite(group, &[ann, cat])).await.unwrap();
    assert_eq!(bed.kinds(cat, group).await.last(), Some(&added));
}

#[tokio::test]
async fn nobody_is_brought_in_who_does_not_want_it() {
    let bed = Bed::start();
    let (ann, ben, cat, dan) =
        (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await, bed.user("dan").await);
    bed.block(ben, ann).await;
    bed.settle(cat, wire::SettingsChanged { write_policy: WritePolicy::Friends.into(), invisible: false }).await;
    let group = bed.group(&[ann, ben]).await;
    assert_eq!(roles(&bed, ann, group).await, [(ann, Role::Owner)]);
    let created = Kind::GroupCreated(wire::GroupCreated { title: "Tea".into(), members: vec![] });
    assert_eq!(bed.kinds(ann, group).await, std::slice::from_ref(&created));
    bed.group.invite(&by(ann), invite(group, &[ben])).await.unwrap();
    assert_eq!(bed.kinds(ann, group).await, [created]);
    let refused = bed.group.invite(&by(ann), invite(group, &[cat, dan])).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::FriendsOnly);
    assert!(refused.message().contains(&cat.to_string()), "{refused}");
    let create = wire::CreateGroup { id: id(), title: "x".into(), members: vec![cat], ..Default::default() };
    assert_eq!(code_of(bed.group.create_group(&by(ann), create)).await, ErrorCode::FriendsOnly);
    bed.befriend(ann, cat).await;
    bed.group.invite(&by(ann), invite(group, &[cat, ben])).await.unwrap();
    assert!(is_member(&bed, group, cat).await && !is_member(&bed, group, ben).await);
    bed.delete(dan);
    assert_eq!(code_of(bed.group.invite(&by(ann), invite(group, &[dan]))).await, ErrorCode::NotFound);
}

#[tokio::test]
async fn what_a_group_is_is_changed_by_admins_and_seen_at_once() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben]).await;
    let title = async || {
        let found = bed.group.find_groups(&by(cat), api::GroupIds { ids: vec![group] }).await.unwrap().groups;
        (found[0].title.clone(), found[0].avatar.clone())
    };
    assert_eq!(title().await, ("Tea".into(), String::new()));
    let change = GroupChanged {
        title: Some(" Coffee ".into()),
        description: Some("for\nall".into()),
        avatar: Some("mpim:1".into()),
        announcement: Some("at five".into()),
        muted: Some(true),
        ..Default::default()
    };
    assert_eq!(code_of(bed.group.update_group(&by(ben), update(group, change.clone()))).await, ErrorCode::Forbidden);
    let request = update(group, change.clone());
    for _ in 0..2 {
        bed.group.update_group(&by(ann), request.clone()).await.unwrap();
    }
    assert_eq!(title().await, ("Coffee".into(), "mpim:1".into()));
    assert_eq!(bed.kinds(ben, group).await.len(), 2);
    assert_eq!(bed.say(ben, group, text("hi")).await, Err(ErrorCode::Muted));
    bed.say(ann, group, text("hi")).await.unwrap();
    let get = wire::GetGroup { by: Some(wire::get_group::By::Group(group)) };
    let info = bed.group.get_group(&by(ben), get.clone()).await.unwrap();
    assert_eq!((info.announcement.as_str(), info.description.as_str()), ("at five", "for\nall"));
    assert_eq!((info.muted, info.members, info.me.unwrap().role()), (true, 2, Role::Member));
    let seen = bed.group.get_group(&by(cat), get.clone()).await.unwrap();
    assert_eq!((seen.announcement.as_str(), seen.me, seen.members), ("", None, 2));
    let policy = GroupChanged { join_policy: Some(JoinPolicy::ByInvitation.into()), ..Default::default() };
    bed.group.update_group(&by(ann), update(group, policy)).await.unwrap();
    assert_eq!(code_of(bed.group.get_group(&by(cat), get)).await, ErrorCode::NotFound);
    for wrong in [
        GroupChanged::default(),
        GroupChanged { title: Some(" ".into()), ..Default::default() },
        GroupChanged { title: Some("x".repeat(65)), ..Default::default() },
        GroupChanged { description: Some("x".repeat(1_001)), ..Default::default() },
        GroupChanged { announcement: Some("x".repeat(4_001)), ..Default::default() },
        GroupChanged { avatar: Some("javascript:1".into()), ..Default::default() },
        GroupChanged { join_policy: Some(9), ..Default::default() },
    ] {
        let refused = code_of(bed.group.update_group(&by(ann), update(group, wrong))).await;
        assert!(matches!(refused, ErrorCode::Invalid | ErrorCode::LimitExceeded));
    }
}

#[tokio::test]
async fn members_are_removed_by_those_above_them_and_banned_until_the_ban_is_lifted() {
    let bed = Bed::start();
    let (ann, ben, cat, dan) =
        (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await, bed.user("dan").await);
    let group = bed.group(&[ann, ben, cat]).await;
    bed.group.set_role(&by(ann), set_role(group, ben, Role::Admin)).await.unwrap();
    assert_eq!(code_of(bed.group.remove_members(&by(cat), remove(group, &[ben], false))).await, ErrorCode::Forbidden);
    assert_eq!(code_of(bed.group.remove_members(&by(ben), remove(group, &[ann], false))).await, ErrorCode::Forbidden);
    assert_eq!(code_of(bed.group.remove_members(&by(ben), remove(group, &[ben], false))).await, ErrorCode::Invalid);
    let request = remove(group, &[cat, dan], true);
    for _ in 0..2 {
        bed.group.remove_members(&by(ben), request.clone()).await.unwrap();
    }
    bed.told(cat, &Kind::GroupExited(wire::GroupExited { group, removed: true })).await;
    let bans = async |user| bed.message.list_bans(&by(user), wire::ListBans { group, after: 0, limit: 0 }).await;
    assert_eq!(bans(ben).await.unwrap().ids, [cat, dan]);
    assert_eq!(bans(cat).await.unwrap_err().code(), ErrorCode::NotMember);
    assert_eq!(code_of(bed.group.invite(&by(ann), invite(group, &[dan]))).await, ErrorCode::Banned);
    let join = || wire::JoinGroup { id: id(), group, ..Default::default() };
    assert_eq!(code_of(bed.group.join_group(&by(cat), join())).await, ErrorCode::Banned);
    let lift = |users: &[u64]| wire::LiftBans { id: id(), group, users: users.to_vec() };
    bed.group.lift_bans(&by(ben), lift(&[cat])).await.unwrap();
    bed.group.join_group(&by(cat), join()).await.unwrap();
    assert_eq!(code_of(bed.group.lift_bans(&by(cat), lift(&[dan]))).await, ErrorCode::Forbidden);
    assert_eq!(bans(cat).await.unwrap_err().code(), ErrorCode::Forbidden);
    // Nobody of these is a member: nothing happens, and nothing is told.
    let count = bed.kinds(ann, group).await.len();
    bed.group.remove_members(&by(ann), remove(group, &[dan], false)).await.unwrap();
    assert_eq!(bed.kinds(ann, group).await.len(), count);
}

#[tokio::test]
async fn roles_are_given_by_the_owner_who_hands_over_before_leaving() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben]).await;
    let made_admin = set_role(group, ben, Role::Admin);
    for _ in 0..2 {
        bed.group.set_role(&by(ann), made_admin.clone()).await.unwrap();
    }
    assert_eq!(roles(&bed, ann, group).await, [(ann, Role::Owner), (ben, Role::Admin)]);
    assert_eq!(bed.kinds(ann, group).await.len(), 2);
    for (user, role, code) in [
        (ben, Role::Owner, ErrorCode::Invalid),
        (ann, Role::Member, ErrorCode::Invalid),
        (cat, Role::Admin, ErrorCode::NotFound),
    ] {
        assert_eq!(code_of(bed.group.set_role(&by(ann), set_role(group, user, role))).await, code);
    }
    assert_eq!(code_of(bed.group.set_role(&by(ben), set_role(group, ann, Role::Member))).await, ErrorCode::Forbidden);
    let leave = || wire::LeaveGroup { id: id(), group };
    assert_eq!(code_of(bed.group.leave_group(&by(ann), leave())).await, ErrorCode::Forbidden);
    let transfer = |user| wire::TransferGroup { id: id(), group, user };
    assert_eq!(code_of(bed.group.transfer_group(&by(ann), transfer(cat))).await, ErrorCode::NotFound);
    assert_eq!(code_of(bed.group.transfer_group(&by(ann), transfer(ann))).await, ErrorCode::Invalid);
    assert_eq!(code_of(bed.group.transfer_group(&by(ben), transfer(ann))).await, ErrorCode::Forbidden);
    let request = transfer(ben);
    for _ in 0..2 {
        bed.group.transfer_group(&by(ann), request.clone()).await.unwrap();
    }
    assert_eq!(roles(&bed, ann, group).await, [(ann, Role::Admin), (ben, Role::Owner)]);
    // What was asked for before is not done again.
    bed.group.set_role(&by(ben), set_role(group, ann, Role::Member)).await.unwrap();
    bed.group.transfer_group(&by(ann), request).await.unwrap();
    bed.group.set_role(&by(ann), made_admin).await.unwrap();
    assert_eq!(roles(&bed, ann, group).await, [(ann, Role::Member), (ben, Role::Owner)]);
    bed.group.leave_group(&by(ann), leave()).await.unwrap();
    // Who is alone ends the group by leaving.
    bed.group.leave_group(&by(ben), leave()).await.unwrap();
    let get = wire::GetGroup { by: Some(wire::get_group::By::Group(group)) };
    assert!(bed.group.get_group(&by(ben), get).await.unwrap().dissolved);
}

#[tokio::test]
async fn an_owner_who_hands_over_to_somebody_who_leaves_just_then_is_still_the_owner_or_was_not() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    for _ in 0..10 {
        let group = bed.group(&[ann, ben]).await;
        let (by_ann, by_ben) = (by(ann), by(ben));
        let _ = tokio::join!(
            bed.group.transfer_group(&by_ann, wire::TransferGroup { id: id(), group, user: ben }),
            bed.group.leave_group(&by_ben, wire::LeaveGroup { id: id(), group }),
        );
        let owners = roles(&bed, ann, group).await.into_iter().filter(|(_, role)| *role == Role::Owner).count();
        assert_eq!(owners, 1);
    }
}

#[tokio::test]
async fn a_nickname_is_ones_own_and_one_line() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let group = bed.group(&[ann, ben]).await;
    let set = |nickname: &str| wire::SetNickname { id: id(), group, nickname: nickname.into() };
    bed.group.set_nickname(&by(ben), set(" Benny ")).await.unwrap();
    let list = wire::ListMembers { group, ..Default::default() };
    let members = bed.message.list_members(&by(ann), list).await.unwrap().members;
    assert_eq!(members[1].nickname, "Benny");
    bed.group.set_nickname(&by(ben), set("")).await.unwrap();
    for wrong in ["a\nb", "\u{200b}", &"x".repeat(33)] {
        bed.group.set_nickname(&by(ben), set(wrong)).await.unwrap_err();
    }
    let stranger = bed.user("cat").await;
    assert_eq!(code_of(bed.group.set_nickname(&by(stranger), set("x"))).await, ErrorCode::NotMember);
}

#[tokio::test]
async fn a_dissolved_group_can_be_read_and_left_and_nothing_more() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben]).await;
    let dissolve = wire::DissolveGroup { id: id(), group };
    assert_eq!(code_of(bed.group.dissolve_group(&by(ben), dissolve.clone())).await, ErrorCode::Forbidden);
    for _ in 0..2 {
        bed.group.dissolve_group(&by(ann), dissolve.clone()).await.unwrap();
    }
    assert_eq!(bed.say(ann, group, text("hi")).await, Err(ErrorCode::Dissolved));
    assert_eq!(code_of(bed.group.invite(&by(ann), invite(group, &[cat]))).await, ErrorCode::Dissolved);
    let join = wire::JoinGroup { id: id(), group, ..Default::default() };
    assert_eq!(code_of(bed.group.join_group(&by(cat), join)).await, ErrorCode::Dissolved);
    let link = wire::CreateGroupLink { id: id(), group, ..Default::default() };
    assert_eq!(code_of(bed.group.create_group_link(&by(ann), link)).await, ErrorCode::Dissolved);
    assert_eq!(bed.kinds(ben, group).await.len(), 2);
    bed.group.leave_group(&by(ben), wire::LeaveGroup { id: id(), group }).await.unwrap();
}
