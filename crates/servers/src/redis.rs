//! Redis: alone, as a cluster of three, and with Sentinels.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};

use crate::{Error, Lifetime, Process, Program, Result, find, free_port};

const PACKAGE: &str = "redis-server";
/// Redis serves some 20 ms after it was started; a loaded machine takes longer.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// One look at whether it serves.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// A master that does not answer for so long is replaced.
const DOWN_AFTER_MS: u32 = 1_000;
/// Cluster nodes that do not answer for so long are taken for gone.
const NODE_TIMEOUT_MS: u32 = 2_000;

/// What servers ask for of those who connect, each other included; by default nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Security<'a> {
    /// By servers; empty: for none.
    pub password: &'a str,
    /// By Sentinels; empty: for none.
    pub sentinel_password: &'a str,
    /// They speak TLS as well, on ports of their own, and only TLS with each other.
    pub tls: Option<Tls<'a>>,
}

/// What servers show, and whom they trust.
#[derive(Debug, Clone, Copy)]
pub struct Tls<'a> {
    /// The certificate of all of them, signed by itself.
    pub certificate: &'a Path,
    /// Its key.
    pub key: &'a Path,
}

impl Security<'_> {
    /// What a server is told, name and value, to speak TLS on this port and to ask for this password.
    fn settings(&self, tls_port: u16, password: &str) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if !password.is_empty() {
            settings.extend([("requirepass", password.to_owned())]);
        }
        if let Some(Tls { certificate, key }) = self.tls {
            let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
            settings.extend([
                ("tls-port", tls_port.to_string()),
                ("tls-cert-file", certificate.clone()),
                ("tls-key-file", key),
                ("tls-ca-cert-file", certificate),
                ("tls-auth-clients", "no".into()),
                ("tls-replication", "yes".into()),
                ("tls-cluster", "yes".into()),
            ]);
        }
        settings
    }

    /// As text that a connection begins with.
    fn log_in(password: &str) -> String {
        if password.is_empty() { String::new() } else { format!("AUTH {password}\r\n") }
    }
}

/// A redis-server that keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    /// Its process.
    pub process: Process,
    port: u16,
    tls_port: Option<u16>,
}

impl Redis {
    /// Starts one named `name`, with further arguments (`--maxmemory`, `100mb`), and waits until it answers.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not serve.
    pub async fn start(name: &str, dir: &Path, port: u16, arguments: &[&str], lifetime: Lifetime) -> Result<Self> {
        let path = program()?;
        let port_text = port.to_string();
        let own = ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let program = Program::new(name, path, dir, own.iter().chain(arguments));
        let mut redis = Self { process: Process::start(program, lifetime)?, port, tls_port: None };
        redis.ready().await?;
        Ok(redis)
    }

    /// The same, on free ports.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not serve.
    pub async fn start_secured(
        name: &str,
        dir: &Path,
        security: Security<'_>,
        arguments: &[&str],
        lifetime: Lifetime,
    ) -> Result<Self> {
        let tls_port = free_port();
        let mut settings = security.settings(tls_port, security.password);
        if !security.password.is_empty() {
            settings.push(("masterauth", security.password.into()));
        }
        let mut all = Vec::new();
        for (name, value) in settings {
            all.extend([format!("--{name}"), value]);
        }
        let all: Vec<&str> = all.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let redis = Self::start(name, dir, free_port(), &all, lifetime).await?;
        Ok(Self { tls_port: security.tls.map(|_| tls_port), ..redis })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its address for TLS, if it speaks it.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_port.map(|port| ([127, 0, 0, 1], port).into())
    }

    /// Where the others reach it.
    fn port_for_others(&self) -> u16 {
        self.tls_port.unwrap_or(self.port)
    }

    /// Starts it again, empty, where it was, after it was killed.
    ///
    /// # Errors
    ///
    /// It does not serve.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let address = self.address();
        let serves = async || {
            // One that asks for a password serves as well.
            answers(address, "PING\r\n", "+PONG").await || answers(address, "PING\r\n", "-NOAUTH").await
        };
        self.process.until(READY_WITHIN, serves).await
    }
}

/// The executable.
pub(crate) fn program() -> Result<PathBuf> {
    find("redis-server", PACKAGE)
}

/// Whether the server at an address answers a line with something that contains `wanted`, within a second.
pub async fn answers(address: SocketAddr, line: &str, wanted: &str) -> bool {
    let look = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(line.as_bytes()).await.ok()?;
        let (mut answer, mut buffer) = (String::new(), [0; 1024]);
        while !answer.contains(wanted) {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => answer.push_str(&String::from_utf8_lossy(&buffer[..read])),
            }
        }
        Some(())
    };
    matches!(timeout(LOOK_WITHIN, look).await, Ok(Some(())))
}

