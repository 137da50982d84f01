//! Names and titles for answers of the message service, which knows only ids. One look-up for all of an answer.

use std::collections::HashMap;

use api::Call;
use protocol::{
    Result,
    wire::{Conversation, ConversationKind, ListMembers, Members, Sync, SyncPage},
};

use super::Dispatch;

impl Dispatch {
    /// The conversations that moved, with names.
    pub(crate) async fn sync(&self, call: &Call, request: Sync) -> Result<SyncPage> {
        let mut page = self.services.message.sync(call, request).await?;
        self.name(call, page.heads.iter_mut().filter_map(|head| head.conversation.as_mut()).collect()).await?;
        Ok(page)
    }

    /// A group's members, with names.
    pub(super) async fn list_members(&self, call: &Call, request: ListMembers) -> Result<Members> {
        let mut page = self.services.message.list_members(call, request).await?;
        let ids = page.members.iter().filter_map(|member| Some(member.user.as_ref()?.id)).collect();
        let names = self.names(call, ids).await?;
        for user in page.members.iter_mut().filter_map(|member| member.user.as_mut()) {
            user.name = names.get(&user.id).cloned().unwrap_or_default();
        }
        Ok(page)
    }

    /// Fills in the peers' names and the groups' titles.
    async fn name(&self, call: &Call, conversations: Vec<&mut Conversation>) -> Result<()> {
        let mut peers: Vec<u64> = conversations.iter().filter_map(|of| Some(of.peer.as_ref()?.id)).collect();
        peers.sort_unstable();
        peers.dedup();
        let groups = conversations.iter().filter(|of| of.kind() == ConversationKind::Group).map(|of| of.id).collect();
        let (names, titles) = tokio::try_join!(self.names(call, peers), self.titles(call, groups))?;
        for conversation in conversations {
            if let Some(title) = titles.get(&conversation.id) {
                conversation.title.clone_from(title);
            }
            if let Some(peer) = &mut conversation.peer
                && let Some(name) = names.get(&peer.id)
            {
                peer.name.clone_from(name);
            }
        }
        Ok(())
    }

    async fn names(&self, call: &Call, ids: Vec<u64>) -> Result<HashMap<u64, String>> {
        Ok(self.find_users(call, ids).await?.into_iter().map(|user| (user.id, user.name)).collect())
    }

    async fn titles(&self, call: &Call, ids: Vec<u64>) -> Result<HashMap<u64, String>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.services.group.find_groups(call, api::GroupIds { ids }).await?;
        Ok(found.groups.into_iter().map(|group| (group.id, group.title)).collect())
    }
}
