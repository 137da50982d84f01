//! The connection to ZooKeeper: one session after the other.
//!
//! A session survives broken connections and members that end; the library sees to that. A session that has ended is dead for
//! good: whoever did something in it does it again in the next one, which begins as soon as ZooKeeper is there.

use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zookeeper_client::{Client, Error, SessionState};

use super::{Config, unavailable};

/// The pause after something that failed, doubled with each failure in a row, with jitter. The longest is well below what
/// sessions last, so that all have announced themselves again before the sessions from before a loss of ZooKeeper end.
const RETRY_MIN: Duration = Duration::from_millis(50);
pub(super) const RETRY_MAX: Duration = Duration::from_secs(2);
/// To find out why there is no connection.
const LOOK_WITHIN: Duration = Duration::from_millis(500);

/// Whether ZooKeeper is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// There is a connection, as far as is known: one that went silent is noticed after 2/5 of the session's timeout.
    pub connected: bool,
    /// Since when this is so.
    pub since: SystemTime,
}

impl Reach {
    fn now(connected: bool) -> Self {
        Self { connected, since: SystemTime::now() }
    }
}

/// The present session, and those to come.
#[derive(Debug)]
pub(super) struct Sessions {
    current: watch::Receiver<Option<Client>>,
    reach: watch::Receiver<Reach>,
    /// Changes whenever somebody is not allowed to do what is to be done.
    refused: watch::Sender<()>,
}

impl Sessions {
    /// Begins another session whenever one has ended, until `ended`.
    pub(super) fn keep(config: &Config, first: Client, tasks: &TaskTracker, ended: &CancellationToken) -> Self {
        let (sessions, current) = watch::channel(None);
        let (reached, reach) = watch::channel(Reach::now(true));
        tasks.spawn(keep(config.clone(), first, sessions, reached, ended.clone()));
        Self { current, reach, refused: watch::Sender::new(()) }
    }

    pub(super) fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.clone()
    }

    /// Wakes whenever ZooKeeper refuses something to this client's user, in whichever turns.
    pub(super) fn refusals(&self) -> watch::Receiver<()> {
        self.refused.subscribe()
    }

    pub(super) fn turns(&self) -> Turns {
        Turns {
            current: self.current.clone(),
            refused: self.refused.clone(),
            last: None,
            over: false,
            failures: 0,
            last_failure: Instant::now(),
        }
    }
}

async fn keep(
    config: Config,
    mut client: Client,
    sessions: watch::Sender<Option<Client>>,
    reach: watch::Sender<Reach>,
    ended: CancellationToken,
) {
    loop {
        sessions.send_replace(Some(client.clone()));
        if ended.run_until_cancelled(end_of(&client, &reach)).await.is_none() {
            break;
        }
        sessions.send_replace(None);
        match ended.run_until_cancelled(next(&config)).await {
            Some(next) => client = next,
            None => return,
        }
    }
    // It ends with the last that holds it; the tasks that do are ending.
    let mut states = client.state_watcher();
    drop(client);
    sessions.send_replace(None);
    while !states.peek_state().is_terminated() {
        states.changed().await;
    }
}

/// Waits until the session has ended.
async fn end_of(client: &Client, reach: &watch::Sender<Reach>) {
    let mut states = client.state_watcher();
    loop {
        let state = states.peek_state();
        let connected = state == SessionState::SyncConnected;
        let changed = reach.send_if_modified(|reach| {
            let changed = reach.connected != connected;
            if changed {
                *reach = Reach::now(connected);
            }
            changed
        });
        if changed && connected {
            tracing::info!("ZooKeeper is there again");
        } else if changed {
            tracing::warn!(%state, "ZooKeeper is away; what is known of the instances stays in use");
        }
        if state.is_terminated() {
            return;
        }
        states.changed().await;
    }
}

