//! What groups are.

use std::sync::Arc;

use api::{Call, ConversationRequest, Membership};
use protocol::{
    Error, GroupId, Result, limits,
    wire::{self, Conversation, ConversationKind, GroupChanged, JoinPolicy, Role, content::Kind},
};

use super::{Service, entry, policy};
use crate::text;

/// A group as the cache holds it: what others than its members are shown, again and again.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Info {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    title: String,
    #[prost(string, tag = "3")]
    avatar: String,
}

impl From<store::Group> for Info {
    fn from(group: store::Group) -> Self {
        Self { id: group.id.get(), title: group.title, avatar: group.avatar }
    }
}

impl Info {
    pub(super) fn conversation(self) -> Conversation {
        Conversation {
            id: self.id,
            kind: ConversationKind::Group.into(),
            title: self.title,
            avatar: self.avatar,
            ..Conversation::default()
        }
    }
}

impl Service {
    pub(super) async fn find(&self, groups: &[GroupId]) -> Result<Vec<Option<Info>>> {
        let load = |ids: Vec<GroupId>| async move {
            let found = self.store.find(ids).await?;
            Ok(found.into_iter().map(|group| (group.id, Info::from(group))).collect())
        };
        self.groups.get_many(groups, load).await
    }

    pub(super) async fn describe(&self, call: &Call, request: wire::GetGroup) -> Result<wire::GroupInfo> {
        let (id, by_link) = match request.by {
            Some(wire::get_group::By::Group(group)) => (group, false),
            Some(wire::get_group::By::Link(code)) => (self.usable_link(code).await?.group.get(), true),
            None => return Err(Error::invalid("group, link: one of them is needed")),
        };
        let group = self.group(id).await?;
        let me = self.messages.get_member(call, ConversationRequest { conversation: id }).await?;
        let is_member = me.user.is_some();
        let roster = self.messages.get_roster(&call.by_service(), ConversationRequest { conversation: id }).await?;
        let is_secret = group.join_policy == JoinPolicy::ByInvitation && !by_link;
        // One that has no member and never had one is only about to be made.
        let is_unmade = roster.members == 0 && !group.dissolved;
        if !is_member && (is_secret || is_unmade) {
            return Err(Error::not_found(format_args!("group {id}")));
        }
        Ok(wire::GroupInfo {
            description: group.description.clone(),
            announcement: if is_member { group.announcement.clone() } else { String::new() },
            join_policy: group.join_policy.into(),
            admins_invite: group.admins_invite,
            muted: group.muted,
            dissolved: group.dissolved,
            members: roster.members,
            created_ms: group.created_ms,
            me: is_member.then_some(me),
            conversation: Some(Info::from(group).conversation()),
        })
    }

    pub(super) async fn update(&self, call: &Call, request: wire::UpdateGroup) -> Result<()> {
        let change = checked(request.change.unwrap_or_default())?;
        let at_least = Role::Admin.into();
        let membership = Membership { change: Some(change.clone()), at_least, ..Membership::default() };
        let request = entry(call, request.group, request.id, Kind::GroupChanged(change), membership)?;
        let (messages, groups) = (Arc::clone(&self.messages), Arc::clone(&self.groups));
        let (group, call) = (GroupId::new(request.conversation), Call { origin: None, ..call.clone() });
        // To the end also if the caller goes: the title of before would be shown until its time in the cache is over.
        let work = tokio::spawn(async move {
            let outcome = messages.append(&call, request).await;
            groups.invalidate(&[group]).await;
            outcome
        });
        work.await
            .map_err(|error| {
                Error::new(wire::ErrorCode::OutcomeUnknown, "outcome unknown: retry with the same id")
                    .with_source(error)
            })?
            .map(drop)
    }
}

/// The change as it will be told.
fn checked(change: GroupChanged) -> Result<GroupChanged> {
    if change == GroupChanged::default() {
        return Err(Error::invalid("change: nothing is to be changed"));
    }
    let lines = |field, text: Option<String>, max| text.map(|text| text::lines(field, &text, max)).transpose();
    Ok(GroupChanged {
        title: change.title.map(|title| text::title(&title)).transpose()?,
        description: lines("change.description", change.description, limits::GROUP_DESCRIPTION_CHARS_MAX)?,
        announcement: lines("change.announcement", change.announcement, limits::GROUP_ANNOUNCEMENT_CHARS_MAX)?,
        avatar: change.avatar.map(|avatar| text::avatar("change.avatar", &avatar)).transpose()?,
        join_policy: change.join_policy.map(|wanted| policy(wanted).map(Into::into)).transpose()?,
        admins_invite: change.admins_invite,
        muted: change.muted,
    })
}
