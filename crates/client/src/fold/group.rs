//! The state of a group.

use std::collections::BTreeMap;

use protocol::{
    UserId,
    wire::{self, content::Kind},
};

use super::Latest;

/// A group as its entries tell it: `None` is what none of those that were applied tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupView {
    title: Latest<Option<String>>,
    description: Latest<Option<String>>,
    avatar: Latest<Option<String>>,
    announcement: Latest<Option<String>>,
    join_policy: Latest<Option<i32>>,
    admins_invite: Latest<Option<bool>>,
    muted: Latest<Option<bool>>,
    dissolved: bool,
    members: BTreeMap<UserId, Membership>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Membership {
    present: Latest<Option<bool>>,
    role: Latest<wire::Role>,
    nickname: Latest<String>,
    /// Whether the user is a member or not.
    muted_until_ms: Latest<i64>,
}

/// One member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView<'a> {
    /// Who.
    pub user: UserId,
    /// What the user may do.
    pub role: wire::Role,
    /// The user's own name in this group; empty: none.
    pub nickname: &'a str,
    /// Until when the user may not write, in milliseconds since 1970; 0: the user may.
    pub muted_until_ms: i64,
}

impl GroupView {
    pub(super) fn apply(&mut self, position: u64, sender: UserId, kind: &Kind) {
        match kind {
            Kind::GroupCreated(created) => {
                self.title.tell(position, Some(created.title.clone()));
                self.enter(position, &created.members);
                self.enter(position, &[sender.get()]);
                self.member(sender).role.tell(position, wire::Role::Owner);
            }
            Kind::MembersAdded(added) => self.enter(position, &added.members),
            Kind::MemberJoined(_) => self.enter(position, &[sender.get()]),
            Kind::MemberLeft(_) => self.leave(position, &[sender.get()]),
            Kind::MembersRemoved(removed) => self.leave(position, &removed.members),
            Kind::RoleChanged(changed) => {
                self.member(UserId::new(changed.member)).role.tell(position, changed.role());
            }
            Kind::OwnerChanged(changed) => {
                self.member(sender).role.tell(position, wire::Role::Admin);
                self.member(UserId::new(changed.owner)).role.tell(position, wire::Role::Owner);
            }
            Kind::MembersMuted(muted) => {
                for &user in &muted.members {
                    self.member(UserId::new(user)).muted_until_ms.tell(position, muted.until_ms);
                }
            }
            Kind::NicknameChanged(changed) => {
                self.member(sender).nickname.tell(position, changed.nickname.clone());
            }
            Kind::GroupChanged(changed) => self.change(position, changed),
            Kind::GroupDissolved(_) => self.dissolved = true,
            _ => {}
        }
    }

    fn change(&mut self, position: u64, changed: &wire::GroupChanged) {
        fn tell<T: Clone>(latest: &mut Latest<Option<T>>, position: u64, value: &Option<T>) {
            if value.is_some() {
                latest.tell(position, value.clone());
            }
        }
        tell(&mut self.title, position, &changed.title);
        tell(&mut self.description, position, &changed.description);
        tell(&mut self.avatar, position, &changed.avatar);
        tell(&mut self.announcement, position, &changed.announcement);
        tell(&mut self.join_policy, position, &changed.join_policy);
        tell(&mut self.admins_invite, position, &changed.admins_invite);
        tell(&mut self.muted, position, &changed.muted);
    }

    fn member(&mut self, user: UserId) -> &mut Membership {
        self.members.entry(user).or_default()
    }

    fn enter(&mut self, position: u64, users: &[u64]) {
        for &user in users {
            let member = self.member(UserId::new(user));
            member.present.tell(position, Some(true));
            member.role.tell(position, wire::Role::Member);
        }
    }

    fn leave(&mut self, position: u64, users: &[u64]) {
        for &user in users {
            let member = self.member(UserId::new(user));
            member.present.tell(position, Some(false));
            member.role.tell(position, wire::Role::Member);
            member.nickname.tell(position, String::new());
        }
    }

    /// The title.
    pub fn title(&self) -> Option<&str> {
        self.title.value.as_deref()
    }

    /// What it is about.
    pub fn description(&self) -> Option<&str> {
        self.description.value.as_deref()
    }

    /// A reference to its picture.
    pub fn avatar(&self) -> Option<&str> {
        self.avatar.value.as_deref()
    }

    /// What its members should know.
    pub fn announcement(&self) -> Option<&str> {
        self.announcement.value.as_deref()
    }

    /// Who may join.
    pub fn join_policy(&self) -> Option<wire::JoinPolicy> {
        self.join_policy.value.and_then(|policy| policy.try_into().ok())
    }

    /// Only owner and admins bring others in.
    pub fn admins_invite(&self) -> Option<bool> {
        self.admins_invite.value
    }

    /// Only owner and admins write.
    pub fn muted(&self) -> Option<bool> {
        self.muted.value
    }

    /// It can be read, nothing more.
    pub fn is_dissolved(&self) -> bool {
        self.dissolved
    }

    /// The members that the entries here tell of, in the order of their ids: all of them if the first entry is the group's
    /// first.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.members.iter().filter(|(_, member)| member.present.value == Some(true)).map(|(&user, member)| MemberView {
            user,
            role: member.role.value,
            nickname: &member.nickname.value,
            muted_until_ms: member.muted_until_ms.value,
        })
    }

    /// Whether a user is a member; `None` if the entries here do not tell.
    pub fn is_member(&self, user: UserId) -> Option<bool> {
        self.members.get(&user)?.present.value
    }

    /// A user's own name in the group, if the entries here tell one.
    pub fn nickname(&self, user: UserId) -> Option<&str> {
        self.members.get(&user).map(|member| member.nickname.value.as_str()).filter(|nickname| !nickname.is_empty())
    }
}
