//! ZooKeeper: alone, and as an ensemble of three.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Error, Lifetime, Process, Program, Result, find, free_port, redis::answers};

const PACKAGE: &str = "zookeeper";
/// Where Debian puts what it is made of, and its libraries.
const JAR_DIR: &str = "/usr/share/java";
/// It serves some 2 s after it was started.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// ZooKeeper's unit of time: sessions last 2 to 20 of them.
const TICK_MS: u32 = 500;

/// A ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeper {
    /// Its process.
    pub process: Process,
    port: u16,
}

/// The ports of a member of an ensemble.
struct Member {
    client: u16,
    peer: u16,
    election: u16,
}

impl ZooKeeper {
    /// Starts one that is alone, and waits until it serves.
    ///
    /// # Errors
    ///
    /// It is not installed, or does not serve.
    pub async fn start(name: &str, dir: &Path, port: u16, lifetime: Lifetime) -> Result<Self> {
        let mut server = Self::launch(name, dir, port, "", lifetime)?;
        server.ready().await?;
        Ok(server)
    }

    fn launch(name: &str, dir: &Path, port: u16, ensemble: &str, lifetime: Lifetime) -> Result<Self> {
        let (java, classes) = program()?;
        let data = dir.join("data");
        fs::create_dir_all(&data).map_err(Error::io(data.display().to_string()))?;
        let file = dir.join("zoo.cfg");
        let text = format!(
            "tickTime={TICK_MS}\ninitLimit=20\nsyncLimit=10\ndataDir={}\nclientPort={port}\n\
             clientPortAddress=127.0.0.1\nadmin.enableServer=false\n4lw.commands.whitelist=ruok,srvr\n{ensemble}",
            data.display()
        );
        fs::write(&file, text).map_err(Error::io(file.display().to_string()))?;
        let arguments: [OsString; 6] = [
            "-Xmx256m".into(),
            "-Dzookeeper.log.dir=.".into(),
            "-cp".into(),
            classes,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain".into(),
            file.into(),
        ];
        Ok(Self { process: Process::start(Program::new(name, java, dir, arguments), lifetime)?, port })
    }

    /// Its address, for clients.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Starts it again on its data, after it has ended.
    ///
    /// # Errors
    ///
    /// It does not serve.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.start_again()?;
        self.ready().await
    }

    /// Waits until it serves; as a member of an ensemble, until there are enough of them.
    async fn ready(&mut self) -> Result<()> {
        let address = self.address();
        self.process.until(READY_WITHIN, async || answers(address, "srvr", "Mode: ").await).await
    }
}

/// Three ZooKeepers that serve as long as two are there.
#[derive(Debug)]
pub struct Ensemble {
    /// The members.
    pub members: Vec<ZooKeeper>,
}

impl Ensemble {
    /// Starts them in directories below `dir`, and waits until each serves.
    ///
    /// # Errors
    ///
    /// ZooKeeper is not installed, or does not serve.
    pub async fn start(dir: &Path, lifetime: Lifetime) -> Result<Self> {
        let ports: Vec<Member> =
            (0..3).map(|_| Member { client: free_port(), peer: free_port(), election: free_port() }).collect();
        let lines = ports.iter().zip(1..);
        let ensemble: String =
            lines.map(|(ports, id)| format!("server.{id}=127.0.0.1:{}:{}\n", ports.peer, ports.election)).collect();
        let mut members = Vec::new();
        for (ports, id) in ports.iter().zip(1..) {
            let name = format!("zookeeper-{id}");
            let dir = dir.join(&name);
            let data = dir.join("data");
            fs::create_dir_all(&data).map_err(Error::io(data.display().to_string()))?;
            fs::write(data.join("myid"), id.to_string()).map_err(Error::io(data.display().to_string()))?;
            members.push(ZooKeeper::launch(&name, &dir, ports.client, &ensemble, lifetime)?);
        }
        for member in &mut members {
            member.ready().await?;
        }
        Ok(Self { members })
    }

    /// The members' addresses, as clients are given them: `host:port,host:port,…`.
    pub fn addresses(&self) -> String {
        self.members.iter().map(|member| member.address().to_string()).collect::<Vec<_>>().join(",")
    }
}

/// What runs it, and what it is made of.
pub(crate) fn program() -> Result<(PathBuf, OsString)> {
    Ok((find("java", "default-jre-headless")?, class_path()?))
}

/// ZooKeeper's archive names the libraries it needs, all in the same directory.
fn class_path() -> Result<OsString> {
    let jar = PathBuf::from(JAR_DIR).join("zookeeper.jar");
    if !jar.exists() {
        return Err(Error::Missing { program: format!("ZooKeeper ({})", jar.display()), package: PACKAGE });
    }
    let logging = ["slf4j-simple.jar"].iter().map(|name| PathBuf::from(JAR_DIR).join(name));
    let all: Vec<PathBuf> = std::iter::once(jar).chain(logging.filter(|path| path.exists())).collect();
    std::env::join_paths(all).map_err(|error| Error::Io(JAR_DIR.into(), std::io::Error::other(error)))
}
