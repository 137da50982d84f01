//! Groups: their members, and what they are.

use protocol::{
    EntryId, GroupId, UserId,
    wire::{self, client_frame::Body as Request},
};

use super::numbers;
use crate::{Client, Error};

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// Makes a group of the caller and these users. With the id of an earlier request it answers with that one's group.
    pub async fn create_group(
        &self,
        title: &str,
        members: &[UserId],
        join_policy: wire::JoinPolicy,
        id: EntryId,
    ) -> Result<wire::Conversation, Error> {
        let request = wire::CreateGroup {
            id: id.to_string(),
            title: title.into(),
            members: numbers(members),
            join_policy: join_policy.into(),
        };
        expect!(self.request(Request::CreateGroup(request)).await?, Conversation)
    }

    /// Becomes a member of an open group, or asks the owner and admins of another one to be let in.
    pub async fn join_group(&self, group: GroupId, id: EntryId) -> Result<wire::Joined, Error> {
        self.ask_to_join(group, "", id).await
    }

    /// As [`join_group`](Self::join_group), with something for owner and admins to read.
    pub async fn ask_to_join(&self, group: GroupId, message: &str, id: EntryId) -> Result<wire::Joined, Error> {
        let (id, link) = (id.to_string(), String::new());
        let request = wire::JoinGroup { id, group: group.get(), link, message: message.into() };
        expect!(self.request(Request::JoinGroup(request)).await?, Joined)
    }

    /// Becomes a member of the group of a link.
    pub async fn join_by_link(&self, code: &str, id: EntryId) -> Result<wire::Joined, Error> {
        let request = wire::JoinGroup { id: id.to_string(), link: code.into(), ..wire::JoinGroup::default() };
        expect!(self.request(Request::JoinGroup(request)).await?, Joined)
    }

    /// Brings users into a group.
    pub async fn invite(&self, group: GroupId, users: &[UserId], id: EntryId) -> Result<(), Error> {
        self.done(Request::Invite(wire::Invite { id: id.to_string(), group: group.get(), users: numbers(users) })).await
    }

    /// Leaves a group; an owner who is alone in it dissolves it.
    pub async fn leave_group(&self, group: GroupId, id: EntryId) -> Result<(), Error> {
        self.done(Request::LeaveGroup(wire::LeaveGroup { id: id.to_string(), group: group.get() })).await
    }

    /// Removes members; if banned, they may not come back.
    pub async fn remove_members(&self, group: GroupId, users: &[UserId], ban: bool, id: EntryId) -> Result<(), Error> {
        self.done(Request::RemoveMembers(wire::RemoveMembers {
            id: id.to_string(),
            group: group.get(),
            users: numbers(users),
            ban,
        }))
        .await
    }

    /// Lets users who were banned come back.
    pub async fn lift_bans(&self, group: GroupId, users: &[UserId], id: EntryId) -> Result<(), Error> {
        self.done(Request::LiftBans(wire::LiftBans { id: id.to_string(), group: group.get(), users: numbers(users) }))
            .await
    }

    /// Makes a member an admin, or an admin a member.
    pub async fn set_role(&self, group: GroupId, user: UserId, role: wire::Role, id: EntryId) -> Result<(), Error> {
        self.done(Request::SetRole(wire::SetRole {
            id: id.to_string(),
            group: group.get(),
            user: user.get(),
            role: role.into(),
        }))
        .await
    }

    /// Makes another member the owner.
    pub async fn transfer_group(&self, group: GroupId, user: UserId, id: EntryId) -> Result<(), Error> {
        self.done(Request::TransferGroup(wire::TransferGroup {
            id: id.to_string(),
            group: group.get(),
            user: user.get(),
        }))
        .await
    }

    /// Keeps members from writing until a time, in milliseconds since 1970; 0 lifts it.
    pub async fn mute_members(
        &self,
        group: GroupId,
        users: &[UserId],
        until_ms: i64,
        id: EntryId,
    ) -> Result<(), Error> {
        self.done(Request::MuteMembers(wire::MuteMembers {
            id: id.to_string(),
            group: group.get(),
            users: numbers(users),
            until_ms,
        }))
        .await
    }

    /// Sets one's own name in a group; empty: none.
    pub async fn set_nickname(&self, group: GroupId, nickname: &str, id: EntryId) -> Result<(), Error> {
        self.done(Request::SetNickname(wire::SetNickname {
            id: id.to_string(),
            group: group.get(),
            nickname: nickname.into(),
        }))
        .await
    }

    /// Ends a group for good.
    pub async fn dissolve_group(&self, group: GroupId, id: EntryId) -> Result<(), Error> {
        self.done(Request::DissolveGroup(wire::DissolveGroup { id: id.to_string(), group: group.get() })).await
    }

    /// Changes those parts of a group that are given.
    pub async fn update_group(&self, group: GroupId, change: wire::GroupChanged, id: EntryId) -> Result<(), Error> {
        self.done(Request::UpdateGroup(wire::UpdateGroup {
            id: id.to_string(),
            group: group.get(),
            change: Some(change),
        }))
        .await
    }

    /// Lets in a user who asked to be let in, or does not.
    pub async fn answer_join(&self, group: GroupId, user: UserId, admit: bool, id: EntryId) -> Result<(), Error> {
        self.done(Request::AnswerJoin(wire::AnswerJoin {
            id: id.to_string(),
            group: group.get(),
            user: user.get(),
            admit,
        }))
        .await
    }

    /// One page of a group's members: those with a larger id than `after`.
    pub async fn members(&self, group: GroupId, after: Option<UserId>, limit: u32) -> Result<wire::Members, Error> {
        let request =
            wire::ListMembers { group: group.get(), after: after.map_or(0, UserId::get), limit, admins: false };
        expect!(self.request(Request::ListMembers(request)).await?, Members)
    }

    /// A group's owner and admins, as far as they fit on one page.
    pub async fn admins(&self, group: GroupId, limit: u32) -> Result<wire::Members, Error> {
        let request = wire::ListMembers { group: group.get(), after: 0, limit, admins: true };
        expect!(self.request(Request::ListMembers(request)).await?, Members)
    }

    /// What a group is; who is not a member sees what is needed to decide whether to join.
    pub async fn group(&self, group: GroupId) -> Result<wire::GroupInfo, Error> {
        let by = Some(wire::get_group::By::Group(group.get()));
        expect!(self.request(Request::GetGroup(wire::GetGroup { by })).await?, Group)
    }

    /// What the group of a link is.
    pub async fn group_of_link(&self, code: &str) -> Result<wire::GroupInfo, Error> {
        let by = Some(wire::get_group::By::Link(code.into()));
        expect!(self.request(Request::GetGroup(wire::GetGroup { by })).await?, Group)
    }

    /// One page of those who are banned: those with a larger id than `after`.
    pub async fn bans(&self, group: GroupId, after: Option<UserId>, limit: u32) -> Result<Vec<wire::UserInfo>, Error> {
        let request = wire::ListBans { group: group.get(), after: after.map_or(0, UserId::get), limit };
        expect!(self.request(Request::ListBans(request)).await?, Users).map(|answer| answer.users)
    }

    /// One page of those who ask to be let in: those with a larger id than `after`.
    pub async fn join_requests(
        &self,
        group: GroupId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<wire::JoinRequest>, Error> {
        let request = wire::ListJoinRequests { group: group.get(), after: after.map_or(0, UserId::get), limit };
        expect!(self.request(Request::ListJoinRequests(request)).await?, JoinRequests).map(|answer| answer.requests)
    }

    /// Makes a link by which anybody joins, until a time in milliseconds since 1970 (0: for good), so many times (0: any
    /// number).
    pub async fn create_group_link(
        &self,
        group: GroupId,
        expires_ms: i64,
        uses_max: u32,
        id: EntryId,
    ) -> Result<wire::GroupLink, Error> {
        let request = wire::CreateGroupLink { id: id.to_string(), group: group.get(), expires_ms, uses_max };
        expect!(self.request(Request::CreateGroupLink(request)).await?, GroupLink)
    }

    /// A group's links that can be used.
    pub async fn group_links(&self, group: GroupId) -> Result<Vec<wire::GroupLink>, Error> {
        let request = wire::ListGroupLinks { group: group.get() };
        expect!(self.request(Request::ListGroupLinks(request)).await?, GroupLinks).map(|answer| answer.links)
    }

    /// Makes a link useless.
    pub async fn revoke_group_link(&self, group: GroupId, code: &str) -> Result<(), Error> {
        let request = wire::RevokeGroupLink { group: group.get(), code: code.into() };
        self.done(Request::RevokeGroupLink(request)).await
    }
}
