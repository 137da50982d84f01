//! Processes: started, watched while they come up, stopped.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{fd::FromRawFd as _, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::{Error, Program, Result};

/// Between two looks at a process that comes up or ends.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// So much of a log is shown when something fails.
const TAIL_BYTES: usize = 2_000;

/// How long a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as its [`Process`], and no longer than this process, however that ends.
    Bound,
    /// Until it is stopped, also by others: it may outlive this process, once it is [left](Process::leave), or if this one is
    /// killed. So before it runs it writes down [who it is](crate::Known::recorded).
    Detached,
}

/// A running program. Dropped, it is killed, unless it was [left](Self::leave).
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    lifetime: Lifetime,
    left: bool,
}

impl Process {
    /// Starts a program; its output goes to its log.
    ///
    /// # Errors
    ///
    /// It cannot be run, or its directory cannot be written.
    pub fn start(program: Program, lifetime: Lifetime) -> Result<Self> {
        fs::create_dir_all(&program.dir).map_err(Error::io(program.dir.display().to_string()))?;
        let child = spawn(&program, lifetime)?;
        Ok(Self { program, child, lifetime, left: false })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    pub fn log(&self) -> PathBuf {
        self.program.log()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `serves` says so, looking every few milliseconds.
    ///
    /// # Errors
    ///
    /// It has ended, or does not serve within this time: then it is ended.
    pub async fn until(&mut self, within: Duration, mut serves: impl AsyncFnMut() -> bool) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            let serves = serves().await;
            // Looked at after it: else another's answer might be taken for that of one that has ended.
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(format!("ended: {status}")));
            }
            if serves {
                return Ok(());
            }
            if Instant::now() > end {
                self.kill();
                return Err(self.failed(format!("did not serve within {within:?}")));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// It failed, or did not end within this time: then it is ended.
    pub async fn succeeded(&mut self, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(self.failed(format!("ended: {status}"))),
                _ if Instant::now() > end => {
                    self.kill();
                    return Err(self.failed(format!("did not end within {within:?}")));
                }
                _ => sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Lets it live on when this is dropped, if it is [detached](Lifetime::Detached): somebody knows of it now.
    pub fn leave(&mut self) {
        self.left = self.lifetime == Lifetime::Detached;
    }

    /// Ends it and all that it started at once, as a crash would (`kill -9`).
    pub fn kill(&mut self) {
        if let Some(group) = self.pid() {
            // They may have ended by themselves: then there is nothing to do.
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    /// Asks it to end (`SIGTERM`); kills it if it does not within this time.
    pub async fn stop(&mut self, within: Duration) {
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + within;
        while self.is_running() && Instant::now() < end {
            sleep(LOOK_AGAIN).await;
        }
        self.kill();
    }

    /// Lets it stand still, connections open (`SIGSTOP`), until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Starts it again as it was, after it has ended.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_again(&mut self) -> Result<()> {
        self.kill();
        self.child = spawn(&self.program, self.lifetime)?;
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.pid() {
            // It may have ended: whoever looks sees that.
            let _ = kill(id, signal);
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.id()).ok().map(Pid::from_raw)
    }

    fn failed(&self, what: String) -> Error {
        let log = self.log();
        let text = fs::read(&log).unwrap_or_default();
        let tail = String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES)..]).trim().to_owned();
        Error::Failed { program: self.program.name.clone(), what, log, tail }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.left {
            self.kill();
        }
    }
}

/// Starts it on a thread that lives as long as this process: the kernel kills a bound child when the *thread* ends that made
/// it, and a test's thread ends with the test.
fn spawn(program: &Program, lifetime: Lifetime) -> Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let what = || Error::io(format!("{} ({})", program.name, program.path.display()));
    let (reply, answer) = mpsc::channel();
    let command = command(program, lifetime).map_err(what())?;
    let gone = || io::Error::other("the thread that starts processes is gone");
    let sent = spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply));
    sent.map_err(|_| what()(gone()))?;
    answer.recv().map_err(|_| what()(gone()))?.map_err(what())
}

fn command(program: &Program, lifetime: Lifetime) -> io::Result<Command> {
    let log = File::options().create(true).append(true).open(program.log())?;
    let mut command = Command::new(&program.path);
    command
        .args(&program.arguments)
        .current_dir(&program.dir)
        .envs(program.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Out of the terminal's reach: an interrupt is for this process. And so that all of it is killed at once.
        .process_group(0);
    match lifetime {
        Lifetime::Bound => die_with_parent(&mut command, program.last_signal),
        Lifetime::Detached => write_down_who_it_is(&mut command, File::create(program.record())?),
    }
    Ok(command)
}

/// Has the child write down its id and when it began, as the kernel tells them, before it becomes the program: there is no
/// moment in which it runs and is not found, also if this process is killed meanwhile.
#[allow(unsafe_code, reason = "the standard library has no safe way to run something between fork and exec")]
fn write_down_who_it_is(command: &mut Command, mut record: File) {
    // SAFETY: between fork and exec only async-signal-safe functions may be called; `open`, `read`, `write` and `close` are, and
    // nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let stat = libc::open(c"/proc/self/stat".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            if stat < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut text = [0; 1024];
            let length = File::from_raw_fd(stat).read(&mut text)?;
            record.write_all(&text[..length])
        });
    }
}

/// Has the kernel send the child a signal when this process ends, however that comes about.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the standard library has no safe way to run something between fork and exec")]
fn die_with_parent(command: &mut Command, signal: Signal) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe functions may be called; `prctl` and `getppid` are, and
    // nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_int) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have ended before the signal was asked for.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Elsewhere a program is left behind if this process is killed.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command, _: Signal) {}
