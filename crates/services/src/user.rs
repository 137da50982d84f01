//! The user service: accounts, sessions, tokens.

mod bot_access;
mod ended;
mod failures;
mod passwords;
mod sessions;
mod tokens;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use api::{Call, Caller, ConnectIdentity, Identity, MessageService, Token, UserService};
use async_trait::async_trait;
use cache::{Cache, Lookup, LookupConfig};
use protocol::{
    Error, IdGenerator, Result, SessionId, UserId, UserName, limits,
    wire::{self, ErrorCode, Session, UserInfo, content::Kind},
};
use queue::Queue;
use quick_cache::sync::Cache as QuickCache;
use store::{Account, NewAccount, NewSession, Rotation, SessionRow, TokenHash, Users};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{bot_access::BotAccess, passwords::PasswordConfig, tokens::SecretKey};
use self::{
    ended::Ended,
    failures::FailedLogIns,
    passwords::Passwords,
    tokens::{Claims, Purpose, Tokens},
};
use crate::{Clock, noted::Noted, text};

/// A session's last use is noted at most so often.
const SEEN_EVERY: Duration = Duration::from_secs(600);
/// Sessions whose last noted use is remembered.
const SEEN_SESSIONS_MAX: usize = 200_000;
/// How often tokens and sessions that are over are removed.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// What may be set of the user service.
#[derive(Debug, Clone)]
pub struct Config {
    /// How passwords are hashed.
    pub passwords: PasswordConfig,
    /// Lifetime of an access token.
    pub access_token_ttl: Duration,
    /// How long a session, and its refresh token, live without being used.
    pub refresh_token_ttl: Duration,
    /// Lifetime of a resume token.
    pub resume_token_ttl: Duration,
    /// How long a user's name may be cached.
    pub info_ttl: Duration,
}

impl Config {
    /// How long a token of a session that has ended may be about.
    fn tokens_live(&self) -> Duration {
        self.resume_token_ttl().max(self.access_token_ttl)
    }

    /// No device is away longer than a session lives unused.
    fn resume_token_ttl(&self) -> Duration {
        self.resume_token_ttl.min(self.refresh_token_ttl)
    }
}

/// The user service, in this process.
pub struct Service {
    config: Config,
    store: Arc<dyn Users>,
    queue: Arc<dyn Queue>,
    messages: Arc<dyn MessageService>,
    by_id: Lookup<UserInfo>,
    by_name: Lookup<UserInfo>,
    ids: Arc<IdGenerator>,
    clock: Clock,
    passwords: Passwords,
    tokens: Tokens,
    ended: Ended,
    failed: FailedLogIns,
    seen: Arc<Noted<SessionId>>,
    seen_noted: QuickCache<SessionId, i64>,
    /// What must go on though its caller has gone.
    work: TaskTracker,
    me: Weak<Self>,
}

/// What the service needs of the rest.
pub struct Parts {
    /// Its part of the store.
    pub store: Arc<dyn Users>,
    /// For names.
    pub cache: Arc<dyn Cache>,
    /// To close the connections of ended sessions.
    pub queue: Arc<dyn Queue>,
    /// To tell users of their sessions, in their personal logs.
    pub messages: Arc<dyn MessageService>,
    /// For ids of users and sessions.
    pub ids: Arc<IdGenerator>,
    /// For dates and lifetimes.
    pub clock: Clock,
    /// For tokens.
    pub key: SecretKey,
}

