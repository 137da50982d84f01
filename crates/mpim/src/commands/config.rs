//! `mpim config`: what may be set, and what is.

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use crate::config::Config;

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
    Check(FileArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// mpim.toml, or an INI file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let (Action::Print(file) | Action::Check(file)) = &args.action;
    let config = Config::load(file.config.as_deref(), super::environment())?;
    if let Action::Print(_) = args.action {
        match config.print(&mut io::stdout().lock()) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            printed => printed?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
