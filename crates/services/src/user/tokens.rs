//! Tokens. Access and resume tokens are PASETO v4.local: made and checked in memory with the server's key, so that ten
//! thousand devices may come back without a look-up. Refresh tokens are random and known only by their hash.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use pasetors::{
    Local,
    keys::SymmetricKey,
    token::UntrustedToken,
    version4::{LocalToken, V4},
};
use protocol::{
    EntryId, Error, Result, SessionId, UserId,
    wire::{ErrorCode, Scope},
};
use sha2::{Digest, Sha256};
use store::TokenHash;

/// The server's key for tokens. Whoever holds it can be anyone.
#[derive(Clone)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// From its 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new one, from the system's randomness.
    ///
    /// # Errors
    ///
    /// The system has none to give.
    pub fn generate() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(bytes))
    }

    /// Its bytes, to be kept secret.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Access,
    Resume,
    /// Connecting, for a webhook of this process, which reads and does nothing else.
    Webhook,
}

impl Purpose {
    /// Bound into the token, so that one kind never passes as the other.
    fn assertion(self) -> &'static [u8] {
        match self {
            Self::Access => b"mpim access token",
            Self::Resume => b"mpim resume token",
            Self::Webhook => b"mpim webhook token",
        }
    }

    /// What it may be used for; empty: everything.
    pub(super) fn scopes(self) -> Vec<i32> {
        match self {
            Self::Access | Self::Resume => Vec::new(),
            Self::Webhook => vec![Scope::Read.into()],
        }
    }
}

/// What a secret is for that a bot's owner is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    ApiKey,
    Webhook,
    IncomingWebhook,
}

impl Secret {
    /// Mixed into it, so that one kind is never another.
    fn label(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"mpim api key",
            Self::Webhook => b"mpim webhook secret",
            Self::IncomingWebhook => b"mpim incoming webhook",
        }
    }
}

/// The hash of a secret that was presented in its text form; `None` if it is not the text of one.
pub(super) fn secret_hash(text: &str) -> Option<TokenHash> {
    let secret: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    Some(Sha256::digest(secret).into())
}

/// A secret's text form.
pub(super) fn secret_text(secret: [u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(secret)
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) name: String,
    pub(super) expires_ms: i64,
}

pub(super) struct Tokens {
    key: SecretKey,
    paseto: SymmetricKey<V4>,
}

impl Tokens {
    pub(super) fn new(key: SecretKey) -> Result<Self> {
        let paseto = SymmetricKey::from(key.as_bytes()).map_err(unusable)?;
        Ok(Self { key, paseto })
    }

    pub(super) fn issue(&self, purpose: Purpose, claims: &Claims) -> Result<String> {
        let payload = format!("{}.{}.{}.{}", claims.user, claims.session, claims.expires_ms, claims.name);
        LocalToken::encrypt(&self.paseto, payload.as_bytes(), None, Some(purpose.assertion())).map_err(unusable)
    }

    /// Checks a token of one of these purposes, and tells which.
    pub(super) fn check(&self, purposes: &[Purpose], token: &str, now_ms: i64) -> Result<(Purpose, Claims)> {
        let wrong = || Error::new(ErrorCode::Unauthenticated, "token: not one that this server gave out for this use");
        let untrusted = UntrustedToken::<Local, V4>::try_from(token).map_err(|_| wrong())?;
        let opened = |purpose: Purpose| {
            let token = LocalToken::decrypt(&self.paseto, &untrusted, None, Some(purpose.assertion()));
            Some((purpose, token.ok()?))
        };
        let (purpose, trusted) = purposes.iter().copied().find_map(opened).ok_or_else(wrong)?;
        let claims = parse(trusted.payload()).ok_or_else(wrong)?;
        if claims.expires_ms <= now_ms {
            return Err(Error::new(ErrorCode::TokenExpired, "token: its time is over; use the refresh token"));
        }
        Ok((purpose, claims))
    }

    /// A first refresh token, and its hash.
    pub(super) fn new_refresh(&self) -> Result<(String, TokenHash)> {
        let mut token = [0; 32];
        getrandom::fill(&mut token).map_err(unusable)?;
        Ok((URL_SAFE_NO_PAD.encode(token), Sha256::digest(token).into()))
    }

    /// A secret that the request `id` about a bot gets, and its hash. The same each time, so that an answer that got lost
    /// can be given again without the secret being stored.
    pub(super) fn secret(&self, kind: Secret, bot: UserId, id: EntryId) -> ([u8; 32], TokenHash) {
        let secret: [u8; 32] = Sha256::new()
            .chain_update(kind.label())
            .chain_update(self.key.as_bytes())
            .chain_update(bot.get().to_be_bytes())
            .chain_update(id.as_bytes())
            .finalize()
            .into();
        (secret, Sha256::digest(secret).into())
    }

