//! Nginx.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use tokio::net::TcpStream;

use crate::{Error, Lifetime, Process, Program, Result, find};

const PACKAGE: &str = "nginx libnginx-mod-stream";
/// It serves some 10 ms after it was started.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A gateway behind an nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// The Unix socket where it listens as well, if any.
    pub socket: Option<PathBuf>,
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self { address, socket: None }
    }
}

/// An nginx with a configuration of its own.
#[derive(Debug)]
pub struct Nginx {
    /// Its master process, which ends with its workers.
    pub process: Process,
}

/// Where Debian puts what lets it speak TCP.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

impl Nginx {
    /// The gateways as a configuration lists them: one that does not take a connection gets none for a while; if that is so of
    /// all, they are busy rather than gone, and all are tried, by TCP, where connections may wait longer.
    pub fn gateways(gateways: &[Upstream]) -> String {
        let first = gateways.iter().map(|Upstream { address, socket }| {
            let socket = socket.as_ref().map(|path| format!("\"unix:{}\"", path.display()));
            format!("server {} max_fails=1 fail_timeout=5s;", socket.unwrap_or_else(|| address.to_string()))
        });
        let then = gateways.iter().map(|gateway| format!("server {} backup max_fails=0;", gateway.address));
        first.chain(then).collect::<Vec<_>>().join("\n        ")
    }

    /// The line of a configuration that lets it speak TCP (`stream`); empty where that is built in.
    pub fn stream_module() -> String {
        if Path::new(STREAM_MODULE).exists() { format!("load_module {STREAM_MODULE};") } else { String::new() }
    }

    /// Starts one with this configuration, whose workers are of the same user; it names no user, pid file nor daemon mode, and listens on `address` among
    /// others; waits until it accepts there. Paths in it are relative to `dir`.
    ///
    /// # Errors
    ///
    /// It is not installed, refuses the configuration, or does not serve.
    pub async fn start(
        name: &str,
        dir: &Path,
        configuration: &str,
        address: SocketAddr,
        lifetime: Lifetime,
    ) -> Result<Self> {
        let path = program()?;
        fs::create_dir_all(dir).map_err(Error::io(dir.display().to_string()))?;
        let file = dir.join("nginx.conf");
        fs::write(&file, configuration).map_err(Error::io(file.display().to_string()))?;
        let prefix = dir.as_os_str().to_owned();
        // Those of root would be nobody's, and not reach what is in somebody's directory.
        let user = if geteuid().is_root() { "user root; " } else { "" };
        let arguments = [
            "-p".into(),
            prefix,
            "-c".into(),
            file.into_os_string(),
            "-e".into(),
            "stderr".into(),
            "-g".into(),
            format!("{user}daemon off; pid nginx.pid;").into(),
        ];
        // Its workers would live on without it.
        let program = Program { last_signal: Signal::SIGTERM, ..Program::new(name, path, dir, arguments) };
        let process = Process::start(program, lifetime)?;
        let mut server = Self { process };
        server.process.until(READY_WITHIN, async || TcpStream::connect(address).await.is_ok()).await?;
        Ok(server)
    }

    /// Takes a new configuration: new connections follow it, those that are there go on as before.
    ///
    /// # Errors
    ///
    /// The file cannot be written. A configuration that is wrong is not taken, and logged.
    pub fn reload(&self, dir: &Path, configuration: &str) -> Result<()> {
        let file = dir.join("nginx.conf");
        fs::write(&file, configuration).map_err(Error::io(file.display().to_string()))?;
        let id = Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(0));
        kill(id, Signal::SIGHUP).map_err(|error| Error::Io("nginx".into(), error.into()))
    }
}

/// The executable.
pub(crate) fn program() -> Result<PathBuf> {
    find("nginx", PACKAGE)
}
