//! Who is there, and who writes.

use protocol::{
    ConversationId, UserId,
    wire::{self, client_frame::Body as Request},
};

use crate::{Client, Error};

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// The presence of users now; changes come as [`Event::Presence`](crate::Event::Presence), on this connection: ask
    /// again after each [`Event::Connected`](crate::Event::Connected).
    pub async fn watch_presence(&self, users: &[UserId]) -> Result<Vec<wire::Presence>, Error> {
        let request = wire::WatchPresence { users: users.iter().map(|user| user.get()).collect() };
        expect!(self.request(Request::WatchPresence(request)).await?, Presences).map(|answer| answer.presences)
    }

    /// Tells, for this connection, whether the user is away from this device.
    pub async fn set_away(&self, away: bool) -> Result<(), Error> {
        self.done(Request::SetAway(wire::SetAway { away })).await
    }

    /// Tells that the user writes something; a notice is good for six seconds.
    pub async fn typing(&self, conversation: ConversationId) -> Result<(), Error> {
        self.done(Request::Typing(wire::Typing { conversation: conversation.get() })).await
    }
}
