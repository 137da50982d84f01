//! The connection to Redis: one that all calls share, opened again by a task of its own whenever it breaks, so that a caller
//! who gives up early does not keep it from being opened.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, Pipeline, PushInfo, RedisError, RedisFuture,
    RedisResult, ServerErrorKind, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    cmd,
    sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType},
};
use redis_url::{Kind, Server, tcp_settings};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    config::{Config, InvalidConfig},
    metrics::Metrics,
};

/// A server that is there takes a connection within this; a longer `timeout` does not wait longer for one that is not.
const CONNECT_WITHIN_MAX: Duration = Duration::from_secs(2);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether the connection is alive. Calls given up early do not tell.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why Redis could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("no answer within {0:?}")]
    TooSlow(Duration),
    #[error("not connected: {0}")]
    Down(String),
    #[error("an answer that was not expected: {0}")]
    Unexpected(String),
}

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

#[derive(Clone)]
enum State {
    /// For the first time.
    Connecting,
    Up(Connection),
    Down(String),
}

pub(super) struct Link {
    server: Server,
    pub(super) timeout: Duration,
    state: watch::Sender<State>,
    doubted: Notify,
    turn: AtomicUsize,
    metrics: Metrics,
}

impl Link {
    pub(super) fn new(config: &Config, metrics: Metrics) -> Result<Self, InvalidConfig> {
        let server = config.server()?;
        let (state, _) = watch::channel(State::Connecting);
        let (doubted, turn) = (Notify::new(), AtomicUsize::new(0));
        Ok(Self { server, timeout: config.timeout, state, doubted, turn, metrics })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.server.kind == Kind::Cluster
    }

    pub(super) fn database(&self) -> i64 {
        self.server.database
    }

    /// The connection. Waits only while the first is being opened.
    pub(super) async fn connection(&self) -> Result<Connection, Failure> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        match known.as_deref() {
            Ok(State::Up(connection)) => Ok(connection.clone()),
            Ok(State::Down(why)) => Err(Failure::Down(why.clone())),
            Ok(State::Connecting) | Err(_) => Err(Failure::Down("the cache is closed".into())),
        }
    }

    /// Waits until there is a connection.
    pub(super) async fn up(&self) {
        // The sender lives as long as this.
        let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Up(_))).await;
    }

    /// Takes note that a call failed so.
    pub(super) fn note(&self, failure: &Failure) {
        let is_of_the_connection = match failure {
            Failure::Redis(error) => {
                error.is_unrecoverable_error() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
            }
            Failure::TooSlow(_) => true,
            Failure::Down(_) | Failure::Unexpected(_) => false,
        };
        if is_of_the_connection {
            self.doubted.notify_one();
        }
    }

    /// Keeps it open until it is stopped.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let keeping = async {
            loop {
                match self.open(None).await {
                    Ok(connection) => {
                        self.metrics.connected.set(1);
                        self.state.send_replace(State::Up(connection.clone()));
                        let why = self.until_broken(connection).await;
                        self.metrics.connected.set(0);
                        tracing::warn!(%why, "the connection to the cache broke");
                        self.state.send_replace(State::Down(why));
                    }
                    Err(failure) => {
                        self.state.send_replace(State::Down(failure.to_string()));
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = keeping => {}
        }
        self.state.send_replace(State::Down("the cache is closed".into()));
    }

    /// Looks at a connection every now and then, and when somebody had trouble with it.
    async fn until_broken(&self, mut connection: Connection) -> String {
        let within = self.timeout.min(CONNECT_WITHIN_MAX);
        loop {
            // Whether it is noticed or not, it is looked at.
            let _ = timeout(LOOK_INTERVAL, self.doubted.notified()).await;
            match timeout(within, self.look(&mut connection)).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => return failure.to_string(),
                Err(_) => return Failure::TooSlow(within).to_string(),
            }
        }
    }

    /// Whether it answers, and leads to a server that takes writes.
    async fn look(&self, connection: &mut Connection) -> Result<(), Failure> {
        if self.is_cluster() {
            let _: Value = cmd("PING").query_async(connection).await?;
            return Ok(());
        }
        let role: Vec<Value> = cmd("ROLE").query_async(connection).await?;
        match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(()),
            role => Err(Failure::Down(format!("the server is no master: {role:?}"))),
        }
    }

    /// Opens a connection: the common one; or, if somebody wants to hear what Redis sends unasked for, one to any of the
    /// servers.
    pub(super) async fn open(&self, hear: Option<Hear>) -> Result<Connection, Failure> {
        let within = self.timeout.min(CONNECT_WITHIN_MAX);
        timeout(within, self.try_open(hear)).await.unwrap_or(Err(Failure::TooSlow(within)))
    }

    async fn try_open(&self, hear: Option<Hear>) -> Result<Connection, Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let server = &self.server;
        let mut config =
            AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(self.timeout));
        let alone = hear.is_some();
        if let Some(hear) = hear {
            config = config.set_push_sender(move |push: PushInfo| {
                hear(push);
                Ok::<(), ()>(())
            });
        }
        let connection = match &server.kind {
            Kind::Sentinel { master, .. } => {
                let mut node = SentinelNodeConnectionInfo::default()
                    .set_redis_connection_info(server.redis_info())
                    .set_tcp_settings(tcp_settings());
                if server.tls {
                    node = node.set_tls_mode(TlsMode::Secure);
                }
                let sentinels = self.named(turn)?;
                let mut client = SentinelClient::build(sentinels, master, Some(node), SentinelServerType::Master)?;
                Connection::One(client.get_async_connection_with_config(&config).await?)
            }
            Kind::Cluster if !alone => Connection::Cluster(self.cluster(turn)?.get_async_connection().await?),
            Kind::Alone | Kind::Cluster => {
                let info = self.named(turn)?.swap_remove(0);
                Connection::One(Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        Ok(connection)
    }

    /// How to connect to those the URL names, beginning with another one each time: one that hangs must not be asked first
    /// for ever.
    fn named(&self, turn: usize) -> RedisResult<Vec<ConnectionInfo>> {
        let mut hosts: Vec<_> = self.server.hosts.iter().collect();
        hosts.rotate_left(turn % self.server.hosts.len());
        hosts.into_iter().map(|(host, port)| self.server.named_connection_info(host, *port)).collect()
    }

    fn cluster(&self, turn: usize) -> RedisResult<::redis::cluster::ClusterClient> {
        let server = &self.server;
        let mut builder = ClusterClientBuilder::new(self.named(turn)?)
            .use_protocol(::redis::ProtocolVersion::RESP3)
            .tcp_settings(tcp_settings())
            .connection_timeout(self.timeout.min(CONNECT_WITHIN_MAX))
            .response_timeout(self.timeout);
        if let Some(user) = &server.login.user {
            builder = builder.username(user);
        }
        if let Some(password) = &server.login.password {
            builder = builder.password(password);
        }
        if server.tls {
            builder = builder.tls(TlsMode::Secure);
        }
        builder.build()
    }
}

/// Gets what Redis sends unasked for; must not wait.
pub(super) type Hear = Box<dyn Fn(PushInfo) + Send + Sync>;
