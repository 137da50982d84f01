//! What users do in groups, in the system and in the reference.

use std::collections::BTreeSet;

use client::{
    ConversationId,
    wire::{self, JoinPolicy, Role, client_frame::Body as Request, server_frame::Body as Answer},
};

use super::{
    Run,
    compare::Touched,
    new_id,
    operations::GroupAct,
    perform::split,
    reference::{Group, Link},
};

/// A year that no test sees.
const FAR_MS: i64 = 4_000_000_000_000;

impl Run {
    pub(super) async fn create_group(
        &mut self,
        device: usize,
        members: BTreeSet<usize>,
        policy: JoinPolicy,
    ) -> Touched {
        let (user, id) = (self.user_of(device), new_id());
        let members: Vec<_> = members.into_iter().map(|member| self.users[member]).collect();
        let request = wire::CreateGroup {
            id: id.to_string(),
            title: "group".into(),
            members: members.iter().map(|member| member.get()).collect(),
            join_policy: policy.into(),
        };
        let expected = self.reference.may_create(user, &members);
        let Some(answer) = self.check(device, Request::CreateGroup(request), expected).await else {
            return Touched::Nothing;
        };
        let Answer::Conversation(conversation) = answer else { panic!("{answer:?}") };
        let group = ConversationId::new(conversation.id);
        let made = Group { title: "group".into(), policy, ..Group::default() };
        self.reference.create(group, user, id, made, &members);
        self.groups.push(group);
        Touched::Conversation(group)
    }

