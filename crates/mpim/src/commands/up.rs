//! `mpim up`: everything in one process.

use std::{
    convert::Infallible,
    io::{IsTerminal as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    config::{Config, Follower},
    embedded::{Embedded, Parts},
    listener,
    logging::Logging,
};

/// Run everything in one process.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where to keep the data [default: ./mpim-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to accept clients; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The configuration: mpim.toml, or an INI file; see `mpim config print`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(args: UpArgs) -> anyhow::Result<()> {
    let mut config = Config::load(args.config.as_deref(), super::environment())?;
    if let Some(data) = args.data {
        config.server.data = data;
    }
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    let logging = Logging::start(&config.log)?;
    raise_open_files();
    let listener = bind(&config.server.listen).await?;
    let socket = bind_socket(&config).await?;
    let embedded = Embedded::start(&config, Parts::default(), listener).await?;
    if let Some(socket) = socket {
        embedded.gateway().accept_plain(socket);
    }
    let address = embedded.gateway().local_addr();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), data = %config.server.data.display(), %address, "started");
    ready(address, config.gateway().tls.is_some());
    let mut signals = Signals::new()?;
    let signal = tokio::select! {
        signal = signals.next() => signal,
        never = follow(args.config.as_deref(), &config, &embedded, &logging) => match never {},
    };
    tracing::info!(signal, "stopping; a second signal ends at once");
    tokio::select! {
        () = embedded.stop(config.server.shutdown_grace) => Ok(()),
        signal = signals.next() => anyhow::bail!("{signal} while stopping: ended at once; what was acknowledged is stored"),
    }
}

/// Follows the configuration's file, and puts what may change into effect.
async fn follow(path: Option<&Path>, config: &Config, embedded: &Embedded, logging: &Logging) -> Infallible {
    let Some(path) = path else { return std::future::pending().await };
    let mut follower = match Follower::start(path, super::environment(), config.clone()) {
        Ok(follower) => follower,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "changes of the configuration will not be noticed");
            return std::future::pending().await;
        }
    };
    loop {
        let changed = follower.changed().await;
        embedded.gateway().set_limits(changed.limits());
        embedded.lifetimes().set(&changed);
        if let Err(error) = logging.levels().set(&changed.log.level) {
            tracing::error!(%error, "the log's levels stay as they are");
        }
        tracing::info!("rates, lifetimes and log levels of the changed configuration are in effect");
    }
}

async fn bind(listen: &str) -> anyhow::Result<TcpListener> {
    listener::listen(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}; choose another address with --listen HOST:PORT"))
}

/// The socket for what is on this machine, if there is to be one.
pub(super) async fn bind_socket(config: &Config) -> anyhow::Result<Option<UnixListener>> {
    let Some(path) = &config.server.socket else { return Ok(None) };
    let bound = listener::listen_at(path).await;
    bound.map(Some).with_context(|| format!("[server] socket: cannot listen on {}", path.display()))
}

/// Tells, on one line, that clients are accepted; scripts wait for it.
pub(super) fn ready(address: SocketAddr, is_tls: bool) {
    let scheme = if is_tls { "https" } else { "http" };
    let mut stdout = std::io::stdout().lock();
    // That nobody reads the line is no reason not to serve.
    let _ = writeln!(stdout, "ready {scheme}://{address}").and_then(|()| stdout.flush());
}

/// What tells the process to stop.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    pub(super) async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => {
                    // The terminal is closed; without one it asks a daemon to read its configuration.
                    if std::io::stdin().is_terminal() {
                        return "SIGHUP";
                    }
                    tracing::info!("SIGHUP: nothing to do, changes of the configuration are noticed by themselves");
                }
            }
        }
    }
}

/// A connection is an open file: takes as many as the system lets this process have.
#[allow(unsafe_code)]
pub(super) fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write only the struct, which outlives them.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    if !raised {
        tracing::warn!("the limit of open files stays as it is");
    }
}
