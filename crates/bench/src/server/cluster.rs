//! A distributed system on this machine, as `mpim cluster up` starts one: all of its processes are measured, and one may be
//! killed and started again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use servers::{Lifetime, Member, Process, Program, System};

use super::{
    metrics,
    usage::{Kind, Parts, Usage},
};

/// From the start of a process of MPIM to its being ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How a process's log tells that something failed. The same in both formats of logs.
const ERROR: &str = "ERROR";

pub(crate) struct Cluster {
    dir: PathBuf,
    system: System,
    /// What those had used that were killed.
    ended: Parts,
}

/// Something that was killed and is to be started again.
pub(crate) struct Killed {
    name: String,
    program: Program,
}

impl Cluster {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let system = System::existing(dir)?;
        let cluster = Self { dir: dir.to_owned(), system, ended: Parts::default() };
        ensure!(!cluster.system.members.is_empty(), "the system in {} is stopped", dir.display());
        if let Some(member) = cluster.system.members.iter().find(|member| !member.process.is_running()) {
            anyhow::bail!("{} of the system in {} has ended", member.name, dir.display());
        }
        Ok(cluster)
    }

    /// Where clients connect: Nginx.
    pub(super) fn url(&self) -> Result<String> {
        let nginx = self.system.members.iter().find(|member| Kind::of(member) == Kind::Nginx);
        Ok(format!("http://{}", nginx.context("there is no Nginx in the system")?.address))
    }

    /// What all processes have used; nothing if one of them is away.
    pub(super) fn usage(&self) -> Option<Usage> {
        let mut parts = self.ended;
        let mut rss_bytes = 0;
        for member in &self.system.members {
            parts.add(Kind::of(member), member.process.cpu()?);
            if Kind::of(member).is_servers() {
                rss_bytes += member.process.memory()?;
            }
        }
        Some(Usage { cpu_seconds: parts.of_servers(), rss_bytes, parts: Some(parts) })
    }

    /// The sum of a metric over the processes of MPIM of which `of` is so; nothing if one does not answer or does not tell.
    pub(super) async fn metric(&self, name: &str, of: impl Fn(&str) -> bool) -> Option<f64> {
        let mut sum = 0.0;
        for member in self.ours().filter(|member| of(member.role())) {
            sum += metrics::sum(&format!("http://{}", member.address), name).await?;
        }
        Some(sum)
    }

    /// The names of the instances of a role, in their order.
    pub(crate) fn instances(&self, role: &str) -> Vec<String> {
        self.ours().filter(|member| member.role() == role).map(|member| member.name.clone()).collect()
    }

    /// Errors that all processes of MPIM have logged so far.
    pub(crate) fn errors_logged(&self) -> Result<u64> {
        let mut errors = 0;
        for member in self.ours() {
            let log = self.dir.join(&member.name).join(format!("{}.log", member.name));
            let text = std::fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
            errors += String::from_utf8_lossy(&text).lines().filter(|line| line.contains(ERROR)).count() as u64;
        }
        Ok(errors)
    }

    /// Kills a process of MPIM as `kill -9` does.
    ///
    /// # Errors
    ///
    /// There is none of this name that runs.
    pub(crate) async fn kill(&mut self, name: &str) -> Result<Killed> {
        let member = self.ours().find(|member| member.name == name);
        let member = member.with_context(|| format!("there is no {name} in the system"))?.clone();
        let gone = || format!("{name} has ended by itself");
        let program = member.process.program(name).with_context(gone)?;
        let used = member.process.cpu().with_context(gone)?;
        member.process.kill().await;
        self.ended.add(Kind::of(&member), used);
        Ok(Killed { name: member.name, program })
    }

    /// Starts what was killed as it was, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// It does not become ready in time; the error holds the end of its log.
    pub(crate) async fn start_again(&mut self, killed: Killed) -> Result<()> {
        let Killed { name, program } = killed;
        let monitor = self.ours().find(|member| member.name == name).context("it was there before")?.address;
        let mut process = Process::start(program, Lifetime::Detached)?;
        // Before it is waited for, so that it is found also if this is interrupted.
        self.system.remember(Member::of(&name, monitor, &process)?)?;
        process.leave();
        let request = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        process.until(READY_WITHIN, async || servers::answers(monitor, request, " 200 ").await).await?;
        Ok(())
    }

    fn ours(&self) -> impl Iterator<Item = &Member> {
        self.system.members.iter().filter(|member| member.is_ours())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_without_a_system_that_runs_is_refused_and_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = Cluster::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains("there is no system in"), "{error:#}");
        System::open(dir.path()).unwrap().save().unwrap();
        let error = Cluster::open(dir.path()).err().unwrap();
        assert!(error.to_string().contains("is stopped"), "{error:#}");
    }
}
