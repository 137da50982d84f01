//! From a request to the service that answers it: the one home of that, for sockets and for HTTP.

mod enrich;
mod sends;

use std::time::Duration;

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

use crate::metrics::{Metrics, OK};

/// Calls the services.
#[derive(Clone)]
pub(crate) struct Dispatch {
    services: Services,
    metrics: Metrics,
    request_timeout: Duration,
}

impl Dispatch {
    pub(crate) fn new(services: Services, metrics: Metrics, request_timeout: Duration) -> Self {
        Self { services, metrics, request_timeout }
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

    /// Answers a request by the call's deadline. Whether the caller may ask is up to the services.
    ///
    /// # Errors
    ///
    /// What the service says; past the deadline, that the outcome is unknown, or for a request that only reads, that it
    /// is unavailable.
    pub(crate) async fn answer(&self, call: &Call, request: Request) -> Result<Answer> {
        let kind = kind(&request);
        let only_reads = only_reads(&request);
        let result = timeout_at(call.deadline, self.call(call, request)).await;
        self.settle(kind, result.unwrap_or_else(|_| Err(late(only_reads))))
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
            Request::Connect(_) | Request::WatchPresence(_) => return Err(needs_socket()),
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
            Request::JoinGroup(request) => Answer::Conversation(group.join_group(call, request).await?),
            Request::LeaveGroup(request) => Answer::Done(group.leave_group(call, request).await?),
            Request::ListMembers(request) => Answer::Members(self.list_members(call, request).await?),
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
        let peer = found.users.into_iter().next().ok_or_else(|| Error::not_found(wanted))?;
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

/// The name of `send` requests in metrics.
pub(crate) const SEND: &str = "send";

/// The request's name, as in the protocol, for metrics.
pub(crate) fn kind(request: &Request) -> &'static str {
    match request {
        Request::Register(_) => "register",
        Request::LogIn(_) => "log_in",
        Request::Refresh(_) => "refresh",
        Request::Connect(_) => "connect",
        Request::Ping(_) => "ping",
        Request::ChangePassword(_) => "change_password",
        Request::ListSessions(_) => "list_sessions",
        Request::RevokeSession(_) => "revoke_session",
        Request::LogOut(_) => "log_out",
        Request::FindUsers(_) => "find_users",
        Request::OpenDirect(_) => "open_direct",
        Request::Send(_) => SEND,
        Request::History(_) => "history",
        Request::Fetch(_) => "fetch",
        Request::Sync(_) => "sync",
        Request::Read(_) => "read",
        Request::CreateGroup(_) => "create_group",
        Request::Invite(_) => "invite",
        Request::JoinGroup(_) => "join_group",
        Request::LeaveGroup(_) => "leave_group",
        Request::ListMembers(_) => "list_members",
        Request::WatchPresence(_) => "watch_presence",
    }
}

/// Whether the request needs no log-in.
pub(crate) fn is_account_request(request: &Request) -> bool {
    matches!(request, Request::Register(_) | Request::LogIn(_) | Request::Refresh(_))
}

/// Whether the answer may be large.
pub(crate) fn answers_with_a_page(request: &Request) -> bool {
    matches!(request, Request::History(_) | Request::Fetch(_) | Request::Sync(_) | Request::ListMembers(_))
}

fn only_reads(request: &Request) -> bool {
    answers_with_a_page(request)
        || matches!(request, Request::FindUsers(_) | Request::ListSessions(_) | Request::WatchPresence(_))
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
