//! The queue on Redis: alone, behind Sentinels, or a cluster with sharded channels.
//!
//! - **Pushes.** A topic is a channel. What is handed over while a pipeline is under way leaves with the next one,
//!   publications to one topic together in one envelope ([`Config::batch_size`]); nobody waits for a timer.
//! - **Losses.** Publishers number what they publish to each topic. A subscription knows from the numbers exactly what it
//!   missed, whether Redis cut it off, the connection broke, Redis was started anew, or publishing failed. It tells as
//!   soon as it can know: with the next publication, when it is connected again (the numbers stand in Redis too), or
//!   when a publisher that could not reach Redis reaches it again. Numbers are kept of topics used in the last half hour;
//!   what a publisher loses with its own life nobody counts.
//! - **Routes.** A user's routes are one key, a gateway's lease is another, and a route counts while its gateway has the
//!   lease for which it was bound. Whoever binds tells the gateway's process, which writes the routes again if Redis has
//!   lost them, within some seconds. If it was not told in spite of all (the binding process died between the two), the
//!   user's next connection heals it.
//! - **Time.** No call takes longer than [`Config::timeout`]. A gateway that died without a word is believed for ten
//!   seconds, one that closed or opened again for a fifth of one.

mod config;
mod ear;
mod envelope;
mod failure;
mod hearing;
mod held;
mod keeper;
mod lane;
mod lease;
mod metrics;
mod names;
mod nodes;
mod numbering;
mod publisher;
mod routes;
mod scripts;
mod telling;
mod topology;

use std::sync::Arc;

use async_trait::async_trait;
use protocol::{GatewayId, UserId};
use tokio::time::timeout;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::{
    config::{Config, InvalidConfig},
    metrics::Metrics,
};
use self::{
    ear::Ear,
    envelope::Route,
    failure::Failure,
    keeper::Keeper,
    lane::NotPublished,
    lease::Lease,
    names::Names,
    nodes::Nodes,
    publisher::Publisher,
    routes::{Changed, Routes},
    telling::Telling,
};
use crate::{
    Delivered, Error, Presence, Publication, Queue, Result, Subscription, Topic,
    mailbox::{Figures, Mailbox},
};

/// A queue on Redis. Cheap to clone; clones are the same queue, which ends with the last of them or with
/// [`close`](Self::close).
///
/// It connects when it is used, and again whenever it has to; that Redis is away is an [`Error`] of the calls made
/// meanwhile, each within [`Config::timeout`]. A call that is dropped may still be carried out.
#[derive(Clone)]
pub struct RedisQueue {
    inner: Arc<Inner>,
}

struct Inner {
    nodes: Arc<Nodes>,
    names: Names,
    publisher: Arc<Publisher>,
    routes: Routes,
    telling: Arc<Telling>,
    config: Config,
    metrics: Metrics,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
    tasks: TaskTracker,
}

