//! Groups: what they are, and who may do what in them.

use std::collections::{BTreeMap, BTreeSet};

use client::{
    ConversationId, EntryId, UserId,
    wire::{self, ErrorCode, JoinPolicy, Role, content::Kind},
};

use super::{Log, Member, Outcome, Reference, refused};

#[derive(Debug, Clone, Default)]
pub struct Group {
    pub title: String,
    pub announcement: String,
    pub policy: JoinPolicy,
    pub admins_invite: bool,
    pub muted: bool,
    pub dissolved: bool,
    pub bans: BTreeSet<UserId>,
    /// Who is muted, once a member.
    pub mutes: BTreeSet<UserId>,
    /// Who asks to be let in, and what was written along: the first time, which is told, and the last time, which is listed.
    pub requests: BTreeMap<UserId, (String, String)>,
    pub links: BTreeMap<String, Link>,
}

#[derive(Debug, Clone, Default)]
pub struct Link {
    /// 0: any number.
    pub uses_max: u32,
    pub uses: u32,
}

impl Link {
    pub fn is_used_up(&self) -> bool {
        self.uses_max > 0 && self.uses >= self.uses_max
    }
}

/// All refusals that apply, if any.
fn unless(refusals: &[(bool, ErrorCode)]) -> Outcome {
    let codes: Vec<_> = refusals.iter().filter(|(applies, _)| *applies).map(|(_, code)| *code).collect();
    if codes.is_empty() { Ok(()) } else { Err(codes) }
}

impl Reference {
    pub fn group(&self, id: ConversationId) -> &Group {
        self.logs[&id].group.as_ref().unwrap()
    }

    pub fn group_mut(&mut self, id: ConversationId) -> &mut Group {
        self.log(id).group.as_mut().unwrap()
    }

    fn role(&self, id: ConversationId, user: UserId) -> Option<Role> {
        self.logs[&id].members.get(&user).map(|member| member.role)
    }

    /// Whoever does something to a group has at least this role.
    fn acts(&self, id: ConversationId, user: UserId, at_least: Role) -> Outcome {
        let role = self.role(id, user);
        unless(&[
            (role.is_none(), ErrorCode::NotMember),
            (role.is_some_and(|role| role < at_least), ErrorCode::Forbidden),
        ])
    }

    /// The same, and the group's log takes entries.
    fn writes(&self, id: ConversationId, user: UserId, at_least: Role) -> Outcome {
        both(self.acts(id, user, at_least), unless(&[(self.group(id).dissolved, ErrorCode::Dissolved)]))
    }

    /// Whether these have all to be asked first.
    fn needs_friends(&self, by: UserId, users: &[UserId]) -> bool {
        users.iter().any(|user| self.users[user].friends_only && !self.contact(*user, by).friend)
    }

    /// Those who are brought in: others are left out, and nothing tells it.
    fn brought(&self, by: UserId, users: &[UserId]) -> Vec<UserId> {
        users.iter().copied().filter(|user| !self.contact(*user, by).blocked).collect()
    }

    fn enter(&mut self, id: ConversationId, user: UserId, role: Role) {
        let log = self.log(id);
        if log.members.contains_key(&user) {
            return;
        }
        let read = log.end();
        log.left.remove(&user);
        let muted = log.group.as_ref().is_some_and(|group| group.mutes.contains(&user));
        log.members.insert(user, Member { role, muted, read, ..Member::default() });
        self.group_mut(id).requests.remove(&user);
        self.users.get_mut(&user).unwrap().groups.push((id, true));
    }

    fn exit(&mut self, id: ConversationId, user: UserId) {
        let log = self.log(id);
        if log.members.remove(&user).is_some() {
            let end = log.end();
            log.left.insert(user, end);
            self.users.get_mut(&user).unwrap().groups.push((id, false));
        }
    }

    fn tell(&mut self, id: ConversationId, by: UserId, entry: EntryId, kind: Kind) {
        self.log(id).append(by, entry, kind.into_content(), false);
    }

    pub fn may_create(&self, by: UserId, users: &[UserId]) -> Outcome {
        let others: Vec<_> = users.iter().copied().filter(|user| *user != by).collect();
        unless(&[(self.needs_friends(by, &others), ErrorCode::FriendsOnly)])
    }

    pub fn create(&mut self, id: ConversationId, by: UserId, entry: EntryId, group: Group, users: &[UserId]) {
        let title = group.title.clone();
        self.logs.insert(id, Log { group: Some(group), ..Log::default() });
        self.tell(id, by, entry, Kind::GroupCreated(wire::GroupCreated { title, ..Default::default() }));
        self.enter(id, by, Role::Owner);
        for user in self.brought(by, users) {
            self.enter(id, user, Role::Member);
        }
    }

