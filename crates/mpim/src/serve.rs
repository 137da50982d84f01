//! A process of a distributed system: `mpim serve ROLE…`.
//!
//! It takes clients, or runs services that others call by RPC, or both. The registry tells who else is there.

mod back_ends;
mod deliver;
mod discovery;
mod live;
mod node_number;
mod share;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use api::{GroupServer, MessageServer, PresenceServer, UserServer};
use gateway::Gateway;
use prometheus_client::registry::Registry as Metrics;
use protocol::{GatewayId, IdGenerator, UserId};
use queue::{Queue as _, redis::RedisQueue};
use registry::{Instance, Registration, Registry as _, ZooKeeperRegistry};
use services::Clock;
use store::mysql::MysqlStore;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};
use webhooks::Webhooks;

use self::{back_ends::Connected, deliver::Delivering, discovery::Discovery};
use crate::{
    assembly::{Local, Role},
    config::{Config, Lifetimes},
    logging::Levels,
    monitor::{Exposition, Monitor, Readiness},
    told::of_zookeeper,
};

/// Between two looks for the message queue.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The least time for calls, services and the store to end.
const REST_MIN: Duration = Duration::from_secs(5);

/// Sockets that a process listens on.
pub struct Listeners {
    /// For clients, if it is a gateway.
    pub clients: Option<TcpListener>,
    /// For those on this machine, if it is a gateway and there is to be one.
    pub socket: Option<UnixListener>,
    /// For other processes, if it runs services.
    pub rpc: Option<TcpListener>,
    /// For those who run it.
    pub monitor: TcpListener,
}

/// The running process. To be ended with [`stop`](Self::stop); dropped or killed instead, it loses nothing acknowledged.
pub struct Node {
    gateway: Option<Gateway>,
    /// What delivers webhooks, and that it does, as others see it.
    webhooks: Option<(Webhooks, Registration)>,
    registrations: Vec<Registration>,
    server: Option<rpc::Server>,
    local: Local,
    discovery: Discovery,
    registry: ZooKeeperRegistry,
    queue: Arc<RedisQueue>,
    store: Option<Arc<MysqlStore>>,
    monitor: Monitor,
    readiness: Readiness,
    tasks: JoinSet<()>,
}

impl Node {
    /// Connects to what it needs, starts what `roles` say, and announces it. Where it waits, `/readyz` tells what for.
    ///
    /// # Errors
    ///
    /// All that cannot be reached, one line each; or the database is newer than this program.
    pub async fn start(config: &Config, roles: &[Role], listeners: Listeners, levels: Levels) -> anyhow::Result<Self> {
        let readiness = Readiness::new();
        let mut metrics = Metrics::default();
        let exposed = Arc::new(OnceLock::new());
        let exposition = exposition(Arc::clone(&exposed));
        let monitor = Monitor::start(listeners.monitor, Arc::clone(&exposition), readiness.clone())?;
        let mut tasks = JoinSet::new();

        let services: Vec<Role> = roles.iter().copied().filter(|role| *role != Role::Gateway).collect();
        let back_ends = back_ends::connect(config, !services.is_empty(), &readiness).await?;
        back_ends.show(&mut metrics, &mut tasks);
        if let Some((_, cache)) = &back_ends.stores {
            back_ends::look_for_cache(cache, &mut tasks);
        }
        let shared: Arc<dyn registry::Registry> = Arc::new(back_ends.registry.clone());
        let store = back_ends.stores.as_ref().map(|(store, _)| &**store);
        let ids = node_number::ids(&shared, store, &mut tasks).await?;

        let security = config.rpc_security().map_err(anyhow::Error::msg)?;
        let rpc_metrics = rpc::Metrics::new(&mut metrics);
        let channel = config.rpc_channel();
        let discovery = Discovery::start(&*shared, &security, &channel, &rpc_metrics, &readiness).await;
        let discovery = discovery.map_err(of_zookeeper)?;
        let lifetimes = Lifetimes::of(config);
        let local = match back_ends.of_services(&lifetimes, &ids) {
            None => Local::default(),
            Some(back_ends) => {
                let remote = Some(&discovery.services);
                Local::start(&services, config, back_ends, config.token_key(), remote, &mut metrics).await?
            }
        };

        let Connected { registry, queue, stores } = back_ends;
        let mut node = Self {
            gateway: None,
            webhooks: None,
            registrations: Vec::new(),
            server: None,
            local,
            discovery,
            registry,
            queue,
            store: stores.map(|(store, _)| store),
            monitor,
            readiness,
            tasks,
        };
        if let Some(listener) = listeners.rpc {
            node.take_calls(config, &services, listener, security, &rpc_metrics).await?;
            node.deliver_webhooks(config, &ids, &mut metrics).await?;
        }
        let gateway_metrics = listeners.clients.is_some().then(|| gateway::Metrics::new(&mut metrics));
        // Nobody else has set it.
        let _ = exposed.set(metrics);
        if let (Some(listener), Some(metrics)) = (listeners.clients, gateway_metrics) {
            node.take_clients(config, &ids, (listener, listeners.socket), metrics, exposition).await?;
        }
        let set_limits = node.gateway.as_ref().map(|gateway| Box::new(gateway.limits_setter()) as live::LimitsSetter);
        node.tasks.spawn(live::follow(shared, config.clone(), set_limits, lifetimes, levels));
        node.readiness.has("start");
        Ok(node)
    }

