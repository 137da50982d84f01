//! The group service: what groups are, and who may enter and leave them. Who is a member is told by the group's log, in
//! the same transaction as the entry that tells it; this service says which entries may be written.

use std::{collections::HashSet, sync::Arc, time::Duration};

use api::{
    AppendRequest, Call, FilterMembersRequest, GroupIds, GroupService, Groups, MemberRole, Membership, MessageService,
    UserService, append_request,
};
use async_trait::async_trait;
use cache::{Cache, Lookup, LookupConfig};
use protocol::{
    Error, GroupId, IdGenerator, Result, UserId, limits,
    wire::{self, Conversation, ConversationKind, ErrorCode, JoinPolicy, Role, content::Kind},
};
use store::NewGroup;

use crate::{Clock, text};

/// What may be set of the group service.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a group's title and the like may be cached.
    pub info_ttl: Duration,
}

/// The group service, in this process.
pub struct Service {
    store: Arc<dyn store::Groups>,
    users: Arc<dyn UserService>,
    messages: Arc<dyn MessageService>,
    groups: Lookup<Info>,
    ids: Arc<IdGenerator>,
    clock: Clock,
}

/// A group as the cache holds it.
#[derive(Clone, PartialEq, prost::Message)]
struct Info {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(enumeration = "JoinPolicy", tag = "3")]
    join_policy: i32,
}

impl From<store::Group> for Info {
    fn from(group: store::Group) -> Self {
        Self { id: group.id.get(), title: group.title, join_policy: group.join_policy.into() }
    }
}

impl Info {
    fn conversation(self) -> Conversation {
        Conversation { id: self.id, kind: ConversationKind::Group.into(), title: self.title, ..Conversation::default() }
    }
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
        let groups = Lookup::new(cache, LookupConfig::new("group", config.info_ttl));
        Arc::new(Self { store, users, messages, groups, ids, clock })
    }

    async fn find(&self, groups: &[GroupId]) -> Result<Vec<Option<Info>>> {
        let load = |ids: Vec<GroupId>| async move {
            let found = self.store.find(ids).await?;
            Ok(found.into_iter().map(|group| (group.id, Info::from(group))).collect())
        };
        self.groups.get_many(groups, load).await
    }

    async fn group(&self, group: u64) -> Result<Info> {
        let found = self.find(&[GroupId::new(group)]).await?.pop().flatten();
        found.ok_or_else(|| Error::not_found(format_args!("group {group}")))
    }

    /// Refuses users that do not exist.
    async fn check_users(&self, call: &Call, users: &[u64]) -> Result<()> {
        for ids in users.chunks(limits::FIND_USERS_MAX) {
            let found = self.users.find_users(call, wire::FindUsers { ids: ids.to_vec(), names: Vec::new() }).await?;
            let found: HashSet<u64> = found.users.iter().map(|user| user.id).collect();
            if let Some(missing) = ids.iter().find(|id| !found.contains(id)) {
                return Err(Error::not_found(format_args!("user {missing}")));
            }
        }
        Ok(())
    }

    async fn tell(
        &self,
        call: &Call,
        group: u64,
        sender: UserId,
        id: String,
        kind: Kind,
        members: Membership,
    ) -> Result<()> {
        let request = AppendRequest {
            conversation: group,
            sender: sender.get(),
            id,
            content: Some(kind.into()),
            act: Some(append_request::Act::Membership(members)),
        };
        // No origin: the answer does not bear the position, so the connection that asked needs the push as well.
        let call = Call { origin: None, ..call.clone() };
        self.messages.append(&call, request).await.map(drop)
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

#[async_trait]
impl GroupService for Service {
    async fn create_group(&self, call: &Call, request: wire::CreateGroup) -> Result<Conversation> {
        let creator = call.caller()?.user;
        let id = text::entry_id(&request.id)?;
        let title = text::title(&request.title)?;
        let join_policy = JoinPolicy::try_from(request.join_policy)
            .map_err(|_| Error::invalid("join_policy: allowed are OPEN and BY_INVITATION"))?;
        let mut others = distinct("members", request.members)?;
        others.retain(|user| *user != creator.get());
        self.check_users(call, &others).await?;
        let group = NewGroup {
            id: GroupId::new(self.ids.generate(self.clock.now()).get()),
            request: id,
            creator,
            title: title.clone(),
            join_policy,
            created_ms: self.clock.now_ms(),
        };
        let group = self.store.create(group).await?;
        if group.title != title || group.join_policy != join_policy {
            return Err(Error::new(ErrorCode::IdReused, "id: used before to make another group"));
        }
        self.groups.invalidate(&[group.id]).await;
        let mut enter = vec![MemberRole { user: creator.get(), role: Role::Owner.into() }];
        enter.extend(members(&others));
        let created = Kind::GroupCreated(wire::GroupCreated { title, members: others });
        let membership = Membership { create: true, enter, ..Membership::default() };
        self.tell(call, group.id.get(), creator, request.id, created, membership).await?;
        Ok(Info::from(group).conversation())
    }

    async fn invite(&self, call: &Call, request: wire::Invite) -> Result<wire::Done> {
        let caller = call.caller()?;
        let mut users = distinct("users", request.users)?;
        // Whoever enters by an entry may write it: nobody invites themselves in.
        users.retain(|user| *user != caller.user.get());
        if users.is_empty() {
            return Err(Error::invalid("users: name at least one user other than yourself"));
        }
        self.group(request.group).await?;
        self.check_users(call, &users).await?;
        let membership = Membership { enter: members(&users), ..Membership::default() };
        let added = Kind::MembersAdded(wire::MembersAdded { members: users });
        self.tell(call, request.group, caller.user, request.id, added, membership).await?;
        Ok(wire::Done {})
    }

    async fn join_group(&self, call: &Call, request: wire::JoinGroup) -> Result<wire::Joined> {
        let caller = call.caller()?;
        let group = self.group(request.group).await?;
        let user = caller.user.get();
        let known = FilterMembersRequest { conversation: request.group, users: vec![user] };
        if !self.messages.filter_members(call, known).await?.ids.is_empty() {
            return Ok(wire::Joined { conversation: Some(group.conversation()), waiting: false });
        }
        if group.join_policy() != JoinPolicy::Open {
            return Err(Error::new(ErrorCode::Forbidden, "this group is joined by invitation only: ask a member"));
        }
        let membership = Membership { enter: members(&[user]), ..Membership::default() };
        let joined = Kind::MemberJoined(wire::MemberJoined {});
        self.tell(call, request.group, caller.user, request.id, joined, membership).await?;
        Ok(wire::Joined { conversation: Some(group.conversation()), waiting: false })
    }

    async fn leave_group(&self, call: &Call, request: wire::LeaveGroup) -> Result<wire::Done> {
        let caller = call.caller()?;
        let membership = Membership { exit: vec![caller.user.get()], ..Membership::default() };
        let left = Kind::MemberLeft(wire::MemberLeft {});
        self.tell(call, request.group, caller.user, request.id, left, membership).await?;
        Ok(wire::Done {})
    }

    async fn find_groups(&self, _call: &Call, request: GroupIds) -> Result<Groups> {
        let ids: Vec<GroupId> = request.ids.into_iter().map(GroupId::new).collect();
        let groups = self.find(&ids).await?;
        Ok(Groups { groups: groups.into_iter().flatten().map(Info::conversation).collect() })
    }
}