    pub fn invite(&mut self, id: ConversationId, by: UserId, entry: EntryId, user: UserId) -> Outcome {
        let at_least = if self.group(id).admins_invite { Role::Admin } else { Role::Member };
        both(self.acts(id, by, at_least), unless(&[(by == user, ErrorCode::Invalid)]))?;
        if self.role(id, user).is_some() {
            return Ok(());
        }
        let dissolved = self.group(id).dissolved;
        let banned = self.group(id).bans.contains(&user);
        let needs_friends = self.needs_friends(by, &[user]);
        if self.brought(by, &[user]).is_empty() {
            // Nobody is brought in, and nothing tells why.
            return unless(&[(needs_friends, ErrorCode::FriendsOnly)]);
        }
        unless(&[
            (needs_friends, ErrorCode::FriendsOnly),
            (banned, ErrorCode::Banned),
            (dissolved, ErrorCode::Dissolved),
        ])?;
        self.tell(id, by, entry, Kind::MembersAdded(wire::MembersAdded::default()));
        for user in self.brought(by, &[user]) {
            self.enter(id, user, Role::Member);
        }
        Ok(())
    }

    /// Whether the user waits now.
    pub fn join(
        &mut self,
        id: ConversationId,
        user: UserId,
        entry: EntryId,
        link: Option<&str>,
        message: &str,
    ) -> Outcome<bool> {
        if link.is_some_and(|code| !self.group(id).links.contains_key(code)) {
            return refused(ErrorCode::NotFound);
        }
        if self.role(id, user).is_some() {
            return Ok(false);
        }
        let group = self.group(id);
        let by_link = link.map(|code| group.links.get(code).is_some_and(|link| !link.is_used_up()));
        unless(&[
            (group.bans.contains(&user), ErrorCode::Banned),
            (group.dissolved, ErrorCode::Dissolved),
            (by_link == Some(false), ErrorCode::NotFound),
            (by_link.is_none() && group.policy == JoinPolicy::ByInvitation, ErrorCode::NotFound),
        ])?;
        if by_link.is_none() && group.policy == JoinPolicy::ByApproval {
            let requests = &mut self.group_mut(id).requests;
            requests.entry(user).or_insert_with(|| (message.into(), String::new())).1 = message.into();
            return Ok(true);
        }
        if let Some(code) = link {
            self.group_mut(id).links.get_mut(code).unwrap().uses += 1;
        }
        self.tell(id, user, entry, Kind::MemberJoined(wire::MemberJoined {}));
        self.enter(id, user, Role::Member);
        Ok(false)
    }

    pub fn answer_join(
        &mut self,
        id: ConversationId,
        by: UserId,
        entry: EntryId,
        user: UserId,
        admit: bool,
    ) -> Outcome {
        let asked = self.group(id).requests.contains_key(&user);
        let is_member = self.role(id, user).is_some();
        // To let in whom another let in, or to refuse whom another refused, is no failure.
        both(
            self.acts(id, by, Role::Admin),
            unless(&[(if admit { !asked && !is_member } else { is_member }, ErrorCode::Conflict)]),
        )?;
        if admit && !is_member {
            unless(&[
                (self.group(id).dissolved, ErrorCode::Dissolved),
                (self.group(id).bans.contains(&user), ErrorCode::Banned),
            ])?;
        }
        self.group_mut(id).requests.remove(&user);
        if admit && !is_member {
            self.tell(id, by, entry, Kind::MembersAdded(wire::MembersAdded::default()));
            self.enter(id, user, Role::Member);
        }
        Ok(())
    }

    pub fn leave(&mut self, id: ConversationId, user: UserId, entry: EntryId) -> Outcome {
        let role = self.role(id, user);
        let is_alone = self.logs[&id].members.len() == 1;
        unless(&[
            (role.is_none(), ErrorCode::NotMember),
            (role == Some(Role::Owner) && !is_alone && !self.group(id).dissolved, ErrorCode::Forbidden),
        ])?;
        self.tell(id, user, entry, Kind::MemberLeft(wire::MemberLeft {}));
        self.exit(id, user);
        if role == Some(Role::Owner) {
            self.group_mut(id).dissolved = true;
        }
        Ok(())
    }

    /// Whether the one is below the other, or no member.
    fn is_above(&self, id: ConversationId, by: UserId, user: UserId) -> bool {
        self.role(id, user).is_none_or(|role| self.role(id, by) > Some(role))
    }

    pub fn remove(&mut self, id: ConversationId, by: UserId, entry: EntryId, user: UserId, ban: bool) -> Outcome {
        let does_nothing = !ban && self.role(id, user).is_none();
        let may = if does_nothing { self.acts(id, by, Role::Admin) } else { self.writes(id, by, Role::Admin) };
        both(may, unless(&[(by == user, ErrorCode::Invalid), (!self.is_above(id, by, user), ErrorCode::Forbidden)]))?;
        if does_nothing {
            return Ok(());
        }
        self.tell(id, by, entry, Kind::MembersRemoved(wire::MembersRemoved::default()));
        self.exit(id, user);
        if ban {
            self.group_mut(id).bans.insert(user);
        }
        Ok(())
    }

