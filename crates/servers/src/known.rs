//! Processes that another process started.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

/// Between two looks at a process that ends.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A process that was started by [`Process::start`](crate::Process::start), perhaps by another process, which has ended. It is
/// known by its id and by when it began: the system gives ids out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: u32,
    /// When it began, in the kernel's ticks since the machine started.
    pub began: u64,
}

impl Known {
    /// The process that has this id now; `None` if there is none.
    pub fn of(id: u32) -> Option<Self> {
        began(id).map(|began| Self { id, began })
    }

    /// Whether it has not ended.
    pub fn is_running(self) -> bool {
        began(self.id) == Some(self.began)
    }

    /// Asks it to end (`SIGTERM`); kills it and what it started if it does not within this time. Tells whether it ended by
    /// itself.
    pub async fn stop(self, within: Duration) -> bool {
        let Some(id) = i32::try_from(self.id).ok().map(Pid::from_raw).filter(|_| self.is_running()) else {
            return true;
        };
        // It may end meanwhile: that is looked at.
        let _ = kill(id, Signal::SIGTERM);
        let end = Instant::now() + within;
        while self.is_running() {
            if Instant::now() > end {
                let _ = killpg(id, Signal::SIGKILL);
                return false;
            }
            sleep(LOOK_AGAIN).await;
        }
        true
    }

    /// The memory that it holds, in bytes.
    pub fn memory(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(kib.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// The CPU time that it has used, its threads' together.
    pub fn cpu(self) -> Option<Duration> {
        let fields = stat(self.id)?;
        let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }
}

/// Of the kernel's clock for processes, on all of Linux's platforms that we know.
const TICKS_PER_SECOND: u64 = 100;

/// The fields of `/proc/ID/stat` from the state on; `None` for one that has ended, also if nobody has waited for it yet.
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it, in parentheses, may hold spaces and parentheses.
    let fields: Vec<String> = stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect();
    fields.first().filter(|state| !["Z", "X"].contains(&state.as_str()))?;
    Some(fields)
}

fn began(id: u32) -> Option<u64> {
    stat(id)?.get(19)?.parse().ok()
}