/// The running tasks of a service.
#[derive(Debug)]
pub struct Tasks {
    work: TaskTracker,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Tasks {
    /// Finishes what is under way, writes what is still to be noted, then ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        self.work.close();
        self.work.wait().await;
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Service {
    /// Starts the service. Reads which sessions ended of late, so that their tokens stay refused.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or the settings for passwords are out of bounds.
    pub async fn start(config: Config, parts: Parts) -> Result<(Arc<Self>, Tasks)> {
        let Parts { store, cache, queue, messages, ids, clock, key } = parts;
        let passwords = Passwords::start(&config.passwords)?;
        let ended = Ended::default();
        let now_ms = clock.now_ms();
        let over_ms = now_ms + ms(config.tokens_live());
        for session in store.sessions_ended_since(2 * now_ms - over_ms).await? {
            ended.add(session, now_ms, over_ms);
        }
        let seen = Noted::new();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn({
            let (store, lifetime_ms) = (Arc::clone(&store), ms(config.refresh_token_ttl));
            let write = move |seen| {
                let store = Arc::clone(&store);
                async move { store.touch_sessions(seen, lifetime_ms).await }
            };
            Arc::clone(&seen).run(stop.clone(), write)
        });
        tasks.spawn(forget_expired(Arc::clone(&store), clock.clone(), config.tokens_live(), stop.clone()));
        let info_ttl = config.info_ttl;
        let lookup = |prefix| Lookup::new(Arc::clone(&cache), LookupConfig::new(prefix, info_ttl));
        let work = TaskTracker::new();
        let tasks = Tasks { work: work.clone(), stop, tasks };
        let tokens = Tokens::new(key)?;
        let service = Arc::new_cyclic(|me| Self {
            by_id: lookup("user"),
            by_name: lookup("user_name"),
            tokens,
            failed: FailedLogIns::new(),
            seen_noted: QuickCache::new(SEEN_SESSIONS_MAX),
            config,
            store,
            queue,
            messages,
            ids,
            clock,
            passwords,
            ended,
            seen,
            work,
            me: me.clone(),
        });
        Ok((service, tasks))
    }

    /// Runs something to its end even if the caller goes: what is stored, and what follows from it, belong together.
    async fn whole<T: Send + 'static, F>(&self, work: impl FnOnce(Arc<Self>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let me = self.me.upgrade().ok_or_else(|| Error::unavailable("this server is stopping"))?;
        let done = self.work.spawn(work(me)).await;
        done.unwrap_or_else(|error| {
            Err(Error::new(ErrorCode::OutcomeUnknown, "outcome unknown: the server failed").with_source(error))
        })
    }

    /// The account of a name, if this is its password.
    async fn account(&self, name: &str, password: String) -> Result<Account> {
        let name: UserName = name.parse().map_err(|_| wrong_credentials())?;
        let (name_key, now_ms) = (name.key(), self.clock.now_ms());
        check_length(&password)?;
        // Counted before it is known whether it fails, as many may be tried at once.
        self.failed.attempt(&name_key, now_ms)?;
        let account = self.store.account_by_name(name_key.clone()).await?;
        let hash = account.as_ref().map(|account| account.password_hash.as_str());
        let right = self.passwords.verify(password, hash).await?;
        match account {
            Some(account) if right => {
                self.failed.forget(&name_key);
                Ok(account)
            }
            _ => Err(wrong_credentials()),
        }
    }

    fn identify(&self, purposes: &[Purpose], token: &str) -> Result<(Claims, Identity)> {
        let claims = self.tokens.check(purposes, token, self.clock.now_ms())?;
        if self.ended.contains(claims.session) {
            return Err(session_ended());
        }
        let user = UserInfo { id: claims.user.get(), name: claims.name.clone(), ..UserInfo::default() };
        let identity = Identity { user: Some(user), session: claims.session.get(), scopes: Vec::new() };
        Ok((claims, identity))
    }

    fn note_seen(&self, session: SessionId) {
        let now_ms = self.clock.now_ms();
        if self.seen_noted.get(&session).is_none_or(|noted_ms| now_ms - noted_ms >= ms(SEEN_EVERY)) {
            self.seen_noted.insert(session, now_ms);
            self.seen.note(session, now_ms);
        }
    }
}

#[async_trait]
impl UserService for Service {
    async fn register(&self, call: &Call, request: wire::Register) -> Result<Session> {
        let name: UserName = request.name.parse().map_err(|error| Error::invalid(format!("name: {error}")))?;
        text::new_password(&request.password)?;
        let (session, refresh) = self.new_session(&request.device)?;
        let taken = {
            let name = name.clone();
            move || Error::new(ErrorCode::NameTaken, format!("the name {name} is taken"))
        };
        // A look before the hash, which is what costs.
        if self.store.account_by_name(name.key()).await?.is_some() {
            return Err(taken());
        }
        let account = NewAccount {
            id: UserId::new(self.ids.generate(self.clock.now()).get()),
            name: name.to_string(),
            name_key: name.key(),
            password_hash: self.passwords.hash(request.password).await?,
            created_ms: session.created_ms,
            session: session.clone(),
        };
        let (user, call) = (account.id, call.clone());
        self.whole(async move |me| {
            if !me.store.create_account(account, Vec::new()).await? {
                return Err(taken());
            }
            me.by_name.invalidate(&[name.key()]).await;
            me.by_id.invalidate(&[user]).await;
            me.tell(&call, user, started(&session)).await;
            me.session(user, name.as_str(), session.id, (refresh, session.refresh_expires_ms))
        })
        .await
    }

