//! Joining: at once, by a link, or when somebody lets one in.

use api::{Call, ConversationRequest, FilterMembersRequest, Membership};
use protocol::{
    Error, GroupId, RawContent, Result, UserId, limits,
    wire::{self, ErrorCode, JoinPolicy, Role, content::Kind},
};
use store::{JoinRequestRow, Telling};

use super::{Service, info::Info, links::unusable, members};
use crate::text;

impl Service {
    pub(super) async fn join(&self, call: &Call, request: wire::JoinGroup) -> Result<wire::Joined> {
        let caller = call.caller()?;
        let id = text::entry_id(&request.id)?.to_string();
        let group = match request.link.as_str() {
            "" => request.group,
            code => self.link_to(code, request.group).await?,
        };
        let by_link = !request.link.is_empty();
        let group = self.group(group).await?;
        let (key, user) = (group.id.get(), caller.user.get());
        if !self.members_of(call, key, &[user]).await?.is_empty() {
            return Ok(joined(group, false));
        }
        if !by_link && group.join_policy == JoinPolicy::ByInvitation {
            // As one that does not exist: who guesses learns nothing.
            let message = format!("there is no group {key}, or it is joined by invitation or link only: ask a member");
            return Err(Error::new(ErrorCode::NotFound, message));
        }
        if group.dissolved {
            return Err(Error::new(ErrorCode::Dissolved, "this group was dissolved"));
        }
        let banned = FilterMembersRequest { conversation: key, users: vec![user] };
        if !self.messages.filter_banned(&call.by_service(), banned).await?.ids.is_empty() {
            return Err(Error::new(ErrorCode::Banned, "you were banned from this group"));
        }
        match group.join_policy {
            _ if by_link => {
                if !self.store.use_link(request.link, caller.user, self.clock.now_ms()).await? {
                    return Err(unusable());
                }
            }
            JoinPolicy::ByApproval => {
                self.ask(call, &group, &request.message).await?;
                return Ok(joined(group, true));
            }
            JoinPolicy::Open | JoinPolicy::ByInvitation => {}
        }
        let membership = Membership { enter: members(&[user]), ..Membership::default() };
        self.tell(call, key, id, Kind::MemberJoined(wire::MemberJoined {}), membership).await?;
        // Who has come in need not be let in any more.
        self.close_of_members(call, group.id, &[user]).await?;
        Ok(joined(group, false))
    }

    /// Notes that the caller asks to be let in, and tells those who may do so.
    async fn ask(&self, call: &Call, group: &store::Group, message: &str) -> Result<()> {
        let user = call.caller()?.user;
        let message = text::lines("message", message, limits::JOIN_MESSAGE_CHARS_MAX)?;
        if message.is_empty() && self.asks(group.id, user).await? {
            // Asking again says nothing new, and takes nothing back.
            return Ok(());
        }
        let time_ms = self.clock.now_ms();
        let asked = Kind::JoinRequested(wire::JoinRequested {
            group: group.id.get(),
            user: user.get(),
            message: message.clone(),
        });
        let mut hearers = self.administrators(call, group.id).await?;
        hearers.push(user);
        let request = JoinRequestRow { user, message, time_ms };
        if self.store.put_join_request(group.id, request, tellings(hearers, time_ms, asked)).await? {
            self.relay(call).await;
        }
        Ok(())
    }

    /// Whether a user asks to be let in.
    async fn asks(&self, group: GroupId, user: UserId) -> Result<bool> {
        let after = UserId::new(user.get().saturating_sub(1));
        Ok(self.store.join_requests(group, after, 1).await?.iter().any(|row| row.user == user))
    }

