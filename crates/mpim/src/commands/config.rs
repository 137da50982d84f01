//! `mpim config`: what may be set, and what is.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use clap::{Args, Subcommand};
use registry::{Registry as _, ZooKeeperRegistry};

use super::client::harmless;
use crate::{
    config::{Config, unknown},
    told::of_zookeeper,
};

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
    /// Set a value for all processes of a distributed system while they run, or unset it
    Set(SetArgs),
    /// Print the values that are set for all processes of a distributed system, and what they are set to
    Live(FileArgs),
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

#[derive(Debug, Args)]
struct SetArgs {
    /// What: section and key, such as gateway.sends_per_second
    #[arg(value_name = "SECTION.KEY")]
    name: String,
    /// To this; without it the processes go by their own configuration again
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    value: Option<String>,
    /// The configuration of one of the processes, which tells where ZooKeeper is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Variables of the client's commands, which no server's configuration has.
const OF_CLIENTS: [&str; 2] = ["MPIM_SERVER", "MPIM_PROFILE"];

pub(super) async fn run(args: ConfigArgs) -> anyhow::Result<ExitCode> {
    let path = match &args.action {
        Action::Print(FileArgs { config }) | Action::Live(FileArgs { config }) => config.as_deref(),
        Action::Check(CheckArgs { file, config }) => file.as_deref().or(config.as_deref()),
        Action::Set(SetArgs { config, .. }) => config.as_deref(),
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
        Action::Set(args) => {
            set(&config, &args).await?;
            let name = &args.name;
            match &args.value {
                Some(value) => writeln!(io::stdout(), "{name} = {}", harmless(value)),
                None => writeln!(io::stdout(), "{name} is unset: each process goes by its own configuration"),
            }
        }
        Action::Live(_) => live(&config).await?.iter().try_for_each(|line| writeln!(io::stdout(), "{line}")),
    };
    printed?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the value as the processes will, and tells it to ZooKeeper.
async fn set(config: &Config, args: &SetArgs) -> anyhow::Result<()> {
    let keys: Vec<(&str, &str)> = Config::live_keys().collect();
    let key = keys.iter().find(|(section, key)| args.name == format!("{section}.{key}"));
    let Some(&key) = key else {
        let names: Vec<String> = keys.iter().map(|(section, key)| format!("{section}.{key}")).collect();
        bail!("{} cannot be set while processes run; these can: {}", args.name, names.join(", "));
    };
    if let Some(value) = &args.value {
        config.with_live_values(&BTreeMap::from([(key, value.clone())]))?;
    }
    let registry = ZooKeeperRegistry::connect(config.zookeeper()).await.map_err(of_zookeeper)?;
    let set = registry.set_config(&args.name, args.value.as_deref()).await;
    registry.close().await;
    set.map_err(of_zookeeper)
}

/// What is set, a line each.
async fn live(config: &Config) -> anyhow::Result<Vec<String>> {
    let registry = ZooKeeperRegistry::connect(config.zookeeper()).await.map_err(of_zookeeper)?;
    let mut lines = Vec::new();
    for (section, key) in Config::live_keys() {
        let name = format!("{section}.{key}");
        let value = registry.config(&name).await.map_err(of_zookeeper)?.borrow().clone();
        lines.extend(value.map(|value| format!("{name} = {}", harmless(&value))));
    }
    registry.close().await;
    if lines.is_empty() {
        lines.push("no value is set: each process goes by its own configuration".to_owned());
    }
    Ok(lines)
}