/// Three masters, each with a third of the slots.
#[derive(Debug)]
pub struct RedisCluster {
    /// The nodes.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the nodes in directories below `dir`, joins them, and waits until all slots are served.
    ///
    /// # Errors
    ///
    /// Redis is not installed, or does not serve.
    pub async fn start(dir: &Path, security: Security<'_>, lifetime: Lifetime) -> Result<Self> {
        let mut nodes = Vec::new();
        let node_timeout = NODE_TIMEOUT_MS.to_string();
        for number in 0..3 {
            let name = format!("redis-node-{number}");
            let (dir, bus) = (dir.join(&name), free_port().to_string());
            let arguments =
                ["--cluster-enabled", "yes", "--cluster-node-timeout", &node_timeout, "--cluster-port", &bus];
            nodes.push(Redis::start_secured(&name, &dir, security, &arguments, lifetime).await?);
        }
        let mut create: Vec<String> = ["--cluster", "create"].map(str::to_owned).into();
        create.extend(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port_for_others())));
        create.push("--cluster-yes".into());
        if !security.password.is_empty() {
            create.extend(["-a", security.password, "--no-auth-warning"].map(str::to_owned));
        }
        if let Some(tls) = security.tls {
            create.extend(["--tls".to_owned(), "--cacert".into(), tls.certificate.display().to_string()]);
        }
        let output = Command::new(find("redis-cli", "redis-tools")?)
            .args(create)
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(Error::io("redis-cli"))?;
        if !output.status.success() {
            return Err(Error::Failed {
                program: "redis-cli --cluster create".into(),
                what: format!("ended: {}", output.status),
                log: nodes[0].process.log(),
                tail: String::from_utf8_lossy(&output.stdout).into_owned(),
            });
        }
        for node in &mut nodes {
            let address = node.address();
            let ask = format!("{}CLUSTER INFO\r\n", Security::log_in(security.password));
            let all_served = async || answers(address, &ask, "cluster_state:ok").await;
            node.process.until(READY_WITHIN, all_served).await?;
        }
        Ok(Self { nodes })
    }

    /// The nodes' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Redis::address).collect()
    }
}

/// A master, a replica, and three Sentinels that watch them under the name `mpim`.
#[derive(Debug)]
pub struct Sentinel {
    /// The master at first, and the replica.
    pub servers: [Redis; 2],
    /// Those who watch.
    pub sentinels: Vec<Redis>,
}

impl Sentinel {
    /// The name of the master.
    pub const MASTER: &str = "mpim";

    /// Starts them in directories below `dir`, and waits until the Sentinels know each other and the replica.
    ///
    /// # Errors
    ///
    /// Redis is not installed, or does not serve.
    pub async fn start(dir: &Path, security: Security<'_>, lifetime: Lifetime) -> Result<Self> {
        let path = program()?;
        let master = Redis::start_secured("redis-master", &dir.join("master"), security, &[], lifetime).await?;
        let master_port = master.port_for_others().to_string();
        let follow = ["--replicaof", "127.0.0.1", &master_port];
        let replica = Redis::start_secured("redis-replica", &dir.join("replica"), security, &follow, lifetime).await?;
        let mut sentinels = Vec::new();
        for number in 0..3 {
            let (name, port) = (format!("redis-sentinel-{number}"), free_port());
            let dir = dir.join(&name);
            fs::create_dir_all(&dir).map_err(Error::io(dir.display().to_string()))?;
            let file = dir.join("sentinel.conf");
            let (master, down_after) = (Self::MASTER, DOWN_AFTER_MS);
            let mut text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {master} 127.0.0.1 {master_port} 2\n\
                 sentinel down-after-milliseconds {master} {down_after}\nsentinel failover-timeout {master} 5000\n"
            );
            if !security.password.is_empty() {
                text += &format!("sentinel auth-pass {master} {}\n", security.password);
            }
            let tls_port = free_port();
            for (name, value) in security.settings(tls_port, security.sentinel_password) {
                text += &format!("{name} {value}\n");
            }
            fs::write(&file, text).map_err(Error::io(file.display().to_string()))?;
            let program = Program::new(name, path.clone(), &dir, [file.into_os_string(), "--sentinel".into()]);
            let tls_port = security.tls.map(|_| tls_port);
            let mut sentinel = Redis { process: Process::start(program, lifetime)?, port, tls_port };
            sentinel.ready().await?;
            sentinels.push(sentinel);
        }
        for sentinel in &mut sentinels {
            let address = sentinel.address();
            let ask = format!("{}INFO sentinel\r\n", Security::log_in(security.sentinel_password));
            let knows_all = async || answers(address, &ask, "slaves=1,sentinels=3").await;
            sentinel.process.until(READY_WITHIN, knows_all).await?;
        }
        Ok(Self { servers: [master, replica], sentinels })
    }
}
