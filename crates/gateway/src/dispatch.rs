//! From a request to the service that answers it: the one home of that, for sockets and for HTTP.

mod admin;
mod announce;
mod enrich;
mod sends;
pub(crate) mod table;

use std::{sync::Arc, time::Duration};

use api::{Call, Services};
use protocol::{
    Error, Result,
    limits::FIND_USERS_MAX,
    wire::{
        self, Conversation, ErrorCode, FindUsers, OpenDirect, UserInfo, client_frame::Body as Request, open_direct,
        server_frame::Body as Answer,
    },
};
use tokio::time::{Instant, timeout_at};

pub(crate) use self::table::row;
use crate::{
    admission::Admission,
    metrics::{Metrics, OK},
};

/// The name of `send` requests, which come in batches, in metrics.
const SEND: &str = "send";

/// Calls the services.
#[derive(Clone)]
pub(crate) struct Dispatch {
    services: Services,
    admission: Arc<Admission>,
    metrics: Metrics,
    request_timeout: Duration,
}

impl Dispatch {
    pub(crate) fn new(
        services: Services,
        admission: Arc<Admission>,
        metrics: Metrics,
        request_timeout: Duration,
    ) -> Self {
        Self { services, admission, metrics, request_timeout }
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// How long a request may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// When a request that begins now has to be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    /// Answers a request by the call's deadline. That the caller may ask here and now was
    /// found out before; whether the caller may do this with that is up to the services.
    ///
    /// # Errors
    ///
    /// What the service says; past the deadline, that the outcome is unknown, or for a request that only reads, that it
    /// is unavailable.
    pub(crate) async fn answer(&self, call: &Call, request: Request) -> Result<Answer> {
        let row = row(&request);
        let result = timeout_at(call.deadline, self.call(call, request)).await;
        self.settle(row.name, result.unwrap_or_else(|_| Err(late(row.only_reads()))))
    }

    /// Sends in the order given, with a result for each, by the call's deadline.
    pub(crate) async fn answer_sends(&self, call: &Call, sends: Vec<wire::Send>) -> Vec<Result<wire::Sent>> {
        let count = sends.len();
        let results = timeout_at(call.deadline, self.sends(call, sends)).await;
        let results = results.unwrap_or_else(|_| vec![Err(late(false)); count]);
        let failed = results.iter().filter(|result| result.is_err()).count();
        self.metrics.count_requests(SEND, OK, (count - failed) as u64);
        results.into_iter().map(|result| if result.is_ok() { result } else { self.settle(SEND, result) }).collect()
    }

    /// Counts how a request ended, and logs what failed here.
    pub(crate) fn settle<T>(&self, kind: &'static str, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => self.metrics.count_requests(kind, OK, 1),
            Err(error) => {
                self.metrics.count_requests(kind, error.code().as_str_name(), 1);
                if error.is_internal() {
                    let cause = std::error::Error::source(error).map(tracing::field::display);
                    tracing::warn!(request = kind, %error, cause, "a request failed");
                } else {
                    tracing::debug!(request = kind, %error, "a request was refused");
                }
            }
        }
        result
    }