    /// Has its services called by other processes, and announces them.
    async fn take_calls(
        &mut self,
        config: &Config,
        services: &[Role],
        listener: TcpListener,
        security: rpc::Security,
        metrics: &rpc::Metrics,
    ) -> anyhow::Result<()> {
        let targets = served(&self.local);
        let server = rpc::Server::start(listener, targets, security, rpc::ServerConfig::default(), metrics)?;
        let address = server.address();
        self.server = Some(server);
        for role in services {
            let instance = instance(config, *role, advertised(config, address));
            self.registrations.push(self.registry.register(instance).await.map_err(of_zookeeper)?);
        }
        Ok(())
    }

    /// Delivers its share of the webhooks, if it has the user service and is told how.
    async fn deliver_webhooks(
        &mut self,
        config: &Config,
        ids: &Arc<IdGenerator>,
        metrics: &mut Metrics,
    ) -> anyhow::Result<()> {
        let (Some(users), Some(store), Some(server)) = (&self.local.user, &self.store, &self.server) else {
            return Ok(());
        };
        let with = Delivering {
            users: users.clone(),
            store: store.clone(),
            ids: Arc::clone(ids),
            bell: self.local.bell.clone(),
        };
        let own = instance(config, Role::User, advertised(config, server.address()));
        let delivering = deliver::start(config, &self.registry, own, with, metrics, &mut self.tasks).await;
        self.webhooks = delivering.map_err(of_zookeeper)?;
        Ok(())
    }

    /// Takes clients, once the message queue is there.
    async fn take_clients(
        &mut self,
        config: &Config,
        ids: &IdGenerator,
        (listener, socket): (TcpListener, Option<UnixListener>),
        metrics: gateway::Metrics,
        exposition: Exposition,
    ) -> anyhow::Result<()> {
        until_queue_is_there(&self.queue, &self.readiness).await;
        let gateway = Gateway::start(
            gateway::Config { admin_key: config.admin_key(), ..config.gateway() },
            GatewayId::new(ids.generate(Clock::system().now()).get()),
            self.local.services(Some(&self.discovery.services))?,
            self.queue.clone(),
            listener,
            metrics,
            exposition,
            self.readiness.ready(),
        );
        let gateway = gateway.await?;
        if let Some(socket) = socket {
            gateway.accept_plain(socket);
        }
        self.gateway = Some(gateway);
        Ok(())
    }

