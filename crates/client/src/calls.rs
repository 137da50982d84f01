//! One typed method for each request.

use std::{collections::HashMap, sync::Arc};

use protocol::{
    ConversationId, EntryId, GroupId, SessionId, UserId, limits,
    wire::{self, client_frame::Body as Request, server_frame::Body as Answer},
};

use crate::{Client, Error};

/// Names kept; when there are more, all are forgotten and asked for again.
const NAMES_MAX: usize = 10_000;

/// The names that were looked up.
pub(crate) type Names = HashMap<UserId, Arc<str>>;

/// Picks the answer that belongs to a request.
macro_rules! expect {
    ($answer:expr, $variant:ident) => {
        match $answer {
            Answer::$variant(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    };
}

pub(crate) fn unexpected(answer: &Answer) -> Error {
    let text = format!("{answer:?}");
    let name = text.split(['(', ' ']).next().unwrap_or_default();
    Error::Protocol(format!("it answered with {name}, which does not belong to the request"))
}

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// Entries of a conversation after a position, ascending; `limit` 0 means the server's default.
    pub async fn history_after(
        &self,
        conversation: ConversationId,
        after: u64,
        limit: u32,
    ) -> Result<wire::HistoryPage, Error> {
        self.history(conversation, wire::history::From::After(after), limit).await
    }

    /// Entries of a conversation before a position, ascending; `limit` 0 means the server's default.
    pub async fn history_before(
        &self,
        conversation: ConversationId,
        before: u64,
        limit: u32,
    ) -> Result<wire::HistoryPage, Error> {
        self.history(conversation, wire::history::From::Before(before), limit).await
    }

    async fn history(
        &self,
        conversation: ConversationId,
        from: wire::history::From,
        limit: u32,
    ) -> Result<wire::HistoryPage, Error> {
        let request = wire::History { conversation: conversation.get(), limit, from: Some(from) };
        expect!(self.request(Request::History(request)).await?, History)
    }

    /// Several histories at once.
    pub async fn fetch(&self, histories: Vec<wire::History>) -> Result<Vec<wire::HistoryPage>, Error> {
        expect!(self.request(Request::Fetch(wire::Fetch { histories })).await?, Fetched).map(|fetched| fetched.pages)
    }

    /// The direct conversation with the user of this name, made if there is none yet.
    pub async fn open_direct(&self, name: &str) -> Result<wire::Conversation, Error> {
        let peer = Some(wire::open_direct::Peer::Name(name.into()));
        expect!(self.request(Request::OpenDirect(wire::OpenDirect { peer })).await?, Conversation)
    }

    /// The direct conversation with this user, made if there is none yet.
    pub async fn open_direct_with(&self, user: UserId) -> Result<wire::Conversation, Error> {
        let peer = Some(wire::open_direct::Peer::User(user.get()));
        expect!(self.request(Request::OpenDirect(wire::OpenDirect { peer })).await?, Conversation)
    }

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
            members: members.iter().map(|user| user.get()).collect(),
            join_policy: join_policy.into(),
        };
        expect!(self.request(Request::CreateGroup(request)).await?, Conversation)
    }

    /// Brings users into a group.
    pub async fn invite(&self, group: GroupId, users: &[UserId], id: EntryId) -> Result<(), Error> {
        let users = users.iter().map(|user| user.get()).collect();
        let request = wire::Invite { id: id.to_string(), group: group.get(), users };
        expect!(self.request(Request::Invite(request)).await?, Done).map(drop)
    }

    /// Becomes a member of an open group.
    pub async fn join_group(&self, group: GroupId, id: EntryId) -> Result<wire::Joined, Error> {
        let request = wire::JoinGroup { id: id.to_string(), group: group.get(), ..wire::JoinGroup::default() };
        expect!(self.request(Request::JoinGroup(request)).await?, Joined)
    }

    /// Leaves a group.
    pub async fn leave_group(&self, group: GroupId, id: EntryId) -> Result<(), Error> {
        let request = wire::LeaveGroup { id: id.to_string(), group: group.get() };
        expect!(self.request(Request::LeaveGroup(request)).await?, Done).map(drop)
    }

    /// One page of a group's members: those with a larger id than `after`.
    pub async fn members(&self, group: GroupId, after: Option<UserId>, limit: u32) -> Result<wire::Members, Error> {
        let request =
            wire::ListMembers { group: group.get(), after: after.map_or(0, UserId::get), limit, admins: false };
        expect!(self.request(Request::ListMembers(request)).await?, Members)
    }

    /// Who has these names; those that do not exist are left out.
    pub async fn find_users(&self, names: &[String]) -> Result<Vec<wire::UserInfo>, Error> {
        let mut found = Vec::with_capacity(names.len());
        for some in names.chunks(limits::FIND_USERS_MAX) {
            let request = wire::FindUsers { ids: Vec::new(), names: some.to_vec() };
            found.extend(expect!(self.request(Request::FindUsers(request)).await?, Users)?.users);
        }
        self.remember(&found);
        Ok(found)
    }

    /// The names of users, from memory if they were asked for before. Users that do not exist are left out.
    pub async fn names(&self, users: &[UserId]) -> Result<HashMap<UserId, Arc<str>>, Error> {
        let (mut known, mut unknown) = (HashMap::new(), Vec::new());
        {
            let names = self.shared.names.lock();
            for user in users {
                match names.get(user) {
                    Some(name) => drop(known.insert(*user, name.clone())),
                    None => unknown.push(user.get()),
                }
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        for some in unknown.chunks(limits::FIND_USERS_MAX) {
            let request = wire::FindUsers { ids: some.to_vec(), names: Vec::new() };
            let users = expect!(self.request(Request::FindUsers(request)).await?, Users)?.users;
            self.remember(&users);
            known.extend(users.into_iter().map(|user| (UserId::new(user.id), user.name.into())));
        }
        Ok(known)
    }

    fn remember(&self, users: &[wire::UserInfo]) {
        let mut names = self.shared.names.lock();
        if names.len() + users.len() > NAMES_MAX {
            names.clear();
        }
        names.extend(users.iter().map(|user| (UserId::new(user.id), user.name.as_str().into())));
    }

    /// The user's sessions.
    pub async fn sessions(&self) -> Result<Vec<wire::SessionInfo>, Error> {
        let answer = self.request(Request::ListSessions(wire::ListSessions {})).await?;
        expect!(answer, Sessions).map(|sessions| sessions.sessions)
    }

    /// Ends another session of the user.
    pub async fn revoke(&self, session: SessionId) -> Result<(), Error> {
        let request = wire::RevokeSession { session: session.get() };
        expect!(self.request(Request::RevokeSession(request)).await?, Done).map(drop)
    }

    /// Ends this session. The profile keeps its tokens: see [`Profile::log_out`](crate::Profile::log_out).
    pub async fn log_out(&self) -> Result<(), Error> {
        expect!(self.request(Request::LogOut(wire::LogOut {})).await?, Done).map(drop)
    }

    /// Changes the password; all other sessions of the user end.
    pub async fn change_password(&self, old_password: &str, new_password: &str) -> Result<(), Error> {
        let request = wire::ChangePassword { old_password: old_password.into(), new_password: new_password.into() };
        expect!(self.request(Request::ChangePassword(request)).await?, Done).map(drop)
    }

    /// Tells that the user has read up to a position.
    pub async fn read(&self, conversation: ConversationId, position: u64) -> Result<(), Error> {
        let request = wire::Read { conversation: conversation.get(), position };
        expect!(self.request(Request::Read(request)).await?, Done).map(drop)
    }

    /// The presence of users now; changes come as [`Event::Presence`](crate::Event::Presence), on this connection: ask
    /// again after each [`Event::Connected`](crate::Event::Connected).
    pub async fn watch_presence(&self, users: &[UserId]) -> Result<Vec<wire::Presence>, Error> {
        let request = wire::WatchPresence { users: users.iter().map(|user| user.get()).collect() };
        expect!(self.request(Request::WatchPresence(request)).await?, Presences).map(|answer| answer.presences)
    }

    /// Looks at the heads of all conversations, page by page, beside and without effect on the client's own catching up.
    pub fn heads(&self) -> SyncPages<'_> {
        SyncPages { client: self, page: Some(String::new()) }
    }
}

/// Pages of [`Client::heads`].
#[derive(Debug)]
pub struct SyncPages<'a> {
    client: &'a Client,
    page: Option<String>,
}

impl SyncPages<'_> {
    /// The next page of heads, those that moved last first; `None` after the last one.
    ///
    /// # Errors
    ///
    /// As [`Client::request`]; the page may be asked for again.
    pub async fn next(&mut self) -> Result<Option<Vec<wire::Head>>, Error> {
        let Some(page) = &self.page else { return Ok(None) };
        let request = wire::Sync { page: page.clone(), limit: limits::SYNC_HEADS_MAX, ..wire::Sync::default() };
        let answer = expect!(self.client.request(Request::Sync(request)).await?, Sync)?;
        self.page = Some(answer.next_page).filter(|next| !next.is_empty());
        Ok(Some(answer.heads))
    }
}
