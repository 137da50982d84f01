//! What was done is answered as done, however late it is asked for again, and what became of it since.

use api::{GroupService as _, MessageService as _};
use protocol::wire::{self, ErrorCode, JoinPolicy, Role, WritePolicy};

use crate::bed::{Bed, by, code_of, id, text};

async fn friends_only(bed: &Bed, user: u64) {
    bed.settle(user, wire::SettingsChanged { write_policy: WritePolicy::Friends.into(), invisible: false }).await;
}

async fn length(bed: &Bed, reader: u64, group: u64) -> usize {
    bed.kinds(reader, group).await.len()
}

#[tokio::test]
async fn a_group_and_an_invitation_stand_when_those_invited_accept_no_more() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let members = vec![ben];
    let create = wire::CreateGroup { id: id(), title: " A ".into(), members, join_policy: JoinPolicy::Open.into() };
    let made = bed.group.create_group(&by(ann), create.clone()).await.unwrap();
    let invite = wire::Invite { id: id(), group: made.id, users: vec![ben, cat] };
    bed.group.invite(&by(ann), invite.clone()).await.unwrap();
    let leave = wire::LeaveGroup { id: id(), group: made.id };
    for user in [ben, cat] {
        bed.group.leave_group(&by(user), leave.clone()).await.unwrap();
        friends_only(&bed, user).await;
    }
    let before = length(&bed, ann, made.id).await;
    assert_eq!(bed.group.create_group(&by(ann), create.clone()).await.unwrap(), made);
    bed.group.invite(&by(ann), invite.clone()).await.unwrap();
    bed.group.leave_group(&by(ben), leave).await.unwrap();
    assert_eq!(length(&bed, ann, made.id).await, before);
    // What was not done is not answered as done.
    let other = wire::CreateGroup { title: "B".into(), ..create.clone() };
    assert_eq!(code_of(bed.group.create_group(&by(ann), other)).await, ErrorCode::FriendsOnly);
    let mixed = wire::Invite { id: create.id, ..invite.clone() };
    assert_eq!(code_of(bed.group.invite(&by(ann), mixed)).await, ErrorCode::FriendsOnly);
    assert_eq!(code_of(bed.group.invite(&by(ann), wire::Invite { id: id(), ..invite })).await, ErrorCode::FriendsOnly);
}

#[tokio::test]
async fn who_joined_is_answered_so_when_the_link_is_gone() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let group = bed.group_joined(&[ann], JoinPolicy::ByInvitation).await;
    let create = wire::CreateGroupLink { id: id(), group, ..Default::default() };
    let code = bed.group.create_group_link(&by(ann), create).await.unwrap().code;
    let join = wire::JoinGroup { id: id(), link: code.clone(), ..Default::default() };
    bed.group.join_group(&by(ben), join.clone()).await.unwrap();
    bed.group.leave_group(&by(ben), wire::LeaveGroup { id: id(), group }).await.unwrap();
    bed.group.revoke_group_link(&by(ann), wire::RevokeGroupLink { group, code }).await.unwrap();
    let joined = bed.group.join_group(&by(ben), join.clone()).await.unwrap();
    assert!(!joined.waiting && joined.conversation.unwrap().id == group);
    assert_eq!(length(&bed, ann, group).await, 3, "and is no member again");
    assert_eq!(
        code_of(bed.group.join_group(&by(ben), wire::JoinGroup { id: id(), ..join })).await,
        ErrorCode::NotFound
    );
}

