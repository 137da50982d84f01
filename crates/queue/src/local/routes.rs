//! What gateways hold which user.

use std::collections::HashMap;

use parking_lot::RwLock;
use protocol::{GatewayId, UserId};

/// A power of two, well above the number of cores.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<UserId, Vec<GatewayId>>>;

/// The gateways of each user that has one.
#[derive(Debug)]
pub(super) struct Routes {
    shards: [Shard; SHARDS],
}

impl Default for Routes {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Shard::default()) }
    }
}

impl Routes {
    pub(super) fn of(&self, user: UserId) -> Vec<GatewayId> {
        self.shard(user).read().get(&user).cloned().unwrap_or_default()
    }

    /// Returns whether it is the user's first.
    pub(super) fn add(&self, user: UserId, gateway: GatewayId) -> bool {
        let mut shard = self.shard(user).write();
        let gateways = shard.entry(user).or_default();
        if gateways.contains(&gateway) {
            return false;
        }
        gateways.push(gateway);
        gateways.len() == 1
    }

    /// Returns whether it was the user's last.
    pub(super) fn remove(&self, user: UserId, gateway: GatewayId) -> bool {
        let mut shard = self.shard(user).write();
        let Some(gateways) = shard.get_mut(&user) else { return false };
        gateways.retain(|held| *held != gateway);
        let last = gateways.is_empty();
        if last {
            shard.remove(&user);
        }
        last
    }

    /// Removes a gateway from all users: looks at each of them, which is right for what happens once in a gateway's
    /// life, and costs nothing before.
    pub(super) fn remove_all(&self, gateway: GatewayId) {
        for shard in &self.shards {
            shard.write().retain(|_, gateways| {
                gateways.retain(|held| *held != gateway);
                !gateways.is_empty()
            });
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.read().is_empty())
    }

    fn shard(&self, user: UserId) -> &Shard {
        // Ids differ most in their time and counter; the multiplication spreads both into the topmost bits.
        let spread = user.get().wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.shards[(spread >> 58) as usize % SHARDS]
    }
}
