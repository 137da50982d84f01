//! Access for what reads for bots within this process.

use protocol::{Result, SessionId, UserId};

use super::{
    Service, ms,
    tokens::{Claims, Purpose},
};

/// A token of a bot that nobody logged in.
#[derive(Clone)]
pub struct BotAccess {
    /// The bot's name.
    pub name: String,
    /// For `connect`, with the scope READ.
    pub access_token: String,
}

impl Service {
    /// Lets something in this process connect for a bot and read, under a session of its own choice, which no log-in may
    /// have. `None` if the bot may not act: it is suspended, gone, or no bot.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn bot_access(&self, bot: UserId, session: SessionId) -> Result<Option<BotAccess>> {
        let account = self.store.account(bot).await?;
        let Some(account) = account.filter(|a| a.user.bot && !a.user.deleted && !a.suspended) else { return Ok(None) };
        let expires_ms = self.clock.now_ms() + ms(self.config.access_token_ttl);
        let claims = Claims { user: bot, session, name: account.user.name.clone(), expires_ms };
        let access_token = self.tokens.issue(Purpose::Webhook, &claims)?;
        Ok(Some(BotAccess { name: account.user.name, access_token }))
    }
}