#[tokio::test]
async fn what_an_owner_did_stands_when_the_group_is_another_s() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    let group = bed.group(&[ann, ben, cat]).await;
    let role = wire::SetRole { id: id(), group, user: ben, role: Role::Admin.into() };
    bed.group.set_role(&by(ann), role.clone()).await.unwrap();
    let create = wire::CreateGroupLink { id: id(), group, ..Default::default() };
    let link = bed.group.create_group_link(&by(ann), create.clone()).await.unwrap();
    let remove = wire::RemoveMembers { id: id(), group, users: vec![cat], ban: true };
    bed.group.remove_members(&by(ann), remove.clone()).await.unwrap();
    bed.group.transfer_group(&by(ann), wire::TransferGroup { id: id(), group, user: ben }).await.unwrap();
    bed.group.set_role(&by(ben), wire::SetRole { id: id(), group, user: ann, role: 0 }).await.unwrap();
    let before = length(&bed, ben, group).await;
    bed.group.set_role(&by(ann), role.clone()).await.unwrap();
    assert_eq!(bed.group.create_group_link(&by(ann), create.clone()).await.unwrap(), link);
    bed.group.remove_members(&by(ann), remove.clone()).await.unwrap();
    assert_eq!(length(&bed, ben, group).await, before);
    let other = wire::SetRole { role: Role::Member.into(), ..role };
    assert_eq!(code_of(bed.group.set_role(&by(ann), other)).await, ErrorCode::Forbidden);
    let milder = wire::RemoveMembers { ban: false, ..remove };
    assert_eq!(code_of(bed.group.remove_members(&by(ann), milder)).await, ErrorCode::Forbidden);
    let anew = wire::CreateGroupLink { id: id(), ..create };
    assert_eq!(code_of(bed.group.create_group_link(&by(ann), anew)).await, ErrorCode::Forbidden);
}

#[tokio::test]
async fn a_draft_is_kept_once_and_its_id_is_good_for_nothing_else() {
    let bed = Bed::start();
    let ann = bed.user("ann").await;
    let group = bed.group(&[ann]).await;
    let save = async |id: String, conversation: u64, text: &str| {
        let draft = Some(wire::Draft { text: text.into(), ..Default::default() });
        bed.message.save_draft(&by(ann), wire::SaveDraft { id, conversation, draft }).await
    };
    let first = id();
    save(first.clone(), group, "one").await.unwrap();
    bed.clock.shift(5);
    save(first.clone(), group, "one").await.unwrap();
    save(id(), group, "two").await.unwrap();
    save(first.clone(), group, "one").await.unwrap();
    let named = wire::SetNickname { id: id(), group, nickname: "Ann".into() };
    bed.group.set_nickname(&by(ann), named.clone()).await.unwrap();
    assert_eq!(code_of(save(named.id, group, "three")).await, ErrorCode::IdReused);
}

#[tokio::test]
async fn what_a_member_made_of_a_conversation_stands_when_the_member_has_left() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    let group = bed.group(&[ann, ben]).await;
    bed.say(ann, group, text("hi")).await.unwrap();
    let settings = Some(wire::ConversationSettings { pinned: true, ..Default::default() });
    let set = wire::SetConversation { id: id(), conversation: group, settings };
    let draft = Some(wire::Draft { text: "soon".into(), ..Default::default() });
    let save = wire::SaveDraft { id: id(), conversation: group, draft };
    let delete = wire::DeleteForMe { id: id(), conversation: group, positions: vec![2], up_to: 0 };
    for left in [false, true] {
        bed.message.set_conversation(&by(ben), set.clone()).await.unwrap();
        bed.message.save_draft(&by(ben), save.clone()).await.unwrap();
        bed.message.delete_for_me(&by(ben), delete.clone()).await.unwrap();
        if !left {
            bed.group.leave_group(&by(ben), wire::LeaveGroup { id: id(), group }).await.unwrap();
        }
    }
    let anew = wire::SetConversation { id: id(), ..set };
    assert_eq!(code_of(bed.message.set_conversation(&by(ben), anew)).await, ErrorCode::NotMember);
    let anew = wire::SaveDraft { id: id(), ..save };
    assert_eq!(code_of(bed.message.save_draft(&by(ben), anew)).await, ErrorCode::NotMember);
    let anew = wire::DeleteForMe { id: id(), ..delete };
    assert_eq!(code_of(bed.message.delete_for_me(&by(ben), anew)).await, ErrorCode::NotMember);
}
