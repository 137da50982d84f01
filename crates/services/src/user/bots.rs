//! Bots and their API keys, for their owners.

use std::time::Duration;

use api::{Call, Identity};
use protocol::{
    Error, Result, SessionId, UserId, limits, name_key,
    wire::{self, ErrorCode, Scope},
};
use store::{Account, ApiKeyRow, BotRefused, BotRow, NewApiKey, NewBot};

use super::{
    Service,
    accounts::{name_taken, new_name},
    full, profiles,
    tokens::{Secret, secret_hash, secret_text},
};
use crate::text;

/// What API keys begin with, so that they are told from tokens, and found where they should not be.
pub(super) const API_KEY_PREFIX: &str = "mpk_";
/// How long an API key is cached. That it has ended is known at once in this process, and in others when they look what their
/// peers did: from memory, whatever the cache says.
pub(super) const API_KEY_TTL: Duration = Duration::from_secs(30);
/// By then nothing cached says any more that a key is good which has ended: a lifetime is up to a tenth longer, and a copy in a
/// process ([`Near::DEFAULT`](cache::Near::DEFAULT)) may have been made at its end.
pub(super) const API_KEY_KNOWN_MAX: Duration = Duration::from_secs(60);

/// An API key as the cache holds it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Key {
    #[prost(fixed64, tag = "1")]
    id: u64,
    #[prost(fixed64, tag = "2")]
    bot: u64,
    #[prost(uint32, tag = "3")]
    scopes: u32,
    #[prost(int64, tag = "4")]
    expires_ms: i64,
}

/// Whose key it is or was, good or not, as the cache holds it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Whose {
    #[prost(fixed64, tag = "1")]
    bot: u64,
}

impl Service {
    pub(super) async fn make_bot(&self, call: &Call, request: wire::CreateBot) -> Result<wire::Bot> {
        let owner = full(call)?.user;
        let request_id = text::entry_id(&request.id)?;
        let name = new_name(&request.name)?;
        let bot = NewBot {
            id: UserId::new(self.new_id()),
            request: request_id,
            owner,
            name: name.to_string(),
            name_key: name.key(),
            display_name: profiles::display_name(&request.display_name)?,
            created_ms: self.clock.now_ms(),
        };
        self.whole(async move |me| {
            let new = bot.id;
            let outcome = me.store.create_bot(bot, limits::BOTS_MAX).await;
            me.changed(new, &[name.key()]).await;
            let made = match outcome? {
                Ok(made) => made,
                Err(BotRefused::NameTaken) => return Err(name_taken(&name)),
                Err(BotRefused::TooMany(bots)) => return Err(Error::limit("bots", bots + 1, limits::BOTS_MAX)),
                Err(BotRefused::NoOwner) => return Err(Error::not_found("the account")),
            };
            if made.user.id != new.get() && name_key(&made.user.name) != name.key() {
                return Err(id_reused());
            }
            Ok(wire_bot(made))
        })
        .await
    }

    pub(super) async fn own_bots(&self, call: &Call) -> Result<wire::Bots> {
        let bots = self.store.bots(full(call)?.user).await?;
        Ok(wire::Bots { bots: bots.into_iter().map(wire_bot).collect() })
    }

    /// A bot of the caller, who is not one.
    ///
    /// # Errors
    ///
    /// There is none such.
    pub(super) async fn own_bot(&self, call: &Call, bot: u64) -> Result<Account> {
        let owner = full(call)?.user;
        let account = self.store.account(UserId::new(bot)).await?;
        let account = account.filter(|account| account.owner == Some(owner) && !account.user.deleted);
        account.ok_or_else(|| Error::not_found(format_args!("a bot {bot} of yours")))
    }

    pub(super) async fn make_api_key(&self, call: &Call, request: wire::CreateApiKey) -> Result<wire::ApiKey> {
        let request_id = text::entry_id(&request.id)?;
        let label = text::line("label", &request.label, limits::LABEL_CHARS_MAX)?;
        let scopes = scope_bits(&request.scopes)?;
        let now_ms = self.clock.now_ms();
        if request.expires_ms != 0 && request.expires_ms <= now_ms {
            return Err(Error::invalid("expires_ms: must be in the future, or 0 for a key that does not expire"));
        }
        let bot = UserId::new(self.own_bot(call, request.bot).await?.user.id);
        let (secret, hash) = self.tokens.secret(Secret::ApiKey, bot, request_id);
        let expires_ms = request.expires_ms;
        let row = ApiKeyRow { id: SessionId::new(self.new_id()), bot, label, scopes, created_ms: now_ms, expires_ms };
        let key = NewApiKey { row: row.clone(), request: request_id, hash };
        if !self.store.create_api_key(key, limits::API_KEYS_MAX, now_ms).await? {
            return Err(Error::limit("API keys of a bot", limits::API_KEYS_MAX + 1, limits::API_KEYS_MAX));
        }
        // What the same request made before may have ended meanwhile.
        let made = self.store.api_key(hash, now_ms).await?;
        let made = made.ok_or_else(|| Error::new(ErrorCode::Conflict, "the key that this request made has ended"))?;
        if (&made.label, made.scopes, made.expires_ms) != (&row.label, row.scopes, row.expires_ms) {
            return Err(id_reused());
        }
        Ok(wire::ApiKey { secret: format!("{API_KEY_PREFIX}{}", secret_text(secret)), ..wire_key(made) })
    }