    async fn log_in(&self, call: &Call, request: wire::LogIn) -> Result<Session> {
        let (session, refresh) = self.new_session(&request.device)?;
        let account = self.account(&request.name, request.password).await?;
        let call = call.clone();
        self.whole(async move |me| {
            me.create_session(&call, UserId::new(account.user.id), &session).await?;
            // If the password was changed while this one was checked, the change did not see this session.
            let now = me.store.account(UserId::new(account.user.id)).await?;
            if now.is_none_or(|now| now.password_hash != account.password_hash) {
                me.end_session(&call, UserId::new(account.user.id), session.id).await?;
                return Err(wrong_credentials());
            }
            me.tell(&call, UserId::new(account.user.id), started(&session)).await;
            me.session(
                UserId::new(account.user.id),
                &account.user.name,
                session.id,
                (refresh, session.refresh_expires_ms),
            )
        })
        .await
    }

    async fn refresh(&self, call: &Call, request: wire::Refresh) -> Result<Session> {
        let id = text::entry_id(&request.id)?;
        let old = Tokens::refresh_hash(&request.refresh_token)?;
        let (next, hash): (String, TokenHash) = self.tokens.next_refresh(&request.refresh_token, id)?;
        let now_ms = self.clock.now_ms();
        let expires_ms = now_ms + ms(self.config.refresh_token_ttl);
        let call = call.clone();
        self.whole(async move |me| match me.store.rotate_refresh(old, *id.as_bytes(), hash, expires_ms, now_ms).await? {
            Rotation::Rotated(SessionRow { id, user, name }) => {
                me.note_seen(id);
                me.session(user, &name, id, (next, expires_ms))
            }
            Rotation::Replayed(SessionRow { id, user, name }) => {
                tracing::warn!(%name, session = %id, "a used refresh token was presented again: the session is ended");
                me.ended(&call, user, id).await;
                Err(session_ended())
            }
            Rotation::Expired => Err(session_ended()),
            Rotation::NotFound => {
                Err(Error::new(ErrorCode::Unauthenticated, "refresh_token: not one that this server gave out"))
            }
        })
        .await
    }

    async fn authenticate(&self, _call: &Call, request: Token) -> Result<Identity> {
        let (claims, identity) = self.identify(&[Purpose::Access], &request.token)?;
        self.note_seen(claims.session);
        Ok(identity)
    }

    async fn connect(&self, _call: &Call, request: Token) -> Result<ConnectIdentity> {
        let (claims, identity) = self.identify(&[Purpose::Resume, Purpose::Access], &request.token)?;
        self.note_seen(claims.session);
        let resume_expires_ms = self.clock.now_ms() + ms(self.config.resume_token_ttl());
        let resume_token = self.tokens.issue(Purpose::Resume, &Claims { expires_ms: resume_expires_ms, ..claims })?;
        Ok(ConnectIdentity { identity: Some(identity), resume_token, resume_expires_ms })
    }

    async fn check_session(&self, _call: &Call, request: Identity) -> Result<wire::Done> {
        let has_ended = self.ended.contains(SessionId::new(request.session));
        if has_ended { Err(session_ended()) } else { Ok(wire::Done {}) }
    }

