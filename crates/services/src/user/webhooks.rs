//! Webhooks of bots, outgoing and incoming, for their owners. Who delivers is another's business.

use api::{Call, FilterMembersRequest, Identity, IncomingTarget};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use protocol::{
    ConversationId, Error, Result, UserId, WebhookUrl, limits,
    wire::{self, ErrorCode, Scope},
};
use store::{DeadLetterRow, Incoming, NewIncoming, NewWebhook, WebhookRow, WebhookState};

use super::{
    Service,
    bots::id_reused,
    closing::as_user,
    tokens::{Secret, secret_hash, secret_text},
};
use crate::text;

/// What secrets of webhooks begin with, as the Standard Webhooks specification has it.
const SECRET_PREFIX: &str = "whsec_";

impl Service {
    pub(super) async fn make_webhook(&self, call: &Call, request: wire::CreateWebhook) -> Result<wire::Webhook> {
        let request_id = text::entry_id(&request.id)?;
        check_url(&request.url, self.config.private_webhooks)?;
        let bot = UserId::new(self.own_bot(call, request.bot).await?.user.id);
        let (secret, _) = self.tokens.secret(Secret::Webhook, bot, request_id);
        let row = WebhookRow {
            id: self.new_id(),
            bot,
            url: request.url,
            secret: secret.to_vec(),
            created_ms: self.clock.now_ms(),
            dead_letters: 0,
            last_error: String::new(),
        };
        // From now on: what was before is not posted.
        let sync = wire::Sync { limit: 1, ..wire::Sync::default() };
        let cursor = self.messages.sync(&as_user(bot), sync).await?.cursor;
        let state = WebhookState { cursor, positions: Vec::new() };
        let url = row.url.clone();
        let webhook = NewWebhook { row, request: request_id };
        if !self.store_webhooks.create_webhook(webhook, state, limits::WEBHOOKS_MAX).await? {
            return Err(Error::limit("webhooks of a bot", limits::WEBHOOKS_MAX + 1, limits::WEBHOOKS_MAX));
        }
        // What the same request made before has the same secret.
        let webhooks = self.store_webhooks.webhooks(Some(bot)).await?;
        let made = webhooks.into_iter().find(|webhook| webhook.secret == secret);
        let made = made.ok_or_else(|| Error::new(ErrorCode::Conflict, "the webhook that this request made is gone"))?;
        if made.url != url {
            return Err(id_reused());
        }
        Ok(wire::Webhook { secret: format!("{SECRET_PREFIX}{}", STANDARD.encode(secret)), ..wire_webhook(made) })
    }

    pub(super) async fn own_webhooks(&self, call: &Call, request: wire::ListWebhooks) -> Result<wire::Webhooks> {
        self.own_bot(call, request.bot).await?;
        let webhooks = self.store_webhooks.webhooks(Some(UserId::new(request.bot))).await?;
        Ok(wire::Webhooks { webhooks: webhooks.into_iter().map(wire_webhook).collect() })
    }

    /// Refuses webhooks that are not of a bot of the caller.
    async fn check_webhook(&self, call: &Call, webhook: u64) -> Result<()> {
        let unknown = || Error::not_found(format_args!("webhook {webhook}"));
        let row = self.store_webhooks.webhook(webhook).await?.ok_or_else(unknown)?;
        self.own_bot(call, row.bot.get()).await.map(drop).map_err(|error| not_found_as(error, unknown))
    }

    pub(super) async fn remove_webhook(&self, call: &Call, webhook: u64) -> Result<()> {
        self.check_webhook(call, webhook).await?;
        self.store_webhooks.delete_webhook(webhook).await?;
        Ok(())
    }

    pub(super) async fn dead_letters(&self, call: &Call, request: wire::ListDeadLetters) -> Result<wire::DeadLetters> {
        let limit = text::bounded("limit", request.limit, limits::DEAD_LETTERS_DEFAULT, limits::DEAD_LETTERS_MAX)?;
        self.check_webhook(call, request.webhook).await?;
        let letters = self.store_webhooks.dead_letters(request.webhook, request.after, limit, false).await?;
        Ok(wire::DeadLetters { letters: letters.into_iter().map(wire_letter).collect() })
    }

    pub(super) async fn redeliver_letters(&self, call: &Call, request: wire::Redeliver) -> Result<()> {
        let count = request.letters.len();
        if count > limits::DEAD_LETTERS_MAX as usize {
            return Err(Error::limit("letters", count, limits::DEAD_LETTERS_MAX));
        }
        self.check_webhook(call, request.webhook).await?;
        self.store_webhooks.redeliver(request.webhook, request.letters).await?;
        Ok(())
    }

