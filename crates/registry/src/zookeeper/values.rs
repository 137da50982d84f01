//! Following what is in ZooKeeper: one task for each name that was asked for, however many watch it.

use std::{collections::HashMap, convert::Infallible};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::watch;
use zookeeper_client::{AddWatchMode, Client, Error, EventType, PersistentWatcher, SessionState};

use super::{
    config::Tree,
    session::{Turns, is_end},
};

/// What was seen last, by name. Names are followed until the registry ends; they are those of the program's own services and
/// settings.
pub(super) struct Values<T> {
    followed: Mutex<HashMap<String, Followed<T>>>,
}

/// A value, and whether it has been seen at all.
type Followed<T> = (watch::Receiver<T>, watch::Receiver<bool>);

/// The other end of a value.
pub(super) struct Follower<T> {
    /// What is seen.
    pub(super) value: watch::Sender<T>,
    /// Whether it has been seen at all.
    seen: watch::Sender<bool>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self { followed: Mutex::default() }
    }
}

impl<T: Default> Values<T> {
    /// The value of a name, followed by `follow` from the first time that it is asked for.
    pub(super) fn of(&self, name: &str, follow: impl FnOnce(Follower<T>)) -> Followed<T> {
        let followed = &mut *self.followed.lock();
        let begin = || {
            let ((value, values), (seen, has_seen)) = (watch::channel(T::default()), watch::channel(false));
            follow(Follower { value, seen });
            (values, has_seen)
        };
        followed.entry(name.to_owned()).or_insert_with(begin).clone()
    }
}

impl<T: PartialEq> Follower<T> {
    /// Shows what is there now. Watchers are woken only if it has changed.
    pub(super) fn show(&self, present: T) {
        self.value.send_if_modified(|value| {
            let changed = *value != present;
            *value = present;
            changed
        });
        self.seen.send_replace(true);
    }
}

/// Shows a value of the live configuration, session by session.
pub(super) async fn follow(mut turns: Turns, path: String, follower: Follower<Option<String>>) {
    while let Some(client) = turns.session().await {
        let Err(error) = follow_in(&client, &path, &follower).await;
        turns.failed("follow the live configuration", &error).await;
    }
}

async fn follow_in(client: &Client, path: &str, follower: &Follower<Option<String>>) -> Result<Infallible, Error> {
    let mut watcher = client.watch(path, AddWatchMode::Persistent).await?;
    loop {
        match client.get_data(path).await {
            Ok((bytes, _)) => match String::from_utf8(bytes) {
                Ok(text) => follower.show(Some(text)),
                Err(error) => tracing::error!(path, %error, "the value is not text; the one before stays in use"),
            },
            Err(Error::NoNode) => follower.show(None),
            Err(error) => return Err(error),
        }
        if changed(&mut watcher).await? == Change::Reconnected {
            watcher = client.watch(path, AddWatchMode::Persistent).await?;
        }
    }
}

/// Why to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Something has changed.
    Told,
    /// The connection was away: what happened meanwhile is not told, and neither will be what happens from now on, as the
    /// library renews only watches that are told of one change (zookeeper-client 0.11.2). To be watched anew.
    Reconnected,
}

/// Waits until there is reason to look again. Takes with it all that has happened until now. Cancel safe.
pub(super) async fn changed(watcher: &mut PersistentWatcher) -> Result<Change, Error> {
    let mut change = Change::Told;
    let mut event = watcher.changed().await;
    loop {
        let is_session = event.event_type == EventType::Session;
        let is_away = is_session && event.session_state != SessionState::SyncConnected;
        if is_away && event.session_state.is_terminated() {
            return Err(Error::SessionExpired);
        }
        if is_session {
            change = Change::Reconnected;
        }
        event = match watcher.changed().now_or_never() {
            Some(next) => next,
            None if is_away => watcher.changed().await,
            None => return Ok(change),
        };
    }
}

/// Sets a value, or unsets it.
pub(super) async fn set(client: &Client, tree: &Tree, path: &str, value: Option<&str>) -> Result<(), Error> {
    let Some(value) = value else {
        return match client.delete(path, None).await {
            Err(Error::NoNode) => Ok(()),
            deleted => deleted,
        };
    };
    match client.set_data(path, value.as_bytes(), None).await {
        Err(Error::NoNode) => {
            make_parent(client, tree, path).await?;
            client.create(path, value.as_bytes(), &tree.lasting()).await.map(drop)
        }
        set => set.map(drop),
    }
}

/// Makes what a node stands in.
pub(super) async fn make_parent(client: &Client, tree: &Tree, path: &str) -> Result<(), Error> {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    client.mkdir(parent, &tree.lasting()).await
}

/// Deletes an ephemeral node that nobody else has a name for, however often the connection breaks; with the session it goes
/// by itself.
pub(super) async fn remove(mut turns: Turns, path: &str) {
    let Some(client) = turns.session().await else { return };
    loop {
        match client.delete(path, None).await {
            Ok(()) | Err(Error::NoNode) => return,
            Err(error) if is_end(&error) => return,
            Err(error) => turns.failed("withdraw", &error).await,
        }
    }
}
