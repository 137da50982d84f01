//! The registry within one process.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use protocol::NodeNumber;
use tokio::sync::watch;

use crate::{Error, Hold, Instance, NodeLease, Registration, Registry, Result};

/// A registry within one process. Cheap to clone; clones are the same registry. Changes are seen at once. Live
/// configuration is what [`Self::set_config`] was told.
#[derive(Debug, Clone, Default)]
pub struct LocalRegistry {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: Mutex<Nodes>,
    services: Mutex<HashMap<String, Instances>>,
    config: Mutex<HashMap<String, watch::Sender<Option<String>>>>,
}

#[derive(Debug, Default)]
struct Nodes {
    held: HashSet<u16>,
    next: u16,
}

#[derive(Debug, Default)]
struct Instances {
    registered: Vec<(u64, Instance)>,
    last_number: u64,
    watched: watch::Sender<Vec<Instance>>,
}

impl LocalRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value of the live configuration, or unsets it. Watchers are woken only if it has changed.
    pub fn set_config(&self, key: &str, value: Option<String>) {
        self.state.config.lock().entry(key.to_owned()).or_default().send_if_modified(|current| {
            let changed = *current != value;
            *current = value;
            changed
        });
    }
}

#[async_trait]
impl Registry for LocalRegistry {
    async fn lease_node(&self) -> Result<NodeLease> {
        let number = self.state.nodes.lock().lease().ok_or(Error::NoNodeNumber)?;
        let state = Arc::clone(&self.state);
        // Nobody takes a number away here; a receiver whose sender is gone keeps its value.
        let held = watch::channel(Hold::Always).1;
        Ok(NodeLease::new(number, held, move || {
            state.nodes.lock().held.remove(&number.get());
        }))
    }

    async fn register(&self, instance: Instance) -> Result<Registration> {
        let service = instance.service.clone();
        let number = self.state.services.lock().entry(service.clone()).or_default().add(instance);
        let state = Arc::clone(&self.state);
        Ok(Registration::new(move || {
            if let Some(instances) = state.services.lock().get_mut(&service) {
                instances.remove(number);
            }
        }))
    }

    async fn watch(&self, service: &str) -> Result<watch::Receiver<Vec<Instance>>> {
        Ok(self.state.services.lock().entry(service.to_owned()).or_default().watched.subscribe())
    }

    async fn config(&self, key: &str) -> Result<watch::Receiver<Option<String>>> {
        Ok(self.state.config.lock().entry(key.to_owned()).or_default().subscribe())
    }
}

impl Nodes {
    /// The free number that was given back longest ago, about: ids made by its former holder in this millisecond must
    /// not be made again.
    fn lease(&mut self) -> Option<NodeNumber> {
        for _ in 0..NodeNumber::COUNT {
            let number = self.next;
            self.next = (number + 1) % NodeNumber::COUNT;
            if self.held.insert(number) {
                return NodeNumber::new(number);
            }
        }
        None
    }
}

impl Instances {
    fn add(&mut self, instance: Instance) -> u64 {
        self.last_number += 1;
        self.registered.push((self.last_number, instance));
        self.show();
        self.last_number
    }

    fn remove(&mut self, number: u64) {
        self.registered.retain(|(registered, _)| *registered != number);
        self.show();
    }

    fn show(&self) {
        let mut instances: Vec<_> = self.registered.iter().map(|(_, instance)| instance.clone()).collect();
        instances.sort();
        self.watched.send_replace(instances);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::contract_tests!(async {
        let registry = LocalRegistry::new();
        (Arc::new(registry.clone()) as Arc<dyn Registry>, Arc::new(registry) as Arc<dyn Registry>)
    });

    #[tokio::test]
    async fn a_number_given_back_is_not_the_next_to_be_given_out() {
        let registry = LocalRegistry::new();
        let first = registry.lease_node().await.unwrap();
        let number = first.number();
        drop(first);
        assert_ne!(registry.lease_node().await.unwrap().number(), number);
    }

    #[tokio::test]
    async fn when_all_numbers_are_held_there_is_none_until_one_is_given_back() {
        let registry = LocalRegistry::new();
        let mut leases = Vec::new();
        for _ in 0..NodeNumber::COUNT {
            leases.push(registry.lease_node().await.unwrap());
        }
        assert!(matches!(registry.lease_node().await, Err(Error::NoNodeNumber)));
        let given_back = leases.swap_remove(17);
        let number = given_back.number();
        drop(given_back);
        assert_eq!(registry.lease_node().await.unwrap().number(), number);
    }

    #[tokio::test]
    async fn live_configuration_wakes_its_watchers_when_it_changes_and_only_then() {
        let registry = LocalRegistry::new();
        registry.set_config("log.level", Some("info".into()));
        let mut level = registry.config("log.level").await.unwrap();
        assert_eq!(level.borrow_and_update().as_deref(), Some("info"));
        registry.set_config("log.level", Some("info".into()));
        registry.set_config("other", Some("1".into()));
        assert!(!level.has_changed().unwrap());
        registry.set_config("log.level", None);
        assert!(level.has_changed().unwrap());
        assert_eq!(*level.borrow_and_update(), None);
    }
}
