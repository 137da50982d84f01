//! Who is a member, and as what.

use api::{Call, FilterMembersRequest, MemberRole, Membership};
use protocol::{
    Error, GroupId, Result,
    wire::{self, ErrorCode, Role, content::Kind},
};

use super::{Service, at_least, distinct, members, others};

impl Service {
    pub(super) async fn bring(&self, call: &Call, request: wire::Invite) -> Result<()> {
        let caller = call.caller()?;
        let mut users = distinct("users", request.users)?;
        // Whoever enters by an entry may write it: nobody invites themselves in.
        users.retain(|user| *user != caller.user.get());
        if users.is_empty() {
            return Err(Error::invalid("users: name at least one user other than yourself"));
        }
        let me = self.me(call, request.group).await?;
        let least = if self.group(request.group).await?.admins_invite { Role::Admin } else { Role::Member };
        at_least(least, me.role())?;
        let known = self.members_of(call, request.group, &users).await?;
        users.retain(|user| !known.contains(user));
        let users = self.may_bring(call, users).await?;
        if users.is_empty() {
            return Ok(());
        }
        let membership = Membership { enter: members(&users), at_least: least.into(), ..Membership::default() };
        let added = Kind::MembersAdded(wire::MembersAdded { members: users.clone() });
        self.tell(call, request.group, request.id, added, membership).await?;
        self.close_of_members(call, GroupId::new(request.group), &users).await
    }

    pub(super) async fn remove(&self, call: &Call, request: wire::RemoveMembers) -> Result<()> {
        let mut users = others(call.caller()?, request.users)?;
        self.check_administers(call, request.group).await?;
        let known = self.members_of(call, request.group, &users).await?;
        if request.ban {
            let strangers: Vec<u64> = users.iter().copied().filter(|user| !known.contains(user)).collect();
            self.check_users(call, &strangers).await?;
        } else {
            users = known;
            if users.is_empty() {
                return Ok(());
            }
        }
        let membership = Membership {
            exit: users.clone(),
            ban: if request.ban { users.clone() } else { Vec::new() },
            at_least: Role::Admin.into(),
            above: users.clone(),
            ..Membership::default()
        };
        let removed = Kind::MembersRemoved(wire::MembersRemoved { members: users, banned: request.ban });
        self.tell(call, request.group, request.id, removed, membership).await
    }

    pub(super) async fn change_role(&self, call: &Call, request: &wire::SetRole) -> Result<()> {
        let Ok(role @ (Role::Member | Role::Admin)) = Role::try_from(request.role) else {
            return Err(Error::invalid("role: allowed are MEMBER and ADMIN; an owner is made by transfer_group"));
        };
        self.check_other(call, request.user)?;
        at_least(Role::Owner, self.me(call, request.group).await?.role())?;
        if self.row(call, request.group, request.user).await?.role() == role {
            return Ok(());
        }
        let membership = Membership {
            roles: vec![MemberRole { user: request.user, role: role.into() }],
            at_least: Role::Owner.into(),
            ..Membership::default()
        };
        let changed = Kind::RoleChanged(wire::RoleChanged { member: request.user, role: role.into() });
        self.tell(call, request.group, request.id.clone(), changed, membership).await
    }

    pub(super) async fn transfer(&self, call: &Call, request: wire::TransferGroup) -> Result<()> {
        let me = call.caller()?.user.get();
        self.check_other(call, request.user)?;
        // That the new owner is a member is seen to in the transaction.
        let membership = Membership {
            roles: vec![
                MemberRole { user: request.user, role: Role::Owner.into() },
                MemberRole { user: me, role: Role::Admin.into() },
            ],
            at_least: Role::Owner.into(),
            ..Membership::default()
        };
        let changed = Kind::OwnerChanged(wire::OwnerChanged { owner: request.user });
        match self.tell(call, request.group, request.id, changed, membership).await {
            Err(error) if error.code() == ErrorCode::Conflict => Err(no_member(request.user)),
            outcome => outcome,
        }
    }

    pub(super) async fn mute(&self, call: &Call, request: wire::MuteMembers) -> Result<()> {
        let users = others(call.caller()?, request.users)?;
        if request.until_ms < 0 {
            return Err(Error::invalid("until_ms: milliseconds since 1970, or 0 to lift it"));
        }
        let membership = Membership {
            mute: users.clone(),
            mute_until_ms: request.until_ms,
            at_least: Role::Admin.into(),
            above: users.clone(),
            ..Membership::default()
        };
        let muted = Kind::MembersMuted(wire::MembersMuted { members: users, until_ms: request.until_ms });
        self.tell(call, request.group, request.id, muted, membership).await
    }

    /// Those of these users who are members.
    pub(super) async fn members_of(&self, call: &Call, group: u64, users: &[u64]) -> Result<Vec<u64>> {
        let request = FilterMembersRequest { conversation: group, users: users.to_vec() };
        Ok(self.messages.filter_members(call, request).await?.ids)
    }

    /// A member's row, as the caller, who is a member, may see it.
    async fn row(&self, call: &Call, group: u64, user: u64) -> Result<wire::Member> {
        let request = wire::ListMembers { group, after: user.saturating_sub(1), limit: 1, admins: false };
        let row = self.messages.list_members(call, request).await?.members.pop();
        row.filter(|row| row.user.as_ref().is_some_and(|found| found.id == user)).ok_or_else(|| no_member(user))
    }

    fn check_other(&self, call: &Call, user: u64) -> Result<()> {
        if user == call.caller()?.user.get() {
            return Err(Error::invalid("user: name another member, not yourself"));
        }
        Ok(())
    }
}

fn no_member(user: u64) -> Error {
    Error::not_found(format_args!("a member {user} of this group"))
}
