//! Who hears what.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use parking_lot::RwLock;

use crate::{Topic, mailbox::Mailbox};

/// A power of two, well above the number of cores: publishers to different topics rarely meet.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<Topic, Vec<Arc<Mailbox>>>>;

/// The mailboxes subscribed to each topic.
#[derive(Debug)]
pub(super) struct Topics {
    hasher: RandomState,
    shards: [Shard; SHARDS],
}

impl Default for Topics {
    fn default() -> Self {
        let hasher = RandomState::new();
        Self { shards: std::array::from_fn(|_| RwLock::new(HashMap::with_hasher(hasher.clone()))), hasher }
    }
}

impl Topics {
    /// Calls `hear` for each subscriber, with the topic held: a subscription is whole before or after it.
    pub(super) fn each_subscriber(&self, topic: &Topic, hear: impl FnMut(&Arc<Mailbox>)) {
        if let Some(subscribers) = self.shard(topic).read().get(topic) {
            subscribers.iter().for_each(hear);
        }
    }

    /// To be called once for a topic and a mailbox.
    pub(super) fn add(&self, topic: Topic, mailbox: &Arc<Mailbox>) {
        self.shard(&topic).write().entry(topic).or_default().push(Arc::clone(mailbox));
    }

    pub(super) fn remove(&self, topic: &Topic, mailbox: &Arc<Mailbox>) {
        let mut shard = self.shard(topic).write();
        if let Some(subscribers) = shard.get_mut(topic) {
            subscribers.retain(|subscriber| !Arc::ptr_eq(subscriber, mailbox));
            if subscribers.is_empty() {
                shard.remove(topic);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.read().is_empty())
    }

    fn shard(&self, topic: &Topic) -> &Shard {
        // The lowest bits choose the bucket in a shard's map, the topmost are compared there: take some between.
        &self.shards[(self.hasher.hash_one(topic) >> 32) as usize % SHARDS]
    }
}
