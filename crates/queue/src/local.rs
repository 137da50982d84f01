//! The queue within one process: the topics, the routes and one bounded mailbox for each gateway, in memory.
//!
//! Publishing takes two short locks a publication (the topic's shard, shared; the mailbox) and wakes a gateway at most
//! once for all publications of a call, and only if it waits. No task of its own, no timer.

mod routes;
mod topics;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use protocol::{GatewayId, UserId};

use self::{routes::Routes, topics::Topics};
use crate::{
    Bounds, Delivered, Error, Presence, Publication, Queue, Replaced, Result, Subscription, Topic,
    mailbox::{Figures, Mailbox},
};

/// A queue within one process. Cheap to clone; clones are the same queue.
///
/// A subscription hears its topics in the order in which `publish` was called, whatever the topic. A gateway that opens
/// again shuts the former subscription: what waited there is discarded, its `receive` waits for ever, its `subscribe`
/// fails. No publication is ever refused; the methods of the queue itself do not fail.
#[derive(Debug, Clone, Default)]
pub struct LocalQueue {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    bounds: Bounds,
    topics: Topics,
    routes: Routes,
    /// The open gateways. Held shared while a route is added, exclusively while a gateway's are removed, so that no
    /// route outlives its gateway.
    gateways: RwLock<HashMap<GatewayId, Arc<Ear>>>,
    published: AtomicU64,
    figures: Figures,
}

/// An open gateway.
#[derive(Debug)]
struct Ear {
    mailbox: Arc<Mailbox>,
    /// What it is subscribed to; `None` once the gateway is closed or has opened again.
    topics: Mutex<Option<HashSet<Topic>>>,
}

impl LocalQueue {
    /// A queue with the default bounds.
    pub fn new() -> Self {
        Self::default()
    }

    /// A queue that keeps so much for a gateway that does not read.
    pub fn with_bounds(bounds: Bounds) -> Self {
        Self { state: Arc::new(State { bounds, ..State::default() }) }
    }

    /// Publications so far, heard or not.
    pub fn published(&self) -> u64 {
        self.state.published.load(Ordering::Relaxed)
    }

    /// Publications handed to gateways so far: one publication that two gateways hear is two.
    pub fn delivered(&self) -> u64 {
        self.state.figures.delivered.get()
    }

    /// Publications lost to gateways so far, counted as in [`Self::delivered`].
    pub fn lost(&self) -> u64 {
        self.state.figures.lost.get()
    }

    /// Publications that wait now, at all gateways together.
    pub fn length(&self) -> usize {
        self.state.gateways.read().values().map(|ear| ear.mailbox.length()).sum()
    }
}

#[async_trait]
impl Queue for LocalQueue {
    async fn publish(&self, publications: Vec<Publication>) -> Result<()> {
        self.state.publish(publications);
        Ok(())
    }

    async fn open(&self, gateway: GatewayId) -> Result<Box<dyn Subscription>> {
        Ok(Box::new(self.state.open(&self.state, gateway)))
    }

    async fn bind(&self, user: UserId, gateway: GatewayId, away: bool) -> Result<Option<Presence>> {
        let gateways = self.state.gateways.read();
        Ok(if gateways.contains_key(&gateway) { self.state.routes.add(user, gateway, away) } else { None })
    }

    async fn unbind(&self, user: UserId, gateway: GatewayId) -> Result<Option<Presence>> {
        Ok(self.state.routes.remove(user, gateway))
    }

    async fn routes(&self, users: &[UserId]) -> Result<Vec<Vec<GatewayId>>> {
        Ok(users.iter().map(|user| self.state.routes.of(*user)).collect())
    }

    async fn presences(&self, users: &[UserId]) -> Result<Vec<Presence>> {
        Ok(users.iter().map(|user| self.state.routes.presence(*user)).collect())
    }
}

impl State {
    fn publish(&self, publications: Vec<Publication>) {
        self.published.fetch_add(publications.len() as u64, Ordering::Relaxed);
        let mut waiting = Vec::new();
        for publication in publications {
            self.topics.each_subscriber(&publication.topic, |mailbox| {
                if mailbox.push(publication.clone()) {
                    waiting.push(Arc::clone(mailbox));
                }
            });
        }
        // Only now, so that a gateway finds all of them when it wakes.
        for mailbox in waiting {
            mailbox.wake();
        }
    }

    fn open(&self, state: &Arc<Self>, gateway: GatewayId) -> LocalSubscription {
        let own = Topic::Gateway(gateway);
        let ear = Arc::new(Ear {
            mailbox: Arc::new(Mailbox::new(self.bounds, self.figures.clone())),
            topics: Mutex::new(Some(HashSet::from([own]))),
        });
        let mut gateways = self.gateways.write();
        if let Some(former) = gateways.insert(gateway, Arc::clone(&ear)) {
            self.shut(gateway, &former);
        }
        self.topics.add(own, &ear.mailbox);
        drop(gateways);
        LocalSubscription { state: Arc::clone(state), gateway, ear }
    }

    fn subscribe(&self, ear: &Ear, topics: Vec<Topic>) -> Result<(), Replaced> {
        let mut subscribed = ear.topics.lock();
        let subscribed = subscribed.as_mut().ok_or(Replaced)?;
        for topic in topics {
            if subscribed.insert(topic) {
                self.topics.add(topic, &ear.mailbox);
            }
        }
        Ok(())
    }

    fn unsubscribe(&self, ear: &Ear, topics: &[Topic]) {
        let mut subscribed = ear.topics.lock();
        let Some(subscribed) = subscribed.as_mut() else { return };
        for topic in topics {
            if subscribed.remove(topic) {
                self.topics.remove(topic, &ear.mailbox);
            }
        }
    }

    /// Takes back a gateway's topics and routes. To be called with `gateways` held exclusively.
    fn shut(&self, gateway: GatewayId, ear: &Ear) {
        for topic in ear.topics.lock().take().into_iter().flatten() {
            self.topics.remove(&topic, &ear.mailbox);
        }
        ear.mailbox.shut();
        self.routes.remove_all(gateway);
    }
}

struct LocalSubscription {
    state: Arc<State>,
    gateway: GatewayId,
    ear: Arc<Ear>,
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn receive(&self, max: usize) -> Vec<Delivered> {
        self.ear.mailbox.receive(max).await
    }

    async fn subscribe(&self, topics: Vec<Topic>) -> Result<()> {
        self.state.subscribe(&self.ear, topics).map_err(|replaced| Error(Box::new(replaced)))
    }

    async fn unsubscribe(&self, topics: Vec<Topic>) -> Result<()> {
        self.state.unsubscribe(&self.ear, &topics);
        Ok(())
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        let mut gateways = self.state.gateways.write();
        // Unless the gateway has opened again: then this one is shut already, and the routes are the new one's.
        if gateways.get(&self.gateway).is_some_and(|current| Arc::ptr_eq(current, &self.ear)) {
            gateways.remove(&self.gateway);
            self.state.shut(self.gateway, &self.ear);
        }
    }
}

#[cfg(test)]
mod tests;
