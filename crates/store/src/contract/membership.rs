//! Who is a member of a group.

use std::{collections::HashSet, sync::Arc};

use protocol::{
    ConversationId, RawContent, UserId, limits,
    wire::{GroupEntered, GroupExited, Role, content},
};

use super::{
    Store,
    scene::{NOW_MS, Scene, change, making, message, moving},
};
use crate::{Act, Effect, Membership, NewEntry, Refused};

async fn is_member(scene: &Scene, group: ConversationId, user: UserId) -> bool {
    let filtered = scene.store.filter_members(group, vec![user]).await.unwrap();
    let reads = scene.history(user, group).await.is_some();
    let listed = scene.store.groups_of(user).await.unwrap().contains(&group.group());
    let head = scene.head(user, group).await.is_some();
    assert_eq!([filtered.contains(&user), listed, head], [reads; 3], "all ways to ask tell the same");
    reads
}

/// From the entry on, and no longer after it.
pub async fn members_enter_and_exit_with_the_entry(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [owner, b, c, d] = scene.users().await;
    let group = ConversationId::new(scene.number());
    let made = scene.append(making(group, &[owner, b])).await.unwrap();
    assert_eq!((made.entered, made.exited), (vec![owner, b], vec![]));
    assert!(is_member(&scene, group, owner).await && is_member(&scene, group, b).await);
    assert!(!is_member(&scene, group, c).await);

    // One may let oneself in; b enters again, which changes nothing.
    let joined = scene.append(change(group, c, false, &[c, b, c], &[])).await.unwrap();
    assert_eq!((joined.position, joined.entered), (2, vec![c]));
    scene.say(group, c, "hi").await;
    // One batch: each entry sees what those before it did.
    let batch = vec![
        change(group, owner, false, &[d], &[c, c, UserId::new(77_777)]),
        message(group, c, "I am out"),
        message(group, d, "I am in"),
        change(group, d, false, &[], &[d]),
        message(group, d, "and out"),
        change(group, owner, false, &[c], &[c]),
    ];
    let outcomes = scene.store.append(batch).await.unwrap();
    let first = outcomes[0].as_ref().unwrap();
    assert_eq!((&first.entered, &first.exited), (&vec![d], &vec![c]));
    let positions: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().map(|appended| appended.position)).collect();
    let no = Err(&Refused::NotMember);
    let out = Err(&Refused::Unchanged);
    assert_eq!(positions, [Ok(4), no, Ok(5), Ok(6), no, out], "whoever is to enter and to exit stays out");
    assert!(!is_member(&scene, group, c).await && !is_member(&scene, group, d).await);

    // Coming back.
    scene.append(change(group, owner, false, &[c], &[])).await.unwrap();
    assert!(is_member(&scene, group, c).await);
    let head = scene.head(c, group).await.unwrap();
    assert_eq!((head.last_position, head.read_position, head.unread), (7, 7, 0));
}

/// What is refused leaves no trace.
pub async fn a_refused_entry_makes_no_group_and_no_member(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b, c] = scene.users().await;
    let group = ConversationId::new(scene.number());
    let not_in_it = change(group, a, true, &[b, c], &[]);
    assert_eq!(scene.append(not_in_it.clone()).await, Err(Refused::NotMember));
    let not_made = change(group, a, false, &[a, b], &[]);
    assert_eq!(scene.append(not_made).await, Err(Refused::NotMember));
    assert!(!is_member(&scene, group, b).await);
    assert_eq!(scene.store.effects(10).await.unwrap(), []);

    scene.append(making(group, &[a])).await.unwrap();
    let by_a_stranger = change(group, b, false, &[c], &[a]);
    assert_eq!(scene.append(by_a_stranger).await, Err(Refused::NotMember));
    assert!(is_member(&scene, group, a).await && !is_member(&scene, group, c).await);
    assert_eq!(scene.store.effects(10).await.unwrap().len(), 1);
    // Made again by somebody else, it stays what it is.
    let again = scene.append(change(group, b, true, &[b], &[])).await.unwrap();
    assert_eq!((again.position, again.entered), (2, vec![b]));
    assert!(is_member(&scene, group, a).await);
}

