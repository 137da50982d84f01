//! The group service: what groups are, and who may do what in them. Who is a member, and as what, is told by the group's
//! log, and checked in the same transaction as the entry that tells it; this service says which entries may be written.

mod info;
mod join;
mod links;
mod members;

use std::{collections::HashSet, sync::Arc};

use api::{
    AppendRequest, Call, Caller, ConversationRequest, EntryRequest, GroupIds, GroupService, Groups, MemberRole,
    Membership, MessageService, RelayRequest, UserIds, UserService, append_request,
};
use async_trait::async_trait;
use cache::{Cache, Lifetime, Lookup, LookupConfig, Near};
use protocol::{
    Error, GroupId, IdGenerator, Result, limits,
    wire::{self, Conversation, ErrorCode, JoinPolicy, Role, WritePolicy, content::Kind},
};
use store::NewGroup;

use self::info::Info;
use crate::{Clock, text};

/// What may be set of the group service.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a group's title and the like may be cached.
    pub info_ttl: Lifetime,
}

/// The group service, in this process.
pub struct Service {
    store: Arc<dyn store::Groups>,
    users: Arc<dyn UserService>,
    messages: Arc<dyn MessageService>,
    groups: Arc<Lookup<Info>>,
    ids: Arc<IdGenerator>,
    clock: Clock,
}

impl Service {
    /// Makes the service.
    pub fn new(
        config: &Config,
        store: Arc<dyn store::Groups>,
        cache: Arc<dyn Cache>,
        users: Arc<dyn UserService>,
        messages: Arc<dyn MessageService>,
        ids: Arc<IdGenerator>,
        clock: Clock,
    ) -> Arc<Self> {
        // Shown with every conversation that moved: kept in the process, too.
        let lookup = LookupConfig { near: Some(Near::DEFAULT), ..LookupConfig::new("group", config.info_ttl.clone()) };
        let groups = Arc::new(Lookup::new(cache, lookup));
        Arc::new(Self { store, users, messages, groups, ids, clock })
    }

    /// A group as it is now.
    async fn group(&self, group: u64) -> Result<store::Group> {
        let found = self.store.find(vec![GroupId::new(group)]).await?.pop();
        found.ok_or_else(|| Error::not_found(format_args!("group {group}")))
    }

    /// The caller's row in a group; refused to those who are no members.
    async fn me(&self, call: &Call, group: u64) -> Result<wire::Member> {
        let member = self.messages.get_member(call, ConversationRequest { conversation: group }).await?;
        if member.user.is_some() { Ok(member) } else { Err(Error::not_member()) }
    }

    /// Refuses those who are neither owner nor admin.
    async fn check_administers(&self, call: &Call, group: u64) -> Result<()> {
        at_least(Role::Admin, self.me(call, group).await?.role())
    }

    /// Refuses users that do not exist, or no longer.
    async fn check_users(&self, call: &Call, users: &[u64]) -> Result<()> {
        for ids in users.chunks(limits::FIND_USERS_MAX) {
            let found = self.users.find_users(call, wire::FindUsers { ids: ids.to_vec(), names: Vec::new() }).await?;
            let found: HashSet<u64> = found.users.iter().filter(|user| !user.deleted).map(|user| user.id).collect();
            if let Some(missing) = ids.iter().find(|id| !found.contains(id)) {
                return Err(Error::not_found(format_args!("user {missing}")));
            }
        }
        Ok(())
    }

    /// Those of these users whom the caller may bring into a group: those who blocked the caller are passed over, and
    /// nothing tells it.
    ///
    /// # Errors
    ///
    /// One does not exist, or accepts invitations from friends only.
    async fn may_bring(&self, call: &Call, users: Vec<u64>) -> Result<Vec<u64>> {
        if users.is_empty() {
            return Ok(users);
        }
        self.check_users(call, &users).await?;
        let standings = self.messages.get_standings(call, UserIds { ids: users }).await?.standings;
        // Before blocks: that one is passed over must not show by this error's absence.
        if let Some(closed) = standings.iter().find(|user| user.write_policy() == WritePolicy::Friends && !user.friend)
        {
            let message = format!("user {} accepts invitations from friends only", closed.user);
            return Err(Error::new(ErrorCode::FriendsOnly, message));
        }
        Ok(standings.into_iter().filter(|user| !user.blocked).map(|user| user.user).collect())
    }

    /// Appends an entry to the group's log, by the caller.
    async fn tell(&self, call: &Call, group: u64, id: String, kind: Kind, membership: Membership) -> Result<()> {
        let request = entry(call, group, id, kind, membership)?;
        // No origin: the answer does not bear the position, so the connection that asked needs the push as well.
        let call = Call { origin: None, ..call.clone() };
        self.messages.append(&call, request).await.map(drop)
    }