    pub(super) async fn act_in_group(&mut self, device: usize, id: ConversationId, act: GroupAct) -> Touched {
        let (by, entry, group) = (self.user_of(device), new_id(), id.get());
        let request_id = entry.to_string();
        let before = self.reference.logs[&id].end();
        let users = |user: usize| vec![self.users[user].get()];
        let reference = &mut self.reference;
        let change = |change: wire::GroupChanged| {
            Request::UpdateGroup(wire::UpdateGroup { id: entry.to_string(), group, change: Some(change) })
        };
        let (request, expected) = match act {
            GroupAct::Join(message) => return self.join(device, id, None, message).await,
            GroupAct::JoinByLink(index) => {
                let codes: Vec<_> = self.reference.group(id).links.keys().cloned().collect();
                let code = if codes.is_empty() { "no such code".to_owned() } else { index.get(&codes).clone() };
                return self.join(device, id, Some(code), String::new()).await;
            }
            GroupAct::Link(uses_max) => return self.create_link(device, id, uses_max).await,
            GroupAct::RevokeLink(index) => {
                let codes: Vec<_> = reference.group(id).links.keys().cloned().collect();
                if codes.is_empty() {
                    return Touched::Nothing;
                }
                let code = index.get(&codes).clone();
                let expected = reference.revoke_link(id, by, &code);
                (Request::RevokeGroupLink(wire::RevokeGroupLink { group, code }), expected)
            }
            GroupAct::Invite(user) => (
                Request::Invite(wire::Invite { id: request_id, group, users: users(user) }),
                reference.invite(id, by, entry, self.users[user]),
            ),
            GroupAct::Answer(user, admit) => (
                Request::AnswerJoin(wire::AnswerJoin { id: request_id, group, user: self.users[user].get(), admit }),
                reference.answer_join(id, by, entry, self.users[user], admit),
            ),
            GroupAct::Leave => {
                (Request::LeaveGroup(wire::LeaveGroup { id: request_id, group }), reference.leave(id, by, entry))
            }
            GroupAct::Remove(user, ban) => (
                Request::RemoveMembers(wire::RemoveMembers { id: request_id, group, users: users(user), ban }),
                reference.remove(id, by, entry, self.users[user], ban),
            ),
            GroupAct::Lift(user) => (
                Request::LiftBans(wire::LiftBans { id: request_id, group, users: users(user) }),
                reference.lift(id, by, entry, self.users[user]),
            ),
            GroupAct::Role(user, admin) => {
                let role = if admin { Role::Admin } else { Role::Member };
                let user = self.users[user];
                (
                    Request::SetRole(wire::SetRole { id: request_id, group, user: user.get(), role: role.into() }),
                    reference.set_role(id, by, entry, user, role),
                )
            }
            GroupAct::Transfer(user) => (
                Request::TransferGroup(wire::TransferGroup { id: request_id, group, user: self.users[user].get() }),
                reference.transfer(id, by, entry, self.users[user]),
            ),
            GroupAct::Mute(user, muted) => {
                let until_ms = if muted { FAR_MS } else { 0 };
                (
                    Request::MuteMembers(wire::MuteMembers { id: request_id, group, users: users(user), until_ms }),
                    reference.mute(id, by, entry, self.users[user], muted),
                )
            }
            GroupAct::Title(title) => {
                let changed = wire::GroupChanged { title: Some(title), ..Default::default() };
                (change(changed.clone()), reference.update(id, by, entry, changed))
            }
            GroupAct::Announcement(text) => {
                let changed = wire::GroupChanged { announcement: Some(text), ..Default::default() };
                (change(changed.clone()), reference.update(id, by, entry, changed))
            }
            GroupAct::Policy(policy) => {
                let changed = wire::GroupChanged { join_policy: Some(policy.into()), ..Default::default() };
                (change(changed.clone()), reference.update(id, by, entry, changed))
            }
            GroupAct::AdminsInvite(only) => {
                let changed = wire::GroupChanged { admins_invite: Some(only), ..Default::default() };
                (change(changed.clone()), reference.update(id, by, entry, changed))
            }
            GroupAct::MuteAll(muted) => {
                let changed = wire::GroupChanged { muted: Some(muted), ..Default::default() };
                (change(changed.clone()), reference.update(id, by, entry, changed))
            }
            GroupAct::Nickname(nickname) => {
                let expected = reference.set_nickname(id, by, entry, &nickname);
                (Request::SetNickname(wire::SetNickname { id: request_id, group, nickname }), expected)
            }
            GroupAct::Dissolve => (
                Request::DissolveGroup(wire::DissolveGroup { id: request_id, group }),
                reference.dissolve(id, by, entry),
            ),
        };
        self.check(device, request, expected).await;
        if self.reference.logs[&id].end() == before {
            self.forget_last();
        }
        Touched::Conversation(id)
    }

    async fn join(&mut self, device: usize, id: ConversationId, link: Option<String>, message: String) -> Touched {
        let (user, entry) = (self.user_of(device), new_id());
        let before = self.reference.logs[&id].end();
        let (waits, expected) = split(self.reference.join(id, user, entry, link.as_deref(), &message));
        let group = if link.is_some() { 0 } else { id.get() };
        let link = link.unwrap_or_default();
        let request = wire::JoinGroup { id: entry.to_string(), group, link, message };
        if let Some(answer) = self.check(device, Request::JoinGroup(request), expected).await {
            let Answer::Joined(joined) = answer else { panic!("{answer:?}") };
            assert_eq!(Some(joined.waiting), waits);
        }
        if self.reference.logs[&id].end() == before {
            self.forget_last();
        }
        Touched::Conversation(id)
    }

    async fn create_link(&mut self, device: usize, id: ConversationId, uses_max: u32) -> Touched {
        let by = self.user_of(device);
        let request = wire::CreateGroupLink { id: new_id().to_string(), group: id.get(), expires_ms: 0, uses_max };
        let expected = self.reference.may_make_links(id, by);
        if let Some(answer) = self.check(device, Request::CreateGroupLink(request), expected).await {
            let Answer::GroupLink(link) = answer else { panic!("{answer:?}") };
            self.reference.group_mut(id).links.insert(link.code, Link { uses_max, uses: 0 });
        }
        Touched::Nothing
    }
}