/// Roles and read positions of members do not change when somebody enters them again; and of those who are in already, or out,
/// nothing is told twice.
pub async fn members_stay_as_they_are_when_entered_again(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [owner, b, c] = scene.users().await;
    let group = scene.group(&[owner, b]).await;
    scene.say(group, b, "unread").await;
    let before = scene.head(owner, group).await.unwrap();
    assert_eq!((before.read_position, before.unread), (1, 1));
    assert_eq!(scene.append(change(group, b, false, &[owner, b], &[])).await, Err(Refused::Unchanged));
    assert_eq!(scene.append(change(group, b, false, &[], &[c])).await, Err(Refused::Unchanged));
    assert_eq!(scene.head(owner, group).await.unwrap(), before);
    let again = scene.append(change(group, b, false, &[owner, b, c], &[])).await.unwrap();
    assert_eq!(again.entered, [c]);
    let after = scene.head(owner, group).await.unwrap();
    assert_eq!((after.read_position, after.unread, after.last_position), (1, 1, 3));
    let members = vec![(owner, Role::Owner), (b, Role::Member), (c, Role::Member)];
    assert_eq!(listed(&scene, b, group, 0, 10).await, Some((members, 3)));
}

/// One for each who enters or exits; settled by the entry that tells it, once, and not by one that is refused.
pub async fn effects_are_told_in_order_until_settled(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let [a, b] = scene.users().await;
    let group = scene.group(&[a, b]).await;
    scene.append(change(group, b, false, &[], &[b])).await.unwrap();
    let effects = scene.store.effects(10).await.unwrap();
    let entered = content::Kind::GroupEntered(GroupEntered { group: group.get() });
    let exited = content::Kind::GroupExited(GroupExited { group: group.get(), removed: false });
    let expected = [(a, entered.clone()), (b, entered), (b, exited)];
    assert_eq!(effects.len(), expected.len());
    for (effect, (user, kind)) in effects.iter().zip(expected) {
        assert_eq!((effect.user, effect.time_ms, &effect.content), (user, NOW_MS, RawContent::from(kind).as_bytes()));
    }
    assert!(effects.is_sorted_by_key(|effect| effect.revision));
    assert_eq!(scene.store.effects(2).await.unwrap(), effects[..2]);
    assert_eq!(scene.store.effects(10).await.unwrap(), effects, "asking again tells the same");

    let tell = |effect: &Effect| NewEntry {
        id: effect.id,
        time_ms: effect.time_ms,
        content: effect.content.clone(),
        act: Act::Tell,
        settles: Some(effect.revision),
        ..message(effect.user.personal_log(), effect.user, "")
    };
    let refused = NewEntry { sender: a, ..tell(&effects[1]) };
    assert_eq!(scene.append(refused).await, Err(Refused::NotMember));
    assert_eq!(scene.store.effects(10).await.unwrap(), effects);
    let told = scene.store.append(vec![tell(&effects[1]), tell(&effects[2]), tell(&effects[1])]).await.unwrap();
    let told: Vec<_> = told.into_iter().map(|told| told.map(|told| (told.position, told.duplicate)).unwrap()).collect();
    assert_eq!(told, [(1, false), (2, false), (1, true)]);
    assert_eq!(scene.store.effects(10).await.unwrap(), effects[..1]);
    assert!(scene.append(tell(&effects[2])).await.unwrap().duplicate);
    assert_eq!(scene.history(b, b.personal_log()).await.unwrap().entries.len(), 2);
    assert_eq!(scene.head(b, b.personal_log()).await.unwrap().unread, 0);
    // Who is gone is told nothing, and holds up nobody.
    let gone = UserId::new(77_777);
    scene.append(change(group, a, false, &[gone], &[])).await.unwrap();
    let effect = scene.store.effects(10).await.unwrap().pop().unwrap();
    assert_eq!(effect.user, gone);
    assert_eq!(scene.append(tell(&effect)).await, Err(Refused::NotMember));
    assert_eq!(scene.store.effects(10).await.unwrap(), effects[..1]);
}