    async fn create(&self, call: &Call, request: wire::CreateGroup) -> Result<Conversation> {
        let creator = call.caller()?.user;
        let id = text::entry_id(&request.id)?;
        let title = text::title(&request.title)?;
        let join_policy = policy(request.join_policy)?;
        let mut others = distinct("members", request.members)?;
        others.retain(|user| *user != creator.get());
        let others = self.may_bring(call, others).await?;
        let group = NewGroup {
            id: GroupId::new(self.ids.generate(self.clock.now()).get()),
            request: id,
            creator,
            title: title.clone(),
            join_policy,
            created_ms: self.clock.now_ms(),
        };
        let group = self.store.create(group).await?;
        let mut enter = vec![MemberRole { user: creator.get(), role: Role::Owner.into() }];
        enter.extend(members(&others));
        // What the group is now may have been changed since the first request; what its first entry says was not.
        let created = Kind::GroupCreated(wire::GroupCreated { title, members: others });
        let membership = Membership { create: true, enter, ..Membership::default() };
        self.tell(call, group.id.get(), request.id, created, membership).await?;
        self.groups.invalidate(&[group.id]).await;
        Ok(Info::from(group).conversation())
    }

    /// The outcome of a request that may be a retry. What its id did before stands, whatever became of the right to do it or
    /// of those it names: a refusal would say that it is not stored.
    async fn unless_done<F>(
        &self,
        call: &Call,
        group: u64,
        id: &str,
        outcome: Result<()>,
        is_it: F,
    ) -> Result<wire::Done>
    where
        F: Fn(&Kind) -> bool + Send,
    {
        let Err(error) = outcome else { return Ok(wire::Done {}) };
        match self.done_before(call, id).await {
            Some((conversation, kind)) if conversation == group && is_it(&kind) => Ok(wire::Done {}),
            _ => Err(error),
        }
    }

    /// What the caller's request with this id told, and where; `None` also if that cannot be found out.
    async fn done_before(&self, call: &Call, id: &str) -> Option<(u64, Kind)> {
        let found = self.messages.find_entry(call, EntryRequest { id: id.to_owned() }).await.ok()?;
        Some((found.conversation, found.content?.view().ok()?.kind?))
    }

    /// There are tellings to be told; if nobody hears that now, the next entry rings again.
    async fn relay(&self, call: &Call) {
        if let Err(error) = self.messages.relay(&call.by_service(), RelayRequest {}).await {
            tracing::debug!(%error, "what was noted is told later");
        }
    }
}

/// An entry of the group's log, by the caller.
fn entry(call: &Call, group: u64, id: String, kind: Kind, membership: Membership) -> Result<AppendRequest> {
    Ok(AppendRequest {
        conversation: group,
        sender: call.caller()?.user.get(),
        id,
        content: Some(kind.into()),
        act: Some(append_request::Act::Membership(membership)),
    })
}

/// Refuses a role that is too low.
fn at_least(wanted: Role, role: Role) -> Result<()> {
    match wanted {
        _ if role >= wanted => Ok(()),
        Role::Owner => Err(Error::new(ErrorCode::Forbidden, "only the group's owner may do this")),
        _ => Err(Error::new(ErrorCode::Forbidden, "only the group's owner and admins may do this")),
    }
}

fn members(users: &[u64]) -> Vec<MemberRole> {
    users.iter().map(|user| MemberRole { user: *user, role: Role::Member.into() }).collect()
}

/// Sorted, each once, within the limit.
fn distinct(field: &str, mut users: Vec<u64>) -> Result<Vec<u64>> {
    users.sort_unstable();
    users.dedup();
    if users.len() > limits::INVITE_MAX { Err(Error::limit(field, users.len(), limits::INVITE_MAX)) } else { Ok(users) }
}

/// The same of others than the caller, at least one.
fn others(caller: Caller, users: Vec<u64>) -> Result<Vec<u64>> {
    let users = distinct("users", users)?;
    if users.is_empty() || users.contains(&caller.user.get()) {
        return Err(Error::invalid("users: name at least one user, and not yourself"));
    }
    Ok(users)
}

fn policy(policy: i32) -> Result<JoinPolicy> {
    JoinPolicy::try_from(policy)
        .map_err(|_| Error::invalid("join_policy: allowed are OPEN, BY_INVITATION and BY_APPROVAL"))
}

#[async_trait]
impl GroupService for Service {
    async fn create_group(&self, call: &Call, request: wire::CreateGroup) -> Result<Conversation> {
        let (id, title) = (request.id.clone(), request.title.clone());
        let error = match self.create(call, request).await {
            Err(error) => error,
            created => return created,
        };
        match self.done_before(call, &id).await {
            Some((group, Kind::GroupCreated(created))) if text::title(&title)? == created.title => {
                Ok(Info::from(self.group(group).await?).conversation())
            }
            _ => Err(error),
        }
    }

    async fn invite(&self, call: &Call, request: wire::Invite) -> Result<wire::Done> {
        let outcome = self.bring(call, request.clone()).await;
        let is_it = |kind: &Kind| match kind {
            Kind::MembersAdded(added) => added.members.iter().all(|user| request.users.contains(user)),
            _ => false,
        };
        self.unless_done(call, request.group, &request.id, outcome, is_it).await
    }

