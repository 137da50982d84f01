//! `mpim serve`: a process of a distributed system.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use super::up::{Signals, bind_socket, raise_open_files, ready};
use crate::{
    assembly::Role,
    config::Config,
    listener,
    logging::Logging,
    serve::{Listeners, Node},
    told::with_causes,
};

/// Run one process of a distributed system.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// What it does: one role, or several
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<Role>,
    /// The configuration: mpim.toml, or an INI file; see `mpim config print`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) async fn run(mut args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), super::environment())?;
    args.roles.sort_unstable();
    args.roles.dedup();
    let missing = config.missing_to_serve(&args.roles);
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    let logging = Logging::start(&config.log)?;
    raise_open_files();
    let listeners = listen(&config, &args.roles).await?;
    let mut signals = Signals::new()?;
    let started = tokio::select! {
        started = Node::start(&config, &args.roles, listeners, logging.levels()) => started,
        signal = signals.next() => bail!("{signal} while starting"),
    };
    let node = started?;
    let roles: Vec<&str> = args.roles.iter().map(|role| role.name()).collect();
    let (roles, monitor) = (roles.join(" "), node.monitor());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), roles, %monitor, clients = ?node.clients(), "started");
    let mut is_ready = node.ready();
    let signal = tokio::select! {
        signal = signals.next() => signal,
        _ = is_ready.wait_for(|ready| *ready) => {
            let is_tls = node.clients().is_some() && config.gateway().tls.is_some();
            ready(node.clients().unwrap_or(monitor), is_tls);
            signals.next().await
        }
    };
    tracing::info!(signal, "stopping; a second signal ends at once");
    tokio::select! {
        () = node.stop(config.server.shutdown_grace) => Ok(()),
        signal = signals.next() => bail!("{signal} while stopping: ended at once; what was acknowledged is stored"),
    }
}

/// Takes the addresses, or tells all that are taken already.
async fn listen(config: &Config, roles: &[Role]) -> anyhow::Result<Listeners> {
    let bind = async |what: &str, address: &str| {
        let bound = listener::listen(address).await;
        bound.with_context(|| format!("{what}: cannot listen on {address}"))
    };
    let clients = async {
        match roles.contains(&Role::Gateway) {
            true => bind("[server] listen", &config.server.listen).await.map(Some),
            false => Ok(None),
        }
    };
    let rpc = async {
        match roles.iter().any(|role| *role != Role::Gateway) {
            true => bind("[rpc] listen", &config.rpc.listen).await.map(Some),
            false => Ok(None),
        }
    };
    let socket = async {
        match roles.contains(&Role::Gateway) {
            true => bind_socket(config).await,
            false => Ok(None),
        }
    };
    match tokio::join!(clients, rpc, bind("[server] monitor", &config.server.monitor), socket) {
        (Ok(clients), Ok(rpc), Ok(monitor), Ok(socket)) => Ok(Listeners { clients, socket, rpc, monitor }),
        (clients, rpc, monitor, socket) => {
            let wrong = [clients.err(), socket.err(), rpc.err(), monitor.err()];
            let lines: Vec<String> = wrong.into_iter().flatten().map(|error| with_causes(&*error)).collect();
            bail!("{}", lines.join("\n"))
        }
    }
}
