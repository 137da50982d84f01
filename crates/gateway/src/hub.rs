//! Who is connected here, and what each is to hear: from the message queue to the outboxes.
//!
//! One short lock guards all of it; nothing waits while it is held, and frames are pushed after it is released, by one
//! task, so that they leave in the queue's order.

mod connect;
mod departures;
mod groups;
mod listener;
mod presence;
mod routes;
mod sessions;
mod topics;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use api::{Call, Caller, ConnectionId};
use parking_lot::Mutex;
use protocol::{GatewayId, GroupId, SessionId, UserId, queue::AccountClosed, wire::Scope};
use queue::{Subscription, Topic};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::connect::Bound;
use self::{
    departures::Departures,
    groups::Group,
    presence::Watch,
    routes::{Route, Routes},
    topics::Topics,
};
use crate::{
    dispatch::Dispatch,
    frame::{Encoding, Push},
    metrics::Metrics,
    outbox::{self, Closed, Outbox, Outlet},
};

/// A client's connection, as routing sees it.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    encoding: Encoding,
    outbox: Outbox,
    /// Set once the connection is bound to a session.
    caller: OnceLock<Caller>,
    /// The user is not at this device.
    away: AtomicBool,
}

impl Connection {
    /// Puts a frame into the outbox. One that is closed misses nothing that its client will not catch up on; one whose key
    /// may not read hears nothing.
    fn push(&self, push: &Push) -> bool {
        let may_read = self.caller.get().is_some_and(|caller| caller.scopes.contain(Scope::Read));
        may_read && push.encoded(self.encoding).is_some_and(|frame| self.outbox.push(frame).is_ok())
    }

    fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }

    fn session(&self) -> Option<SessionId> {
        self.caller.get().map(|caller| caller.session)
    }
}

/// The connections of one gateway and their subscriptions.
pub(crate) struct Hub {
    gateway: GatewayId,
    dispatch: Dispatch,
    metrics: Metrics,
    outbox_limit: Arc<outbox::Limit>,
    last_connection: AtomicU64,
    state: Mutex<State>,
    topics: Topics,
    routes: Routes,
    departures: Departures,
    /// Arrivals and departures under way.
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<ConnectionId, Arc<Connection>>,
    users: HashMap<UserId, User>,
    groups: HashMap<GroupId, Group>,
    /// Who watches a user's presence here.
    watched: HashMap<UserId, Vec<Watch>>,
    /// Whom a connection watches.
    watching: HashMap<ConnectionId, Vec<UserId>>,
    draining: Option<Duration>,
    /// Look-ups of members so far.
    questions: u64,
}

/// A user with at least one connection here.
#[derive(Debug, Default)]
struct User {
    connections: Vec<Arc<Connection>>,
    groups: HashSet<GroupId>,
}

impl User {
    /// Whether the user is at none of the devices.
    fn is_away(&self) -> bool {
        self.connections.iter().all(|connection| connection.is_away())
    }
}

/// Bits of a connection's id that count; the others tell the gateway.
const CONNECTION_COUNT_BITS: u32 = 40;

