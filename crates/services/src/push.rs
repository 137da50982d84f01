//! Telling connected devices, through the message queue.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use protocol::{
    GatewayId, UserId,
    queue::{Batch, Delivery, delivery::What},
    wire::{ServerFrame, server_frame},
};
use queue::{Publication, Queue, Topic};

/// A push's frame, encoded.
pub(crate) fn frame(body: server_frame::Body) -> Bytes {
    ServerFrame { request: 0, body: Some(body) }.encode_to_vec().into()
}

/// Deliveries, addressed by user or by topic, in order.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    to_users: Vec<Delivery>,
    to_topics: Vec<(Topic, Delivery)>,
}

impl Pushes {
    pub(crate) fn add_for_users(&mut self, users: &[UserId], origin: u64, what: What) {
        let users = users.iter().map(|user| user.get()).collect();
        self.to_users.push(Delivery { users, origin, what: Some(what), hide_from: 0 });
    }

    pub(crate) fn add_for_topic(&mut self, topic: Topic, origin: u64, what: What) {
        self.to_topics.push((topic, Delivery { users: Vec::new(), origin, what: Some(what), hide_from: 0 }));
    }

    /// The last that a user's watcher hears of the user.
    pub(crate) fn add_to_hide(&mut self, user: UserId, from: UserId, what: What) {
        let delivery = Delivery { users: Vec::new(), origin: 0, what: Some(what), hide_from: from.get() };
        self.to_topics.push((Topic::Presence(user), delivery));
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.to_users.extend(other.to_users);
        self.to_topics.extend(other.to_topics);
    }

    pub(crate) fn len(&self) -> usize {
        self.to_users.len() + self.to_topics.len()
    }

    /// The users to look up routes for, in the order that [`address`](Self::address) wants them.
    pub(crate) fn users(&self) -> Vec<UserId> {
        self.to_users.iter().flat_map(|delivery| delivery.users.iter().copied().map(UserId::new)).collect()
    }

    /// The topics that something is for.
    pub(crate) fn topics(&self) -> impl Iterator<Item = Topic> {
        self.to_topics.iter().map(|(topic, _)| *topic)
    }

    /// One publication for each gateway and topic; more only where a batch would exceed `batch_max` deliveries.
    pub(crate) fn address(self, routes: Vec<Vec<GatewayId>>, batch_max: usize) -> Vec<Publication> {
        let mut batches = Batches::default();
        let mut routes = routes.into_iter();
        for delivery in self.to_users {
            let mut gateways: Vec<(GatewayId, Vec<u64>)> = Vec::new();
            for user in delivery.users {
                for gateway in routes.next().unwrap_or_default() {
                    match gateways.iter_mut().find(|(known, _)| *known == gateway) {
                        Some((_, held)) => held.push(user),
                        None => gateways.push((gateway, vec![user])),
                    }
                }
            }
            for (gateway, users) in gateways {
                let delivery = Delivery { users, what: delivery.what.clone(), ..delivery };
                batches.add(Topic::Gateway(gateway), delivery);
            }
        }
        for (topic, delivery) in self.to_topics {
            batches.add(topic, delivery);
        }
        batches.publications(batch_max.max(1))
    }

    /// Publishes all at once; a failure is the caller's to log.
    pub(crate) async fn publish(self, queue: &dyn Queue, batch_max: usize) -> queue::Result<()> {
        let users = self.users();
        let routes = if users.is_empty() { Vec::new() } else { queue.routes(&users).await? };
        let publications = self.address(routes, batch_max);
        if publications.is_empty() { Ok(()) } else { queue.publish(publications).await }
    }
}

/// Deliveries by topic, in the order in which topics and deliveries came.
#[derive(Default)]
struct Batches {
    places: HashMap<Topic, usize>,
    batches: Vec<(Topic, Vec<Delivery>)>,
}

impl Batches {
    fn add(&mut self, topic: Topic, delivery: Delivery) {
        let place = *self.places.entry(topic).or_insert_with(|| {
            self.batches.push((topic, Vec::new()));
            self.batches.len() - 1
        });
        self.batches[place].1.push(delivery);
    }

    fn publications(self, batch_max: usize) -> Vec<Publication> {
        let mut publications = Vec::with_capacity(self.batches.len());
        for (topic, mut deliveries) in self.batches {
            while !deliveries.is_empty() {
                let rest = deliveries.split_off(deliveries.len().min(batch_max));
                publications.push(Publication { topic, payload: Batch { deliveries }.encode_to_vec().into() });
                deliveries = rest;
            }
        }
        publications
    }
}
