//! Bots, their keys and webhooks. Their ids are numbers of their own kinds, as they travel.

use protocol::{
    ConversationId, EntryId, UserId,
    wire::{self, client_frame::Body as Request},
};

use crate::{Client, Error};

/// Each method sends one request; their errors are those of [`Client::request`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl Client {
    /// Makes a bot of the user's.
    pub async fn create_bot(&self, name: &str, display_name: &str, id: EntryId) -> Result<wire::Bot, Error> {
        let request = wire::CreateBot { id: id.to_string(), name: name.into(), display_name: display_name.into() };
        expect!(self.request(Request::CreateBot(request)).await?, Bot)
    }

    /// The user's bots.
    pub async fn bots(&self) -> Result<Vec<wire::Bot>, Error> {
        expect!(self.request(Request::ListBots(wire::ListBots {})).await?, Bots).map(|answer| answer.bots)
    }

    /// Ends a bot for good.
    pub async fn delete_bot(&self, bot: UserId) -> Result<(), Error> {
        self.done(Request::DeleteBot(wire::DeleteBot { bot: bot.get() })).await
    }

    /// Makes a key by which a bot acts; its secret is told this once. It ends at a time in milliseconds since 1970 (0: never).
    pub async fn create_api_key(
        &self,
        bot: UserId,
        label: &str,
        scopes: &[wire::Scope],
        expires_ms: i64,
        id: EntryId,
    ) -> Result<wire::ApiKey, Error> {
        let scopes = scopes.iter().map(|&scope| scope.into()).collect();
        let request =
            wire::CreateApiKey { id: id.to_string(), bot: bot.get(), label: label.into(), scopes, expires_ms };
        expect!(self.request(Request::CreateApiKey(request)).await?, ApiKey)
    }

    /// A bot's keys, without their secrets.
    pub async fn api_keys(&self, bot: UserId) -> Result<Vec<wire::ApiKey>, Error> {
        let request = wire::ListApiKeys { bot: bot.get() };
        expect!(self.request(Request::ListApiKeys(request)).await?, ApiKeys).map(|answer| answer.keys)
    }

    /// Ends a key; connections with it are closed.
    pub async fn revoke_api_key(&self, bot: UserId, key: u64) -> Result<(), Error> {
        self.done(Request::RevokeApiKey(wire::RevokeApiKey { bot: bot.get(), key })).await
    }

    /// Has the entries of a bot's conversations posted to a URL; the secret is told this once.
    pub async fn create_webhook(&self, bot: UserId, url: &str, id: EntryId) -> Result<wire::Webhook, Error> {
        let request = wire::CreateWebhook { id: id.to_string(), bot: bot.get(), url: url.into() };
        expect!(self.request(Request::CreateWebhook(request)).await?, Webhook)
    }

    /// A bot's webhooks.
    pub async fn webhooks(&self, bot: UserId) -> Result<Vec<wire::Webhook>, Error> {
        let request = wire::ListWebhooks { bot: bot.get() };
        expect!(self.request(Request::ListWebhooks(request)).await?, Webhooks).map(|answer| answer.webhooks)
    }

    /// Ends a webhook.
    pub async fn delete_webhook(&self, webhook: u64) -> Result<(), Error> {
        self.done(Request::DeleteWebhook(wire::DeleteWebhook { webhook })).await
    }

    /// One page of the deliveries that were given up, oldest first: those with a larger id than `after`.
    pub async fn dead_letters(&self, webhook: u64, after: u64, limit: u32) -> Result<Vec<wire::DeadLetter>, Error> {
        let request = wire::ListDeadLetters { webhook, after, limit };
        expect!(self.request(Request::ListDeadLetters(request)).await?, DeadLetters).map(|answer| answer.letters)
    }

    /// Tries these deliveries again; none: all that were given up.
    pub async fn redeliver(&self, webhook: u64, letters: &[u64]) -> Result<(), Error> {
        self.done(Request::Redeliver(wire::Redeliver { webhook, letters: letters.to_vec() })).await
    }

    /// Makes a URL that posts into a conversation as a bot; its token is told this once.
    pub async fn create_incoming_webhook(
        &self,
        bot: UserId,
        conversation: ConversationId,
        label: &str,
        id: EntryId,
    ) -> Result<wire::IncomingWebhook, Error> {
        let (id, conversation, label) = (id.to_string(), conversation.get(), label.into());
        let request = wire::CreateIncomingWebhook { id, bot: bot.get(), conversation, label };
        expect!(self.request(Request::CreateIncomingWebhook(request)).await?, IncomingWebhook)
    }

    /// A bot's incoming webhooks.
    pub async fn incoming_webhooks(&self, bot: UserId) -> Result<Vec<wire::IncomingWebhook>, Error> {
        let request = wire::ListIncomingWebhooks { bot: bot.get() };
        let answer = self.request(Request::ListIncomingWebhooks(request)).await?;
        expect!(answer, IncomingWebhooks).map(|answer| answer.webhooks)
    }

    /// Ends an incoming webhook.
    pub async fn delete_incoming_webhook(&self, webhook: u64) -> Result<(), Error> {
        self.done(Request::DeleteIncomingWebhook(wire::DeleteIncomingWebhook { webhook })).await
    }
}