    pub(super) async fn answer(&self, call: &Call, request: &wire::AnswerJoin) -> Result<()> {
        let id = text::entry_id(&request.id)?.to_string();
        self.check_administers(call, request.group).await?;
        let (group, user) = (GroupId::new(request.group), UserId::new(request.user));
        let is_member = !self.members_of(call, request.group, &[request.user]).await?.is_empty();
        if !request.admit {
            if is_member {
                self.close(call, group, user, true).await?;
                return Err(Error::new(
                    ErrorCode::Conflict,
                    "this user is a member: let in by somebody else, or invited",
                ));
            }
            // If there is no request, it was refused before, perhaps by this very request.
            return self.close(call, group, user, false).await;
        }
        if !is_member {
            if !self.asks(group, user).await? {
                return Err(Error::new(ErrorCode::Conflict, "this user does not ask to be let in, or no longer"));
            }
            self.check_users(call, &[request.user]).await?;
            let enter = members(&[request.user]);
            let membership = Membership { enter, at_least: Role::Admin.into(), ..Membership::default() };
            let added = Kind::MembersAdded(wire::MembersAdded { members: vec![request.user] });
            self.tell(call, request.group, id, added, membership).await?;
        }
        // Only now: a request that was closed by a process that then failed would never be answered.
        self.close(call, group, user, true).await
    }

    /// Closes the requests of users who have become members in another way: they would be found again once these leave.
    pub(super) async fn close_of_members(&self, call: &Call, group: GroupId, users: &[u64]) -> Result<()> {
        let asking = self.store.join_requests(group, UserId::new(0), limits::MEMBERS_PAGE_MAX).await?;
        for row in asking.into_iter().filter(|row| users.contains(&row.user.get())) {
            self.close(call, group, row.user, true).await?;
        }
        Ok(())
    }

    /// Closes a request, if there is one: tells those who may answer, and, of a refusal, the one who asked.
    async fn close(&self, call: &Call, group: GroupId, user: UserId, admitted: bool) -> Result<()> {
        let by = call.caller()?.user.get();
        let mut hearers = self.administrators(call, group).await?;
        if !admitted {
            hearers.push(user);
        }
        let closed =
            Kind::JoinRequestClosed(wire::JoinRequestClosed { group: group.get(), user: user.get(), admitted, by });
        if self.store.close_join_request(group, user, tellings(hearers, self.clock.now_ms(), closed)).await? {
            self.relay(call).await;
        }
        Ok(())
    }

    pub(super) async fn asking(&self, call: &Call, request: wire::ListJoinRequests) -> Result<wire::JoinRequests> {
        self.check_administers(call, request.group).await?;
        let limit = text::bounded("limit", request.limit, limits::MEMBERS_PAGE_DEFAULT, limits::MEMBERS_PAGE_MAX)?;
        let rows = self.store.join_requests(GroupId::new(request.group), UserId::new(request.after), limit).await?;
        // Who was invited meanwhile asks no longer.
        let asking: Vec<u64> = rows.iter().map(|row| row.user.get()).collect();
        let members = self.members_of(call, request.group, &asking).await?;
        let rows = rows.into_iter().filter(|row| !members.contains(&row.user.get()));
        let join_request = |row: JoinRequestRow| wire::JoinRequest {
            user: Some(wire::UserInfo { id: row.user.get(), ..Default::default() }),
            message: row.message,
            time_ms: row.time_ms,
        };
        Ok(wire::JoinRequests { requests: rows.map(join_request).collect() })
    }

    /// Owner and admins.
    async fn administrators(&self, call: &Call, group: GroupId) -> Result<Vec<UserId>> {
        let request = ConversationRequest { conversation: group.get() };
        let roster = self.messages.get_roster(&call.by_service(), request).await?;
        Ok(roster.administrators.into_iter().map(UserId::new).collect())
    }
}

pub(super) fn joined(group: store::Group, waiting: bool) -> wire::Joined {
    wire::Joined { conversation: Some(Info::from(group).conversation()), waiting }
}

fn tellings(hearers: Vec<UserId>, time_ms: i64, kind: Kind) -> Vec<Telling> {
    let content = RawContent::from(kind).as_bytes().clone();
    hearers.into_iter().map(|user| Telling { user, time_ms, content: content.clone() }).collect()
}
