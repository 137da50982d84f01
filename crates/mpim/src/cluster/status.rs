//! How a system is.

use std::{net::SocketAddr, path::Path, time::Duration};

use futures_util::future::join_all;
use servers::{Member, System};
use tokio::{net::TcpStream, time::timeout};

use super::mpim::is_ready;

/// One that does not answer in this time is not well.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It runs and serves.
    Ok,
    /// It runs, but does not answer, or says that it is not ready.
    NotReady,
    /// It has ended.
    Down,
}

impl Health {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotReady => "not-ready",
            Self::Down => "down",
        }
    }
}

/// A process of the system.
#[derive(Debug, Clone)]
pub struct Status {
    /// Its name, such as `gateway-001`.
    pub name: String,
    /// Where it is reached; a process of MPIM: where its `/metrics` and `/readyz` are.
    pub address: SocketAddr,
    /// Its process id; 0 if it was to be started and was not.
    pub process: u32,
    /// How it is.
    pub health: Health,
    /// The memory that it holds, in bytes.
    pub memory: u64,
    /// The CPU time that it has used.
    pub cpu: Duration,
}

/// How each process of the system in `dir` is, in the order in which they were started; none: it is stopped.
///
/// # Errors
///
/// There is no system in this directory.
pub async fn status(dir: &Path) -> anyhow::Result<Vec<Status>> {
    let system = System::existing(dir)?;
    Ok(join_all(system.members.iter().map(look)).await)
}

/// How a process is now.
pub(super) async fn look(member: &Member) -> Status {
    let process = member.process;
    let serves = async {
        if member.is_ours() { is_ready(member.address).await } else { TcpStream::connect(member.address).await.is_ok() }
    };
    let health = match process.is_running() {
        false => Health::Down,
        true if timeout(LOOK_WITHIN, serves).await == Ok(true) => Health::Ok,
        true => Health::NotReady,
    };
    Status {
        name: member.name.clone(),
        address: member.address,
        process: process.id,
        health,
        memory: process.memory().unwrap_or(0),
        cpu: process.cpu().unwrap_or_default(),
    }
}
