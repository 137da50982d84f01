//! Who may do what in a group.

use std::sync::Arc;

use protocol::{
    ConversationId, EntryId, GroupId, UserId,
    wire::{GroupChanged, JoinPolicy, Role},
};

use super::{
    Store,
    changes::{react, recall},
    scene::{NOW_MS, Scene, change, message, moving},
};
use crate::{Act, Groups, MemberRow, Membership, NewEntry, NewGroup, Refused};

async fn member(scene: &Scene, group: ConversationId, user: UserId) -> MemberRow {
    scene.store.member(group, user).await.unwrap().unwrap()
}

/// An owner, an admin, and two members.
async fn staffed(scene: &Scene) -> (ConversationId, [UserId; 4]) {
    let users: [UserId; 4] = scene.users().await;
    let group = scene.group(&users).await;
    let roles = Membership { roles: vec![(users[1], Role::Admin)], ..Membership::default() };
    scene.append(moving(group, users[0], roles)).await.unwrap();
    (group, users)
}

/// At least a role, and above that of those whom it concerns; it is looked at when the entry is appended.
pub async fn authority_is_looked_at_with_the_entry(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (group, [owner, admin, c, d]) = staffed(&scene).await;
    let remove = |by, whom: UserId, at_least| {
        let membership = Membership { exit: vec![whom], at_least, above: vec![whom], ..Membership::default() };
        moving(group, by, membership)
    };
    assert_eq!(scene.append(remove(c, d, Role::Admin)).await, Err(Refused::RoleTooLow));
    assert_eq!(scene.append(remove(c, d, Role::Member)).await, Err(Refused::RoleTooLow));
    assert_eq!(scene.append(remove(admin, owner, Role::Admin)).await, Err(Refused::RoleTooLow));
    assert_eq!(scene.append(remove(admin, admin, Role::Admin)).await, Err(Refused::RoleTooLow));
    assert_eq!(scene.append(remove(admin, c, Role::Owner)).await, Err(Refused::RoleTooLow));
    // One batch: the owner makes the admin a member, who may no longer.
    let demote = Membership {
        roles: vec![(admin, Role::Member), (UserId::new(77), Role::Admin)],
        at_least: Role::Owner,
        ..Membership::default()
    };
    let batch = vec![remove(admin, c, Role::Admin), moving(group, owner, demote), remove(admin, d, Role::Admin)];
    let outcomes = scene.store.append(batch).await.unwrap();
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    assert_eq!(outcomes[2], Err(Refused::RoleTooLow));
    assert_eq!(scene.head(admin, group).await.unwrap().role, Role::Member);
    assert_eq!(scene.head(owner, group).await.unwrap().role, Role::Owner);
    assert_eq!(scene.store.member(group, UserId::new(77)).await.unwrap(), None);
    let outside = Membership { enter: vec![(c, Role::Member)], at_least: Role::Admin, ..Membership::default() };
    assert_eq!(scene.append(moving(group, c, outside)).await, Err(Refused::RoleTooLow));
    let transfer = Membership { roles: vec![(d, Role::Owner), (owner, Role::Admin)], ..Membership::default() };
    scene.append(moving(group, owner, transfer)).await.unwrap();
    assert_eq!(
        (member(&scene, group, d).await.role, member(&scene, group, owner).await.role),
        (Role::Owner, Role::Admin)
    );
    assert_eq!(scene.store.administrators(group, 10).await.unwrap(), [owner, d]);
    assert_eq!(scene.store.administrators(group, 1).await.unwrap(), [owner]);
    // No group is left without an owner.
    let stranger = scene.user("stranger").await;
    let transfer = Membership { roles: vec![(stranger, Role::Owner), (d, Role::Admin)], ..Membership::default() };
    assert_eq!(scene.append(moving(group, d, transfer)).await, Err(Refused::NothingThere));
    assert_eq!(member(&scene, group, d).await.role, Role::Owner);
}

/// Whether they were members or not, until the ban is lifted.
pub async fn the_banned_do_not_enter(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (group, [owner, _, c, d]) = staffed(&scene).await;
    let stranger = scene.user("stranger").await;
    let ban = Membership { exit: vec![c], ban: vec![stranger, c], ..Membership::default() };
    assert_eq!(scene.append(moving(group, owner, ban)).await.unwrap().exited, [c]);
    assert_eq!(scene.store.bans(group, UserId::new(0), 10).await.unwrap(), [c, stranger]);
    assert_eq!(scene.store.bans(group, c, 10).await.unwrap(), [stranger]);
    assert_eq!(scene.append(change(group, c, false, &[c], &[])).await, Err(Refused::Banned(c)));
    assert_eq!(scene.append(change(group, d, false, &[stranger], &[])).await, Err(Refused::Banned(stranger)));
    let lift = Membership { lift: vec![c], ..Membership::default() };
    scene.append(moving(group, owner, lift)).await.unwrap();
    assert_eq!(scene.append(change(group, c, false, &[c], &[])).await.unwrap().entered, [c]);
    let removed: Vec<_> =
        scene.store.effects(100).await.unwrap().into_iter().filter(|effect| effect.user == c).collect();
    let exited = removed[1].content.clone();
    let exited = protocol::RawContent::from_bytes(exited).view().unwrap().kind.unwrap();
    let expected = protocol::wire::GroupExited { group: group.get(), removed: true };
    assert_eq!(exited, protocol::wire::content::Kind::GroupExited(expected), "by somebody else");
}