    async fn change_password(&self, call: &Call, request: wire::ChangePassword) -> Result<wire::Done> {
        let Caller { user, session, .. } = call.caller()?;
        text::new_password(&request.new_password)?;
        check_length(&request.old_password)?;
        let account = self.store.account(user).await?.ok_or_else(|| Error::not_found("the account"))?;
        let guesses = format!("change:{user}");
        self.failed.attempt(&guesses, self.clock.now_ms())?;
        if !self.passwords.verify(request.old_password, Some(&account.password_hash)).await? {
            return Err(Error::new(ErrorCode::Forbidden, "old_password: wrong"));
        }
        self.failed.forget(&guesses);
        let hash = self.passwords.hash(request.new_password).await?;
        let now_ms = self.clock.now_ms();
        let call = call.clone();
        self.whole(async move |me| {
            let ended =
                me.store.change_password(user, account.password_hash, hash, session, now_ms, Vec::new()).await?;
            let ended =
                ended.ok_or_else(|| Error::unavailable("the password was changed elsewhere at the same time"))?;
            me.tell(&call, user, Kind::PasswordChanged(wire::PasswordChanged {})).await;
            for session in ended {
                me.ended(&call, user, session).await;
            }
            Ok(wire::Done {})
        })
        .await
    }

    async fn list_sessions(&self, call: &Call, _request: wire::ListSessions) -> Result<wire::Sessions> {
        let caller = call.caller()?;
        let mut sessions = self.store.sessions(caller.user, self.clock.now_ms()).await?;
        for session in &mut sessions {
            session.current = session.id == caller.session.get();
        }
        Ok(wire::Sessions { sessions })
    }

    async fn revoke_session(&self, call: &Call, request: wire::RevokeSession) -> Result<wire::Done> {
        let (user, call) = (call.caller()?.user, call.clone());
        self.whole(async move |me| {
            if me.end_session(&call, user, SessionId::new(request.session)).await? {
                Ok(wire::Done {})
            } else {
                Err(Error::not_found(format_args!("session {}", request.session)))
            }
        })
        .await
    }

    async fn log_out(&self, call: &Call, _request: wire::LogOut) -> Result<wire::Done> {
        let (Caller { user, session, .. }, call) = (call.caller()?, call.clone());
        self.whole(async move |me| me.end_session(&call, user, session).await.map(|_| wire::Done {})).await
    }

    async fn find_users(&self, _call: &Call, request: wire::FindUsers) -> Result<wire::Users> {
        let count = request.ids.len() + request.names.len();
        if count > limits::FIND_USERS_MAX {
            return Err(Error::limit("ids and names", count, limits::FIND_USERS_MAX));
        }
        let mut users = Vec::with_capacity(count);
        if !request.ids.is_empty() {
            let load = |ids: Vec<UserId>| async move {
                let found = self.store.find(ids, Vec::new()).await?;
                Ok(found.into_iter().map(|user| (UserId::new(user.id), user)).collect())
            };
            let ids: Vec<UserId> = request.ids.into_iter().map(UserId::new).collect();
            users.extend(self.by_id.get_many(&ids, load).await?.into_iter().flatten());
        }
        // What cannot be a name has no user.
        let keys = request.names.iter().filter_map(|name| Some(name.parse::<UserName>().ok()?.key()));
        for key in keys {
            let load = || async {
                let found = self.store.find(Vec::new(), vec![key.clone()]).await?;
                Ok(found.into_iter().next())
            };
            users.extend(self.by_name.get(key.as_str(), load).await?);
        }
        Ok(wire::Users { users, next_page: String::new() })
    }
}

fn started(session: &NewSession) -> Kind {
    Kind::SessionStarted(wire::SessionStarted { session: session.id.get(), device: session.device.clone() })
}

fn wrong_credentials() -> Error {
    Error::new(ErrorCode::WrongCredentials, "name or password is wrong")
}

fn session_ended() -> Error {
    Error::new(ErrorCode::SessionEnded, "this session has ended: log in again")
}

fn check_length(password: &str) -> Result<()> {
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(Error::limit("password: bytes", password.len(), limits::PASSWORD_BYTES_MAX));
    }
    Ok(())
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Removes what is over. An ended session is kept for as long as its tokens might be presented: a restart reads from it
/// that they are worth nothing.
async fn forget_expired(store: Arc<dyn Users>, clock: Clock, tokens_live: Duration, stop: CancellationToken) {
    loop {
        if let Err(error) = store.forget_expired(clock.now_ms() - ms(tokens_live)).await {
            tracing::warn!(%error, "sessions that are over were not removed");
        }
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
