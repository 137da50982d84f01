//! Routes: bound, taken back and looked up, and what is known of the leases that make them good.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ::redis::{Cmd, Value, cmd};
use parking_lot::Mutex;
use protocol::{GatewayId, UserId};
use tokio::time::Instant;

use super::{
    envelope::{Holding, Route},
    failure::{Failure, unexpected},
    lease::{ROUTE_LIFETIME, number},
    names::{Names, Slot},
    nodes::{Addressed, Nodes},
    scripts,
};
use crate::Presence;

/// A lease is looked at again after this: so long a route may be believed of a gateway that opened again or closed, beside
/// the lease's lifetime.
const LEASE_FRESH: Duration = Duration::from_millis(200);
/// What nobody asked for since is forgotten.
const LEASE_FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Leases known at once; with more, those not looked at lately are forgotten.
const LEASES_MAX: usize = 10_000;
/// Times that a change is tried with more leases looked at: each time more of the user's gateways are known.
const LOOKS_MAX: u32 = 4;

pub(super) struct Routes {
    nodes: Arc<Nodes>,
    names: Names,
    leases: Mutex<HashMap<GatewayId, Lease>>,
}

/// What is known of a gateway's lease.
#[derive(Debug, Clone, Copy)]
struct Lease {
    /// 0: there is none.
    term: u64,
    /// Terms from this on are not known of: they began after the look.
    unseen: u64,
    looked_at: Instant,
}

impl Lease {
    /// Whether a route of this term is good; `None` if the lease must be looked at.
    fn vouches(&self, term: u64) -> Option<bool> {
        if term == self.term {
            Some(true)
        } else if term < self.unseen {
            Some(false)
        } else {
            None
        }
    }
}

/// How a change went.
pub(super) struct Changed {
    pub(super) before: Presence,
    pub(super) after: Presence,
    /// It was sent twice: what it changed is not known.
    pub(super) repeated: bool,
    pub(super) holding: Holding,
}

/// A user's routes as they stand in Redis: gateway, term, away.
type Standing = Vec<(GatewayId, u64, bool)>;

impl Routes {
    pub(super) fn new(nodes: Arc<Nodes>, names: Names) -> Self {
        Self { nodes, names, leases: Mutex::default() }
    }

    /// Changes a user's route over a gateway; `None` if the gateway is not open.
    pub(super) async fn change(
        &self,
        user: UserId,
        gateway: GatewayId,
        route: Route,
    ) -> Result<Option<Changed>, Failure> {
        // Its lease must be the present one, or the route would count for nothing.
        let own = self.look(&[gateway]).await?.first().map_or(0, |lease| lease.term);
        if own == 0 && route != Route::Gone {
            return Ok(None);
        }
        let mut gateways = vec![gateway];
        let repeated = std::sync::atomic::AtomicBool::new(false);
        for _ in 0..LOOKS_MAX {
            let command = self.change_command(user, gateway, route, &gateways);
            let note = |_: &mut Cmd| repeated.store(true, std::sync::atomic::Ordering::Relaxed);
            let mut answers = self.nodes.ask(vec![Addressed { slot: Slot::of(user), command }], note).await?;
            let answer = answers.pop().unwrap_or_default();
            let Value::Array(parts) = &answer else { return Err(unexpected("a change of routes", &answer)) };
            let texts: Vec<String> =
                ::redis::from_redis_value(answer.clone()).map_err(|_| unexpected("routes", parts))?;
            let [kind, rest @ ..] = &texts[..] else { return Err(unexpected("a change of routes", parts)) };
            if kind == "done" {
                let numbers: Vec<u64> = rest.iter().filter_map(|text| text.parse().ok()).collect();
                let [before, after, at] = numbers[..] else { return Err(unexpected("a change of routes", parts)) };
                return Ok(Some(Changed {
                    before: presence(before),
                    after: presence(after),
                    repeated: repeated.into_inner(),
                    holding: Holding { user, term: own, at, route },
                }));
            }
            let unknown: Vec<_> = rest.iter().filter_map(|text| text.parse().ok().map(GatewayId::new)).collect();
            self.look(&unknown).await?;
            gateways.extend(unknown);
            gateways.sort_unstable();
            gateways.dedup();
        }
        Err(unexpected("the leases of a user's gateways", &gateways))
    }

    fn change_command(&self, user: UserId, gateway: GatewayId, route: Route, gateways: &[GatewayId]) -> Cmd {
        let mut command = scripts::run(&scripts::CHANGE, &self.names.route(user));
        command.arg(gateway.get()).arg(route as u8).arg(ROUTE_LIFETIME.as_millis() as u64);
        let leases = self.leases.lock();
        for known in gateways {
            if let Some(lease) = leases.get(known) {
                command.arg(known.get()).arg(lease.term).arg(lease.unseen);
            }
        }
        command
    }