/// Alone, or with all members; taking back is still allowed.
pub async fn the_muted_do_not_write(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (group, [owner, admin, c, d]) = staffed(&scene).await;
    scene.say(group, c, "3").await;
    scene.say(group, c, "4").await;
    let mute = |until| {
        moving(group, owner, Membership { mute: vec![(c, until), (UserId::new(77), 9)], ..Membership::default() })
    };
    scene.append(mute(NOW_MS + 1)).await.unwrap();
    assert_eq!(member(&scene, group, c).await.muted_until_ms, NOW_MS + 1);
    assert_eq!(scene.append(message(group, c, "no")).await, Err(Refused::Muted(NOW_MS + 1)));
    assert_eq!(scene.append(react(group, c, 3)).await, Err(Refused::Muted(NOW_MS + 1)));
    scene.append(recall(group, c, 3)).await.unwrap();
    scene.append(NewEntry { time_ms: NOW_MS + 1, ..message(group, c, "over") }).await.unwrap();
    scene.say(group, d, "I may").await;
    scene.append(mute(0)).await.unwrap();
    scene.say(group, c, "lifted").await;

    let all = |muted| GroupChanged { muted: Some(muted), ..GroupChanged::default() };
    scene.append(moving(group, admin, Membership { change: all(true), ..Membership::default() })).await.unwrap();
    assert_eq!(scene.append(message(group, d, "no")).await, Err(Refused::Muted(0)));
    assert_eq!(scene.append(react(group, d, 4)).await, Err(Refused::Muted(0)));
    scene.append(recall(group, c, 4)).await.unwrap();
    scene.say(group, admin, "but I").await;
    scene.append(moving(group, admin, Membership { change: all(false), ..Membership::default() })).await.unwrap();
    scene.say(group, d, "again").await;
}

/// Whoever was muted, then or while not a member, is muted on coming in, until the time is over or somebody lifts it.
pub async fn a_mute_outlasts_membership(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (group, [owner, _, c, d]) = staffed(&scene).await;
    let mute = |user, until| moving(group, owner, Membership { mute: vec![(user, until)], ..Membership::default() });
    let until = NOW_MS + 10;
    scene.append(mute(c, until)).await.unwrap();
    for by in [c, owner] {
        scene.append(change(group, by, false, &[], &[c])).await.unwrap();
        scene.append(change(group, owner, false, &[c], &[])).await.unwrap();
        assert_eq!(member(&scene, group, c).await.muted_until_ms, until);
        assert_eq!(scene.append(message(group, c, "no")).await, Err(Refused::Muted(until)));
    }
    scene.append(change(group, c, false, &[], &[c])).await.unwrap();
    scene.append(mute(c, 0)).await.unwrap();
    scene.append(change(group, c, false, &[c], &[])).await.unwrap();
    assert_eq!(member(&scene, group, c).await.muted_until_ms, 0);
    scene.say(group, c, "lifted while I was away").await;
    scene.append(change(group, d, false, &[], &[d])).await.unwrap();
    scene.append(mute(d, until)).await.unwrap();
    scene.append(change(group, d, false, &[d], &[])).await.unwrap();
    assert_eq!(scene.append(message(group, d, "no")).await, Err(Refused::Muted(until)));
    scene.append(NewEntry { time_ms: until, ..message(group, d, "over") }).await.unwrap();
    // In another group it is as if nothing had been.
    let other = scene.group(&[owner, c, d]).await;
    scene.say(other, d, "here I may").await;
}

/// All are mentioned by owner and admins alone; those who mention and are mentioned are told apart.
pub async fn everyone_is_mentioned_by_owner_and_admins(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (group, [_, admin, c, d]) = staffed(&scene).await;
    let mention = |sender, mentions: &[UserId], mentions_everyone| {
        let act = Act::Message { mentions: mentions.to_vec(), mentions_everyone, reply_to: 0 };
        NewEntry { act, ..message(group, sender, "psst") }
    };
    assert_eq!(scene.append(mention(c, &[], true)).await, Err(Refused::RoleTooLow));
    scene.append(mention(admin, &[c], true)).await.unwrap();
    let twice = mention(admin, &[d, d, UserId::new(77)], false);
    scene.append(twice.clone()).await.unwrap();
    assert!(scene.append(twice).await.unwrap().duplicate);
    scene.say(group, admin, "nobody").await;
    let mentions = async |user| {
        let head = scene.head(user, group).await.unwrap();
        (head.unread, head.unread_mentions)
    };
    assert_eq!((mentions(c).await, mentions(d).await, mentions(admin).await), ((3, 1), (3, 2), (0, 0)));
    let mark = crate::ReadMark { conversation: group, user: d, position: 3 };
    scene.store.mark_read(vec![mark]).await.unwrap();
    assert_eq!(mentions(d).await, (2, 1));
    let direct = scene.direct(c, d).await;
    let act = Act::Message { mentions: vec![], mentions_everyone: true, reply_to: 0 };
    scene.append(NewEntry { act, ..message(direct, c, "both") }).await.unwrap();
    assert_eq!(scene.head(d, direct).await.unwrap().unread_mentions, 1);
}

