//! The user service: accounts, sessions and tokens; profiles and contacts; bots with their keys and webhooks; reports.

mod accounts;
mod bot_access;
mod bots;
mod closing;
mod contacts;
mod ended;
mod failures;
mod passwords;
mod peers;
mod profiles;
mod renamed;
mod reports;
mod requests;
mod sessions;
mod tokens;
mod webhooks;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use api::{Call, Caller, Identity, MessageService};
use cache::{Cache, Lifetime, Lookup, LookupConfig, Near};
use protocol::{
    Error, IdGenerator, Result, SessionId, limits,
    wire::{ErrorCode, UserInfo},
};
use queue::Queue;
use quick_cache::sync::Cache as QuickCache;
use store::{Users, Webhooks};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{bot_access::BotAccess, passwords::PasswordConfig, tokens::SecretKey};
use self::{
    bots::{API_KEY_KNOWN_MAX, API_KEY_TTL, Key, Whose},
    ended::Ended,
    failures::FailedLogIns,
    passwords::Passwords,
    peers::Memory,
    renamed::Renamed,
    sessions::{KeptOut, session_ended},
    tokens::{Claims, Purpose, Tokens},
};
use crate::{Clock, noted::Noted};

/// A session's last use is noted at most so often.
const SEEN_EVERY: Duration = Duration::from_secs(600);
/// How long it is cached that an account is kept out; that it is not, no longer.
const KEPT_OUT_TTL: Duration = LookupConfig::ABSENT_TTL_DEFAULT;
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
    /// How long what everybody may know of a user may be cached.
    pub info_ttl: Lifetime,
    /// Whether webhooks may be made whose addresses are not public or not encrypted: as those allow who deliver.
    pub private_webhooks: bool,
    /// How often it is looked at what other instances did; `None`: there are none.
    pub look_at_peers_every: Option<Duration>,
}

impl Config {
    /// How long a token of a session, or an API key, that has ended may be about.
    fn tokens_live(&self) -> Duration {
        self.resume_token_ttl().max(self.access_token_ttl).max(API_KEY_KNOWN_MAX)
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
    store_webhooks: Arc<dyn Webhooks>,
    standing_changed: Arc<dyn Fn() + Send + Sync>,
    queue: Arc<dyn Queue>,
    messages: Arc<dyn MessageService>,
    by_id: Lookup<UserInfo>,
    by_name: Lookup<UserInfo>,
    /// API keys by their hashes.
    keys: Lookup<Key>,
    /// Whose keys are that are not good, by their hashes.
    ended_keys: Lookup<Whose>,
    kept_out: Lookup<KeptOut>,
    ids: Arc<IdGenerator>,
    clock: Clock,
    passwords: Passwords,
    tokens: Tokens,
    ended: Arc<Ended>,
    renamed: Arc<Renamed>,
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
    /// The same of webhooks.
    pub webhooks: Arc<dyn Webhooks>,
    /// For what everybody may know of users, and for API keys.
    pub cache: Arc<dyn Cache>,
    /// Called once accounts were kept out, let in or ended: whoever acts for bots in this process should look again which of them
    /// may act. Must not block.
    pub standing_changed: Arc<dyn Fn() + Send + Sync>,
    /// To close the connections of ended sessions.
    pub queue: Arc<dyn Queue>,
    /// To tell users of their affairs, in their personal logs, and for what those logs hold.
    pub messages: Arc<dyn MessageService>,
    /// For ids of users, sessions, keys, webhooks and reports.
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
    /// Starts the service. Reads which sessions ended of late, so that their tokens stay refused, and who was renamed, so
    /// that older tokens do not bring former names back.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or the settings for passwords are out of bounds.
    pub async fn start(config: Config, parts: Parts) -> Result<(Arc<Self>, Tasks)> {
        let Parts { store, webhooks, standing_changed, cache, queue, messages, ids, clock, key } = parts;
        let passwords = Passwords::start(&config.passwords)?;
        let memory = Memory {
            store: Arc::clone(&store),
            ended: Arc::default(),
            renamed: Arc::default(),
            clock: clock.clone(),
            tokens_live: config.tokens_live(),
        };
        memory.learn(clock.now_ms() - ms(config.tokens_live())).await?;
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
        let (ended, renamed) = (Arc::clone(&memory.ended), Arc::clone(&memory.renamed));
        if let Some(every) = config.look_at_peers_every {
            tasks.spawn(memory.follow(every, stop.clone()));
        }
        let info_ttl = config.info_ttl.clone();
        let lookup = |prefix| Lookup::new(Arc::clone(&cache), hot(prefix, info_ttl.clone()));
        let keys = Lookup::new(Arc::clone(&cache), hot("api_key", API_KEY_TTL.into()));
        let ended_keys = Lookup::new(Arc::clone(&cache), hot("ended_api_key", API_KEY_TTL.into()));
        let kept_out = Lookup::new(Arc::clone(&cache), hot("kept_out", KEPT_OUT_TTL.into()));
        let work = TaskTracker::new();
        let tasks = Tasks { work: work.clone(), stop, tasks };
        let tokens = Tokens::new(key)?;
        let service = Arc::new_cyclic(|me| Self {
            by_id: lookup("user"),
            by_name: lookup("user_name"),
            keys,
            ended_keys,
            kept_out,
            renamed,
            tokens,
            failed: FailedLogIns::new(),
            seen_noted: QuickCache::new(SEEN_SESSIONS_MAX),
            config,
            store,
            store_webhooks: webhooks,
            standing_changed,
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

    /// A number that nothing has yet.
    fn new_id(&self) -> u64 {
        self.ids.generate(self.clock.now()).get()
    }

    async fn identify(&self, purposes: &[Purpose], token: &str) -> Result<(Claims, Identity)> {
        let (purpose, mut claims) = self.tokens.check(purposes, token, self.clock.now_ms())?;
        if self.ended.contains(claims.session) {
            return Err(self.refusal(claims.user, session_ended()).await);
        }
        if let Some(name) = self.renamed.name(claims.user) {
            claims.name = name;
        }
        let user = UserInfo { id: claims.user.get(), name: claims.name.clone(), ..UserInfo::default() };
        let identity =
            Identity { user: Some(user), session: claims.session.get(), scopes: purpose.scopes(), expires_ms: 0 };
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

/// For look-ups of every message sent to a name, and of every HTTP request: kept in the process, too.
fn hot(prefix: &'static str, ttl: Lifetime) -> LookupConfig {
    LookupConfig { near: Some(Near::DEFAULT), ..LookupConfig::new(prefix, ttl) }
}

/// The caller, who is a user with a session: what concerns an account as a whole is not for API keys.
fn full(call: &Call) -> Result<Caller> {
    let caller = call.caller()?;
    if caller.scopes.are_all() {
        Ok(caller)
    } else {
        Err(Error::new(ErrorCode::Forbidden, "not with an API key: this needs a session"))
    }
}

fn suspended() -> Error {
    Error::new(ErrorCode::Suspended, "this account was suspended by those who run the server")
}

fn wrong_credentials() -> Error {
    Error::new(ErrorCode::WrongCredentials, "name or password is wrong")
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
