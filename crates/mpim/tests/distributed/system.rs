//! A system of many processes.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use api::{Call, Caller, GroupClient, MessageClient, Scopes, UserClient};
use client::{SessionId, UserId};
use futures_util::future::join_all;
use prometheus_client::registry::Registry as Metrics;
use registry::{ZooKeeperRegistry, zookeeper};
use rpc::{Channel, ChannelConfig, Endpoint, Secret, Security};
use servers::{Lifetime, Process, Program, Redis, answers, free_port};
use tokio::{sync::OnceCell, sync::watch, time::Instant};

use crate::{
    device::PATIENCE,
    http,
    process::{ENVIRONMENT, MPIM},
    stores::{Stores, left_behind},
};

/// What the processes know each other by.
pub const RPC_SECRET: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const READYZ: &str = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
/// What of each log is shown when a test fails.
const SHOWN_LINES: usize = 25;

/// How a system is to be.
pub struct Setup {
    processes: Vec<(String, Vec<&'static str>)>,
    environment: Vec<(String, String)>,
    own_stores: bool,
}

impl Setup {
    /// Only what processes of MPIM stand on; they are [added](System::add).
    pub fn none() -> Self {
        Self::of(&[])
    }

    /// Two gateways, and two processes that run all services: `gateway-1`, `services-1`, …
    pub fn small() -> Self {
        Self::of(&[("services", &["user", "message", "presence", "group"]), ("gateway", &["gateway"])])
    }

    /// Two of everything, each a process: `gateway-1`, `user-1`, `message-1`, `presence-1`, `group-1`, …
    pub fn full() -> Self {
        Self::of(&[
            ("user", &["user"]),
            ("message", &["message"]),
            ("presence", &["presence"]),
            ("group", &["group"]),
            ("gateway", &["gateway"]),
        ])
    }

