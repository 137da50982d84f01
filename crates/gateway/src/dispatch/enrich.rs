//! Users and groups for answers of services that know only their ids. One look-up for all of an answer.

use std::collections::HashMap;

use api::{AccountEnd, Call};
use protocol::{
    Error, Result,
    wire::{
        Conversation, ConversationKind, Done, ErrorCode, GetGroup, GroupInfo, JoinRequests, ListBans, ListJoinRequests,
        ListMembers, ListReceipts, Members, Receipts, Sync, SyncPage, UserInfo, Users,
    },
};

use super::Dispatch;

/// Groups that a refusal names.
const GROUPS_NAMED_MAX: usize = 10;

impl Dispatch {
    /// The conversations that moved, with their peers, titles and avatars.
    pub(crate) async fn sync(&self, call: &Call, request: Sync) -> Result<SyncPage> {
        let mut page = self.services.message.sync(call, request).await?;
        self.name(call, page.heads.iter_mut().filter_map(|head| head.conversation.as_mut()).collect()).await?;
        Ok(page)
    }

    pub(super) async fn list_members(&self, call: &Call, request: ListMembers) -> Result<Members> {
        let mut page = self.services.message.list_members(call, request).await?;
        self.introduce(call, page.members.iter_mut().filter_map(|member| member.user.as_mut()).collect()).await?;
        Ok(page)
    }

    pub(super) async fn list_receipts(&self, call: &Call, request: ListReceipts) -> Result<Receipts> {
        let mut page = self.services.message.list_receipts(call, request).await?;
        self.introduce(call, page.receipts.iter_mut().filter_map(|receipt| receipt.user.as_mut()).collect()).await?;
        Ok(page)
    }

    pub(super) async fn list_join_requests(&self, call: &Call, request: ListJoinRequests) -> Result<JoinRequests> {
        let mut page = self.services.group.list_join_requests(call, request).await?;
        self.introduce(call, page.requests.iter_mut().filter_map(|asks| asks.user.as_mut()).collect()).await?;
        Ok(page)
    }

    /// Whoever is banned is told of, also one whose account has gone: the ban has to be found to be lifted.
    pub(super) async fn list_bans(&self, call: &Call, request: ListBans) -> Result<Users> {
        let ids = self.services.message.list_bans(call, request).await?.ids;
        let mut users: Vec<_> = ids.into_iter().map(|id| UserInfo { id, ..UserInfo::default() }).collect();
        self.introduce(call, users.iter_mut().collect()).await?;
        Ok(Users { users, next_page: String::new() })
    }

    pub(super) async fn get_group(&self, call: &Call, request: GetGroup) -> Result<GroupInfo> {
        let mut group = self.services.group.get_group(call, request).await?;
        let me = group.me.as_mut().and_then(|me| me.user.as_mut());
        self.introduce(call, me.into_iter().collect()).await?;
        Ok(group)
    }

    /// An account has ended, or has not, as it owns groups: they are named by their titles.
    pub(super) async fn ended(&self, call: &Call, AccountEnd { mut owned }: AccountEnd) -> Result<Done> {
        if owned.is_empty() {
            return Ok(Done {});
        }
        let (count, more) = (owned.len(), if owned.len() > GROUPS_NAMED_MAX { " …" } else { "" });
        owned.truncate(GROUPS_NAMED_MAX);
        let groups = self.groups(call, owned.clone()).await?;
        let title = |id: u64| groups.get(&id).map_or("", |group| group.title.as_str());
        let named: Vec<_> = owned.into_iter().map(|id| format!("{:?} ({id})", title(id))).collect();
        let named = named.join(", ");
        let message =
            format!("{count} groups with other members are owned: {named}{more}; transfer or dissolve them first");
        Err(Error::new(ErrorCode::Conflict, message))
    }

    /// Fills in the peers, and the groups' titles and avatars.
    async fn name(&self, call: &Call, conversations: Vec<&mut Conversation>) -> Result<()> {
        let peers = conversations.iter().filter_map(|of| Some(of.peer.as_ref()?.id)).collect();
        let groups = conversations.iter().filter(|of| of.kind() == ConversationKind::Group).map(|of| of.id).collect();
        let (users, groups) = tokio::try_join!(self.users(call, peers), self.groups(call, groups))?;
        for conversation in conversations {
            if let Some(group) = groups.get(&conversation.id) {
                conversation.title.clone_from(&group.title);
                conversation.avatar.clone_from(&group.avatar);
            }
            if let Some(peer) = &mut conversation.peer
                && let Some(user) = users.get(&peer.id)
            {
                peer.clone_from(user);
            }
        }
        Ok(())
    }

    /// Fills in these users. Those that are not known any more keep their ids.
    async fn introduce(&self, call: &Call, users: Vec<&mut UserInfo>) -> Result<()> {
        let known = self.users(call, users.iter().map(|user| user.id).collect()).await?;
        for user in users {
            if let Some(known) = known.get(&user.id) {
                user.clone_from(known);
            }
        }
        Ok(())
    }

    async fn users(&self, call: &Call, mut ids: Vec<u64>) -> Result<HashMap<u64, UserInfo>> {
        ids.sort_unstable();
        ids.dedup();
        Ok(self.find_users(call, ids).await?.into_iter().map(|user| (user.id, user)).collect())
    }

    async fn groups(&self, call: &Call, ids: Vec<u64>) -> Result<HashMap<u64, Conversation>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.services.group.find_groups(call, api::GroupIds { ids }).await?;
        Ok(found.groups.into_iter().map(|group| (group.id, group)).collect())
    }
}