    async fn call(&self, call: &Call, request: Request) -> Result<Answer> {
        let Services { user, message, group, .. } = &self.services;
        Ok(match request {
            Request::Register(request) => Answer::Session(user.register(call, request).await?),
            Request::LogIn(request) => Answer::Session(user.log_in(call, request).await?),
            Request::Refresh(request) => Answer::Session(user.refresh(call, request).await?),
            Request::Connect(_) | Request::WatchPresence(_) | Request::SetAway(_) => return Err(needs_socket()),
            Request::Ping(_) => Answer::Pong(pong()),
            Request::ChangePassword(request) => Answer::Done(user.change_password(call, request).await?),
            Request::ListSessions(request) => Answer::Sessions(user.list_sessions(call, request).await?),
            Request::RevokeSession(request) => Answer::Done(user.revoke_session(call, request).await?),
            Request::LogOut(request) => Answer::Done(user.log_out(call, request).await?),
            Request::FindUsers(request) => Answer::Users(user.find_users(call, request).await?),
            Request::OpenDirect(request) => Answer::Conversation(self.open_direct(call, request).await?),
            Request::Send(request) => Answer::Sent(self.send(call, request).await?),
            Request::History(request) => Answer::History(message.history(call, request).await?),
            Request::Fetch(request) => Answer::Fetched(message.fetch(call, request).await?),
            Request::Sync(request) => Answer::Sync(self.sync(call, request).await?),
            Request::Read(request) => Answer::Done(message.read(call, request).await?),
            Request::CreateGroup(request) => Answer::Conversation(group.create_group(call, request).await?),
            Request::Invite(request) => Answer::Done(group.invite(call, request).await?),
            Request::JoinGroup(request) => Answer::Joined(group.join_group(call, request).await?),
            Request::LeaveGroup(request) => Answer::Done(group.leave_group(call, request).await?),
            Request::ListMembers(request) => Answer::Members(self.list_members(call, request).await?),
            Request::ListBans(request) => Answer::Users(self.list_bans(call, request).await?),
            Request::SearchUsers(request) => Answer::Users(user.search_users(call, request).await?),
            Request::GetAccount(request) => Answer::Account(user.get_account(call, request).await?),
            Request::UpdateProfile(request) => Answer::Account(self.update_profile(call, request).await?),
            Request::UpdateSettings(request) => Answer::Account(self.update_settings(call, request).await?),
            Request::Rename(request) => Answer::Account(self.rename(call, request).await?),
            Request::Deliver(request) => Answer::Done(message.deliver(call, request).await?),
            Request::ListReceipts(request) => Answer::Receipts(self.list_receipts(call, request).await?),
            Request::ListChanges(request) => Answer::Entries(message.list_changes(call, request).await?),
            Request::ListPins(request) => Answer::Entries(message.list_pins(call, request).await?),
            Request::GetGroup(request) => Answer::Group(self.get_group(call, request).await?),
            Request::UpdateGroup(request) => Answer::Done(group.update_group(call, request).await?),
            Request::RemoveMembers(request) => Answer::Done(group.remove_members(call, request).await?),
            Request::LiftBans(request) => Answer::Done(group.lift_bans(call, request).await?),
            Request::Typing(request) => Answer::Done(message.typing(call, request).await?),
            Request::SetRole(request) => Answer::Done(group.set_role(call, request).await?),
            Request::TransferGroup(request) => Answer::Done(group.transfer_group(call, request).await?),
            Request::MuteMembers(request) => Answer::Done(group.mute_members(call, request).await?),
            Request::SetNickname(request) => Answer::Done(group.set_nickname(call, request).await?),
            Request::DissolveGroup(request) => Answer::Done(group.dissolve_group(call, request).await?),
            Request::AnswerJoin(request) => Answer::Done(group.answer_join(call, request).await?),
            Request::ListJoinRequests(request) => Answer::JoinRequests(self.list_join_requests(call, request).await?),
            Request::CreateGroupLink(request) => Answer::GroupLink(group.create_group_link(call, request).await?),
            Request::ListGroupLinks(request) => Answer::GroupLinks(group.list_group_links(call, request).await?),
            Request::RevokeGroupLink(request) => Answer::Done(group.revoke_group_link(call, request).await?),
            Request::RequestFriend(request) => Answer::Done(user.request_friend(call, request).await?),
            Request::AnswerFriend(request) => Answer::Done(user.answer_friend(call, request).await?),
            Request::WithdrawFriend(request) => Answer::Done(user.withdraw_friend(call, request).await?),
            Request::RemoveFriend(request) => Answer::Done(self.remove_friend(call, request).await?),
            Request::SetRemark(request) => Answer::Done(user.set_remark(call, request).await?),
            Request::SetBlocked(request) => Answer::Done(self.set_blocked(call, request).await?),
            Request::ListContacts(request) => Answer::Contacts(user.list_contacts(call, request).await?),
            Request::SetConversation(request) => Answer::Done(message.set_conversation(call, request).await?),
            Request::SaveDraft(request) => Answer::Done(message.save_draft(call, request).await?),
            Request::DeleteForMe(request) => Answer::Done(message.delete_for_me(call, request).await?),
            Request::Search(request) => Answer::Found(message.search(call, request).await?),
            Request::CreateBot(request) => Answer::Bot(user.create_bot(call, request).await?),
            Request::ListBots(request) => Answer::Bots(user.list_bots(call, request).await?),
            Request::DeleteBot(request) => Answer::Done(self.ended(call, user.delete_bot(call, request).await?).await?),
            Request::CreateApiKey(request) => Answer::ApiKey(user.create_api_key(call, request).await?),
            Request::ListApiKeys(request) => Answer::ApiKeys(user.list_api_keys(call, request).await?),
            Request::RevokeApiKey(request) => Answer::Done(user.revoke_api_key(call, request).await?),
            Request::CreateWebhook(request) => Answer::Webhook(user.create_webhook(call, request).await?),
            Request::ListWebhooks(request) => Answer::Webhooks(user.list_webhooks(call, request).await?),
            Request::DeleteWebhook(request) => Answer::Done(user.delete_webhook(call, request).await?),
            Request::ListDeadLetters(request) => Answer::DeadLetters(user.list_dead_letters(call, request).await?),
            Request::Redeliver(request) => Answer::Done(user.redeliver(call, request).await?),
            Request::CreateIncomingWebhook(request) => {
                Answer::IncomingWebhook(user.create_incoming_webhook(call, request).await?)
            }
            Request::ListIncomingWebhooks(request) => {
                Answer::IncomingWebhooks(user.list_incoming_webhooks(call, request).await?)
            }
            Request::DeleteIncomingWebhook(request) => Answer::Done(user.delete_incoming_webhook(call, request).await?),
            Request::Report(request) => Answer::Done(user.report(call, request).await?),
            Request::DeleteAccount(request) => {
                Answer::Done(self.ended(call, user.delete_account(call, request).await?).await?)
            }
        })
    }

