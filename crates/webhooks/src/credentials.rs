//! How webhooks act for their bots.

use async_trait::async_trait;
use protocol::{Error, SessionId, UserId};

/// What proves at the gateway that a webhook acts for its bot.
#[derive(Clone)]
pub struct Credential {
    /// The bot's name.
    pub name: String,
    /// For `connect`.
    pub access_token: String,
}

/// Gives out credentials: the user service, in the same process.
#[async_trait]
pub trait Credentials: Send + Sync + 'static {
    /// A fresh credential for a bot, whose session is the webhook. `None`: the bot may not act, as it is suspended or
    /// gone.
    ///
    /// # Errors
    ///
    /// It cannot be told at the moment.
    async fn issue(&self, bot: UserId, session: SessionId) -> Result<Option<Credential>, Error>;
}
