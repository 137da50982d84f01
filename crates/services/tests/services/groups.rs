//! Groups.

use api::{GroupService as _, MessageService as _};
use protocol::{
    EntryId,
    wire::{self, ErrorCode, JoinPolicy, content::Kind},
};

use crate::bed::{System, by, eventually, text, user_id};

#[tokio::test]
async fn groups_are_made_once_joined_as_their_policy_says_and_left() {
    let system = System::start().await;
    let (alice, bob, carol) =
        (system.register("alice").await, system.register("bob").await, system.register("carol").await);
    let create = wire::CreateGroup {
        id: EntryId::generate().to_string(),
        title: " 天气 ".into(),
        members: vec![user_id(&bob).get(), user_id(&bob).get(), user_id(&alice).get()],
        join_policy: JoinPolicy::ByInvitation.into(),
    };
    let group = system.group.create_group(&by(&alice), create.clone()).await.unwrap();
    assert_eq!(system.group.create_group(&by(&alice), create.clone()).await.unwrap(), group);
    assert_eq!(group.title, "天气");
    let ghost = wire::CreateGroup { id: EntryId::generate().to_string(), members: vec![99], ..create };
    let error = system.group.create_group(&by(&alice), ghost).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::NotFound, "user 99 does not exist"));

    let id = || EntryId::generate().to_string();
    let join = |id| wire::JoinGroup { id, group: group.id, ..Default::default() };
    let leave = |id| wire::LeaveGroup { id, group: group.id };
    let refused = system.group.join_group(&by(&carol), join(id())).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotFound);
    let invite = |users: &[&wire::Session]| {
        let users = users.iter().map(|session| user_id(session).get()).collect();
        wire::Invite { id: id(), group: group.id, users }
    };
    let by_herself = system.group.invite(&by(&carol), invite(&[&carol, &alice])).await.unwrap_err();
    assert_eq!(by_herself.code(), ErrorCode::NotMember);
    assert_eq!(system.group.invite(&by(&carol), invite(&[&carol])).await.unwrap_err().code(), ErrorCode::Invalid);
    system.group.invite(&by(&bob), invite(&[&carol, &bob])).await.unwrap();
    assert_eq!(system.send(&carol, vec![text(group.id, EntryId::generate(), "hi")]).await, [Ok(3)]);
    // Who is a member already joins without an entry.
    system.group.join_group(&by(&carol), join(id())).await.unwrap();
    assert_eq!(system.send(&carol, vec![text(group.id, EntryId::generate(), "me")]).await, [Ok(4)]);

    let leaving = id();
    system.group.leave_group(&by(&carol), leave(leaving.clone())).await.unwrap();
    system.group.leave_group(&by(&carol), leave(leaving)).await.unwrap();
    let again = system.group.leave_group(&by(&carol), leave(id())).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::NotMember);
    assert_eq!(
        system.send(&carol, vec![text(group.id, EntryId::generate(), "gone")]).await,
        [Err(ErrorCode::NotMember)]
    );
    let history = wire::History { conversation: group.id, from: None, limit: 0 };
    let refused = system.message.history(&by(&carol), history).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotMember);
    let told = eventually(async || {
        let told = system.personal(&carol).await;
        told.contains(&Kind::GroupExited(wire::GroupExited { group: group.id, removed: false })).then_some(told)
    })
    .await;
    assert!(told.contains(&Kind::GroupEntered(wire::GroupEntered { group: group.id })));
}