    pub fn lift(&mut self, id: ConversationId, by: UserId, entry: EntryId, user: UserId) -> Outcome {
        both(self.writes(id, by, Role::Admin), unless(&[(by == user, ErrorCode::Invalid)]))?;
        self.tell(id, by, entry, Kind::BansLifted(wire::BansLifted::default()));
        self.group_mut(id).bans.remove(&user);
        Ok(())
    }

    pub fn set_role(&mut self, id: ConversationId, by: UserId, entry: EntryId, user: UserId, role: Role) -> Outcome {
        both(
            self.acts(id, by, Role::Owner),
            unless(&[(by == user, ErrorCode::Invalid), (self.role(id, user).is_none(), ErrorCode::NotFound)]),
        )?;
        if self.role(id, user) == Some(role) {
            return Ok(());
        }
        self.writes(id, by, Role::Owner)?;
        self.tell(id, by, entry, Kind::RoleChanged(wire::RoleChanged::default()));
        self.log(id).members.get_mut(&user).unwrap().role = role;
        Ok(())
    }

    pub fn transfer(&mut self, id: ConversationId, by: UserId, entry: EntryId, user: UserId) -> Outcome {
        both(
            self.writes(id, by, Role::Owner),
            unless(&[(by == user, ErrorCode::Invalid), (self.role(id, user).is_none(), ErrorCode::NotFound)]),
        )?;
        self.tell(id, by, entry, Kind::OwnerChanged(wire::OwnerChanged::default()));
        let log = self.log(id);
        log.members.get_mut(&by).unwrap().role = Role::Admin;
        log.members.get_mut(&user).unwrap().role = Role::Owner;
        Ok(())
    }

    pub fn mute(&mut self, id: ConversationId, by: UserId, entry: EntryId, user: UserId, muted: bool) -> Outcome {
        both(
            self.writes(id, by, Role::Admin),
            unless(&[(by == user, ErrorCode::Invalid), (!self.is_above(id, by, user), ErrorCode::Forbidden)]),
        )?;
        self.tell(id, by, entry, Kind::MembersMuted(wire::MembersMuted::default()));
        // Whether the user is a member or not.
        let mutes = &mut self.group_mut(id).mutes;
        if muted {
            mutes.insert(user)
        } else {
            mutes.remove(&user)
        };
        if let Some(member) = self.log(id).members.get_mut(&user) {
            member.muted = muted;
        }
        Ok(())
    }

    pub fn update(&mut self, id: ConversationId, by: UserId, entry: EntryId, change: wire::GroupChanged) -> Outcome {
        self.writes(id, by, Role::Admin)?;
        let policy = change.join_policy.map(|_| change.join_policy());
        self.tell(id, by, entry, Kind::GroupChanged(change.clone()));
        let group = self.group_mut(id);
        group.title = change.title.unwrap_or(std::mem::take(&mut group.title));
        group.announcement = change.announcement.unwrap_or(std::mem::take(&mut group.announcement));
        group.policy = policy.unwrap_or(group.policy);
        group.admins_invite = change.admins_invite.unwrap_or(group.admins_invite);
        group.muted = change.muted.unwrap_or(group.muted);
        Ok(())
    }

    pub fn set_nickname(&mut self, id: ConversationId, by: UserId, entry: EntryId, nickname: &str) -> Outcome {
        self.writes(id, by, Role::Member)?;
        self.tell(id, by, entry, Kind::NicknameChanged(wire::NicknameChanged::default()));
        self.log(id).members.get_mut(&by).unwrap().nickname = nickname.into();
        Ok(())
    }

    pub fn dissolve(&mut self, id: ConversationId, by: UserId, entry: EntryId) -> Outcome {
        self.writes(id, by, Role::Owner)?;
        self.tell(id, by, entry, Kind::GroupDissolved(wire::GroupDissolved {}));
        self.group_mut(id).dissolved = true;
        Ok(())
    }

    /// Links are for owner and admins.
    pub fn may_make_links(&self, id: ConversationId, by: UserId) -> Outcome {
        self.writes(id, by, Role::Admin)
    }

    pub fn revoke_link(&mut self, id: ConversationId, by: UserId, code: &str) -> Outcome {
        self.acts(id, by, Role::Admin)?;
        self.group_mut(id).links.remove(code);
        Ok(())
    }
}

fn both(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Err(mut codes), Err(more)) => {
            codes.extend(more);
            Err(codes)
        }
        (one, other) => one.and(other),
    }
}

trait IntoContent {
    fn into_content(self) -> wire::Content;
}

impl IntoContent for Kind {
    fn into_content(self) -> wire::Content {
        wire::Content { kind: Some(self), ..wire::Content::default() }
    }
}
