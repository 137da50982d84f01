//! `mpim cluster`: a whole distributed system on this machine.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde_json::json;

use super::up::Signals;
use crate::cluster::{self, Asked, Health, Status};

/// Run a whole distributed system on this machine.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start Redis twice, MariaDB, ZooKeeper, the services, gateways and Nginx, and leave them running; of a system that runs,
    /// start what has ended
    Up {
        #[command(flatten)]
        dir: Dir,
        /// How many gateways [default: as many as it runs with, or 2]
        #[arg(long, value_name = "N")]
        gateways: Option<u16>,
        /// How many instances of each service [default: as many as it runs with, or 2]
        #[arg(long, value_name = "N")]
        services: Option<u16>,
    },
    /// Tell how each process is; exits with 1 unless all are well
    Status {
        #[command(flatten)]
        dir: Dir,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Stop all of it; what is stored stays
    Down {
        #[command(flatten)]
        dir: Dir,
    },
}

#[derive(Debug, Args)]
struct Dir {
    /// Where its data, logs and secrets are
    #[arg(long, value_name = "DIR", default_value = "./mpim-cluster")]
    dir: PathBuf,
}

pub(super) async fn run(args: ClusterArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Up { dir, gateways, services } => {
            let mut signals = Signals::new()?;
            let ran = cluster::runs(&dir.dir);
            let started = tokio::select! {
                started = cluster::up(&dir.dir, Asked { gateways, services }, tell) => Some(started?),
                signal = signals.next() => {
                    let then = if ran { "what runs is left; see mpim cluster status" } else { "stopping what runs" };
                    tell(&format!("{signal}: {then}"));
                    None
                }
            };
            let Some(url) = started else {
                if !ran {
                    cluster::down(&dir.dir, tell).await?;
                }
                return Ok(ExitCode::FAILURE);
            };
            print(&format!("ready {url}"))?;
        }
        Action::Status { dir, json } => {
            let processes = cluster::status(&dir.dir).await?;
            if processes.is_empty() {
                anyhow::bail!("it is stopped: start it by mpim cluster up --dir {}", dir.dir.display());
            }
            for process in &processes {
                print(&if json { object(process) } else { line(process) })?;
            }
            if processes.iter().any(|process| process.health != Health::Ok) {
                return Ok(ExitCode::FAILURE);
            }
        }
        Action::Down { dir } => cluster::down(&dir.dir, tell).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// For whoever waits; that nobody does changes nothing.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush())
}

fn line(process: &Status) -> String {
    let (memory, cpu) = (process.memory / (1024 * 1024), process.cpu.as_secs_f64());
    let Status { name, address, process, health, .. } = process;
    format!("{name:<16} {:<9} {address:<21} process {process:<8} {memory:>5} MiB {cpu:>9.1} s CPU", health.word())
}

fn object(process: &Status) -> String {
    json!({
        "name": process.name,
        "health": process.health.word(),
        "address": process.address,
        "process": process.process,
        "memory_bytes": process.memory,
        "cpu_seconds": process.cpu.as_secs_f64(),
    })
    .to_string()
}