/// The next session, however long that takes.
async fn next(config: &Config) -> Client {
    let mut failures = 0;
    loop {
        match connect(config).await {
            Ok(client) => {
                tracing::info!(session = %client.session_id(), "a new session; everything is announced again");
                return client;
            }
            Err(error) => {
                tracing::warn!(%error, servers = config.servers, "no session with ZooKeeper");
                failures += 1;
                sleep(pause(failures)).await;
            }
        }
    }
}

/// The first session.
///
/// # Errors
///
/// Not within [`Config::connect_timeout`], and why.
pub(super) async fn first(config: &Config) -> crate::Result<Client> {
    let bound = config.connect_timeout;
    let connected = async {
        let mut failures = 0;
        loop {
            match connect(config).await {
                Err(Error::BadArguments(what)) => return Err(unavailable(format!("{}: {what}", config.servers))),
                Err(Error::AuthFailed) => return Err(config.not_authorized()),
                Err(error) => {
                    tracing::debug!(%error, "no session with ZooKeeper");
                    failures += 1;
                    sleep(pause(failures)).await;
                }
                Ok(client) => return Ok(client),
            }
        }
    };
    match timeout(bound, connected).await {
        Ok(connected) => connected,
        Err(_) => {
            let mut reasons = Vec::new();
            for server in config.servers.split(',') {
                reasons.push(format!("{server}: {}", why_not(server).await));
            }
            Err(unavailable(format!("no session with ZooKeeper within {bound:?} ({})", reasons.join("; "))))
        }
    }
}

async fn why_not(server: &str) -> String {
    let address = if server.ends_with(']') || !server.contains(':') { &format!("{server}:2181") } else { server };
    match timeout(LOOK_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => "accepts connections, but gives no session".into(),
        Ok(Err(error)) => error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
        Err(_) => "does not answer".into(),
    }
}

async fn connect(config: &Config) -> Result<Client, Error> {
    let mut connector = Client::connector().with_session_timeout(config.session_timeout);
    if let Some(credentials) = &config.credentials {
        let digest = format!("{}:{}", credentials.user, credentials.password);
        connector = connector.with_auth("digest", digest.as_bytes());
    }
    connector.connect(&config.servers).await
}

/// Somebody's way through the sessions: what failed in one is tried again in it after a pause, or in the next one.
#[derive(Debug)]
pub(super) struct Turns {
    current: watch::Receiver<Option<Client>>,
    refused: watch::Sender<()>,
    /// The session that was worked in last, and whether it has ended.
    last: Option<i64>,
    over: bool,
    failures: u32,
    last_failure: Instant,
}

impl Turns {
    /// The session to work in, once there is one; `None` if there will be no more.
    pub(super) async fn session(&mut self) -> Option<Client> {
        let over = self.last.filter(|_| self.over);
        let is_usable =
            |client: &Option<Client>| client.as_ref().is_some_and(|client| Some(client.session_id().0) != over);
        let client = self.current.wait_for(is_usable).await.ok()?.clone()?;
        (self.last, self.over) = (Some(client.session_id().0), false);
        Some(client)
    }

    /// Notes that something failed, and pauses.
    pub(super) async fn failed(&mut self, what: &str, error: &Error) {
        if is_end(error) {
            self.over = true;
            return;
        }
        if self.last_failure.elapsed() > 2 * RETRY_MAX {
            self.failures = 0;
        }
        self.failures += 1;
        if matches!(error, Error::NoAuth | Error::InvalidAcl) {
            self.refused.send_replace(());
        }
        if matches!(error, Error::ConnectionLoss) {
            tracing::debug!(%error, "could not {what}; tried again");
        } else {
            tracing::warn!(%error, "could not {what}; tried again");
        }
        sleep(pause(self.failures)).await;
        self.last_failure = Instant::now();
    }
}

/// Whether the error tells that the session has ended.
pub(super) fn is_end(error: &Error) -> bool {
    matches!(error, Error::SessionExpired | Error::SessionMoved | Error::AuthFailed | Error::ClientClosed)
}

/// Between half of the exponential and all of it.
pub(super) fn pause(failures: u32) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    // Without randomness, which no machine we know is without, jitter would be lost, not correctness.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    doubled.min(RETRY_MAX).mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}