/// An owner hands the group over first; alone, the owner ends it by leaving.
pub async fn the_owner_leaves_only_alone(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [owner, b] = scene.users().await;
    let group = scene.group(&[owner, b]).await;
    assert_eq!(scene.append(change(group, owner, false, &[], &[owner])).await, Err(Refused::IsOwner));
    assert_eq!(scene.append(change(group, b, false, &[], &[owner])).await, Err(Refused::IsOwner));
    scene.append(change(group, b, false, &[], &[b])).await.unwrap();
    scene.append(change(group, owner, false, &[], &[owner])).await.unwrap();
    assert_eq!(scene.store.member_count(group).await.unwrap(), 0);
    assert_eq!(scene.append(change(group, b, false, &[b], &[])).await, Err(Refused::Dissolved));
}

/// It can be read and left.
pub async fn nothing_is_written_to_a_dissolved_group(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let (group, [owner, admin, c, d]) = staffed(&scene).await;
    scene.say(group, c, "3").await;
    let said = message(group, c, "4");
    scene.append(said.clone()).await.unwrap();
    let dissolve = Membership { dissolve: true, at_least: Role::Owner, ..Membership::default() };
    assert_eq!(scene.append(moving(group, admin, dissolve.clone())).await, Err(Refused::RoleTooLow));
    scene.append(moving(group, owner, dissolve)).await.unwrap();
    let stranger = scene.user("stranger").await;
    for refused in [
        message(group, owner, "no"),
        react(group, c, 3),
        recall(group, c, 3),
        change(group, stranger, false, &[stranger], &[]),
        change(group, owner, false, &[], &[c]),
        change(group, c, false, &[d], &[c]),
    ] {
        assert_eq!(scene.append(refused).await, Err(Refused::Dissolved));
    }
    assert!(scene.append(said).await.unwrap().duplicate);
    assert_eq!(scene.append(message(group, stranger, "?")).await, Err(Refused::NotMember));
    assert_eq!(scene.append(change(group, c, false, &[], &[c])).await.unwrap().exited, [c]);
    assert_eq!(scene.texts(d, group).await[2..4], ["3", "4"]);
}

/// What is given changes, the rest stays; names in the group are the members' own.
pub async fn a_group_is_changed_by_entries_of_its_log(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [owner, b] = scene.users().await;
    let new = NewGroup {
        id: GroupId::new(scene.number()),
        request: EntryId::generate(),
        creator: owner,
        title: "tea".into(),
        join_policy: JoinPolicy::Open,
        created_ms: NOW_MS,
    };
    let made = scene.store.create(new).await.unwrap();
    let group = made.id.conversation();
    let enter = vec![(owner, Role::Owner), (b, Role::Member)];
    scene.append(moving(group, owner, Membership { create: true, enter, ..Membership::default() })).await.unwrap();
    let find = async || Groups::find(&*scene.store, vec![made.id]).await.unwrap().pop().unwrap();
    assert_eq!(find().await, made);
    let change = GroupChanged {
        description: Some("hot".into()),
        join_policy: Some(JoinPolicy::ByApproval.into()),
        muted: Some(true),
        ..GroupChanged::default()
    };
    let entry = moving(group, owner, Membership { change, ..Membership::default() });
    scene.append(entry).await.unwrap();
    let change = GroupChanged {
        title: Some("coffee".into()),
        avatar: Some("cup".into()),
        announcement: Some("new".into()),
        admins_invite: Some(true),
        ..GroupChanged::default()
    };
    let changed = Membership { change, nickname: Some("boss".into()), ..Membership::default() };
    scene.append(moving(group, owner, changed)).await.unwrap();
    let group_now = find().await;
    assert_eq!((group_now.title.as_str(), group_now.description.as_str()), ("coffee", "hot"));
    assert_eq!((group_now.avatar.as_str(), group_now.announcement.as_str()), ("cup", "new"));
    assert_eq!(group_now.join_policy, JoinPolicy::ByApproval);
    assert!(group_now.muted && group_now.admins_invite && !group_now.dissolved);
    assert_eq!(member(&scene, group, owner).await.nickname, "boss");
    assert_eq!(member(&scene, group, b).await.nickname, "");
    scene.append(moving(group, owner, Membership { dissolve: true, ..Membership::default() })).await.unwrap();
    assert!(find().await.dissolved);
}