    fn of(kinds: &[(&str, &[&'static str])]) -> Self {
        let both =
            |(name, roles): &(&str, &[&'static str])| [1, 2].map(|number| (format!("{name}-{number}"), roles.to_vec()));
        Self { processes: kinds.iter().flat_map(both).collect(), environment: Vec::new(), own_stores: false }
    }

    /// With a setting, for all processes.
    pub fn with(mut self, variable: &str, value: impl ToString) -> Self {
        self.environment.push((variable.to_owned(), value.to_string()));
        self
    }

    /// With a MariaDB and a ZooKeeper that nobody else uses.
    pub fn with_own_stores(self) -> Self {
        Self { own_stores: true, ..self }
    }
}

/// A system: its processes end with it.
pub struct System {
    instances: BTreeMap<String, Instance>,
    pub cache: Redis,
    pub queue: Redis,
    own: Option<Stores>,
    /// What all processes are told.
    environment: Vec<(String, String)>,
    registry: (String, String),
    dir: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

/// A process of MPIM.
pub struct Instance {
    pub process: Process,
    /// Where clients, or other processes, reach it.
    pub address: SocketAddr,
    /// Where it tells how it is.
    pub monitor: SocketAddr,
}

impl System {
    /// Starts one and waits until all of it is ready.
    pub async fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut system = Self::start_in(dir.path(), setup).await;
        system._temporary = Some(dir);
        system
    }

    /// The one that tests share which only chat: two of everything.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<System> = OnceCell::const_new();
        SHARED.get_or_init(|| async { Self::start_in(&left_behind("system"), Setup::full()).await }).await
    }

    async fn start_in(dir: &Path, setup: Setup) -> Self {
        let redis =
            async |name: &str| Redis::start(name, &dir.join(name), free_port(), &[], Lifetime::Bound).await.unwrap();
        let stores = async { if setup.own_stores { Some(Stores::start(&dir.join("stores")).await) } else { None } };
        let (cache, queue, own) = tokio::join!(redis("redis-cache"), redis("redis-queue"), stores);
        let (database, zookeeper, root) = match &own {
            Some(own) => (own.database(0), own.zookeeper.address(), "/mpim".to_owned()),
            None => {
                let (shared, number) = Stores::shared().await;
                (shared.database(number), shared.zookeeper.address(), format!("/mpim-{number}"))
            }
        };
        let told: [(&str, String); 11] = [
            ("SERVER_SECRET_KEY", KEY.into()),
            ("SERVER_ADMIN_KEY", KEY.into()),
            ("RPC_SECRET", RPC_SECRET.into()),
            ("MYSQL_URL", database),
            ("MYSQL_MAX_CONNECTIONS", "8".into()),
            ("ZOOKEEPER_HOSTS", zookeeper.to_string()),
            ("ZOOKEEPER_ROOT", root.clone()),
            ("REDIS_CACHE_PORT", cache.address().port().to_string()),
            ("REDIS_QUEUE_PORT", queue.address().port().to_string()),
            ("REDIS_QUEUE_DATABASE", "0".into()),
            ("USER_PASSWORD_MEMORY_KIB", "8".into()),
        ];
        let mut environment: Vec<_> =
            ENVIRONMENT.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        environment.extend(told.map(|(name, value)| (format!("MPIM_{name}"), value)));
        environment.extend(setup.environment);
        let mut system = Self {
            instances: BTreeMap::new(),
            cache,
            queue,
            own,
            environment,
            registry: (zookeeper.to_string(), root),
            dir: dir.to_owned(),
            _temporary: None,
        };
        // Webhooks are delivered by way of the second gateway.
        let addresses: Vec<SocketAddr> = setup.processes.iter().map(|_| free_address()).collect();
        system
            .environment
            .extend(addresses.last().map(|address| ("MPIM_WEBHOOKS_GATEWAY".into(), address.to_string())));
        for ((name, roles), address) in setup.processes.iter().zip(addresses) {
            let instance = system.launch(name, roles, address, &[]);
            system.instances.insert(name.clone(), instance);
        }
        join_all(system.instances.values_mut().map(Instance::ready)).await;
        system
    }

    fn launch(&self, name: &str, roles: &[&str], address: SocketAddr, told: &[(&str, String)]) -> Instance {
        let monitor = free_address();
        let serves = if roles.contains(&"gateway") { "MPIM_SERVER_LISTEN" } else { "MPIM_RPC_LISTEN" };
        let own = [(serves.to_owned(), address.to_string()), ("MPIM_SERVER_MONITOR".into(), monitor.to_string())];
        let told = told.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let all = self.environment.iter().cloned().chain(own).chain(told);
        let arguments = ["serve"].iter().chain(roles);
        let program = Program::new(name, MPIM.into(), &self.dir.join(name), arguments);
        let environment = all.map(|(name, value)| (name.into(), value.into())).collect();
        let process = Process::start(Program { environment, ..program }, Lifetime::Bound).unwrap();
        Instance { process, address, monitor }
    }

    /// Another process, which is not waited for.
    pub fn add(&mut self, name: &str, roles: &[&str]) -> &mut Instance {
        self.add_with(name, roles, &[])
    }

    /// The same, with settings of its own.
    pub fn add_with(&mut self, name: &str, roles: &[&str], told: &[(&str, String)]) -> &mut Instance {
        let instance = self.launch(name, roles, free_address(), told);
        self.instances.entry(name.to_owned()).or_insert(instance)
    }

    pub fn instance(&mut self, name: &str) -> &mut Instance {
        self.instances.get_mut(name).unwrap_or_else(|| panic!("no process {name}"))
    }

    fn address(&self, name: &str) -> SocketAddr {
        self.instances[name].address
    }

    pub fn kill(&mut self, name: &str) {
        self.instance(name).process.kill();
    }

    /// Kills a process, starts it again where it was, and waits until it is ready.
    pub async fn kill_and_restart(&mut self, name: &str) {
        let instance = self.instance(name);
        instance.process.start_again().unwrap();
        instance.ready().await;
    }

    /// The MariaDB and the ZooKeeper that nobody else uses.
    pub fn own_stores(&mut self) -> &mut Stores {
        self.own.as_mut().expect("it was set up with its own stores")
    }

    /// Where clients reach a gateway, by WebSocket.
    pub fn server(&self, gateway: &str) -> client::Server {
        format!("http://{}", self.address(gateway)).parse().unwrap()
    }

    /// The same by TCP.
    pub fn tcp_server(&self, gateway: &str) -> client::Server {
        format!("tcp://{}", self.address(gateway)).parse().unwrap()
    }

    /// Where a process is reached by clients or by the others.
    pub fn reached_at(&self, name: &str) -> SocketAddr {
        self.address(name)
    }

    /// Where processes of this kind tell how they are.
    pub fn monitors(&self, kind: &str) -> Vec<SocketAddr> {
        let of_kind = self.instances.iter().filter(|(name, _)| name.starts_with(kind));
        of_kind.map(|(_, instance)| instance.monitor).collect()
    }

    /// What a process has logged.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.instances[name].process.log()).unwrap()
    }

    /// The system's registry, as one of its processes.
    pub async fn registry(&self) -> ZooKeeperRegistry {
        let (servers, prefix) = self.registry.clone();
        ZooKeeperRegistry::connect(zookeeper::Config { servers, prefix, ..zookeeper::Config::default() }).await.unwrap()
    }

    /// Calls one instance, whatever the registry says.
    pub fn users(&self, instance: &str) -> UserClient {
        UserClient::new(self.channel("user", instance))
    }

    /// Calls one instance, whatever the registry says.
    pub fn messages(&self, instance: &str) -> MessageClient {
        MessageClient::new(self.channel("message", instance))
    }

    /// Calls one instance, whatever the registry says.
    pub fn groups(&self, instance: &str) -> GroupClient {
        GroupClient::new(self.channel("group", instance))
    }

    /// One of the figures of a process; 0 if it has none of this name yet.
    pub async fn metric(&self, instance: &str, name: &str) -> f64 {
        let text = http::get(self.instances[instance].monitor, "/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    fn channel(&self, service: &'static str, instance: &str) -> Channel {
        channel(service, self.address(instance), RPC_SECRET)
    }
}

impl Instance {
    /// Waits until it says that it is.
    pub async fn ready(&mut self) {
        let monitor = self.monitor;
        self.process.until(PATIENCE, async || answers(monitor, READYZ, " 200 ").await).await.unwrap();
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (name, instance) in &self.instances {
            let log = fs::read_to_string(instance.process.log()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            println!("--- {name}\n{}", lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"));
        }
    }
}

/// Calls at one address, by whoever knows this secret.
pub fn channel(service: &'static str, address: SocketAddr, secret: &str) -> Channel {
    let endpoint = Endpoint { address: address.to_string(), zone: String::new(), weight: 100 };
    let security = Security::Secret(Secret::new(secret).unwrap());
    let metrics = rpc::Metrics::new(&mut Metrics::default());
    Channel::new(service, watch::channel(vec![endpoint]).1, security, ChannelConfig::default(), &metrics)
}

/// A call on behalf of a session.
pub fn call(user: UserId, session: SessionId) -> Call {
    let caller = Some(Caller { user, session, scopes: Scopes::ALL });
    Call { caller, origin: None, address: None, deadline: Instant::now() + Duration::from_secs(10) }
}

pub fn free_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}
