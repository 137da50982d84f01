//! A whole distributed system on this machine: Redis twice, MariaDB, ZooKeeper, services, gateways and Nginx, each a process of
//! its own, on free ports of 127.0.0.1, in one directory.
//!
//! [`up`] starts them and leaves them running, or starts those that have ended; the directory remembers which they are, so that
//! [`status`] and [`down`] find them, also if `up` was killed. What is stored survives `down` and the next `up`, and so do the
//! ports.

mod layout;
mod mpim;
mod status;
mod stores;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use servers::{Known, Lifetime, Member, Nginx, Process, System};
use tokio::time::{sleep, timeout};

pub use self::status::{Health, Status, status};
use self::{layout::Layout, mpim::Instance};

/// Gateways, and instances of each service, where nothing is said.
const INSTANCES: u16 = 2;
/// How long a process may take to end before it is killed: gateways tell their clients, MariaDB writes what it holds.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// They are well in a fraction of a second, but for one that was started a moment ago.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at one that comes up.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How many instances there are to be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Gateways.
    pub gateways: u16,
    /// Instances of each service.
    pub services: u16,
}

/// How many instances are asked for; where nothing is: as it runs, or 2.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Gateways.
    pub gateways: Option<u16>,
    /// Instances of each service.
    pub services: Option<u16>,
}

impl Asked {
    /// What that is where `running` run of the members of `system`.
    fn size(self, system: &System, running: &[Member]) -> anyhow::Result<Size> {
        let count = |option: &str, asked: Option<u16>, role: &str| {
            let there = system.members.iter().filter(|member| member.role() == role).count();
            match (running.first(), asked) {
                (None, asked) => Ok(asked.unwrap_or(INSTANCES)),
                (Some(_), asked) if asked.is_none_or(|asked| usize::from(asked) == there) => Ok(u16::try_from(there)?),
                (Some(Member { name, .. }), _) => {
                    bail!(
                        "{name} runs in a system of {option} {there}; to have another number, mpim cluster down first"
                    )
                }
            }
        };
        Ok(Size {
            gateways: count("--gateways", self.gateways, Instance::GATEWAY)?,
            services: count("--services", self.services, layout::SERVICES[0])?,
        })
    }
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

/// Starts the system in `dir`, or what does not run of it, and tells each step as it is done. Returns where clients connect:
/// Nginx.
///
/// # Errors
///
/// Another `up` or [`down`] works in the directory; it runs with other numbers of instances than asked for; programs are not
/// installed (the message names all of them, and Debian's packages); something does not start. Whatever was started is stopped
/// again then; what ran before stays.
///
/// # Cancel safety
///
/// Dropped, it leaves what it has started and remembered, for [`down`] to stop, and nothing else.
pub async fn up(dir: &Path, asked: Asked, mut tell: impl FnMut(&str)) -> anyhow::Result<String> {
    let dir = &std::path::absolute(dir)?;
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let _lock = System::lock(dir)?;
    let mut system = System::open(dir)?;
    let missing: Vec<String> = servers::missing().iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        bail!("{}", missing.join("\n"));
    }
    let (kept, ended): (Vec<Member>, Vec<Member>) =
        system.members.iter().cloned().partition(|member| member.process.is_running());
    let size = asked.size(&system, &kept)?;
    for member in &ended {
        // It may hold the port.
        if system.kill_rest(member).await {
            tell(&format!("{} had left processes behind: killed", member.name));
        }
    }
    let layout = Layout::open(dir, size, &kept, &mut tell)?;
    // From now on there is a system here, whatever becomes of the start, and whatever is started is found.
    system.plan(layout.processes())?;
    match start(&layout, &mut system, &kept, &mut tell).await {
        Ok(()) => Ok(layout.url()),
        Err(error) => {
            tell("something does not start: stopping what was started");
            stop(&mut system, &kept, &mut tell).await?;
            Err(error)
        }
    }
}

