//! Processes that another process started.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::Program;

/// Between two looks at a process that ends.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The kernel ends what is killed in far less, unless a disk hangs.
const KILLED_WITHIN: Duration = Duration::from_secs(10);
/// How the name of a file ends in which a process has written down who it is.
const RECORD: &str = "process";

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
    /// Stands for a process that is to be started: it never runs.
    pub const NOT_STARTED: Self = Self { id: 0, began: 0 };

    /// What a [detached](crate::Lifetime::Detached) process named `name` has written down in its directory as it was started
    /// last, whether it runs still or not; `None` if there was none.
    pub fn recorded(dir: &Path, name: &str) -> Option<Self> {
        let stat = fs::read_to_string(dir.join(format!("{name}.{RECORD}"))).ok()?;
        Some(Self { id: stat.split(' ').next()?.parse().ok()?, began: fields(&stat)?.get(BEGAN)?.parse().ok()? })
    }

    /// All that is [recorded](Self::recorded) in a directory.
    pub(crate) fn all_recorded(dir: &Path) -> Vec<Self> {
        let names =
            fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| Self::recorded(dir, name.strip_suffix(RECORD)?.strip_suffix('.')?)).collect()
    }

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

    /// Ends it and all that it started at once, as a crash would (`kill -9`), and waits until it has ended. Nothing if it has
    /// already.
    pub async fn kill(self) {
        let Some(id) = i32::try_from(self.id).ok().map(Pid::from_raw) else { return };
        while self.is_running() {
            // It may end meanwhile: that is looked at.
            let _ = (killpg(id, Signal::SIGKILL), kill(id, Signal::SIGKILL));
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends at once what runs in the group of this process, itself included, in `dir` or below: what it started outlives it if
    /// it was killed. Tells whether there was anything.
    pub(crate) async fn kill_group(self, dir: &Path) -> bool {
        let found = !self.group(dir).is_empty();
        let end = Instant::now() + KILLED_WITHIN;
        loop {
            let group = self.group(dir);
            if group.is_empty() || Instant::now() > end {
                return found;
            }
            for id in group {
                // It may end meanwhile: that is looked at.
                let _ = kill(id, Signal::SIGKILL);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The system gives the id out again only when nobody is left in the group; so whoever else has it, with a group of its own,
    /// is told by when it began, and by where it works.
    fn group(self, dir: &Path) -> Vec<Pid> {
        let Ok(dir) = dir.canonicalize() else { return Vec::new() };
        if self == Self::NOT_STARTED || began(self.id).is_some_and(|began| began != self.began) {
            return Vec::new();
        }
        let is_of_group = |id: &u32| {
            let Some(stat) = stat(*id) else { return false };
            let number = |field: usize| stat.get(field).and_then(|text| text.parse::<u64>().ok());
            number(GROUP) == Some(self.id.into())
                && number(BEGAN).is_some_and(|began| began >= self.began)
                && fs::read_link(format!("/proc/{id}/cwd")).is_ok_and(|cwd| cwd.starts_with(&dir))
        };
        let ids = fs::read_dir("/proc").into_iter().flatten();
        let ids = ids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        ids.filter(is_of_group).filter_map(|id| i32::try_from(id).ok().map(Pid::from_raw)).collect()
    }

    /// What it runs, so that the same may be started again under this name; `None` if it has ended, or belongs to another user.
    pub fn program(self, name: &str) -> Option<Program> {
        let proc = |file: &str| format!("/proc/{}/{file}", self.id);
        let list = |file: &str| {
            let bytes = fs::read(proc(file)).ok()?;
            let items = bytes.split(|byte| *byte == 0).filter(|item| !item.is_empty());
            Some(items.map(<[u8]>::to_vec).collect::<Vec<_>>())
        };
        let variable = |text: Vec<u8>| {
            let equals = text.iter().position(|byte| *byte == b'=')?;
            Some((OsString::from_vec(text[..equals].to_vec()), OsString::from_vec(text[equals + 1..].to_vec())))
        };
        let arguments = list("cmdline")?.into_iter().skip(1).map(OsString::from_vec);
        let environment = list("environ")?.into_iter().filter_map(variable).collect();
        let dir = fs::read_link(proc("cwd")).ok()?;
        let program = Program::new(name, fs::read_link(proc("exe")).ok()?, &dir, arguments);
        self.is_running().then_some(Program { environment, ..program })
    }

    /// The memory that it holds, in bytes.
    pub fn memory(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(kib.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
    }

    /// The CPU time that it has used, its threads' together, and that of the processes that it started and that run.
    pub fn cpu(self) -> Option<Duration> {
        self.is_running()
            .then(|| cpu_ticks(self.id))
            .flatten()
            .map(|ticks| Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    }
}

/// Of the kernel's clock for processes, on all of Linux's platforms that we know.
const TICKS_PER_SECOND: u64 = 100;

/// Of [`fields`]: the process group.
const GROUP: usize = 2;
/// Of [`fields`]: when it began.
const BEGAN: usize = 19;

/// The [`fields`] of `/proc/ID/stat`; `None` for one that has ended, also if nobody has waited for it yet.
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields = fields(&stat)?;
    fields.first().filter(|state| !["Z", "X"].contains(&state.as_str()))?;
    Some(fields)
}

/// Those of a `stat` from the state on. The name before it, in parentheses, may hold spaces and parentheses.
fn fields(stat: &str) -> Option<Vec<String>> {
    Some(stat.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Of a process and of those that it started, such as Nginx's workers.
fn cpu_ticks(id: u32) -> Option<u64> {
    let fields = stat(id)?;
    let own = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = children.split_ascii_whitespace().filter_map(|child| cpu_ticks(child.parse().ok()?));
    Some(own + children.sum::<u64>())
}

fn began(id: u32) -> Option<u64> {
    stat(id)?.get(BEGAN)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lifetime, Process, find};

    fn shell(dir: &Path, script: &str) -> Process {
        let program = Program {
            environment: vec![("MPIM_TEST_WORD".into(), "a=b".into())],
            ..Program::new("sh", find("sh", "dash").unwrap(), dir, ["-c", script])
        };
        Process::start(program, Lifetime::Bound).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_was_killed_is_started_again_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = shell(dir.path(), "echo $MPIM_TEST_WORD >> words; sleep 1000 & wait");
        let words = dir.path().join("words");
        let has = async |wanted: &str| fs::read_to_string(&words).is_ok_and(|text| text == wanted);
        first.until(Duration::from_secs(10), async || has("a=b\n").await).await.unwrap();
        let known = Known::of(first.id()).unwrap();
        let program = known.program("again").unwrap();
        known.kill().await;
        assert!(!known.is_running() && known.program("again").is_none());
        let mut again = Process::start(program, Lifetime::Bound).unwrap();
        again.until(Duration::from_secs(10), async || has("a=b\na=b\n").await).await.unwrap();
        assert_ne!(again.id(), first.id());
    }

    #[tokio::test]
    async fn what_a_killed_process_has_left_behind_is_ended_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("a");
        let program = |name, dir: &Path, script| Program::new(name, find("sh", "dash").unwrap(), dir, ["-c", script]);
        let mut other = Process::start(program("other", dir.path(), "exec sleep 1000"), Lifetime::Bound).unwrap();
        let script = "sleep 1000 & echo $! > child; wait";
        let mut parent = Process::start(program("parent", &work, script), Lifetime::Detached).unwrap();
        let known = Known::of(parent.id()).unwrap();
        assert_eq!(Known::recorded(&work, "parent"), Some(known), "it has written down who it is");
        assert_eq!(Known::all_recorded(&work), [known]);
        let child = || fs::read_to_string(work.join("child")).ok()?.trim().parse().ok();
        parent.until(Duration::from_secs(10), async || child().is_some()).await.unwrap();
        let child = Known::of(child().unwrap()).unwrap();
        kill(Pid::from_raw(parent.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
        parent.leave();
        while parent.is_running() {
            sleep(LOOK_AGAIN).await;
        }
        assert!(!known.is_running() && child.is_running());
        assert!(!Known { began: child.began + 1, ..known }.kill_group(&work).await, "a later one of this id");
        assert!(!known.kill_group(&dir.path().join("b")).await && child.is_running(), "of another directory");
        assert!(known.kill_group(&work).await && !child.is_running());
        assert!(!known.kill_group(&work).await && other.is_running());
    }

    #[tokio::test]
    async fn cpu_time_counts_what_a_process_started() {
        let dir = tempfile::tempdir().unwrap();
        let mut parent = shell(dir.path(), "(while :; do :; done) & echo started > started; sleep 1000");
        let known = Known::of(parent.id()).unwrap();
        let enough = async || known.cpu().unwrap() >= Duration::from_millis(50);
        parent.until(Duration::from_secs(30), enough).await.unwrap();
        known.kill().await;
        assert_eq!(known.cpu(), None);
    }
}
