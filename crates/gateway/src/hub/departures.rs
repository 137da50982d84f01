//! Users whose last connection here has ended, or the last one at which they were: told as gone, or as away, only if they
//! are not back after a while.
//!
//! A phone that changes networks, and ten thousand clients whose connections broke at once, come back within moments:
//! nobody needs to see them go and come, and there is enough to do meanwhile.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use api::Caller;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Hub, routes::Route};

#[derive(Debug)]
pub(super) struct Departures {
    grace: Duration,
    /// In the order in which they are due; at most one for each connection that ended within the grace.
    due: Mutex<VecDeque<(Instant, Caller)>>,
    added: Notify,
}

impl Departures {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, due: Mutex::default(), added: Notify::new() }
    }

    pub(super) fn add(&self, caller: Caller) {
        self.due.lock().push_back((Instant::now() + self.grace, caller));
        self.added.notify_one();
    }

    fn next(&self) -> Option<Instant> {
        self.due.lock().front().map(|(due, _)| *due)
    }

    fn take_due(&self) -> Option<Caller> {
        let mut departures = self.due.lock();
        departures.pop_front_if(|(due, _)| *due <= Instant::now()).map(|(_, caller)| caller)
    }

    pub(super) fn take_all(&self) -> Vec<Caller> {
        std::mem::take(&mut *self.due.lock()).into_iter().map(|(_, caller)| caller).collect()
    }
}

impl Hub {
    /// Tells departures when they are due, one after the other, so that they do not crowd out the rest.
    pub(super) async fn tell_departures(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.departures.added.notified() => {}
            }
            while let Some(due) = self.departures.next() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(due) => {}
                }
                while let Some(caller) = self.departures.take_due() {
                    if self.whereabouts(caller.user) != (Route::Present { away: false }) {
                        // It is tried again elsewhere if it fails.
                        let _ = self.settle_route(caller).await;
                    }
                }
            }
        }
    }
}
