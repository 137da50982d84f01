//! How many connections each address has.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

/// How many connections each address has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of an address's connections, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    address: IpAddr,
    addresses: Addresses,
}

impl Addresses {
    /// A place for one more connection; `None` if the address has `max` already.
    pub(crate) fn enter(&self, address: IpAddr, max: usize) -> Option<Place> {
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Place { address, addresses: self.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.addresses.0.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