    /// Where clients connect, if it is a gateway.
    pub fn clients(&self) -> Option<SocketAddr> {
        self.gateway.as_ref().map(Gateway::local_addr)
    }

    /// Where it tells how it is.
    pub fn monitor(&self) -> SocketAddr {
        self.monitor.address()
    }

    /// Whether it is ready to serve, now and whenever that changes.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.readiness.ready()
    }

    /// Takes leave of clients and of other processes, finishes what was accepted, closes the store. Clients have `grace` to take
    /// what is theirs, and the rest as long again; what is not done then is left as a kill would leave it.
    pub async fn stop(mut self, grace: Duration) {
        self.readiness.waits("stop", "it is told to stop");
        if let Some(gateway) = &self.gateway {
            gateway.leave();
        }
        // Clients need not wait for webhooks' farewells, nor others for the share that nobody delivers here any more.
        let webhooks = async {
            if let Some((webhooks, registration)) = self.webhooks {
                webhooks.stop().await;
                drop(registration);
            }
        };
        let clients = async {
            if let Some(gateway) = self.gateway {
                gateway.drain(grace).await;
            }
        };
        let _ = tokio::join!(tokio::time::timeout(grace.max(REST_MIN), webhooks), clients);
        let rest = async {
            // Callers go elsewhere; what they have asked for is finished.
            self.registrations.clear();
            if let Some(server) = self.server.take() {
                server.stop(grace.max(REST_MIN)).await;
            }
            self.local.stop().await;
            self.discovery.close().await;
            self.queue.close().await;
            // Nobody makes ids or is told of changes any more: what the registry gave is given back, not lost.
            self.tasks.shutdown().await;
            self.registry.close().await;
            if let Some(store) = self.store {
                store.close().await;
            }
        };
        if tokio::time::timeout(2 * grace.max(REST_MIN), rest).await.is_err() {
            tracing::warn!("stopped before everything was written; what was acknowledged is");
        }
    }
}

/// Clients come to a gateway that hears something.
async fn until_queue_is_there(queue: &RedisQueue, readiness: &Readiness) {
    const WHAT: &str = "redis_queue";
    while let Err(error) = queue.routes(&[UserId::new(1)]).await {
        tracing::warn!(%error, "clients are taken once the message queue is there");
        readiness.waits(WHAT, error.to_string());
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    readiness.has(WHAT);
}

/// The text of `/metrics`: empty until all figures are there.
fn exposition(metrics: Arc<OnceLock<Metrics>>) -> Exposition {
    Arc::new(move || {
        let mut text = String::new();
        if let Some(metrics) = metrics.get() {
            // Writing to a String does not fail.
            let _ = prometheus_client::encoding::text::encode(&mut text, metrics);
        }
        text
    })
}

/// What others may call here.
fn served(local: &Local) -> Vec<Arc<dyn rpc::Service>> {
    let mut services: Vec<Arc<dyn rpc::Service>> = Vec::new();
    if let Some(user) = &local.user {
        services.push(Arc::new(UserServer::new(user.clone())));
    }
    if let Some(message) = &local.message {
        services.push(Arc::new(MessageServer::new(message.clone())));
    }
    if let Some(presence) = &local.presence {
        services.push(Arc::new(PresenceServer::new(presence.clone())));
    }
    if let Some(group) = &local.group {
        services.push(Arc::new(GroupServer::new(group.clone())));
    }
    services
}

fn instance(config: &Config, role: Role, address: String) -> Instance {
    Instance {
        service: role.name().into(),
        address,
        zone: config.rpc.zone.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        weight: config.rpc.weight,
    }
}

/// Where others reach this process.
fn advertised(config: &Config, listening: SocketAddr) -> String {
    match &config.rpc.advertise {
        None => listening.to_string(),
        Some(address) => match address.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", listening.port()),
            None => address.clone(),
        },
    }
}
