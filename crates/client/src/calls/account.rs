//! The account, its sessions, and who others are.

use std::{collections::HashMap, sync::Arc};

use protocol::{
    ConversationId, EntryId, SessionId, UserId, limits,
    wire::{self, client_frame::Body as Request},
};

use crate::{Client, Error};

/// Names kept; when there are more, all are forgotten and asked for again.
const NAMES_MAX: usize = 10_000;

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
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

    /// Users with these ids. Those that do not exist are left out.
    pub async fn users(&self, users: &[UserId]) -> Result<Vec<wire::UserInfo>, Error> {
        let mut found = Vec::with_capacity(users.len());
        for some in users.chunks(limits::FIND_USERS_MAX) {
            let request = wire::FindUsers { ids: super::numbers(some), names: Vec::new() };
            found.extend(expect!(self.request(Request::FindUsers(request)).await?, Users)?.users);
        }
        self.remember(&found);
        Ok(found)
    }

    /// One page of the users whose name or display name begins with the query; `page` is the page before's `next_page`, or
    /// empty.
    pub async fn search_users(&self, query: &str, page: &str, limit: u32) -> Result<wire::Users, Error> {
        let request = wire::SearchUsers { query: query.into(), page: page.into(), limit };
        expect!(self.request(Request::SearchUsers(request)).await?, Users)
    }

    /// What the user is to the server.
    pub async fn account(&self) -> Result<wire::Account, Error> {
        expect!(self.request(Request::GetAccount(wire::GetAccount {})).await?, Account)
    }

    /// Changes those parts of the profile that are given.
    pub async fn update_profile(&self, changes: wire::UpdateProfile) -> Result<wire::Account, Error> {
        expect!(self.request(Request::UpdateProfile(changes)).await?, Account)
    }

    /// Changes those settings that are given.
    pub async fn update_settings(
        &self,
        write_policy: Option<wire::WritePolicy>,
        invisible: Option<bool>,
        id: EntryId,
    ) -> Result<wire::Account, Error> {
        let write_policy = write_policy.map(Into::into);
        let request = wire::UpdateSettings { id: id.to_string(), write_policy, invisible };
        expect!(self.request(Request::UpdateSettings(request)).await?, Account)
    }

    /// Gives the account another name.
    pub async fn rename(&self, name: &str) -> Result<wire::Account, Error> {
        expect!(self.request(Request::Rename(wire::Rename { name: name.into() })).await?, Account)
    }

    /// Ends the account for good; the connection ends with it.
    pub async fn delete_account(&self, password: &str) -> Result<(), Error> {
        self.done(Request::DeleteAccount(wire::DeleteAccount { password: password.into() })).await
    }

    /// Reports a user to those who run the server.
    pub async fn report_user(
        &self,
        user: UserId,
        reason: wire::ReportReason,
        text: &str,
        id: EntryId,
    ) -> Result<(), Error> {
        self.report(wire::report::What::User(user.get()), reason, text, id).await
    }

    /// Reports a message to those who run the server, who get a copy of it.
    pub async fn report_message(
        &self,
        conversation: ConversationId,
        position: u64,
        reason: wire::ReportReason,
        text: &str,
        id: EntryId,
    ) -> Result<(), Error> {
        let message = wire::ReportedMessage { conversation: conversation.get(), position };
        self.report(wire::report::What::Message(message), reason, text, id).await
    }

    async fn report(
        &self,
        what: wire::report::What,
        reason: wire::ReportReason,
        text: &str,
        id: EntryId,
    ) -> Result<(), Error> {
        let (id, reason, text) = (id.to_string(), reason.into(), text.into());
        self.done(Request::Report(wire::Report { id, reason, text, what: Some(what) })).await
    }
}