    /// Looks at leases.
    async fn look(&self, gateways: &[GatewayId]) -> Result<Vec<Lease>, Failure> {
        let look = |gateway: &GatewayId| Addressed {
            slot: Slot::of(gateway),
            command: scripts::run(&scripts::LOOK, &self.names.lease(*gateway)),
        };
        let looked_at = Instant::now();
        let answers = self.nodes.ask(gateways.iter().map(look).collect(), |_| {}).await?;
        let read = |answer: &Value| match answer {
            Value::Array(parts) if parts.len() == 2 => {
                let (term, now) = (number(&parts[0])?, number(&parts[1])?);
                Some(Lease { term, unseen: now.max(term), looked_at })
            }
            _ => None,
        };
        let seen: Option<Vec<Lease>> = answers.iter().map(read).collect();
        let seen = seen.ok_or_else(|| unexpected("leases", &answers))?;
        let mut leases = self.leases.lock();
        if leases.len() + seen.len() > LEASES_MAX {
            leases.retain(|_, lease| lease.looked_at.elapsed() < LEASE_FRESH);
        }
        for (gateway, lease) in gateways.iter().zip(&seen) {
            leases.insert(*gateway, *lease);
        }
        Ok(seen)
    }

    /// The good routes of users, in the users' order.
    async fn standing(&self, users: &[UserId]) -> Result<Vec<Vec<(GatewayId, bool)>>, Failure> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let read = |user: &UserId| {
            let mut command = cmd("HGETALL");
            command.arg(self.names.route(*user));
            Addressed { slot: Slot::of(user), command }
        };
        let answers = self.nodes.ask(users.iter().map(read).collect(), |_| {}).await?;
        let standing: Vec<Standing> = answers.iter().map(read_routes).collect::<Result<_, _>>()?;
        let unknown = self.doubtful(&standing);
        if !unknown.is_empty() {
            self.look(&unknown).await?;
        }
        let leases = self.leases.lock();
        let is_good =
            |gateway: &GatewayId, term: u64| leases.get(gateway).and_then(|lease| lease.vouches(term)) == Some(true);
        let good = |standing: Standing| {
            let good = standing.into_iter().filter(|(gateway, term, _)| is_good(gateway, *term));
            good.map(|(gateway, _, away)| (gateway, away)).collect()
        };
        Ok(standing.into_iter().map(good).collect())
    }

    /// Gateways whose leases must be looked at to judge these routes.
    fn doubtful(&self, standing: &[Standing]) -> Vec<GatewayId> {
        let mut leases = self.leases.lock();
        let now = Instant::now();
        let is_known = |gateway: &GatewayId, term: u64| {
            let lease = leases.get(gateway).filter(|lease| now - lease.looked_at < LEASE_FRESH);
            lease.is_some_and(|lease| lease.vouches(term).is_some())
        };
        let all = standing.iter().flatten();
        let mut unknown: Vec<_> =
            all.filter(|(gateway, term, _)| !is_known(gateway, *term)).map(|(gateway, ..)| *gateway).collect();
        unknown.sort_unstable();
        unknown.dedup();
        leases.retain(|_, lease| now - lease.looked_at < LEASE_FORGOTTEN_AFTER);
        unknown
    }

    pub(super) async fn gateways(&self, users: &[UserId]) -> Result<Vec<Vec<GatewayId>>, Failure> {
        let standing = self.standing(users).await?;
        Ok(standing.into_iter().map(|routes| routes.into_iter().map(|(gateway, _)| gateway).collect()).collect())
    }

    pub(super) async fn presences(&self, users: &[UserId]) -> Result<Vec<Presence>, Failure> {
        let standing = self.standing(users).await?;
        let presence = |routes: Vec<(GatewayId, bool)>| match &routes[..] {
            [] => Presence::Gone,
            routes if routes.iter().all(|(_, away)| *away) => Presence::Away,
            _ => Presence::There,
        };
        Ok(standing.into_iter().map(presence).collect())
    }
}

fn presence(number: u64) -> Presence {
    match number {
        0 => Presence::Gone,
        1 => Presence::Away,
        _ => Presence::There,
    }
}

fn read_routes(answer: &Value) -> Result<Standing, Failure> {
    let wrong = || unexpected("routes", answer);
    let routes: Vec<(u64, String)> = ::redis::from_redis_value(answer.clone()).map_err(|_| wrong())?;
    let read = |(gateway, text): (u64, String)| {
        let (term, away) = text.split_once(':')?;
        Some((GatewayId::new(gateway), term.parse().ok()?, away == "1"))
    };
    routes.into_iter().map(|route| read(route).ok_or_else(wrong)).collect()
}