/// The limit counts those who would be members after the entry.
pub async fn a_group_holds_no_more_than_its_limit(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let crowd: Vec<UserId> = (1..=limits::MEMBERS_MAX).map(|n| UserId::new(1_000_000 + n)).collect();
    let more = [UserId::new(1), UserId::new(2)];
    let group = ConversationId::new(scene.number());
    let too_many: Vec<UserId> = crowd.iter().chain(&more[..1]).copied().collect();
    assert_eq!(scene.append(making(group, &too_many)).await, Err(Refused::TooManyMembers));
    assert!(!is_member(&scene, group, crowd[0]).await);
    let made = scene.append(making(group, &crowd)).await.unwrap();
    assert_eq!((made.position, made.entered.len()), (1, crowd.len()));
    assert_eq!(scene.append(change(group, more[0], false, &more[..1], &[])).await, Err(Refused::TooManyMembers));
    let known = scene.append(change(group, crowd[0], false, &crowd[..3], &[])).await;
    assert_eq!(known, Err(Refused::Unchanged), "members entered again take no room");
    let swap = change(group, crowd[0], false, &more, &crowd[5..7]);
    assert_eq!(scene.append(swap).await.unwrap().entered, more);
    assert_eq!(listed(&scene, more[0], group, 0, 1).await.unwrap().1, limits::MEMBERS_MAX);
    assert_eq!(scene.store.member_count(group).await.unwrap(), limits::MEMBERS_MAX);
}

/// The limit counts those who would be admins after the entry; who hands the group over becomes one.
pub async fn a_group_has_no_more_admins_than_its_limit(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let crowd: Vec<UserId> = (0..limits::ADMINS_MAX + 2).map(|n| UserId::new(1_000_000 + n)).collect();
    let (owner, admins, last) = (crowd[0], &crowd[1..crowd.len() - 1], crowd[crowd.len() - 1]);
    let group = scene.group(&crowd).await;
    let give = async |by, roles: Vec<(UserId, Role)>| {
        scene.append(moving(group, by, Membership { roles, ..Membership::default() })).await.map(|_| ())
    };
    let made = admins.iter().map(|user| (*user, Role::Admin)).collect();
    give(owner, made).await.unwrap();
    assert_eq!(give(owner, vec![(last, Role::Admin)]).await, Err(Refused::TooManyAdmins));
    assert_eq!(give(owner, vec![(last, Role::Owner), (owner, Role::Admin)]).await, Err(Refused::TooManyAdmins));
    give(owner, vec![(admins[0], Role::Admin)]).await.unwrap();
    give(owner, vec![(admins[0], Role::Owner), (owner, Role::Admin)]).await.unwrap();
    give(admins[0], vec![(owner, Role::Member), (last, Role::Admin)]).await.unwrap();
    assert_eq!(give(admins[0], vec![(owner, Role::Admin)]).await, Err(Refused::TooManyAdmins));
}

/// In the order of their ids, each once.
pub async fn members_are_listed_in_pages_to_members_alone(store: Arc<dyn Store>) {
    let scene = Scene::new(store);
    let users: [UserId; 7] = scene.users().await;
    let stranger = scene.user("stranger").await;
    let group = scene.group(&users).await;
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let (page, total) = listed(&scene, users[3], group, after, 3).await.unwrap();
        assert!(total == 7 && page.len() <= 3);
        let Some((last, _)) = page.last() else { break };
        after = last.get();
        pages.extend(page.into_iter().map(|(user, _)| user));
    }
    assert_eq!(pages, users);
    assert_eq!(listed(&scene, users[0], group, u64::MAX, 3).await, Some((vec![], 7)));
    assert_eq!(listed(&scene, stranger, group, 0, 3).await, None);
    assert_eq!(listed(&scene, users[0], ConversationId::new(77_777), 0, 3).await, None);
    let asked = vec![stranger, users[6], UserId::new(u64::MAX), users[0]];
    let members: HashSet<_> = scene.store.filter_members(group, asked).await.unwrap().into_iter().collect();
    assert_eq!(members, HashSet::from([users[0], users[6]]));
    let admin = Membership { enter: vec![(stranger, Role::Admin)], ..Membership::default() };
    scene.append(moving(group, users[0], admin)).await.unwrap();
    assert_eq!(listed(&scene, stranger, group, users[6].get(), 3).await, Some((vec![(stranger, Role::Admin)], 8)));
    let admins = scene.store.members(stranger, group, UserId::new(0), 10, true).await.unwrap().unwrap();
    let roles: Vec<_> = admins.members.iter().map(|member| (member.user, member.role)).collect();
    assert_eq!((roles, admins.total), (vec![(users[0], Role::Owner), (stranger, Role::Admin)], 2));
}

/// Those in a page, with their roles, and how many there are.
async fn listed(
    scene: &Scene,
    reader: UserId,
    group: ConversationId,
    after: u64,
    limit: u32,
) -> Option<(Vec<(UserId, Role)>, u64)> {
    let page = scene.store.members(reader, group, UserId::new(after), limit, false).await.unwrap()?;
    Some((page.members.iter().map(|member| (member.user, member.role)).collect(), page.total))
}
