//! What a gateway's process knows of the routes over it, told by whoever changes them: so that they can be written again
//! after Redis has lost them, or after the gateway's lease had run out.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use protocol::UserId;
use tokio::{sync::Notify, time::Instant};

use super::envelope::{Holding, Route};

/// For so long it is remembered that a route is gone, for what was told before and arrives after it.
const GONE_KEPT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Held {
    state: Mutex<State>,
    /// There is something to write.
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    term: u64,
    users: HashMap<UserId, Known>,
    unwritten: HashSet<UserId>,
}

#[derive(Debug)]
struct Known {
    route: Route,
    /// When it was changed to that, and when this process wrote it last, by Redis's clock.
    at: u64,
    written_at: u64,
    heard_at: Instant,
}

impl Held {
    /// The lease has this term from now on: routes of an earlier one count no longer.
    pub(super) fn set_term(&self, term: u64) {
        let mut state = self.state.lock();
        if state.term != term {
            state.term = term;
            state.write_all();
            self.changed.notify_one();
        }
    }

    /// All routes are to be written again, whether they have to or not.
    pub(super) fn write_all(&self) {
        self.state.lock().write_all();
        self.changed.notify_one();
    }

    /// A route was changed.
    pub(super) fn note(&self, Holding { user, term, at, route }: Holding) {
        let mut state = self.state.lock();
        let heard_at = Instant::now();
        let of_another_term = route != Route::Gone && term != state.term;
        let known = state.users.entry(user).or_insert(Known { route, at, written_at: 0, heard_at });
        if at < known.at {
            return;
        }
        (known.route, known.at, known.heard_at) = (route, at, heard_at);
        // It was changed for a lease that counts no longer, or this process has written over it since.
        if known.written_at > at || of_another_term {
            state.unwritten.insert(user);
            self.changed.notify_one();
        }
    }

    /// The term, and some users' routes to be written.
    pub(super) fn take(&self, max: usize) -> (u64, Vec<(UserId, Route)>) {
        let mut state = self.state.lock();
        let users: Vec<UserId> = state.unwritten.iter().copied().take(max).collect();
        let taken = users.into_iter().filter_map(|user| {
            state.unwritten.remove(&user);
            state.users.get(&user).map(|known| (user, known.route))
        });
        let taken = taken.collect();
        (state.term, taken)
    }

    /// A route was written at this time.
    pub(super) fn written(&self, user: UserId, route: Route, at: u64) {
        let mut state = self.state.lock();
        let Some(known) = state.users.get_mut(&user) else { return };
        known.written_at = known.written_at.max(at);
        // Changed meanwhile, and perhaps written over.
        if known.route != route && known.at < at {
            state.unwritten.insert(user);
            self.changed.notify_one();
        }
    }

    /// Writing failed; it is to be done again.
    pub(super) fn unwritten(&self, users: impl IntoIterator<Item = UserId>) {
        self.state.lock().unwritten.extend(users);
    }

    /// Forgets routes that are gone.
    pub(super) fn sweep(&self) {
        let mut state = self.state.lock();
        let State { users, unwritten, .. } = &mut *state;
        users.retain(|user, known| {
            known.route != Route::Gone || unwritten.contains(user) || known.heard_at.elapsed() < GONE_KEPT
        });
    }
}

impl State {
    fn write_all(&mut self) {
        let held = self.users.iter().filter(|(_, known)| known.route != Route::Gone);
        self.unwritten.extend(held.map(|(user, _)| *user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId::new(1);

    fn noted(held: &Held, term: u64, at: u64, route: Route) {
        held.note(Holding { user: USER, term, at, route });
    }

    #[test]
    fn a_new_term_has_all_routes_written_that_are_not_gone() {
        let held = Held::default();
        held.set_term(1);
        noted(&held, 1, 10, Route::There);
        held.note(Holding { user: UserId::new(2), term: 1, at: 11, route: Route::There });
        held.note(Holding { user: UserId::new(2), term: 1, at: 12, route: Route::Gone });
        assert_eq!(held.take(10), (1, vec![]));
        held.set_term(2);
        assert_eq!(held.take(10), (2, vec![(USER, Route::There)]));
        assert_eq!(held.take(10), (2, vec![]));
        held.unwritten([USER]);
        assert_eq!(held.take(10).1.len(), 1);
    }

    #[test]
    fn what_is_told_late_changes_nothing() {
        let held = Held::default();
        noted(&held, 0, 10, Route::Gone);
        noted(&held, 0, 9, Route::There);
        held.write_all();
        assert_eq!(held.take(10).1, []);
    }

    #[test]
    fn a_change_that_was_written_over_is_written_again() {
        let held = Held::default();
        noted(&held, 0, 10, Route::There);
        held.write_all();
        assert_eq!(held.take(10).1, [(USER, Route::There)]);
        held.written(USER, Route::There, 20);
        noted(&held, 0, 15, Route::Gone);
        assert_eq!(held.take(10).1, [(USER, Route::Gone)], "told after it was written over");
        noted(&held, 0, 25, Route::There);
        assert_eq!(held.take(10).1, [], "changed after it was written");
        noted(&held, 0, 26, Route::Away);
        held.written(USER, Route::There, 30);
        assert_eq!(held.take(10).1, [(USER, Route::Away)], "told while it was written over");
    }

    #[test]
    fn a_route_bound_for_a_former_lease_is_written_for_the_present_one() {
        let held = Held::default();
        held.set_term(2);
        noted(&held, 1, 10, Route::There);
        assert_eq!(held.take(10), (2, vec![(USER, Route::There)]));
    }
}
