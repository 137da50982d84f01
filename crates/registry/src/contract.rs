//! What every registry must pass. [`contract_tests!`](crate::contract_tests) makes a test of each promise.
//!
//! The functions take two clients of one fresh registry, so that what crosses processes elsewhere is checked as such.
//! Back ends that tell their watchers later are allowed [`EVENTUALLY`].

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use crate::{Instance, NodeLease, Registry};

/// What must become true becomes true within this.
pub const EVENTUALLY: Duration = Duration::from_secs(30);

/// Two clients of one registry.
pub type Clients = (Arc<dyn Registry>, Arc<dyn Registry>);

/// Makes the tests. Takes an `async` block that makes [`Clients`](crate::contract::Clients) of a fresh registry.
#[macro_export]
macro_rules! contract_tests {
    ($clients:expr) => {
        $crate::contract_tests! { @each $clients;
            nobody_else_holds_a_node_number,
            an_instance_is_seen_from_registration_until_it_is_dropped,
            watchers_begin_with_the_present_state,
            services_do_not_mix,
            equal_instances_are_two,
            what_is_not_set_in_the_live_configuration_is_none,
        }
    };
    (@each $clients:expr; $($promise:ident,)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                $crate::contract::$promise($clients.await).await;
            }
        )*
    };
}

fn instance(service: &str, address: &str) -> Instance {
    Instance {
        service: service.into(),
        address: address.into(),
        zone: "north".into(),
        version: "1.2.3".into(),
        weight: 100,
    }
}

async fn becomes<T: PartialEq + std::fmt::Debug + Clone>(receiver: &mut watch::Receiver<T>, wanted: T) {
    let waited = timeout(EVENTUALLY, receiver.wait_for(|seen| *seen == wanted)).await.map(|seen| drop(seen.unwrap()));
    assert!(waited.is_ok(), "wanted {wanted:?}, seen last {:?}", *receiver.borrow());
}

/// Node numbers are unique among their holders.
pub async fn nobody_else_holds_a_node_number((first, second): Clients) {
    let mut leases = Vec::new();
    for _ in 0..20 {
        leases.push(first.lease_node().await.unwrap());
        leases.push(second.lease_node().await.unwrap());
    }
    let numbers: HashSet<_> = leases.iter().map(NodeLease::number).collect();
    assert_eq!(numbers.len(), leases.len());
    assert!(leases.iter().all(NodeLease::is_held));
}

/// Registration and its end reach watchers, with all that was said of the instance.
pub async fn an_instance_is_seen_from_registration_until_it_is_dropped((here, there): Clients) {
    let mut watched = there.watch("message").await.unwrap();
    assert!(watched.borrow_and_update().is_empty());
    let (one, two) = (instance("message", "10.0.0.1:7000"), instance("message", "10.0.0.2:7000"));
    let second = here.register(two.clone()).await.unwrap();
    becomes(&mut watched, vec![two.clone()]).await;
    let first = here.register(one.clone()).await.unwrap();
    becomes(&mut watched, vec![one, two.clone()]).await;
    drop(first);
    becomes(&mut watched, vec![two]).await;
    drop(second);
    becomes(&mut watched, vec![]).await;
}

/// Who watches later sees who is there already.
pub async fn watchers_begin_with_the_present_state((here, there): Clients) {
    let one = instance("user", "10.0.0.1:7000");
    let _registration = here.register(one.clone()).await.unwrap();
    let mut own = here.watch("user").await.unwrap();
    becomes(&mut own, vec![one.clone()]).await;
    let mut other = there.watch("user").await.unwrap();
    becomes(&mut other, vec![one]).await;
}

/// An instance is seen by those who watch its service.
pub async fn services_do_not_mix((here, there): Clients) {
    let (user, users) = (instance("user", "10.0.0.1:7000"), instance("users", "10.0.0.1:7001"));
    let _registrations = [here.register(user.clone()).await.unwrap(), here.register(users.clone()).await.unwrap()];
    becomes(&mut there.watch("user").await.unwrap(), vec![user]).await;
    becomes(&mut there.watch("users").await.unwrap(), vec![users]).await;
}

/// The end of one registration does not end an equal one.
pub async fn equal_instances_are_two((here, there): Clients) {
    let one = instance("group", "10.0.0.1:7000");
    let mut watched = there.watch("group").await.unwrap();
    let first = here.register(one.clone()).await.unwrap();
    let _second = there.register(one.clone()).await.unwrap();
    becomes(&mut watched, vec![one.clone(), one.clone()]).await;
    drop(first);
    becomes(&mut watched, vec![one]).await;
}

/// A key that nobody set has no value, and can be watched.
pub async fn what_is_not_set_in_the_live_configuration_is_none((here, _): Clients) {
    let value = here.config("never.set").await.unwrap();
    assert_eq!(*value.borrow(), None);
}
