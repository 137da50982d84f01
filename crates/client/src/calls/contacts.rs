//! Friends, remarks, blocks.

use protocol::{
    EntryId, UserId,
    wire::{self, client_frame::Body as Request},
};

use crate::{Client, Error};

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// Asks a user to be friends; who was asked by the other already is a friend at once.
    pub async fn request_friend(&self, user: UserId, message: &str, id: EntryId) -> Result<(), Error> {
        self.done(Request::RequestFriend(wire::RequestFriend {
            id: id.to_string(),
            user: user.get(),
            message: message.into(),
        }))
        .await
    }

    /// Answers a request that was received.
    pub async fn answer_friend(&self, user: UserId, accept: bool, id: EntryId) -> Result<(), Error> {
        self.done(Request::AnswerFriend(wire::AnswerFriend { id: id.to_string(), user: user.get(), accept })).await
    }

    /// Takes back a request that was sent.
    pub async fn withdraw_friend(&self, user: UserId, id: EntryId) -> Result<(), Error> {
        self.done(Request::WithdrawFriend(wire::WithdrawFriend { id: id.to_string(), user: user.get() })).await
    }

    /// Ends a friendship, on both sides.
    pub async fn remove_friend(&self, user: UserId, id: EntryId) -> Result<(), Error> {
        self.done(Request::RemoveFriend(wire::RemoveFriend { id: id.to_string(), user: user.get() })).await
    }

    /// Gives another user a name that nobody else sees; empty: none.
    pub async fn set_remark(&self, user: UserId, remark: &str, id: EntryId) -> Result<(), Error> {
        self.done(Request::SetRemark(wire::SetRemark { id: id.to_string(), user: user.get(), remark: remark.into() }))
            .await
    }

    /// Keeps what a user writes from arriving, or lets it arrive again.
    pub async fn set_blocked(&self, user: UserId, blocked: bool, id: EntryId) -> Result<(), Error> {
        self.done(Request::SetBlocked(wire::SetBlocked { id: id.to_string(), user: user.get(), blocked })).await
    }

    /// One page of the user's contacts, in the order of their ids: those with a larger id than `after`.
    pub async fn contacts(&self, after: Option<UserId>, limit: u32) -> Result<Vec<wire::Contact>, Error> {
        let request = wire::ListContacts { after: after.map_or(0, UserId::get), limit };
        expect!(self.request(Request::ListContacts(request)).await?, Contacts).map(|answer| answer.contacts)
    }
}
