//! The servers: which of them keeps which slot, and a connection to each for commands.
//!
//! One server alone, the master behind Sentinels and a cluster differ only in how one learns who keeps which slot; all
//! else here is the same for the three. What was learnt is asked for again when a server fails or says that it is not the
//! right one.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, PushInfo, PushKind, RedisError, ServerErrorKind, Value,
    aio::MultiplexedConnection, cmd, pipe,
};
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis_url::{Kind, Server};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    config::{Config, InvalidConfig},
    failure::{Failure, may_help, server_error, unexpected},
    metrics::Metrics,
    names::Slot,
    scripts,
    topology::{Address, Topology},
};

/// Commands that one pipeline carries at most.
const PIPELINE_MAX: usize = 1_000;
/// Attempts of a command that was certainly not carried out, or does no harm when it is carried out again.
const ATTEMPTS_MAX: u32 = 3;
/// Between two attempts, and between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(100);
/// A server that is there takes a connection within this; a longer `timeout` does not wait longer for one that is not.
const CONNECT_WITHIN_MAX: Duration = Duration::from_secs(2);

/// A command, and the slot of its key.
#[derive(Debug, Clone)]
pub(super) struct Addressed {
    pub(super) slot: Slot,
    pub(super) command: Cmd,
}

/// An open connection. Clones share it; it is closed with the last of them.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) redis: MultiplexedConnection,
    number: u64,
    broken: Arc<AtomicBool>,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Connection {
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// Not to be used any more.
    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// The connection to a server for commands.
#[derive(Default)]
struct Line {
    state: tokio::sync::Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    connection: Option<Connection>,
    failed: Option<(Instant, Failure)>,
}

struct Learnt {
    topology: Arc<Topology>,
    stale: bool,
}

pub(super) struct Nodes {
    server: Server,
    pub(super) timeout: Duration,
    connections_max: usize,
    permits: Arc<Semaphore>,
    numbers: AtomicU64,
    learnt: Mutex<Option<Learnt>>,
    /// When it was asked last, and what came of it. Held while asking: one asks for all.
    asking: tokio::sync::Mutex<Option<(Instant, Failure)>>,
    /// Which of those that may be asked answered last.
    answered: AtomicUsize,
    lines: Mutex<HashMap<Address, Arc<Line>>>,
    lines_opened: AtomicU64,
    /// Servers to which the connection for commands broke, until somebody takes them.
    broken: Mutex<Vec<Address>>,
    pub(super) breaks: Notify,
    metrics: Metrics,
}

impl Nodes {
    pub(super) fn new(config: &Config, metrics: Metrics) -> Result<Self, InvalidConfig> {
        Ok(Self {
            server: config.server()?,
            timeout: config.timeout,
            connections_max: config.max_connections,
            permits: Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS))),
            numbers: AtomicU64::new(0),
            learnt: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            answered: AtomicUsize::new(0),
            lines: Mutex::default(),
            lines_opened: AtomicU64::new(0),
            broken: Mutex::default(),
            breaks: Notify::new(),
            metrics,
        })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.server.kind == Kind::Cluster
    }

    pub(super) fn database(&self) -> i64 {
        self.server.database
    }

    /// Whether who keeps what can change.
    pub(super) fn can_change(&self) -> bool {
        self.server.kind != Kind::Alone
    }

    /// What is believed of the servers may be wrong: it is asked for again.
    pub(super) fn doubt(&self) {
        if let Some(learnt) = &mut *self.learnt.lock() {
            learnt.stale = true;
        }
    }

    /// Who keeps which slots. If nobody can be asked, what was learnt last.
    pub(super) async fn topology(&self) -> Result<Arc<Topology>, Failure> {
        let fresh =
            || self.learnt.lock().as_ref().filter(|learnt| !learnt.stale).map(|known| Arc::clone(&known.topology));
        if let Some(topology) = fresh() {
            return Ok(topology);
        }
        let mut asking = self.asking.lock().await;
        if let Some(topology) = fresh() {
            return Ok(topology);
        }
        let outcome = match &*asking {
            Some((at, failure)) if at.elapsed() < PAUSE => Err(failure.clone()),
            _ => self.learn().await,
        };
        match outcome {
            Ok(topology) => {
                *asking = None;
                Ok(self.keep(topology))
            }
            Err(failure) => {
                *asking = Some((Instant::now(), failure.clone()));
                self.learnt.lock().as_ref().map(|learnt| Arc::clone(&learnt.topology)).ok_or(failure)
            }
        }
    }

    /// Asks who keeps which slots although nobody doubts it; meanwhile nobody waits for the answer.
    pub(super) async fn look_again(&self) {
        let _asking = self.asking.lock().await;
        match self.learn().await {
            Ok(topology) => drop(self.keep(topology)),
            Err(failure) => tracing::debug!(%failure, "who keeps what cannot be asked"),
        }
    }

    fn keep(&self, topology: Topology) -> Arc<Topology> {
        let topology = Arc::new(topology);
        *self.learnt.lock() = Some(Learnt { topology: Arc::clone(&topology), stale: false });
        self.lines.lock().retain(|address, _| topology.keepers().any(|keeper| keeper == address));
        topology
    }

    async fn learn(&self) -> Result<Topology, Failure> {
        let own = |(host, port): &(String, u16)| Address { host: host.as_str().into(), port: *port };
        let mut asked: Vec<Address> = self.server.hosts.iter().map(own).collect();
        if self.server.kind == Kind::Alone {
            return Ok(Topology::one(asked.remove(0)));
        }
        if self.is_cluster() {
            // Those named at first may all be gone by now.
            asked.extend(self.lines.lock().keys().cloned());
        }
        // Whoever answered last is asked first: one that hangs costs its time once.
        let begin = self.answered.load(Ordering::Relaxed) % asked.len();
        asked.rotate_left(begin);
        let mut failures = Vec::new();
        for (step, address) in asked.into_iter().enumerate() {
            let answer = match &self.server.kind {
                Kind::Sentinel { master, .. } => self.ask_sentinel(&address, master).await,
                _ => self.ask_member(&address).await,
            };
            match answer {
                Ok(topology) => {
                    self.answered.store(begin + step, Ordering::Relaxed);
                    return Ok(topology);
                }
                Err(failure) => failures.push(failure.to_string()),
            }
        }
        Err(Failure::NoTopology(failures.join("; ")))
    }

    async fn ask_sentinel(&self, address: &Address, master: &str) -> Result<Topology, Failure> {
        let mut command = cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        match self.ask_once(address, &command).await? {
            Value::Nil => Err(Failure::NoTopology(format!("{address} knows no master named {master:?}"))),
            answer => Topology::of_sentinel(&answer, address),
        }
    }

    async fn ask_member(&self, address: &Address) -> Result<Topology, Failure> {
        Topology::of_cluster(&self.ask_once(address, cmd("CLUSTER").arg("SLOTS")).await?, address)
    }

    /// Asks one who may know who keeps what, over a connection of its own.
    async fn ask_once(&self, address: &Address, command: &Cmd) -> Result<Value, Failure> {
        let within = self.timeout.min(CONNECT_WITHIN_MAX);
        let asking = async {
            let info = self.server.named_connection_info(&address.host, address.port)?;
            let mut redis = Client::open(info)?.get_multiplexed_async_connection().await?;
            command.query_async::<Value>(&mut redis).await
        };
        match timeout(within, asking).await {
            Ok(answer) => answer.map_err(|error| Failure::Redis(address.clone(), error)),
            Err(_) => Err(Failure::NotConnected(address.clone(), within)),
        }
    }

    /// Opens a connection; `hear` gets what Redis sends unasked for, and must not wait.
    pub(super) async fn connect(
        &self,
        address: &Address,
        hear: impl Fn(PushInfo, &AtomicBool) + Send + Sync + 'static,
    ) -> Result<Connection, Failure> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| Failure::TooManyConnections(self.connections_max))?;
        let broken = Arc::new(AtomicBool::new(false));
        let (flag, metrics) = (Arc::clone(&broken), self.metrics.clone());
        let push = move |push: PushInfo| {
            if push.kind == PushKind::Disconnection && !flag.swap(true, Ordering::AcqRel) {
                metrics.connections_broken.inc();
            }
            hear(push, &flag);
            Ok::<(), ()>(())
        };
        let within = self.timeout.min(CONNECT_WITHIN_MAX);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(self.timeout))
            .set_push_sender(push);
        let opening = async {
            let client = Client::open(self.server.connection_info(&address.host, address.port)?)?;
            let mut redis = client.get_multiplexed_async_connection_with_config(&config).await?;
            // A new connection may be one to a server that was started anew: it does not know the scripts.
            scripts::load().query_async::<()>(&mut redis).await?;
            Ok(redis)
        };
        let opened = timeout(within, opening).await.map_err(|_| Failure::NotConnected(address.clone(), within))?;
        let redis = opened.map_err(|error| Failure::Redis(address.clone(), error))?;
        self.metrics.connections_opened.inc();
        Ok(Connection {
            redis,
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            broken,
            _permit: Arc::new(permit),
        })
    }

    /// The connection to a server for commands, opened if there is none.
    async fn line(self: &Arc<Self>, address: &Address) -> Result<Connection, Failure> {
        let line = Arc::clone(self.lines.lock().entry(address.clone()).or_default());
        let mut state = line.state.lock().await;
        if let Some(connection) = state.connection.as_ref().filter(|connection| !connection.is_broken()) {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some((at, failure)) = &state.failed
            && at.elapsed() < PAUSE
        {
            return Err(failure.clone());
        }
        let (nodes, own) = (Arc::downgrade(self), address.clone());
        let hear = move |push: PushInfo, _: &AtomicBool| {
            if push.kind == PushKind::Disconnection
                && let Some(nodes) = nodes.upgrade()
            {
                nodes.note_break(own.clone());
            }
        };
        let outcome = self.connect(address, hear).await;
        state.failed = outcome.as_ref().err().map(|failure| (Instant::now(), failure.clone()));
        match &outcome {
            Ok(_) => drop(self.lines_opened.fetch_add(1, Ordering::Relaxed)),
            Err(_) => self.doubt(),
        }
        state.connection = outcome.as_ref().ok().cloned();
        outcome
    }

    /// How often a connection for commands was opened, after one to each server was if that could be done within this time.
    /// When the number is another than before, a server may have been started anew, without what it held.
    pub(super) async fn lines_opened(self: &Arc<Self>, within: Duration) -> u64 {
        let opening = async {
            let topology = self.topology().await?;
            let keepers: HashSet<&Address> = topology.keepers().collect();
            join_all(keepers.into_iter().map(|keeper| self.line(keeper))).await;
            Ok::<(), Failure>(())
        };
        // One that cannot be reached is tried again with the next call.
        let _ = timeout(within, opening).await;
        self.lines_opened.load(Ordering::Relaxed)
    }

    fn note_break(&self, address: Address) {
        self.doubt();
        let mut broken = self.broken.lock();
        if !broken.contains(&address) {
            broken.push(address);
        }
        self.breaks.notify_one();
    }

    /// Servers to which the connection broke since the last call.
    pub(super) fn take_broken(&self) -> Vec<Address> {
        std::mem::take(&mut self.broken.lock())
    }

    /// Sends a pipeline over the connection for commands, and returns the answers, errors among them. A connection that does
    /// not answer in time is not used again: what was sent may be carried out at any time.
    pub(super) async fn send(
        self: &Arc<Self>,
        address: &Address,
        pipeline: &Pipeline,
        within: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let end = Instant::now() + within;
        let line = timeout_at(end, self.line(address)).await;
        let mut connection = line.map_err(|_| Failure::NotConnected(address.clone(), within))??;
        let answers = timeout_at(end, connection.redis.send_packed_commands(pipeline, 0, pipeline.len())).await;
        let failure = match answers {
            Ok(Ok(values)) => {
                values.iter().filter_map(server_error).for_each(|error| self.note_error(&connection, error));
                return Ok(values);
            }
            Ok(Err(error)) => Failure::Redis(address.clone(), error),
            Err(_) => Failure::TooSlow(within),
        };
        tracing::debug!(%address, number = connection.number, %failure, "a connection is given up");
        connection.give_up();
        self.note_break(address.clone());
        Err(failure)
    }

    fn note_error(&self, connection: &Connection, error: ServerErrorKind) {
        match error {
            ServerErrorKind::Moved | ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown => self.doubt(),
            // No master any more; or it lost its scripts. The next connection is to the right one, and brings them.
            ServerErrorKind::ReadOnly | ServerErrorKind::NoScript => {
                self.doubt();
                connection.give_up();
            }
            _ => {}
        }
    }

    /// Sends commands, those for one server in one pipeline, and returns their answers in their order. They must bear to be
    /// carried out twice. `again` is told of each that is sent again.
    pub(super) async fn ask(
        self: &Arc<Self>,
        mut commands: Vec<Addressed>,
        again: impl Fn(&mut Cmd),
    ) -> Result<Vec<Value>, Failure> {
        let asking = async {
            let mut answers: Vec<Option<Value>> = vec![None; commands.len()];
            let mut attempt = 1;
            loop {
                let missing: Vec<usize> = (0..commands.len()).filter(|index| answers[*index].is_none()).collect();
                let outcomes = self.attempt(&commands, &missing).await;
                let mut failure = None;
                for (index, outcome) in missing.into_iter().zip(outcomes) {
                    match outcome {
                        Ok(value) => answers[index] = Some(value),
                        Err(error) => {
                            again(&mut commands[index].command);
                            failure = Some(error);
                        }
                    }
                }
                match failure {
                    None => return Ok(answers.into_iter().flatten().collect()),
                    Some(failure) if attempt == ATTEMPTS_MAX || !may_help(&failure) => return Err(failure),
                    Some(_) => sleep(PAUSE * attempt).await,
                }
                attempt += 1;
            }
        };
        timeout(self.timeout, asking).await.unwrap_or(Err(Failure::TooSlow(self.timeout)))
    }

    async fn attempt(self: &Arc<Self>, commands: &[Addressed], wanted: &[usize]) -> Vec<Result<Value, Failure>> {
        let topology = match self.topology().await {
            Ok(topology) => topology,
            Err(failure) => return wanted.iter().map(|_| Err(failure.clone())).collect(),
        };
        let mut outcomes: HashMap<usize, Result<Value, Failure>> = HashMap::with_capacity(wanted.len());
        let mut by_server: HashMap<&Address, Vec<usize>> = HashMap::new();
        for &index in wanted {
            match topology.keeper(commands[index].slot) {
                Ok(address) => by_server.entry(address).or_default().push(index),
                Err(failure) => drop(outcomes.insert(index, Err(failure))),
            }
        }
        if !outcomes.is_empty() {
            self.doubt();
        }
        let sent = by_server.into_iter().flat_map(|(address, indexes)| {
            let chunks: Vec<Vec<usize>> = indexes.chunks(PIPELINE_MAX).map(<[usize]>::to_vec).collect();
            chunks.into_iter().map(move |chunk| self.attempt_at(address, commands, chunk))
        });
        outcomes.extend(join_all(sent).await.into_iter().flatten());
        wanted.iter().map(|index| outcomes.remove(index).unwrap_or(Err(Failure::TooSlow(self.timeout)))).collect()
    }

    async fn attempt_at(
        self: &Arc<Self>,
        address: &Address,
        commands: &[Addressed],
        indexes: Vec<usize>,
    ) -> Vec<(usize, Result<Value, Failure>)> {
        let mut pipeline = pipe();
        for index in &indexes {
            pipeline.add_command(commands[*index].command.clone());
        }
        let values = match self.send(address, &pipeline, self.timeout / 2).await {
            Ok(values) => values,
            Err(failure) => return indexes.into_iter().map(|index| (index, Err(failure.clone()))).collect(),
        };
        let mut outcomes = Vec::with_capacity(indexes.len());
        for (index, value) in indexes.into_iter().zip(values) {
            let outcome = match value {
                Value::ServerError(error) if error.kind() == Some(ServerErrorKind::Ask) => {
                    self.follow(RedisError::from(error), &commands[index].command).await
                }
                Value::ServerError(error) => Err(Failure::Redis(address.clone(), error.into())),
                value => Ok(value),
            };
            outcomes.push((index, outcome));
        }
        outcomes
    }

    /// While a slot moves, keys that are not at the old server any more are asked for at the new one.
    async fn follow(self: &Arc<Self>, error: RedisError, command: &Cmd) -> Result<Value, Failure> {
        let Some((host, port)) = error.redirect_node() else { return Err(unexpected("a redirection", &error)) };
        let address = Address { host: host.into(), port };
        let mut pipeline = pipe();
        pipeline.cmd("ASKING").add_command(command.clone());
        match self.send(&address, &pipeline, self.timeout / 2).await?.pop() {
            Some(Value::ServerError(error)) => Err(Failure::Redis(address, error.into())),
            Some(value) => Ok(value),
            None => Err(unexpected("a redirected command", &"nothing")),
        }
    }
}
