//! The commands, one file each.

mod admin;
pub mod bench;
pub mod client;
mod cluster;
mod config;
mod serve;
mod up;

use std::{io, process::ExitCode};

use clap::Subcommand;

/// What `mpim` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process, with embedded stores.
    Up(up::UpArgs),
    /// Run one process of a distributed system, or several of its roles.
    Serve(serve::ServeArgs),
    /// Run a whole distributed system on this machine, with the real Redis, MariaDB, ZooKeeper and Nginx.
    Cluster(cluster::ClusterArgs),
    /// Chat from the terminal and from scripts.
    Client(client::ClientArgs),
    /// Put load on a server and measure it.
    Bench(bench::BenchArgs),
    /// Keep accounts out, and read reports: for those who run the server.
    Admin(admin::AdminArgs),
    /// Print or check the configuration.
    Config(config::ConfigArgs),
}

impl Command {
    /// Runs the command to its end. A reader of the output that has gone (`… | head`) is no error.
    ///
    /// # Errors
    ///
    /// What went wrong, for a person.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let code = runtime.block_on(async {
            match self {
                Self::Up(args) => up::run(args).await.map(|()| ExitCode::SUCCESS),
                Self::Serve(args) => serve::run(args).await.map(|()| ExitCode::SUCCESS),
                Self::Cluster(args) => cluster::run(args).await,
                Self::Client(args) => client::run(args).await.map(|()| ExitCode::SUCCESS),
                Self::Bench(args) => bench::run(args).await,
                Self::Admin(args) => admin::run(args).await.map(|()| ExitCode::SUCCESS),
                Self::Config(args) => config::run(args).await,
            }
        });
        // What reads the terminal cannot be interrupted; nothing else is left.
        runtime.shutdown_background();
        match code {
            // Whoever reads has seen enough.
            Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
            code => code,
        }
    }
}

/// Standard output is the only pipe that commands write to; errors of sockets bear other types on top.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The environment as far as it is text: what is not cannot be a setting.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
