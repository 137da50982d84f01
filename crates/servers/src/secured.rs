//! Redis alone, as a Cluster and behind Sentinels, which speak TLS with a certificate that nobody trusts yet: for tests of
//! those who talk to them.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use crate::{Error, Lifetime, Redis, RedisCluster, Result, Security, Sentinel, Tls};

/// The servers, in the environment of the process that trusts them.
const URLS: &str = "REDIS_TLS_URLS";

/// The servers, each of which asks for a password as well. They end when this is dropped.
pub struct SecuredRedis {
    certificate: PathBuf,
    alone: Redis,
    cluster: RedisCluster,
    behind: Sentinel,
}

impl SecuredRedis {
    /// Makes a certificate and starts the servers in a directory.
    ///
    /// # Errors
    ///
    /// The certificate cannot be made or written, or a server does not start.
    async fn start(dir: &Path) -> Result<Self> {
        let [certificate, key] = certificate(dir).map_err(Error::io("the certificate"))?;
        let tls = Some(Tls { certificate: &certificate, key: &key });
        let security = Security { password: "servers", sentinel_password: "sentinels", tls };
        Ok(Self {
            alone: Redis::start_secured("redis", dir, security, &[], Lifetime::Bound).await?,
            cluster: RedisCluster::start(&dir.join("cluster"), security, Lifetime::Bound).await?,
            behind: Sentinel::start(&dir.join("sentinel"), security, Lifetime::Bound).await?,
            certificate,
        })
    }

    /// Where they are reached: alone, as a Cluster, behind Sentinels.
    fn urls(&self) -> [String; 3] {
        [
            format!("rediss://:servers@{}/0", hosts([&self.alone])),
            format!("rediss+cluster://:servers@{}", hosts(&self.cluster.nodes)),
            format!(
                "rediss+sentinel://:servers@{}/{}?sentinel_password=sentinels",
                hosts(&self.behind.sentinels),
                Sentinel::MASTER
            ),
        ]
    }

    /// A whole test, by its `name` in this program, of somebody who talks to Redis over TLS: in this process, which does not trust
    /// the certificate, `refused` gives the error that tells so; in another, which does, all goes `well` with each server.
    ///
    /// # Panics
    ///
    /// Any of that is not so.
    pub async fn judge(dir: &Path, name: &str, refused: impl AsyncFnOnce(&str) -> String, well: impl AsyncFn(&str)) {
        if let Some(urls) = trusted() {
            for url in urls {
                well(&url).await;
            }
            return;
        }
        let redis = Self::start(dir).await.expect("the servers start");
        let refused = refused(&redis.urls()[0]).await;
        assert!(refused.contains("certificate"), "{refused}");
        redis.run_trusted(name).await.expect("all goes well where the certificate is trusted");
    }

    /// Runs a test of this program again in a process that trusts the certificate, which finds the servers by [`trusted`]. The
    /// authorities that are trusted are those of the machine unless the environment names others, which a process cannot change
    /// of itself.
    ///
    /// # Errors
    ///
    /// The test fails, or is none of this program's; what it printed is told.
    async fn run_trusted(&self, test: &str) -> io::Result<()> {
        let output = Command::new(env::current_exe()?)
            .args([test, "--exact", "--nocapture"])
            .env(URLS, self.urls().join(" "))
            .env("SSL_CERT_FILE", &self.certificate)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if output.status.success() && told.contains("1 passed") { Ok(()) } else { Err(io::Error::other(told)) }
    }
}

/// Where the servers are that this process trusts, if it is one that does.
#[expect(
    clippy::disallowed_methods,
    reason = "no part of the configuration: how a test tells the process that it starts"
)]
fn trusted() -> Option<Vec<String>> {
    Some(env::var(URLS).ok()?.split(' ').map(str::to_owned).collect())
}

/// A certificate for this machine, and its key.
fn certificate(dir: &Path) -> io::Result<[PathBuf; 2]> {
    fs::create_dir_all(dir)?;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).map_err(io::Error::other)?;
    let files = ["certificate.pem", "key.pem"].map(|name| dir.join(name));
    fs::write(&files[0], made.cert.pem())?;
    fs::write(&files[1], made.signing_key.serialize_pem())?;
    Ok(files)
}

fn hosts<'a>(servers: impl IntoIterator<Item = &'a Redis>) -> String {
    let hosts = servers.into_iter().filter_map(Redis::tls_address).map(|address| address.to_string());
    hosts.collect::<Vec<_>>().join(",")
}