    pub(super) async fn own_api_keys(&self, call: &Call, request: wire::ListApiKeys) -> Result<wire::ApiKeys> {
        self.own_bot(call, request.bot).await?;
        let keys = self.store.api_keys(UserId::new(request.bot), self.clock.now_ms()).await?;
        Ok(wire::ApiKeys { keys: keys.into_iter().map(wire_key).collect() })
    }

    pub(super) async fn end_api_key(&self, call: &Call, request: wire::RevokeApiKey) -> Result<()> {
        let bot = UserId::new(self.own_bot(call, request.bot).await?.user.id);
        let key = SessionId::new(request.key);
        self.whole(async move |me| {
            if !me.store.end_api_key(bot, key, me.clock.now_ms()).await? {
                return Err(Error::not_found(format_args!("API key {key}")));
            }
            me.ended(&[(bot, key)]).await;
            Ok(())
        })
        .await
    }

    /// Whose API key this is, and what it may be used for.
    pub(super) async fn key_identity(&self, secret: &str) -> Result<Identity> {
        let unknown = || Error::new(ErrorCode::Unauthenticated, "token: not an API key of this server that is good");
        let hash = secret_hash(secret).ok_or_else(unknown)?;
        let now_ms = self.clock.now_ms();
        let name = hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let load = || async {
            let row = self.store.api_key(hash, now_ms).await?;
            Ok(row.map(|row| Key {
                id: row.id.get(),
                bot: row.bot.get(),
                scopes: row.scopes,
                expires_ms: row.expires_ms,
            }))
        };
        let Some(key) = self.keys.get(name.as_str(), load).await? else {
            // Keys of those who are kept out have ended; that they are is why.
            let load = || async {
                let bot = self.store.api_key_bot(hash).await?;
                Ok(bot.map(|bot| Whose { bot: bot.get() }))
            };
            return Err(match self.ended_keys.get(name.as_str(), load).await? {
                Some(Whose { bot }) => self.refusal(UserId::new(bot), unknown()).await,
                None => unknown(),
            });
        };
        if self.ended.contains(SessionId::new(key.id)) {
            let revoked = Error::new(ErrorCode::SessionEnded, "this API key was revoked");
            return Err(self.refusal(UserId::new(key.bot), revoked).await);
        }
        if key.expires_ms != 0 && key.expires_ms <= now_ms {
            return Err(unknown());
        }
        let user = self.info(UserId::new(key.bot)).await?;
        if user.deleted {
            return Err(unknown());
        }
        Ok(Identity { user: Some(user), session: key.id, scopes: scopes(key.scopes), expires_ms: key.expires_ms })
    }
}

pub(super) fn id_reused() -> Error {
    Error::new(ErrorCode::IdReused, "id: used before for something else")
}

fn wire_bot(bot: BotRow) -> wire::Bot {
    wire::Bot { user: Some(bot.user), created_ms: bot.created_ms }
}

fn wire_key(row: ApiKeyRow) -> wire::ApiKey {
    wire::ApiKey {
        id: row.id.get(),
        bot: row.bot.get(),
        label: row.label,
        scopes: scopes(row.scopes),
        created_ms: row.created_ms,
        expires_ms: row.expires_ms,
        secret: String::new(),
    }
}

fn scope_bits(scopes: &[i32]) -> Result<u32> {
    let mut bits = 0;
    for scope in scopes {
        match Scope::try_from(*scope) {
            Ok(Scope::Unspecified) | Err(_) => {
                return Err(Error::invalid("scopes: allowed are READ, WRITE, GROUPS, CONTACTS and PROFILE"));
            }
            Ok(scope) => bits |= 1 << scope as u32,
        }
    }
    if bits == 0 { Err(Error::invalid("scopes: name at least one")) } else { Ok(bits) }
}

/// Of bits, as the store has them; those that only a newer program knows are no scopes here.
fn scopes(bits: u32) -> Vec<i32> {
    (1..32).filter(|scope| bits & 1 << scope != 0 && Scope::try_from(*scope).is_ok()).collect()
}