    async fn join_group(&self, call: &Call, request: wire::JoinGroup) -> Result<wire::Joined> {
        let outcome = self.join(call, request.clone()).await;
        let Err(error) = outcome else { return outcome };
        match self.done_before(call, &request.id).await {
            Some((group, Kind::MemberJoined(_))) if [0, group].contains(&request.group) => {
                Ok(join::joined(self.group(group).await?, false))
            }
            _ => Err(error),
        }
    }

    async fn leave_group(&self, call: &Call, request: wire::LeaveGroup) -> Result<wire::Done> {
        let exit = vec![call.caller()?.user.get()];
        let membership = Membership { exit, ..Membership::default() };
        self.tell(call, request.group, request.id, Kind::MemberLeft(wire::MemberLeft {}), membership).await?;
        Ok(wire::Done {})
    }

    async fn get_group(&self, call: &Call, request: wire::GetGroup) -> Result<wire::GroupInfo> {
        self.describe(call, request).await
    }

    async fn update_group(&self, call: &Call, request: wire::UpdateGroup) -> Result<wire::Done> {
        self.update(call, request).await?;
        Ok(wire::Done {})
    }

    async fn remove_members(&self, call: &Call, request: wire::RemoveMembers) -> Result<wire::Done> {
        let outcome = self.remove(call, request.clone()).await;
        let is_it = |kind: &Kind| match kind {
            Kind::MembersRemoved(removed) => {
                removed.banned == request.ban && removed.members.iter().all(|user| request.users.contains(user))
            }
            _ => false,
        };
        self.unless_done(call, request.group, &request.id, outcome, is_it).await
    }

    async fn lift_bans(&self, call: &Call, request: wire::LiftBans) -> Result<wire::Done> {
        let users = others(call.caller()?, request.users)?;
        let membership = Membership { lift: users.clone(), at_least: Role::Admin.into(), ..Membership::default() };
        let lifted = Kind::BansLifted(wire::BansLifted { users });
        self.tell(call, request.group, request.id, lifted, membership).await?;
        Ok(wire::Done {})
    }

    async fn set_role(&self, call: &Call, request: wire::SetRole) -> Result<wire::Done> {
        let outcome = self.change_role(call, &request).await;
        let changed = Kind::RoleChanged(wire::RoleChanged { member: request.user, role: request.role });
        self.unless_done(call, request.group, &request.id, outcome, |kind| *kind == changed).await
    }

    async fn transfer_group(&self, call: &Call, request: wire::TransferGroup) -> Result<wire::Done> {
        self.transfer(call, request).await?;
        Ok(wire::Done {})
    }

    async fn mute_members(&self, call: &Call, request: wire::MuteMembers) -> Result<wire::Done> {
        self.mute(call, request).await?;
        Ok(wire::Done {})
    }

    async fn set_nickname(&self, call: &Call, request: wire::SetNickname) -> Result<wire::Done> {
        let nickname = text::line("nickname", &request.nickname, limits::NICKNAME_CHARS_MAX)?;
        let membership = Membership { nickname: Some(nickname.clone()), ..Membership::default() };
        let changed = Kind::NicknameChanged(wire::NicknameChanged { nickname });
        self.tell(call, request.group, request.id, changed, membership).await?;
        Ok(wire::Done {})
    }

    async fn dissolve_group(&self, call: &Call, request: wire::DissolveGroup) -> Result<wire::Done> {
        let membership = Membership { dissolve: true, at_least: Role::Owner.into(), ..Membership::default() };
        let dissolved = Kind::GroupDissolved(wire::GroupDissolved {});
        self.tell(call, request.group, request.id, dissolved, membership).await?;
        Ok(wire::Done {})
    }

    async fn answer_join(&self, call: &Call, request: wire::AnswerJoin) -> Result<wire::Done> {
        let outcome = self.answer(call, &request).await;
        let admitted = Kind::MembersAdded(wire::MembersAdded { members: vec![request.user] });
        let is_it = |kind: &Kind| request.admit && *kind == admitted;
        self.unless_done(call, request.group, &request.id, outcome, is_it).await
    }

    async fn list_join_requests(&self, call: &Call, request: wire::ListJoinRequests) -> Result<wire::JoinRequests> {
        self.asking(call, request).await
    }

    async fn create_group_link(&self, call: &Call, request: wire::CreateGroupLink) -> Result<wire::GroupLink> {
        self.create_link(call, request).await
    }

    async fn list_group_links(&self, call: &Call, request: wire::ListGroupLinks) -> Result<wire::GroupLinks> {
        self.links(call, request).await
    }

    async fn revoke_group_link(&self, call: &Call, request: wire::RevokeGroupLink) -> Result<wire::Done> {
        self.check_administers(call, request.group).await?;
        if self.store.revoke_link(GroupId::new(request.group), request.code).await? {
            Ok(wire::Done {})
        } else {
            Err(Error::not_found("a link of this group with this code"))
        }
    }

    async fn find_groups(&self, _call: &Call, request: GroupIds) -> Result<Groups> {
        let ids: Vec<GroupId> = request.ids.into_iter().map(GroupId::new).collect();
        let groups = self.find(&ids).await?;
        Ok(Groups { groups: groups.into_iter().flatten().map(Info::conversation).collect() })
    }
}