impl Hub {
    /// `subscription` is the gateway's ear; the hub's tasks run on `tasks` until `stop`.
    pub(crate) fn start(
        gateway: GatewayId,
        dispatch: Dispatch,
        metrics: Metrics,
        outbox_limit: outbox::Limit,
        departure_grace: Duration,
        subscription: Box<dyn Subscription>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Arc<Self> {
        let subscription: Arc<dyn Subscription> = subscription.into();
        let hub = Arc::new(Self {
            gateway,
            dispatch,
            metrics,
            outbox_limit: Arc::new(outbox_limit),
            last_connection: AtomicU64::new(0),
            state: Mutex::default(),
            topics: Topics::default(),
            routes: Routes::default(),
            departures: Departures::new(departure_grace),
            tasks: TaskTracker::new(),
        });
        tasks.spawn(listener::Listener::new(hub.clone(), subscription.clone()).run(stop.clone()));
        tasks.spawn(hub.clone().tell_departures(stop.clone()));
        let topics = hub.clone();
        let stop = stop.clone();
        tasks.spawn(async move { topics.topics.run(&*subscription, topics.dispatch.request_timeout(), stop).await });
        hub
    }

    /// Takes a new connection in. It hears nothing before [`connect`](Self::connect), except that it is to close.
    pub(crate) fn open(self: &Arc<Self>, encoding: Encoding) -> (Membership, Outlet) {
        let count = self.last_connection.fetch_add(1, Ordering::Relaxed) + 1;
        let id = self.gateway.get() << CONNECTION_COUNT_BITS | count & ((1 << CONNECTION_COUNT_BITS) - 1);
        let (outbox, outlet) = outbox::channel(self.outbox_limit.clone());
        let (caller, away) = (OnceLock::new(), AtomicBool::new(false));
        let connection = Arc::new(Connection { id: ConnectionId(id), encoding, outbox, caller, away });
        let mut state = self.state.lock();
        if let Some(spread) = state.draining {
            connection.outbox.close(Closed::Draining(part_of(spread, connection.id)));
        }
        state.connections.insert(connection.id, connection.clone());
        (Membership { hub: self.clone(), connection }, outlet)
    }

    /// Forgets a connection, and its user with the last one.
    fn leave(self: &Arc<Self>, connection: &Arc<Connection>) {
        let mut released = Vec::new();
        let mut gone = None;
        {
            let mut state = self.state.lock();
            state.connections.remove(&connection.id);
            state.stop_watching(connection.id, &mut released);
            if let Some(caller) = connection.caller.get()
                && let Some(user) = state.users.get_mut(&caller.user)
            {
                user.connections.retain(|other| other.id != connection.id);
                if user.connections.is_empty() {
                    state.remove_user(caller.user, &mut released);
                    gone = Some(*caller);
                } else if user.is_away() && !connection.is_away() {
                    // The user is away if this one does not come back.
                    gone = Some(*caller);
                }
            }
            self.metrics.users.set(i64::try_from(state.users.len()).unwrap_or(i64::MAX));
        }
        self.topics.release(released);
        if let Some(caller) = gone {
            self.departures.add(caller);
        }
    }

    /// What the presence service should know of the user.
    fn whereabouts(&self, user: UserId) -> Route {
        match self.state.lock().users.get(&user) {
            Some(user) => Route::Present { away: user.is_away() },
            None => Route::Absent,
        }
    }

    /// Closes all of the user's connections here: the account is closed.
    pub(crate) fn close_account(&self, user: UserId, why: AccountClosed) {
        let state = self.state.lock();
        for connection in state.users.get(&user).map_or(&[][..], |user| &user.connections) {
            connection.outbox.close(Closed::AccountClosed(why));
        }
    }

    /// Closes the session's connections here.
    pub(crate) fn end_session(&self, user: UserId, session: SessionId) {
        let state = self.state.lock();
        for connection in state.users.get(&user).map_or(&[][..], |user| &user.connections) {
            if connection.session() == Some(session) {
                connection.outbox.close(Closed::SessionEnded);
            }
        }
    }

    /// Tells all clients, also those to come, to reconnect after a time within `spread`.
    pub(crate) fn drain(&self, spread: Duration) {
        let mut state = self.state.lock();
        state.draining = Some(spread);
        for connection in state.connections.values() {
            connection.outbox.close(Closed::Draining(part_of(spread, connection.id)));
        }
    }

    /// Cuts the connections that are still open.
    pub(crate) fn cut(&self) {
        let state = self.state.lock();
        for connection in state.connections.values() {
            connection.outbox.close(Closed::Cut);
        }
    }

    /// Tells all departures, and waits until that is done; none may follow.
    pub(crate) async fn settled(self: &Arc<Self>) {
        for caller in self.departures.take_all() {
            drop(self.settle_route(caller));
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// A call that the hub makes of its own accord, in somebody's name if that matters.
    fn call(&self, caller: Option<Caller>) -> Call {
        Call { caller, origin: None, address: None, deadline: self.dispatch.deadline() }
    }
}

/// A connection's place in the hub, given up when this is dropped.
pub(crate) struct Membership {
    pub(crate) hub: Arc<Hub>,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.hub.leave(&self.connection);
    }
}

impl State {
    fn remove_user(&mut self, user: UserId, released: &mut Vec<Topic>) {
        for group in self.users.remove(&user).unwrap_or_default().groups {
            self.remove_member(group, user, released);
        }
    }
}

/// A random part of a time; the same for a connection each time.
fn part_of(spread: Duration, connection: ConnectionId) -> Duration {
    let random = RandomState::new().hash_one(connection.0);
    spread.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

/// Whether a moment has come.
fn is_past(moment: Instant) -> bool {
    Instant::now() >= moment
}