    pub(super) async fn make_incoming(
        &self,
        call: &Call,
        request: wire::CreateIncomingWebhook,
    ) -> Result<wire::IncomingWebhook> {
        let request_id = text::entry_id(&request.id)?;
        let label = text::line("label", &request.label, limits::LABEL_CHARS_MAX)?;
        let bot = UserId::new(self.own_bot(call, request.bot).await?.user.id);
        let conversation = ConversationId::new(request.conversation);
        if conversation == bot.personal_log() {
            return Err(Error::new(ErrorCode::Forbidden, "conversation: only the server writes to a personal log"));
        }
        let member = FilterMembersRequest { conversation: request.conversation, users: vec![bot.get()] };
        if self.messages.filter_members(call, member).await?.ids.is_empty() {
            return Err(Error::new(ErrorCode::NotMember, "conversation: the bot is not a member of it"));
        }
        let (token, hash) = self.tokens.secret(Secret::IncomingWebhook, bot, request_id);
        let row = Incoming { id: self.new_id(), bot, conversation, label, created_ms: self.clock.now_ms() };
        let incoming = NewIncoming { row: row.clone(), request: request_id, hash };
        let max = limits::INCOMING_WEBHOOKS_MAX;
        if !self.store.create_incoming(incoming, max).await? {
            return Err(Error::limit("incoming webhooks of a bot", max + 1, max));
        }
        let made = self.store.incoming_by_hash(hash).await?;
        let made = made.ok_or_else(|| Error::new(ErrorCode::Conflict, "the webhook that this request made is gone"))?;
        if (made.conversation, &made.label) != (row.conversation, &row.label) {
            return Err(id_reused());
        }
        Ok(wire::IncomingWebhook { token: secret_text(token), ..wire_incoming(made) })
    }

    pub(super) async fn own_incoming(
        &self,
        call: &Call,
        request: wire::ListIncomingWebhooks,
    ) -> Result<wire::IncomingWebhooks> {
        self.own_bot(call, request.bot).await?;
        let webhooks = self.store.incoming(UserId::new(request.bot)).await?;
        Ok(wire::IncomingWebhooks { webhooks: webhooks.into_iter().map(wire_incoming).collect() })
    }

    pub(super) async fn remove_incoming(&self, call: &Call, webhook: u64) -> Result<()> {
        let unknown = || Error::not_found(format_args!("webhook {webhook}"));
        let row = self.store.incoming_by_id(webhook).await?.ok_or_else(unknown)?;
        self.own_bot(call, row.bot.get()).await.map_err(|error| not_found_as(error, unknown))?;
        self.store.delete_incoming(webhook).await?;
        Ok(())
    }

    pub(super) async fn incoming_target(&self, token: &str) -> Result<IncomingTarget> {
        let unknown = || Error::not_found("this webhook");
        let hash = secret_hash(token).ok_or_else(unknown)?;
        let row = self.store.incoming_by_hash(hash).await?.ok_or_else(unknown)?;
        let bot = self.store.account(row.bot).await?;
        let bot = bot.filter(|bot| !bot.suspended && !bot.user.deleted).ok_or_else(unknown)?;
        let scopes = vec![Scope::Write.into()];
        let identity = Identity { user: Some(bot.user), session: row.id, scopes, expires_ms: 0 };
        Ok(IncomingTarget { identity: Some(identity), conversation: row.conversation.get() })
    }
}

/// Whose it is, is nobody else's business.
fn not_found_as(error: Error, unknown: impl Fn() -> Error) -> Error {
    if error.code() == ErrorCode::NotFound { unknown() } else { error }
}

/// An address that entries may be posted to.
fn check_url(url: &str, allow_private: bool) -> Result<()> {
    text::at_most_bytes("url", url, limits::URL_BYTES_MAX)?;
    WebhookUrl::parse(url, allow_private).map(drop).map_err(|error| Error::invalid(format!("url: {error}")))
}

fn wire_webhook(row: WebhookRow) -> wire::Webhook {
    wire::Webhook {
        id: row.id,
        bot: row.bot.get(),
        url: row.url,
        created_ms: row.created_ms,
        secret: String::new(),
        dead_letters: row.dead_letters,
        last_error: row.last_error,
    }
}

fn wire_letter(row: DeadLetterRow) -> wire::DeadLetter {
    wire::DeadLetter {
        id: row.id,
        conversation: row.conversation.get(),
        position: row.position,
        time_ms: row.time_ms,
        attempts: row.attempts,
        error: row.error,
    }
}

fn wire_incoming(row: Incoming) -> wire::IncomingWebhook {
    wire::IncomingWebhook {
        id: row.id,
        bot: row.bot.get(),
        conversation: row.conversation.get(),
        label: row.label,
        created_ms: row.created_ms,
        token: String::new(),
    }
}
