//! What gateways hold which user.

use std::collections::HashMap;

use parking_lot::RwLock;
use protocol::{GatewayId, UserId};

use crate::Presence;

/// A power of two, well above the number of cores.
const SHARDS: usize = 64;

type Shard = RwLock<HashMap<UserId, Vec<Route>>>;

/// A gateway that holds the user.
#[derive(Debug)]
struct Route {
    gateway: GatewayId,
    away: bool,
}

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

fn presence(routes: &[Route]) -> Presence {
    match routes {
        [] => Presence::Gone,
        routes if routes.iter().all(|route| route.away) => Presence::Away,
        _ => Presence::There,
    }
}

impl Routes {
    pub(super) fn of(&self, user: UserId) -> Vec<GatewayId> {
        let shard = self.shard(user).read();
        shard.get(&user).map_or_else(Vec::new, |routes| routes.iter().map(|route| route.gateway).collect())
    }

    pub(super) fn presence(&self, user: UserId) -> Presence {
        self.shard(user).read().get(&user).map_or(Presence::Gone, |routes| presence(routes))
    }

    /// Returns what the user is now, if that is another than before.
    pub(super) fn add(&self, user: UserId, gateway: GatewayId, away: bool) -> Option<Presence> {
        let mut shard = self.shard(user).write();
        let routes = shard.entry(user).or_default();
        let before = presence(routes);
        match routes.iter_mut().find(|route| route.gateway == gateway) {
            Some(route) => route.away = away,
            None => routes.push(Route { gateway, away }),
        }
        Some(presence(routes)).filter(|now| *now != before)
    }

    /// Returns what the user is now, if that is another than before.
    pub(super) fn remove(&self, user: UserId, gateway: GatewayId) -> Option<Presence> {
        let mut shard = self.shard(user).write();
        let routes = shard.get_mut(&user)?;
        let before = presence(routes);
        routes.retain(|route| route.gateway != gateway);
        let now = presence(routes);
        if routes.is_empty() {
            shard.remove(&user);
        }
        Some(now).filter(|now| *now != before)
    }

    /// Removes a gateway from all users: looks at each of them, which is right for what happens once in a gateway's
    /// life, and costs nothing before.
    pub(super) fn remove_all(&self, gateway: GatewayId) {
        for shard in &self.shards {
            shard.write().retain(|_, routes| {
                routes.retain(|route| route.gateway != gateway);
                !routes.is_empty()
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