/// Whether a process of the system in `dir` runs.
pub fn runs(dir: &Path) -> bool {
    System::existing(dir).is_ok_and(|system| system.members.iter().any(|member| member.process.is_running()))
}

/// In the order in which one needs the other, but for those that are `kept` as they run.
async fn start(
    layout: &Layout,
    system: &mut System,
    kept: &[Member],
    tell: &mut impl FnMut(&str),
) -> anyhow::Result<()> {
    let is_wanted = |name: &str| kept.iter().all(|member| member.name != name);
    if system.members.iter().all(|member| !is_wanted(&member.name)) {
        tell("all of it runs already");
    }
    let mut started = |Started { member, mut process }: Started| {
        tell(&member.line());
        system.remember(member)?;
        process.leave();
        Ok(())
    };
    stores::start(layout, is_wanted, &mut started).await?;
    ready(kept.iter().filter(|member| !member.is_ours())).await?;
    let instances = layout.instances().filter(|instance| is_wanted(&instance.name));
    let (gateways, services): (Vec<Instance>, Vec<Instance>) = instances.partition(Instance::is_gateway);
    mpim::start(layout, services, &mut started).await?;
    mpim::start(layout, gateways, &mut started).await?;
    if is_wanted("nginx") {
        let (address, configuration) = (layout.nginx_address(), layout.nginx_configuration());
        let nginx = Nginx::start("nginx", &layout.dir("nginx"), &configuration, address, Lifetime::Detached)
            .await
            .context("in front of the gateways")?;
        started(Started::of("nginx", address, nginx.process)?)?;
    }
    ready(kept.iter()).await
}

/// Waits until those that ran already are well: who started them may have been killed meanwhile.
async fn ready(members: impl Iterator<Item = &Member>) -> anyhow::Result<()> {
    for member in members {
        let is_well = async {
            while status::look(member).await.health != Health::Ok {
                sleep(LOOK_AGAIN).await;
            }
        };
        let name = &member.name;
        let waited = timeout(READY_WITHIN, is_well).await;
        waited
            .with_context(|| format!("{name} runs, but is not ready after {READY_WITHIN:?}: see {name}/{name}.log"))?;
    }
    Ok(())
}

/// Stops the system of `dir`, in the reverse order, and tells each step. What is not running any longer is passed over, but for
/// what it has left behind.
///
/// # Errors
///
/// There is none in this directory, [`up`] or another `down` works in it, or the directory cannot be written.
pub async fn down(dir: &Path, mut tell: impl FnMut(&str)) -> anyhow::Result<()> {
    System::existing(dir)?;
    let _lock = System::lock(dir)?;
    // As it is now that nobody changes it.
    let mut system = System::existing(dir)?;
    stop(&mut system, &[], &mut tell).await.with_context(|| format!("cannot stop all of {}", dir.display()))
}

/// Stops all but those that are `kept`. As long as there are any, the others are still remembered, as parts of the system that do
/// not run.
async fn stop(system: &mut System, kept: &[Member], tell: &mut impl FnMut(&str)) -> servers::Result<()> {
    let mut saved = Ok(());
    for member in system.members.clone().iter().rev() {
        if kept.iter().any(|other| other.name == member.name) {
            continue;
        }
        let (ran, in_time) = (member.process.is_running(), member.process.stop(STOP_WITHIN).await);
        let left_processes = system.kill_rest(member).await;
        let how = match (ran, in_time) {
            (true, true) => Some("stopped"),
            (true, false) => Some("killed: it did not stop in time"),
            (false, _) if left_processes => Some("had ended by itself: what it had left behind was killed"),
            (false, _) if member.process == Known::NOT_STARTED => None,
            (false, _) => Some("had ended by itself"),
        };
        if let Some(how) = how {
            tell(&format!("{} {how}", member.name));
        }
        if kept.is_empty() {
            system.members.pop();
            // Also where that cannot be written down, the rest is stopped.
            saved = saved.and(system.save());
        }
    }
    saved
}
