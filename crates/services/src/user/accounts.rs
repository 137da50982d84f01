//! Accounts: how one comes by one, and by a session of it.

use api::{Call, Caller};
use protocol::{
    Error, Result, UserId, UserName, name_key,
    wire::{self, ErrorCode, Session, UserInfo, content::Kind},
};
use store::{Account, NewAccount, Rotation, SessionRow, TokenHash};

use super::{
    Service, check_length, ms,
    sessions::{session_ended, started},
    suspended,
    tokens::Tokens,
    wrong_credentials,
};
use crate::text;

impl Service {
    pub(super) async fn make_account(&self, call: &Call, request: wire::Register) -> Result<Session> {
        let name = new_name(&request.name)?;
        text::new_password(&request.password)?;
        let (session, refresh) = self.new_session(&request.device)?;
        // A look before the hash, which is what costs.
        if self.store.account_by_name(name.key()).await?.is_some() {
            return Err(name_taken(&name));
        }
        let account = NewAccount {
            id: UserId::new(self.new_id()),
            name: name.to_string(),
            name_key: name.key(),
            password_hash: self.passwords.hash(request.password).await?,
            created_ms: session.created_ms,
            session: session.clone(),
        };
        let (user, call) = (account.id, call.clone());
        self.whole(async move |me| {
            let tell = vec![me.telling(user, started(&session))];
            let outcome = me.store.create_account(account, tell).await;
            me.changed(user, &[name.key()]).await;
            if !outcome? {
                return Err(name_taken(&name));
            }
            // From where the account was made, its user is known.
            me.failed.forget(&name.key(), call.address);
            me.relay(&call).await;
            let user = UserInfo { id: user.get(), name: name.to_string(), ..UserInfo::default() };
            me.session(user, session.id, (refresh, session.refresh_expires_ms))
        })
        .await
    }

    pub(super) async fn start_session(&self, call: &Call, request: wire::LogIn) -> Result<Session> {
        let (session, refresh) = self.new_session(&request.device)?;
        let account = self.account_with(call, &request.name, request.password).await?;
        if account.suspended {
            return Err(suspended());
        }
        let call = call.clone();
        self.whole(async move |me| {
            let user = UserId::new(account.user.id);
            me.create_session(&call, user, &session).await?;
            // If the password was changed while this one was checked, the change did not see this session.
            let now = me.store.account(user).await?;
            if now.is_none_or(|now| now.password_hash != account.password_hash) {
                me.end_session(&call, user, session.id).await?;
                return Err(wrong_credentials());
            }
            me.relay(&call).await;
            me.session(account.user, session.id, (refresh, session.refresh_expires_ms))
        })
        .await
    }

    pub(super) async fn renew_session(&self, call: &Call, request: wire::Refresh) -> Result<Session> {
        let id = text::entry_id(&request.id)?;
        let old = Tokens::refresh_hash(&request.refresh_token)?;
        let (next, hash): (String, TokenHash) = self.tokens.next_refresh(&request.refresh_token, id)?;
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms + ms(self.config.refresh_token_ttl);
        let call = call.clone();
        self.whole(async move |me| match me.store.rotate_refresh(old, *id.as_bytes(), hash, expires_ms, now_ms).await? {
            Rotation::Rotated(SessionRow { id, user, name }) => {
                me.note_seen(id);
                let user = UserInfo { id: user.get(), name, ..UserInfo::default() };
                me.session(user, id, (next, expires_ms))
            }
            Rotation::Replayed(SessionRow { id, user, name }) => {
                tracing::warn!(%name, session = %id, "a used refresh token was presented again: the session is ended");
                me.ended(&[(user, id)]).await;
                me.relay(&call).await;
                Err(session_ended())
            }
            Rotation::Expired => Err(session_ended()),
            Rotation::Suspended => Err(suspended()),
            Rotation::NotFound => {
                Err(Error::new(ErrorCode::Unauthenticated, "refresh_token: not one that this server gave out"))
            }
        })
        .await
    }

    pub(super) async fn replace_password(&self, call: &Call, request: wire::ChangePassword) -> Result<()> {
        let Caller { user, session, .. } = super::full(call)?;
        text::new_password(&request.new_password)?;
        let account = self.own_account(user, request.old_password, "old_password").await?;
        let hash = self.passwords.hash(request.new_password).await?;
        let call = call.clone();
        self.whole(async move |me| {
            let now_ms = me.clock.now_ms();
            let tell = vec![me.telling(user, Kind::PasswordChanged(wire::PasswordChanged {}))];
            let ended = me.store.change_password(user, account.password_hash, hash, session, now_ms, tell).await?;
            let ended =
                ended.ok_or_else(|| Error::unavailable("the password was changed elsewhere at the same time"))?;
            let ended: Vec<_> = ended.into_iter().map(|session| (user, session)).collect();
            me.ended(&ended).await;
            me.relay(&call).await;
            Ok(())
        })
        .await
    }

    /// The account of a name, if this is its password.
    async fn account_with(&self, call: &Call, name: &str, password: String) -> Result<Account> {
        let (name_key, now_ms) = (name_key(name), self.clock.now_ms());
        check_length(&password)?;
        // What cannot be a name is not counted: nobody has it, and it may be long.
        if name.chars().count() > protocol::limits::NAME_CHARS_MAX || name_key.is_empty() {
            return Err(wrong_credentials());
        }
        // Counted before it is known whether it fails, as many may be tried at once.
        self.failed.attempt(&name_key, call.address, now_ms)?;
        // Bots have no password.
        let account = self.store.account_by_name(name_key.clone()).await?;
        let account = account.filter(|account| !account.password_hash.is_empty());
        let hash = account.as_ref().map(|account| account.password_hash.as_str());
        let right = self.passwords.verify(password, hash).await?;
        match account {
            Some(account) if right => {
                self.failed.forget(&name_key, call.address);
                Ok(account)
            }
            _ => Err(wrong_credentials()),
        }
    }

    /// The caller's account, if this is its password; guesses are limited by user.
    pub(super) async fn own_account(&self, user: UserId, password: String, field: &str) -> Result<Account> {
        check_length(&password)?;
        let account = self.store.account(user).await?.filter(|account| !account.password_hash.is_empty());
        let account = account.ok_or_else(|| Error::not_found("the account"))?;
        let guesses = format!("change:{user}");
        self.failed.attempt(&guesses, None, self.clock.now_ms())?;
        if !self.passwords.verify(password, Some(&account.password_hash)).await? {
            return Err(Error::new(ErrorCode::Forbidden, format!("{field}: wrong")));
        }
        self.failed.forget(&guesses, None);
        Ok(account)
    }
}

/// A name that somebody is to have.
pub(super) fn new_name(name: &str) -> Result<UserName> {
    name.parse().map_err(|error| Error::invalid(format!("name: {error}")))
}

pub(super) fn name_taken(name: &UserName) -> Error {
    Error::new(
        ErrorCode::NameTaken,
        format!("the name {name} is taken, looks like one that is, or was somebody else's less than 30 days ago"),
    )
}
