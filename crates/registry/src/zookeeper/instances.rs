//! Instances: announced, and followed.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{AddWatchMode, Client, Error};

use super::{
    config::Tree,
    session::{RETRY_MAX, Turns},
    values::{Change, Follower, changed, make_parent, remove},
};
use crate::{Instance, Result};

/// How long instances that were there before a session are shown in it though they are not there: others may need as long to
/// begin a session of theirs. If ZooKeeper came back empty, nobody would see anybody otherwise.
pub const SETTLE: Duration = RETRY_MAX.saturating_mul(3);

/// What is stored of an instance. Further members are tolerated, as newer versions may write them.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    address: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    version: String,
    #[serde(default = "one_share")]
    weight: u32,
}

/// What an instance weighs that says nothing of it.
fn one_share() -> u32 {
    100
}

/// The node of an instance.
pub(super) struct Node {
    path: String,
    data: Vec<u8>,
}

impl Node {
    /// A new one, as equal instances are two.
    pub(super) fn new(tree: &Tree, instance: &Instance) -> Result<Self> {
        let service = tree.service(&instance.service)?;
        let random = getrandom::u64().map_err(|error| super::unavailable(error.to_string()))?;
        let address: String =
            instance.address.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
        let Instance { address: full, zone, version, weight, .. } = instance.clone();
        let data = serde_json::to_vec(&Stored { address: full, zone, version, weight }).map_err(super::unavailable)?;
        Ok(Self { path: format!("{service}/{address}-{random:016x}"), data })
    }
}

/// Keeps an instance announced, session by session, until it is withdrawn.
pub(super) async fn announce(
    mut turns: Turns,
    tree: Tree,
    node: Node,
    announced: watch::Sender<bool>,
    withdrawn: CancellationToken,
) {
    let keep = async {
        while let Some(client) = turns.session().await {
            let Err(error) = keep_in(&client, &tree, &node, &announced).await;
            turns.failed("announce an instance", &error).await;
        }
    };
    if withdrawn.run_until_cancelled(keep).await.is_none() {
        remove(turns, &node.path).await;
    }
}

async fn keep_in(
    client: &Client,
    tree: &Tree,
    node: &Node,
    announced: &watch::Sender<bool>,
) -> Result<Infallible, Error> {
    loop {
        put(client, tree, node).await?;
        announced.send_replace(true);
        // Should somebody delete it, it is made again; what somebody changes in it stays.
        let (stat, watcher) = client.check_and_watch_stat(&node.path).await?;
        if stat.is_some() {
            watcher.changed().await;
        }
    }
}

/// Makes sure that the node is there and of this session. Under this name nobody else has one.
async fn put(client: &Client, tree: &Tree, node: &Node) -> Result<(), Error> {
    let create = async || client.create(&node.path, &node.data, &tree.ephemeral()).await.map(drop);
    match create().await {
        Err(Error::NodeExists) => {}
        Err(Error::NoNode) => {
            make_parent(client, tree, &node.path).await?;
            return create().await;
        }
        created => return created,
    }
    let owner = client.check_stat(&node.path).await?.map(|stat| stat.ephemeral_owner);
    if owner == Some(client.session_id().0) {
        return Ok(());
    }
    // It is of the session before, which would take it along when it ends; nobody may see it vanish and come back.
    let mut replace = client.new_multi_writer();
    replace.add_delete(&node.path, None)?;
    replace.add_create(&node.path, &node.data, &tree.ephemeral())?;
    replace.commit().await?;
    Ok(())
}

/// Shows the instances of a service, session by session.
pub(super) async fn follow(mut turns: Turns, path: String, service: String, follower: Follower<Vec<Instance>>) {
    let mut seen = Seen { path, service, present: BTreeMap::new(), missing: BTreeMap::new(), settled: Instant::now() };
    let mut session = None;
    while let Some(client) = turns.session().await {
        if session.replace(client.session_id()).is_some_and(|before| before != client.session_id()) {
            seen.missing.append(&mut seen.present);
            seen.settled = Instant::now() + SETTLE;
        }
        let Err(error) = seen.follow_in(&client, &follower).await;
        turns.failed("follow a service", &error).await;
    }
}

/// What is known of a service's instances.
struct Seen {
    path: String,
    service: String,
    /// By the names of their nodes.
    present: BTreeMap<String, Instance>,
    /// Those from before the session that have not been seen in it, shown until it has settled.
    missing: BTreeMap<String, Instance>,
    settled: Instant,
}

impl Seen {
    async fn follow_in(&mut self, client: &Client, follower: &Follower<Vec<Instance>>) -> Result<Infallible, Error> {
        let mut watcher = client.watch(&self.path, AddWatchMode::PersistentRecursive).await?;
        loop {
            self.present = self.read(client).await?;
            self.missing.retain(|name, _| !self.present.contains_key(name));
            if self.settled <= Instant::now() {
                self.missing.clear();
            }
            follower.show(self.shown());
            tokio::select! {
                change = changed(&mut watcher) => if change? == Change::Reconnected {
                    watcher = client.watch(&self.path, AddWatchMode::PersistentRecursive).await?;
                },
                () = sleep_until(self.settled), if !self.missing.is_empty() => {}
            }
        }
    }

    fn shown(&self) -> Vec<Instance> {
        let mut all: Vec<_> = self.present.values().chain(self.missing.values()).cloned().collect();
        all.sort();
        all
    }

    async fn read(&self, client: &Client) -> Result<BTreeMap<String, Instance>, Error> {
        let names = match client.list_children(&self.path).await {
            Err(Error::NoNode) => return Ok(BTreeMap::new()),
            names => names?,
        };
        let paths: Vec<_> = names.iter().map(|name| format!("{}/{name}", self.path)).collect();
        let all = join_all(paths.iter().map(|path| client.get_data(path))).await;
        let mut present = BTreeMap::new();
        for (name, read) in names.into_iter().zip(all) {
            let data = match read {
                Ok((data, _)) => data,
                // It went between the two.
                Err(Error::NoNode) => continue,
                Err(error) => return Err(error),
            };
            match self.parse(&data) {
                Ok(instance) => {
                    present.insert(name, instance);
                }
                Err(error) => {
                    tracing::error!(path = self.path, name, %error, "an instance is described in a way not known here");
                    // Somebody has spoiled it by hand: it is there all the same.
                    present.extend(self.present.get(&name).cloned().map(|known| (name, known)));
                }
            }
        }
        Ok(present)
    }

    fn parse(&self, data: &[u8]) -> serde_json::Result<Instance> {
        let Stored { address, zone, version, weight } = serde_json::from_slice(data)?;
        Ok(Instance { service: self.service.clone(), address, zone, version, weight })
    }
}
