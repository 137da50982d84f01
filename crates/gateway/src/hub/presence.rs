//! Watching other users' presence.
//!
//! The topics are heard before the service is asked, so that no change falls between; what comes meanwhile is kept back
//! until it is known whom the connection may see, and until the answer has left.

use std::sync::Arc;

use api::{Call, ConnectionId, Watched};
use protocol::{Error, Result, UserId, limits::WATCH_USERS_MAX, wire::WatchPresence};
use queue::Topic;

use super::{Connection, Hub, State};
use crate::frame::Push;

/// A connection that watches a user.
#[derive(Debug)]
pub(super) struct Watch {
    connection: Arc<Connection>,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// Not yet known whether the connection may; the last change meanwhile.
    Asked(Option<Arc<Push>>),
    Allowed,
}

impl Hub {
    /// Watches these users in the place of those before, once [`watch_allowed`](Self::watch_allowed) is told who of them
    /// may be followed, which the answer tells.
    ///
    /// # Errors
    ///
    /// There are too many, or the presence service refuses; then nobody is watched.
    pub(crate) async fn watch(
        &self,
        connection: &Arc<Connection>,
        call: &Call,
        request: WatchPresence,
    ) -> Result<Watched> {
        if request.users.len() > WATCH_USERS_MAX {
            return Err(Error::limit("users", request.users.len(), WATCH_USERS_MAX));
        }
        let mut users: Vec<UserId> = request.users.iter().copied().map(UserId::new).collect();
        users.sort_unstable();
        users.dedup();
        let topics: Vec<Topic> = users.iter().copied().map(Topic::Presence).collect();
        self.watch_asked(connection, users);
        // Without the queue, the answer is right now and does not follow; the client asks again when it reconnects.
        let _ = self.topics.heard(topics).await;
        let answer = self.dispatch.services().presence.watch(call, request).await;
        if answer.is_err() {
            self.watch_asked(connection, Vec::new());
        }
        answer
    }

    fn watch_asked(&self, connection: &Arc<Connection>, users: Vec<UserId>) {
        // Wanted first, so that a topic that stays is not dropped in between.
        self.topics.want(users.iter().copied().map(Topic::Presence));
        let mut released = Vec::new();
        {
            let mut state = self.state.lock();
            state.stop_watching(connection.id, &mut released);
            for user in &users {
                let watch = Watch { connection: connection.clone(), standing: Standing::Asked(None) };
                state.watched.entry(*user).or_default().push(watch);
            }
            if !users.is_empty() {
                state.watching.insert(connection.id, users);
            }
        }
        self.topics.release(released);
    }

    /// From now on the connection hears of these users, of those that it watches, and no others.
    pub(crate) fn watch_allowed(&self, connection: &Connection, allowed: &[UserId]) {
        let mut released = Vec::new();
        {
            let mut state = self.state.lock();
            let watching = state.watching.remove(&connection.id).unwrap_or_default();
            let (stay, go): (Vec<_>, Vec<_>) = watching.into_iter().partition(|user| allowed.contains(user));
            for user in go {
                state.remove_watch(user, connection.id, &mut released);
            }
            for user in &stay {
                let watches = state.watched.get_mut(user).map_or(&mut [][..], Vec::as_mut_slice);
                if let Some(watch) = watches.iter_mut().find(|watch| watch.connection.id == connection.id)
                    && let Standing::Asked(Some(kept)) = std::mem::replace(&mut watch.standing, Standing::Allowed)
                {
                    watch.connection.push(&kept);
                }
            }
            if !stay.is_empty() {
                state.watching.insert(connection.id, stay);
            }
        }
        self.topics.release(released);
    }

    /// Ends the watches of the user by `watcher`, also where it is not yet known whether they may be. Returns the connections
    /// that were told that they would hear of the user, for a last word.
    pub(super) fn hide(&self, user: UserId, watcher: UserId) -> Vec<Arc<Connection>> {
        let mut released = Vec::new();
        let mut receivers = Vec::new();
        {
            let mut state = self.state.lock();
            let is_watchers = |watch: &Watch| watch.connection.caller.get().is_some_and(|by| by.user == watcher);
            let ended: Vec<_> =
                state.watched.get(&user).into_iter().flatten().filter(|watch| is_watchers(watch)).collect();
            let allowed = ended.iter().filter(|watch| matches!(watch.standing, Standing::Allowed));
            receivers.extend(allowed.map(|watch| watch.connection.clone()));
            let ended: Vec<_> = ended.into_iter().map(|watch| watch.connection.id).collect();
            for connection in ended {
                if let Some(watching) = state.watching.get_mut(&connection) {
                    watching.retain(|watched| *watched != user);
                }
                state.remove_watch(user, connection, &mut released);
            }
        }
        self.topics.release(released);
        receivers
    }

    /// The connections to tell of a change in a user's presence.
    pub(super) fn watchers(&self, user: UserId, push: &Arc<Push>, receivers: &mut Vec<Arc<Connection>>) {
        let mut state = self.state.lock();
        for watch in state.watched.get_mut(&user).into_iter().flatten() {
            match &mut watch.standing {
                Standing::Asked(kept) => *kept = Some(push.clone()),
                Standing::Allowed => receivers.push(watch.connection.clone()),
            }
        }
    }
}

impl State {
    pub(super) fn stop_watching(&mut self, connection: ConnectionId, released: &mut Vec<Topic>) {
        for user in self.watching.remove(&connection).unwrap_or_default() {
            self.remove_watch(user, connection, released);
        }
    }

    fn remove_watch(&mut self, user: UserId, connection: ConnectionId, released: &mut Vec<Topic>) {
        let Some(watches) = self.watched.get_mut(&user) else { return };
        watches.retain(|watch| watch.connection.id != connection);
        if watches.is_empty() {
            self.watched.remove(&user);
        }
        released.push(Topic::Presence(user));
    }
}