    async fn open_direct(&self, call: &Call, request: OpenDirect) -> Result<Conversation> {
        let (wanted, found) = match request.peer {
            None => return Err(Error::invalid("peer is missing: a user or a name")),
            Some(open_direct::Peer::User(id)) => {
                let request = FindUsers { ids: vec![id], names: Vec::new() };
                (format!("user {id}"), self.services.user.find_users(call, request).await?)
            }
            Some(open_direct::Peer::Name(name)) => {
                let request = FindUsers { ids: Vec::new(), names: vec![name.clone()] };
                (format!("user {name:?}"), self.services.user.find_users(call, request).await?)
            }
        };
        // With whoever is gone nothing new begins; what there is can be read, by the conversation's id.
        let peer = found.users.into_iter().find(|user| !user.deleted).ok_or_else(|| Error::not_found(wanted))?;
        self.open_direct_with(call, peer).await
    }

    async fn open_direct_with(&self, call: &Call, peer: UserInfo) -> Result<Conversation> {
        let request = api::OpenDirectRequest { peer: peer.id };
        let conversation = self.services.message.open_direct(call, request).await?;
        Ok(Conversation { peer: Some(peer), ..conversation })
    }

    /// Users by id; looks up as many at a time as one look-up may.
    async fn find_users(&self, call: &Call, ids: Vec<u64>) -> Result<Vec<UserInfo>> {
        let mut users = Vec::with_capacity(ids.len());
        for ids in ids.chunks(FIND_USERS_MAX) {
            let request = FindUsers { ids: ids.to_vec(), names: Vec::new() };
            users.extend(self.services.user.find_users(call, request).await?.users);
        }
        Ok(users)
    }
}

/// The current time, for whoever wants to compare clocks.
pub(crate) fn pong() -> wire::Pong {
    wire::Pong { time_ms: now_ms() }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What a request is answered with that took too long.
pub(crate) fn late(only_reads: bool) -> Error {
    if only_reads {
        Error::unavailable("no answer in time")
    } else {
        Error::new(ErrorCode::TimedOut, "no answer in time: it was perhaps done; retry with the same id")
    }
}

fn needs_socket() -> Error {
    Error::new(ErrorCode::UnknownRequest, "this request needs a connection over WebSocket or TCP")
}