    /// The hash of a refresh token that was presented.
    pub(super) fn refresh_hash(token: &str) -> Result<TokenHash> {
        Ok(Sha256::digest(refresh_bytes(token)?).into())
    }

    /// The successor that the request `id` gets for a refresh token, and its hash. The same each time, so that an answer
    /// that got lost can be given again without the token being stored.
    pub(super) fn next_refresh(&self, token: &str, id: EntryId) -> Result<(String, TokenHash)> {
        let next: [u8; 32] = Sha256::new()
            .chain_update(b"mpim refresh token")
            .chain_update(self.key.as_bytes())
            .chain_update(refresh_bytes(token)?)
            .chain_update(id.as_bytes())
            .finalize()
            .into();
        Ok((URL_SAFE_NO_PAD.encode(next), Sha256::digest(next).into()))
    }
}

fn refresh_bytes(token: &str) -> Result<[u8; 32]> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Error::new(ErrorCode::Unauthenticated, "refresh_token: not one that this server gave out"))
}

fn parse(payload: &str) -> Option<Claims> {
    let mut parts = payload.splitn(4, '.');
    Some(Claims {
        user: parts.next()?.parse().ok()?,
        session: parts.next()?.parse().ok()?,
        expires_ms: parts.next()?.parse().ok()?,
        name: parts.next()?.to_owned(),
    })
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::unavailable("tokens cannot be made at the moment").with_source(std::io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(key: u8) -> Tokens {
        Tokens::new(SecretKey::from_bytes([key; 32])).unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_purpose_its_time_and_its_server_only() {
        let claims =
            Claims { user: UserId::new(7), session: SessionId::new(9), name: "o.b 天".into(), expires_ms: 1_000 };
        let token = tokens(1).issue(Purpose::Access, &claims).unwrap();
        let check = |key, purposes: &[Purpose], now| tokens(key).check(purposes, &token, now);
        assert_eq!(check(1, &[Purpose::Resume, Purpose::Access], 999).unwrap(), (Purpose::Access, claims));
        assert_eq!(check(1, &[Purpose::Access], 1_000).unwrap_err().code(), ErrorCode::TokenExpired);
        assert_eq!(check(1, &[Purpose::Webhook], 0).unwrap_err().code(), ErrorCode::Unauthenticated);
        assert_eq!(check(1, &[Purpose::Resume], 0).unwrap_err().code(), ErrorCode::Unauthenticated);
        assert_eq!(check(2, &[Purpose::Access], 0).unwrap_err().code(), ErrorCode::Unauthenticated);
        for garbage in ["", "v4.local.", "v4.local.AAAA", "天气", &token[..token.len() - 1]] {
            let error = tokens(1).check(&[Purpose::Access], garbage, 0).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Unauthenticated, "{garbage}");
        }
    }

    #[test]
    fn a_bots_secret_depends_on_its_kind_its_bot_its_request_and_the_key() {
        let (a, b) = (EntryId::generate(), EntryId::generate());
        let (secret, hash) = tokens(1).secret(Secret::ApiKey, UserId::new(7), a);
        assert_eq!(secret_hash(&secret_text(secret)), Some(hash));
        assert_eq!(tokens(1).secret(Secret::ApiKey, UserId::new(7), a).0, secret);
        for other in [
            tokens(2).secret(Secret::ApiKey, UserId::new(7), a),
            tokens(1).secret(Secret::IncomingWebhook, UserId::new(7), a),
            tokens(1).secret(Secret::ApiKey, UserId::new(8), a),
            tokens(1).secret(Secret::ApiKey, UserId::new(7), b),
        ] {
            assert_ne!(other.0, secret);
        }
        assert_eq!(secret_hash("no"), None);
    }

    #[test]
    fn a_refresh_tokens_successor_depends_on_request_and_key() {
        let (token, hash) = tokens(1).new_refresh().unwrap();
        assert_eq!(Tokens::refresh_hash(&token).unwrap(), hash);
        let (a, b) = (EntryId::generate(), EntryId::generate());
        let next = tokens(1).next_refresh(&token, a).unwrap();
        assert_eq!(next, tokens(1).next_refresh(&token, a).unwrap());
        assert_eq!(Tokens::refresh_hash(&next.0).unwrap(), next.1);
        assert_ne!(next, tokens(1).next_refresh(&token, b).unwrap());
        assert_ne!(next, tokens(2).next_refresh(&token, a).unwrap());
        Tokens::refresh_hash("no").unwrap_err();
    }
}
