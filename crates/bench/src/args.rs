//! What the command line of `mpim bench` takes.

use std::{fs::OpenOptions, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use protocol::limits::MEMBERS_MAX;

/// Load and latency of a server, or the delivery check with real dialogues.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// What to do.
    #[command(subcommand)]
    pub scenario: Scenario,
    /// What all scenarios take.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// What all scenarios take; one that has no use for an option ignores it.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// A running server; without it, a system of its own is started and removed afterwards
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// A system that `mpim cluster up --dir DIR` started: the load goes to its Nginx (or to `--server`), and what all of its
    /// processes use is measured
    #[arg(long, global = true, value_name = "DIR")]
    pub cluster: Option<PathBuf>,
    /// Folder in which the system of its own keeps its data meanwhile [default: the system's temporary folder]
    #[arg(long, global = true, value_name = "DIR", conflicts_with_all = ["server", "cluster"])]
    pub data: Option<PathBuf>,
    /// Length of the measurement, in seconds
    #[arg(long, global = true, value_name = "S", default_value = "10", value_parser = seconds)]
    pub seconds: Duration,
    /// Load before the measurement begins, in seconds
    #[arg(long, global = true, value_name = "S", default_value = "2", value_parser = seconds_or_none)]
    pub warm_up: Duration,
    /// Open loop: messages a second, all senders together, sent when their time has come whatever the server does
    #[arg(long, global = true, value_name = "N", conflicts_with = "window", value_parser = positive)]
    pub rate: Option<f64>,
    /// Closed loop: each sender keeps this many messages under way
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub window: Option<u32>,
    /// How clients connect
    #[arg(long, global = true, value_enum, default_value_t = Transport::Ws)]
    pub transport: Transport,
    /// Length of a message's text, in bytes
    #[arg(long, global = true, value_name = "N", default_value_t = 150,
        value_parser = clap::value_parser!(u32).range(crate::load::STAMP_BYTES as i64..=65_536))]
    pub body_bytes: u32,
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    /// Write a report with plots to this file
    #[arg(long, global = true, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// What all random choices follow from [default: another one each time; it is printed]
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// How long to wait for what does not come (a server that is away included) before giving up, in seconds
    #[arg(long, global = true, value_name = "S", default_value = "60", value_parser = seconds)]
    pub patience: Duration,
}

impl CommonArgs {
    /// Refuses a report that could not be written, before the run that it would be of.
    ///
    /// # Errors
    ///
    /// The file cannot be made or written.
    pub(crate) fn check_html(&self) -> anyhow::Result<()> {
        let Some(path) = &self.html else { return Ok(()) };
        // What the file holds already stays until there is something to put in its place.
        let opened = OpenOptions::new().append(true).create(true).open(path);
        opened.map(drop).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// How clients connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// WebSocket with protobuf messages.
    Ws,
    /// TCP with length-delimited protobuf frames.
    Tcp,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Scenario {
    /// Memory for each logged-in connection that does nothing
    Idle(IdleArgs),
    /// Pairs of users who write to each other
    Direct(DirectArgs),
    /// Groups whose members are all online
    Group(GroupArgs),
    /// Log-ins with the password
    Login(LoginArgs),
    /// A device that was away catches up
    Catchup(CatchupArgs),
    /// All clients lose their connections at once and come back while others chat
    Reconnect(ReconnectArgs),
    /// A gateway of a cluster is killed; its clients come back through the others and catch up while others chat
    Failover(ReconnectArgs),
    /// Calls between two processes, as gateways make them to services
    Rpc(RpcArgs),
    /// The other process of `rpc`
    #[command(hide = true)]
    RpcServer,
    /// Plays dialogues between real accounts and compares every device's history with what was sent
    Replay(ReplayArgs),
}

impl Scenario {
    /// The name it has on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Direct(_) => "direct",
            Self::Group(_) => "group",
            Self::Login(_) => "login",
            Self::Catchup(_) => "catchup",
            Self::Reconnect(_) => "reconnect",
            Self::Failover(_) => "failover",
            Self::Rpc(_) => "rpc",
            Self::RpcServer => "rpc-server",
            Self::Replay(_) => "replay",
        }
    }
}

/// Options of `idle`.
#[derive(Debug, Clone, Args)]
pub struct IdleArgs {
    /// Connections, each of another user
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub clients: u32,
}

/// Options of `direct`.
#[derive(Debug, Clone, Args)]
pub struct DirectArgs {
    /// Pairs of users; the first of each writes to the second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pairs: u32,
    /// The same as a number of users: twice the pairs
    #[arg(long, conflicts_with = "pairs", value_parser = clap::value_parser!(u32).range(2..=20_000))]
    pub clients: Option<u32>,
}

/// Options of `group`.
#[derive(Debug, Clone, Args)]
pub struct GroupArgs {
    /// Groups
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub groups: u32,
    /// Members of each group who are online
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub members: u32,
    /// Members of each group who are away, beside those
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=99_000))]
    pub away: u32,
}

impl GroupArgs {
    /// Refuses groups that the server would refuse, before anything is set up for them.
    ///
    /// # Errors
    ///
    /// A group would have more members than it may, with the one who joins and leaves.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (members, away, most) = (u64::from(self.members), u64::from(self.away), MEMBERS_MAX - 1);
        anyhow::ensure!(
            members + away <= most,
            "--members {members} and --away {away} make {}: together at most {most}, as a group has at most {MEMBERS_MAX} \
             members (MEMBERS_MAX) and one more joins and leaves",
            members + away
        );
        Ok(())
    }
}

/// Options of `login`.
#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// Log-ins under way at a time, each of another user
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub clients: u32,
}

/// Options of `catchup`.
#[derive(Debug, Clone, Args)]
pub struct CatchupArgs {
    /// Conversations that moved while the device was away
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub conversations: u32,
    /// Messages in each of them
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub entries: u32,
}

/// Options of `reconnect` and `failover`.
#[derive(Debug, Clone, Args)]
pub struct ReconnectArgs {
    /// Clients; all of them lose their connections, or those of the gateway that is killed
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    pub clients: u32,
    /// Pairs of users who chat meanwhile, at `--rate` (default 100) messages a second, and keep their connections
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pairs: u32,
}

/// Options of `rpc`.
#[derive(Debug, Clone, Args)]
pub struct RpcArgs {
    /// Calls under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub in_flight: u32,
    /// Connections to the server
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub connections: u32,
}

/// Options of `replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// Dialogues, one JSON object a line: `language`, `topic`, `turns`
    pub file: PathBuf,
    /// Accounts, each with two devices; a multiple of eight
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=1_024))]
    pub clients: u32,
    /// Kill the server (its own, or a gateway and a message service of a cluster) this many times at random moments and start
    /// it again
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub kills: u32,
    /// Play this many dialogues only, chosen by the seed
    #[arg(long, value_name = "N")]
    pub dialogues: Option<usize>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let duration = seconds_or_none(text)?;
    if duration.is_zero() { Err("must be more than 0".into()) } else { Ok(duration) }
}

fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds <= 86_400.0 => Ok(duration),
        _ => Err("must be between 0 and 86400".into()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("must be a number above 0, at most 1000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_would_be_too_large_are_refused_before_anything_is_set_up() {
        let check = |members, away| GroupArgs { groups: 1, members, away }.check();
        check(500, 0).unwrap();
        check(1_000, 98_999).unwrap();
        let refused = check(1_000, 99_000).unwrap_err().to_string();
        assert!(refused.contains("at most 99999") && refused.contains("MEMBERS_MAX"), "{refused}");
    }
}
