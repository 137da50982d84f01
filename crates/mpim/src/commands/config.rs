//! `mpim config`: what may be set, and what is.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Subcommand};

use super::client::harmless;
use crate::config::{Config, unknown};

/// Print or check the configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print what is in effect as a commented mpim.toml: the defaults, the file if one is given, the environment
    Print(FileArgs),
    /// Check a configuration; every mistake is named, with its file and line
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// mpim.toml, or an INI file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// mpim.toml, or an INI file
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Variables of the client's commands, which no server's configuration has.
const OF_CLIENTS: [&str; 2] = ["MPIM_SERVER", "MPIM_PROFILE"];

pub(super) fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let path = match &args.action {
        Action::Print(FileArgs { config }) => config.as_deref(),
        Action::Check(CheckArgs { file, config }) => file.as_deref().or(config.as_deref()),
    };
    let config = Config::load(path, super::environment())?;
    let printed = match args.action {
        Action::Print(_) => config.print(&mut io::stdout().lock()),
        Action::Check(_) => {
            // Not a mistake: container platforms make variables of this kind.
            for name in unknown(super::environment(), &OF_CLIENTS) {
                writeln!(io::stderr(), "mpim: {}: sets nothing, as there is no such setting", harmless(&name))?;
            }
            writeln!(io::stdout(), "ok")
        }
    };
    match printed {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed?,
    }
    Ok(ExitCode::SUCCESS)
}
