//! The servers, shared by the tests that run at the same time: they take seconds to start. Each test has a prefix of its own.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use registry::{
    Instance, ZooKeeperRegistry,
    contract::EVENTUALLY,
    zookeeper::{Config, Reach},
};
use servers::{Ensemble, Lifetime, ZooKeeper, free_port};
use tempfile::TempDir;
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use zookeeper_client::Client;

/// Short, so that its end is soon, and long enough for a machine that is busy with other things.
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// A ZooKeeper that nobody disturbs.
pub(crate) struct Alone {
    pub(crate) server: ZooKeeper,
    _dir: TempDir,
}

/// Three that are disturbed by one test at a time.
pub(crate) struct Three {
    pub(crate) ensemble: Mutex<Ensemble>,
    pub(crate) servers: String,
    pub(crate) dir: TempDir,
}

pub(crate) async fn alone() -> Arc<Alone> {
    static SHARED: Mutex<Weak<Alone>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(alone) = shared.upgrade() {
        return alone;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = ZooKeeper::start("zookeeper", dir.path(), free_port(), Lifetime::Bound).await.unwrap();
    let alone = Arc::new(Alone { server, _dir: dir });
    *shared = Arc::downgrade(&alone);
    alone
}

pub(crate) async fn three() -> Arc<Three> {
    static SHARED: Mutex<Weak<Three>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(three) = shared.upgrade() {
        return three;
    }
    let dir = tempfile::tempdir().unwrap();
    let ensemble = Ensemble::start(dir.path(), Lifetime::Bound).await.unwrap();
    let three = Arc::new(Three { servers: ensemble.addresses(), ensemble: Mutex::new(ensemble), dir });
    *shared = Arc::downgrade(&three);
    three
}

/// Settings below a prefix that no other test has.
pub(crate) fn config(servers: &str) -> Config {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("/test-{}", TESTS.fetch_add(1, Ordering::Relaxed));
    let (session_timeout, connect_timeout) = (SESSION, 3 * SESSION);
    Config { servers: servers.into(), prefix, session_timeout, connect_timeout, ..Config::default() }
}

pub(crate) async fn connect(config: &Config) -> ZooKeeperRegistry {
    ZooKeeperRegistry::connect(config.clone()).await.unwrap()
}

/// A look past the registry.
pub(crate) async fn raw(config: &Config) -> Client {
    Client::connector().with_session_timeout(SESSION).connect(&config.servers).await.unwrap()
}

pub(crate) fn instance(service: &str, port: u16) -> Instance {
    let (zone, version) = ("north".into(), "1.2.3".into());
    Instance { service: service.into(), address: format!("10.0.0.1:{port}"), zone, version, weight: 100 }
}

pub(crate) async fn becomes<T: PartialEq + std::fmt::Debug>(receiver: &mut watch::Receiver<T>, wanted: &T) {
    let waited = timeout(EVENTUALLY, receiver.wait_for(|seen| seen == wanted)).await.map(|seen| drop(seen.unwrap()));
    assert!(waited.is_ok(), "wanted {wanted:?}, seen last {:?}", *receiver.borrow());
}

pub(crate) async fn reached(registry: &ZooKeeperRegistry, connected: bool) {
    let mut reach = registry.reach();
    let is = |reach: &Reach| reach.connected == connected;
    timeout(EVENTUALLY, reach.wait_for(is)).await.expect("the connection is noticed").unwrap();
}

/// Waits for what is looked at again and again.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(EVENTUALLY, look).await.is_ok(), "not within {EVENTUALLY:?}: {what}");
}
