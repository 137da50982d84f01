//! A whole distributed system on this machine: Redis twice, MariaDB, ZooKeeper, services, gateways and Nginx, each a process of
//! its own, on free ports of 127.0.0.1, in one directory.
//!
//! [`up`] starts them and leaves them running; the directory remembers which they are, so that [`status`] and [`down`] find
//! them. What is stored survives `down` and the next `up`, and so do the ports.

mod layout;
mod mpim;
mod status;
mod stores;

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use servers::{Lifetime, Member, Nginx, Process, System};

pub use self::status::{Health, Status, status};
use self::{layout::Layout, mpim::Instance};

/// How long a process may take to end before it is killed: gateways tell their clients, MariaDB writes what it holds.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How many instances there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Gateways.
    pub gateways: u16,
    /// Instances of each service.
    pub services: u16,
}

/// A process that has come up. It lives on once it is remembered; until then it ends with who started it.
struct Started {
    member: Member,
    process: Process,
}

impl Started {
    fn of(name: &str, address: SocketAddr, process: Process) -> anyhow::Result<Self> {
        Ok(Self { member: Member::of(name, address, &process)?, process })
    }
}

/// Starts the system in `dir`, and tells each step as it is done. Returns where clients connect: Nginx.
///
/// # Errors
///
/// It runs already; programs are not installed (the message names all of them, and Debian's packages); something does not
/// start. Whatever was started is stopped again then.
///
/// # Cancel safety
///
/// Dropped, it leaves what it has started and remembered, for [`down`] to stop, and nothing else.
pub async fn up(dir: &Path, size: Size, mut tell: impl FnMut(&str)) -> anyhow::Result<String> {
    let dir = &std::path::absolute(dir)?;
    let mut system = System::open(dir)?;
    if let Some(member) = system.members.iter().find(|member| member.process.is_running()) {
        let (name, dir) = (&member.name, dir.display());
        bail!("{name} is running already in {dir}; see mpim cluster status, or stop it by mpim cluster down");
    }
    let missing: Vec<String> = servers::missing().iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    system.members.clear();
    // From now on there is a system here, whatever becomes of the start.
    system.save()?;
    let layout = Layout::open(dir, size)?;
    match start(&layout, &mut system, &mut tell).await {
        Ok(()) => Ok(layout.url()),
        Err(error) => {
            tell("something does not start: stopping what runs");
            stop(&mut system, &mut tell).await?;
            Err(error)
        }
    }
}

/// In the order in which one needs the other; each is remembered before the next one is started.
async fn start(layout: &Layout, system: &mut System, tell: &mut impl FnMut(&str)) -> anyhow::Result<()> {
    let mut started = |Started { member, mut process }: Started| {
        tell(&member.line());
        system.remember(member)?;
        process.leave();
        Ok(())
    };
    stores::start(layout, &mut started).await?;
    let (gateways, services): (Vec<Instance>, Vec<Instance>) = layout.instances().partition(Instance::is_gateway);
    mpim::start(layout, services, &mut started).await?;
    mpim::start(layout, gateways, &mut started).await?;
    let address = layout.nginx_address();
    let nginx = Nginx::start("nginx", &layout.dir("nginx"), &layout.nginx_configuration(), address, Lifetime::Detached)
        .await
        .context("in front of the gateways")?;
    started(Started::of("nginx", address, nginx.process)?)
}

/// Stops the system of `dir`, in the reverse order, and tells each step. What is not running any longer is passed over.
///
/// # Errors
///
/// There is none in this directory, or the directory cannot be written.
pub async fn down(dir: &Path, mut tell: impl FnMut(&str)) -> anyhow::Result<()> {
    let mut system = System::existing(dir)?;
    stop(&mut system, &mut tell).await.with_context(|| format!("cannot stop all of {}", dir.display()))
}

async fn stop(system: &mut System, tell: &mut impl FnMut(&str)) -> servers::Result<()> {
    let mut saved = Ok(());
    while let Some(member) = system.members.last() {
        let how = match (member.process.is_running(), member.process.stop(STOP_WITHIN).await) {
            (false, _) => "had ended by itself",
            (true, true) => "stopped",
            (true, false) => "killed: it did not stop in time",
        };
        tell(&format!("{} {how}", member.name));
        system.members.pop();
        // Also where that cannot be written down, the rest is stopped.
        saved = saved.and(system.save());
    }
    saved
}