impl RedisQueue {
    /// A queue with these settings. To be called in a Tokio runtime.
    ///
    /// # Errors
    /// The settings cannot be used. That Redis is not there is none.
    pub fn start(config: Config) -> Result<Self, InvalidConfig> {
        let metrics = Metrics::default();
        let nodes = Arc::new(Nodes::new(&config, metrics.clone())?);
        let names = Names::new(&config.prefix, nodes.database());
        let publisher = Arc::new(Publisher::new(&config, Arc::clone(&nodes), names.clone(), metrics.clone()));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(Arc::clone(&publisher).run(stop.clone()));
        let routes = Routes::new(Arc::clone(&nodes), names.clone());
        let telling = Arc::new(Telling::new(Arc::clone(&nodes), names.clone()));
        tasks.spawn(Arc::clone(&telling).run(stop.clone()));
        let stop_when_dropped = stop.clone().drop_guard();
        let inner = Inner {
            nodes,
            names,
            publisher,
            routes,
            telling,
            config,
            metrics,
            stop,
            _stop_when_dropped: stop_when_dropped,
            tasks,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What is counted, to be registered.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// Publications that wait to be published.
    pub fn length(&self) -> usize {
        self.inner.publisher.length()
    }

    /// Publishes what it was handed, gives back the leases of gateways that are open, and ends. Takes no longer than a few
    /// times [`Config::timeout`]. Calls made afterwards fail.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn publish(&self, publications: Vec<Publication>) -> Result<()> {
        let answered = self.inner.publisher.publish(publications);
        match timeout(self.inner.config.timeout, answered).await {
            Ok(Ok(outcome)) => outcome.map_err(unpublished),
            Ok(Err(_)) => Err(unpublished(NotPublished::Closed)),
            Err(_) => Err(unavailable(Failure::TooSlow(self.inner.config.timeout))),
        }
    }

    async fn open(&self, gateway: GatewayId) -> Result<Box<dyn Subscription>> {
        let Inner { nodes, names, config, metrics, stop, tasks, .. } = &*self.inner;
        let figures = Figures { delivered: metrics.delivered.clone(), lost: metrics.lost.clone() };
        let mailbox = Mailbox::new(config.bounds, figures);
        let (ear, changes) = Ear::new(gateway, mailbox, config.timeout, names.clone(), metrics.clone());
        let keeper = Keeper::new(Arc::clone(&ear), Arc::clone(nodes), changes);
        let stop = stop.child_token();
        // Whatever comes, also if this call is dropped.
        let stop_when_dropped = stop.clone().drop_guard();
        tasks.spawn(keeper.run(stop.clone()));
        let opening = async {
            ear.subscribe(vec![Topic::Gateway(gateway)]).await?;
            let (nodes, names) = (Arc::clone(nodes), names.clone());
            let lease = Lease::take(nodes, names, Arc::clone(&ear), gateway, metrics.clone()).await;
            lease.map_err(unavailable)
        };
        let patience = config.timeout;
        let opened = timeout(patience, opening).await.unwrap_or_else(|_| Err(unavailable(Failure::TooSlow(patience))));
        let lease = opened?;
        let told = self.inner.telling.tell_opening(gateway, lease.opening());
        tasks.spawn(lease.run(stop));
        // A former opening that does not hear it learns it when it renews its lease.
        if let Err(failure) = told.await {
            tracing::debug!(%failure, "a former opening of the gateway could not be told");
        }
        Ok(Box::new(RedisSubscription { ear, _stop_when_dropped: stop_when_dropped, _queue: self.clone() }))
    }

    async fn bind(&self, user: UserId, gateway: GatewayId, away: bool) -> Result<Option<Presence>> {
        self.change(user, gateway, if away { Route::Away } else { Route::There }).await
    }

    async fn unbind(&self, user: UserId, gateway: GatewayId) -> Result<Option<Presence>> {
        self.change(user, gateway, Route::Gone).await
    }

    async fn routes(&self, users: &[UserId]) -> Result<Vec<Vec<GatewayId>>> {
        self.within(self.inner.routes.gateways(users)).await
    }

    async fn presences(&self, users: &[UserId]) -> Result<Vec<Presence>> {
        self.within(self.inner.routes.presences(users)).await
    }
}

impl RedisQueue {
    async fn change(&self, user: UserId, gateway: GatewayId, route: Route) -> Result<Option<Presence>> {
        let changed = self.within(self.inner.routes.change(user, gateway, route)).await?;
        let Some(Changed { before, after, repeated, holding }) = changed else { return Ok(None) };
        self.inner.telling.tell(gateway, holding);
        // Sent twice, the first may have changed it already: rather told too often than not at all.
        Ok(Some(after).filter(|_| before != after || repeated))
    }

    async fn within<T>(&self, asking: impl Future<Output = Result<T, Failure>>) -> Result<T> {
        let patience = self.inner.config.timeout;
        timeout(patience, asking).await.unwrap_or(Err(Failure::TooSlow(patience))).map_err(unavailable)
    }
}

fn unavailable(failure: Failure) -> Error {
    Error(Box::new(failure))
}

fn unpublished(failure: NotPublished) -> Error {
    Error(Box::new(failure))
}

struct RedisSubscription {
    ear: Arc<Ear>,
    _stop_when_dropped: DropGuard,
    _queue: RedisQueue,
}

#[async_trait]
impl Subscription for RedisSubscription {
    async fn receive(&self, max: usize) -> Vec<Delivered> {
        self.ear.mailbox.receive(max).await
    }

    async fn subscribe(&self, topics: Vec<Topic>) -> Result<()> {
        self.ear.subscribe(topics).await
    }

    async fn unsubscribe(&self, topics: Vec<Topic>) -> Result<()> {
        self.ear.unsubscribe(topics).await
    }
}
