//! What MPIM keeps its things in: Redis twice, MariaDB, ZooKeeper.

use std::{fs, path::Path};

use anyhow::Context as _;
use futures_util::future::OptionFuture;
use servers::{Lifetime, MariaDb, Redis, ZooKeeper};

use super::{
    Started,
    layout::{Layout, Secret},
};
use crate::secrets::private;

/// The cache forgets what was used least when it is full.
const CACHE: [&str; 4] = ["--maxmemory", "128mb", "--maxmemory-policy", "allkeys-lru"];
/// The queue holds routes and leases: nothing may be forgotten.
const QUEUE: [&str; 2] = ["--maxmemory-policy", "noeviction"];

/// Starts those of them that are wanted side by side. What has come up is told in any case, with the error of the first that has not.
pub(super) async fn start(
    layout: &Layout,
    is_wanted: impl Fn(&str) -> bool,
    mut started: impl FnMut(Started) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (cache, queue, mariadb, zookeeper) = tokio::join!(
        OptionFuture::from(is_wanted("redis-cache").then(|| redis(layout, "redis-cache", &CACHE))),
        OptionFuture::from(is_wanted("redis-queue").then(|| redis(layout, "redis-queue", &QUEUE))),
        OptionFuture::from(is_wanted("mariadb").then(|| mariadb(layout))),
        OptionFuture::from(is_wanted("zookeeper").then(|| zookeeper(layout))),
    );
    let mut failed = None;
    for one in [cache, queue, mariadb, zookeeper].into_iter().flatten() {
        match one {
            Ok(one) => started(one)?,
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn redis(layout: &Layout, name: &'static str, arguments: &[&str]) -> anyhow::Result<Started> {
    let dir = layout.dir(name);
    let password = layout.secret(Secret::Stores)?;
    // Not an argument: those are seen by everybody on the machine.
    let own = own_file(&dir, "password.conf", &format!("requirepass {password}\n"))?;
    let arguments: Vec<&str> = ["--include", &own].into_iter().chain(arguments.iter().copied()).collect();
    let server = Redis::start(name, &dir, layout.port(name), &arguments, Lifetime::Detached).await?;
    Started::of(name, server.address(), server.process)
}

async fn mariadb(layout: &Layout) -> anyhow::Result<Started> {
    let dir = layout.dir("mariadb");
    let setup = format!("--init-file={}", own_file(&dir, "setup.sql", &layout.database_setup()?)?);
    let server = MariaDb::start("mariadb", &dir, layout.port("mariadb"), &[&setup], Lifetime::Detached).await?;
    Started::of("mariadb", server.address(), server.process)
}

async fn zookeeper(layout: &Layout) -> anyhow::Result<Started> {
    let (dir, port) = (layout.dir("zookeeper"), layout.port("zookeeper"));
    let server = ZooKeeper::start("zookeeper", &dir, port, Lifetime::Detached).await?;
    Started::of("zookeeper", server.address(), server.process)
}

/// Writes a file that only its owner may read, for a server in `dir`; its path.
fn own_file(dir: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let path = dir.join(name);
    private(&path, text)?;
    Ok(path.to_string_lossy().into_owned())
}
