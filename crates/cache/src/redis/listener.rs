//! Hears what is invalidated, by whatever process, and tells those who keep copies in this one.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ::redis::{PushInfo, PushKind, Value, cmd};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::link::{Connection, Failure, Link};
use crate::Watcher;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether the connection is alive, and how long the answer may take: a connection whose other end
/// is gone looks like one over which nothing is invalidated.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_WITHIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Watchers {
    watchers: Mutex<Vec<Weak<dyn Watcher>>>,
    hears: Mutex<bool>,
    /// There is somebody to listen for.
    pub(super) wanted: Notify,
}

impl Watchers {
    pub(super) fn add(&self, watcher: Weak<dyn Watcher>) {
        let hears = self.hears.lock();
        if let Some(watcher) = watcher.upgrade() {
            watcher.hears(*hears);
        }
        let mut watchers = self.watchers.lock();
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(watcher);
        self.wanted.notify_one();
    }

    fn each(&self, tell: impl Fn(&dyn Watcher)) {
        let watchers: Vec<_> = self.watchers.lock().iter().filter_map(Weak::upgrade).collect();
        watchers.iter().for_each(|watcher| tell(&**watcher));
    }

    fn set_hears(&self, hears: bool) {
        let mut now = self.hears.lock();
        *now = hears;
        self.each(|watcher| watcher.hears(hears));
    }

    fn invalidated(&self, keys: &[u8]) {
        // Something else published here.
        let Ok(keys) = std::str::from_utf8(keys) else { return };
        let keys: Vec<&str> = keys.split('\n').collect();
        self.each(|watcher| watcher.invalidated(&keys));
    }
}

/// Listens until it is stopped, once there is a watcher.
pub(super) async fn run(link: Arc<Link>, watchers: Arc<Watchers>, channel: String, stop: CancellationToken) {
    let listening = async {
        watchers.wanted.notified().await;
        loop {
            match listen(&link, &watchers, &channel).await {
                Ok(never) => match never {},
                Err(failure) => tracing::debug!(%failure, "what is invalidated is not heard"),
            }
            watchers.set_hears(false);
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = listening => {}
    }
    watchers.set_hears(false);
}

async fn listen(link: &Link, watchers: &Arc<Watchers>, channel: &str) -> Result<std::convert::Infallible, Failure> {
    let broke = Arc::new(Notify::new());
    let hear = {
        let (broke, watchers) = (Arc::clone(&broke), Arc::downgrade(watchers));
        move |push: PushInfo| match (push.kind, &push.data[..]) {
            (PushKind::Disconnection, _) => broke.notify_one(),
            (PushKind::Message, [_, Value::BulkString(keys)]) => {
                if let Some(watchers) = watchers.upgrade() {
                    watchers.invalidated(keys);
                }
            }
            _ => {}
        }
    };
    let Connection::One(mut connection) = link.open(Some(Box::new(hear))).await? else {
        return Err(Failure::Unexpected("a connection to a cluster".into()));
    };
    connection.subscribe(channel).await?;
    watchers.set_hears(true);
    let mut look = interval(LOOK_INTERVAL);
    loop {
        tokio::select! {
            () = broke.notified() => return Err(Failure::Down("the connection broke".into())),
            _ = look.tick() => {
                let answer = timeout(LOOK_WITHIN, cmd("PING").query_async::<Value>(&mut connection)).await;
                answer.map_err(|_| Failure::TooSlow(LOOK_WITHIN))??;
            }
        }
    }
}
