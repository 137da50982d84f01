//! Telling the presence service who has a connection here.
//!
//! A user's arrivals and departures are told one after the other, and each looks at what is true when its turn comes: so
//! however they race, the last one told is right.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use api::{Arrival, Caller};
use parking_lot::Mutex;
use protocol::UserId;
use tokio::{sync::Mutex as Turn, task::JoinHandle};

use super::{Connection, Hub};

#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Users whose route stands, or is being changed. The lock of a user is made to be held while the service is
    /// called: it is the queue of those who want to call.
    turns: Mutex<HashMap<UserId, Arc<Turn<Route>>>>,
    /// Users whose route is not what it should be, as the service failed. At most one for each user connected or gone.
    unsettled: Mutex<HashMap<UserId, Caller>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Route {
    #[default]
    Absent,
    /// With a connection here; away if the user is at none of the devices.
    Present { away: bool },
    /// A call failed: it may have had its effect.
    Unknown,
}

impl Hub {
    /// The user is at this connection's device, or is not. Waits until the presence service knows; it is told later if
    /// that fails, or if the future is dropped.
    pub(crate) async fn set_away(self: &Arc<Self>, connection: &Connection, away: bool) {
        if connection.away.swap(away, Ordering::Relaxed) != away
            && let Some(caller) = connection.caller.get()
        {
            let _ = self.settle_route(*caller).await;
        }
    }

    /// Makes the user's route what it should be; the work goes on if the handle is dropped.
    pub(super) fn settle_route(self: &Arc<Self>, caller: Caller) -> JoinHandle<()> {
        let hub = self.clone();
        self.tasks.spawn(async move {
            let turn = hub.routes.turns.lock().entry(caller.user).or_default().clone();
            {
                let mut route = turn.lock().await;
                let wanted = hub.whereabouts(caller.user);
                if *route != wanted {
                    *route = Route::Unknown;
                    if hub.tell(caller, wanted).await {
                        *route = wanted;
                    }
                }
            }
            hub.routes.forget(caller.user, turn);
        })
    }

    /// Tries again what failed.
    pub(super) fn settle_failed_routes(self: &Arc<Self>) {
        let unsettled = std::mem::take(&mut *self.routes.unsettled.lock());
        for caller in unsettled.into_values() {
            drop(self.settle_route(caller));
        }
    }

    async fn tell(&self, caller: Caller, wanted: Route) -> bool {
        let call = self.call(Some(caller));
        let gateway = self.gateway.get();
        let presence = &self.dispatch.services().presence;
        let told = async {
            match wanted {
                Route::Present { away } => presence.arrive(&call, Arrival { gateway, away }).await,
                _ => presence.leave(&call, Arrival { gateway, away: false }).await,
            }
        };
        let why = match tokio::time::timeout_at(call.deadline, told).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(user = %caller.user, ?wanted, why, "a route cannot be changed now");
        self.routes.unsettled.lock().insert(caller.user, caller);
        false
    }
}

impl Routes {
    /// Drops the user's entry if it says nothing and nobody waits for it. Others take it under the same lock.
    fn forget(&self, user: UserId, turn: Arc<Turn<Route>>) {
        let mut turns = self.turns.lock();
        if Arc::strong_count(&turn) == 2 && turn.try_lock().is_ok_and(|route| *route == Route::Absent) {
            turns.remove(&user);
        }
    }
}
