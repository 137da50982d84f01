//! Look-ups under way, one for each key. The first to ask for a key leads, the others wait for what it announces.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::watch;

/// How a flight ended.
pub(super) type Outcome<V, E> = Result<Option<V>, E>;

pub(super) struct Flights<V, E> {
    under_way: Mutex<HashMap<String, Flight<V, E>>>,
}

/// A flight that somebody else leads.
pub(super) struct Flight<V, E>(watch::Receiver<Option<Outcome<V, E>>>);

/// The duty to land a flight. Dropped before it announced something, the flight is abandoned.
pub(super) struct Leader<'a, V, E> {
    flights: &'a Flights<V, E>,
    key: String,
    announcing: watch::Sender<Option<Outcome<V, E>>>,
}

pub(super) enum Joined<'a, V, E> {
    Leads(Leader<'a, V, E>),
    Follows(Flight<V, E>),
}

impl<V, E> Default for Flights<V, E> {
    fn default() -> Self {
        Self { under_way: Mutex::default() }
    }
}

impl<V, E> Flights<V, E> {
    pub(super) fn join(&self, key: String) -> Joined<'_, V, E> {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(&key) {
            return Joined::Follows(Flight(flight.0.clone()));
        }
        let (announcing, announced) = watch::channel(None);
        under_way.insert(key.clone(), Flight(announced));
        Joined::Leads(Leader { flights: self, key, announcing })
    }

    /// Nobody joins the flights of these keys any more; who is on board stays.
    pub(super) fn detach(&self, keys: &[String]) {
        let mut under_way = self.under_way.lock();
        for key in keys {
            under_way.remove(key);
        }
    }
}

impl<V: Clone, E: Clone> Flight<V, E> {
    /// Waits for the outcome; `None` if the flight was abandoned.
    pub(super) async fn landed(mut self) -> Option<Outcome<V, E>> {
        self.0.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl<V, E> Leader<'_, V, E> {
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Tells those on board; others may still join, and are told at once.
    pub(super) fn announce(&mut self, outcome: Outcome<V, E>) {
        self.announcing.send_replace(Some(outcome));
    }

    /// Announces, and ends the flight.
    pub(super) fn land(mut self, outcome: Outcome<V, E>) {
        self.announce(outcome);
    }
}

impl<V, E> Drop for Leader<'_, V, E> {
    fn drop(&mut self) {
        let mut under_way = self.flights.under_way.lock();
        // Unless it was detached, and the key has another flight by now.
        if under_way.get(&self.key).is_some_and(|flight| self.announcing.subscribe().same_channel(&flight.0)) {
            under_way.remove(&self.key);
        }
    }
}
