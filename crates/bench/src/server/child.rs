//! A server of our own: a child process on a folder that is removed at the end.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{self, ChildStdout, Command},
    time,
};

use super::Passwords;

/// From the start to the line that says so.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// From SIGTERM to the end; after it, SIGKILL.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// The end of the log that goes into an error.
const LOG_BYTES_SHOWN: usize = 2_000;

/// Where a port is looked for: below those that the system gives to outgoing connections, since a client that knocks
/// at such a port while the server is away may connect to itself and so keep the server from coming back.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What is set for a server under load. A file, so that others may be started with the same.
const LOAD_ENVIRONMENT: &str = include_str!("../../load.env");
/// So begins what is not set where log-ins themselves are measured.
const PASSWORDS: &str = "MPIM_USER_PASSWORD_";

pub(super) struct Child {
    program: PathBuf,
    passwords: Passwords,
    folder: TempDir,
    port: u16,
    url: String,
    process: process::Child,
    // Kept open, so that the server's writing to it does not fail.
    _stdout: BufReader<ChildStdout>,
    ready_after: Duration,
    log: PathBuf,
}

impl Child {
    pub(super) async fn start(program: &Path, data: Option<&Path>, passwords: Passwords) -> Result<Self> {
        let mut folder = tempfile::Builder::new();
        folder.prefix("mpim-bench-");
        let folder = match data {
            Some(data) => folder.tempdir_in(data).with_context(|| format!("cannot use {}", data.display()))?,
            None => folder.tempdir().context("cannot make a temporary folder")?,
        };
        let port = free_port()?;
        let log = folder.path().join("server.log");
        let started = Started::start(program, folder.path(), port, passwords).await?;
        Ok(Self {
            program: program.to_owned(),
            passwords,
            folder,
            port,
            url: started.url,
            process: started.process,
            _stdout: started.stdout,
            ready_after: started.ready_after,
            log,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    pub(super) async fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill().await.context("cannot kill the server")?;
        let started = Started::start(&self.program, self.folder.path(), self.port, self.passwords).await?;
        self.process = started.process;
        self._stdout = started.stdout;
        self.ready_after = started.ready_after;
        Ok(())
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            bail!("the server ended by itself ({status}): {}", end_of(&self.log));
        }
        if let Some(id) = self.process.id() {
            terminate(id);
        }
        if time::timeout(STOP_WITHIN, self.process.wait()).await.is_err() {
            self.process.kill().await.context("cannot kill the server")?;
        }
        self.folder.close().context("cannot remove the server's data")
    }
}

struct Started {
    process: process::Child,
    stdout: BufReader<ChildStdout>,
    url: String,
    ready_after: Duration,
}

impl Started {
    async fn start(program: &Path, folder: &Path, port: u16, passwords: Passwords) -> Result<Self> {
        let log_path = folder.join("server.log");
        let log = File::options().create(true).append(true).open(&log_path).context("cannot write the server's log")?;
        let mut command = Command::new(program);
        command
            .arg("up")
            .arg("--data")
            .arg(folder.join("data"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .envs(load_environment(passwords))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Out of the terminal's reach: an interrupt is for this process, which then ends the child.
            .process_group(0)
            .kill_on_drop(true);
        die_with_parent(&mut command);
        let begun = Instant::now();
        let mut process = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = process.stdout.take().context("the server has no output")?;
        let mut stdout = BufReader::new(stdout);
        match time::timeout(READY_WITHIN, ready(&mut stdout)).await {
            Ok(Ok(url)) => Ok(Self { process, stdout, url, ready_after: begun.elapsed() }),
            Ok(Err(error)) => Err(error.context(format!("the server did not start: {}", end_of(&log_path)))),
            Err(_) => bail!("the server was not ready within {READY_WITHIN:?}: {}", end_of(&log_path)),
        }
    }
}

fn load_environment(passwords: Passwords) -> impl Iterator<Item = (&'static str, &'static str)> {
    let variables =
        LOAD_ENVIRONMENT.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    variables.filter(move |(name, _)| passwords == Passwords::Cheap || !name.starts_with(PASSWORDS))
}

/// Waits for the line `ready http://host:port`.
async fn ready(stdout: &mut BufReader<ChildStdout>) -> Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if stdout.read_line(&mut line).await.context("cannot read its output")? == 0 {
            bail!("it ended without being ready");
        }
        if let Some(url) = line.trim().strip_prefix("ready ") {
            return Ok(url.trim_end_matches('/').to_owned());
        }
    }
}

fn free_port() -> Result<u16> {
    for _ in 0..100 {
        let port = fastrand::u16(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", PORTS.start, PORTS.end)
}

fn end_of(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(LOG_BYTES_SHOWN)..]).trim().to_owned();
    if text.is_empty() { "it wrote no log".into() } else { text }
}

/// Has the kernel kill the child when this process ends, however that comes about. (More exactly when the thread ends
/// that starts it: the runtime's threads live as long as the process.)
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the standard library has no safe way to run something between fork and exec")]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe functions may be called; `prctl` and `getppid` are, and
    // nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have ended before the signal was asked for.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// Elsewhere a server is left behind if this process is killed.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}

#[allow(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
fn terminate(id: u32) {
    if let Ok(id) = libc::pid_t::try_from(id) {
        // SAFETY: `kill` has no memory effects; the process is a child that has not been waited for, so its id is its own.
        unsafe { libc::kill(id, libc::SIGTERM) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_server_is_ready_when_it_says_so_and_keeps_its_port_and_data_when_killed() {
        let folder = tempfile::tempdir().unwrap();
        let program =
            program(folder.path(), "mkdir -p $3; echo x >> $3/starts; echo ready http://$5/; exec sleep 1000");
        let mut child = Child::start(&program, Some(folder.path()), Passwords::Cheap).await.unwrap();
        let (url, data) = (child.url().to_owned(), child.folder.path().to_owned());
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let first = child.process.id();
        child.kill_and_restart().await.unwrap();
        assert_ne!(child.process.id(), first);
        assert_eq!(child.url(), url);
        assert_eq!(std::fs::read_to_string(data.join("data/starts")).unwrap(), "x\nx\n");
        child.stop().await.unwrap();
        assert!(!data.exists());
    }

    #[test]
    fn passwords_are_cheap_unless_they_are_measured_and_limits_are_off_in_any_case() {
        let named = |passwords, part: &str| load_environment(passwords).filter(|(name, _)| name.contains(part)).count();
        assert_eq!((named(Passwords::Cheap, PASSWORDS), named(Passwords::Real, PASSWORDS)), (2, 0));
        assert_eq!(named(Passwords::Real, "MPIM_GATEWAY_SENDS_PER_SECOND"), 1);
    }

    #[tokio::test]
    async fn a_server_that_does_not_start_tells_why() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "echo the disk is full >&2; exit 3");
        let error = Child::start(&program, Some(folder.path()), Passwords::Real).await.err().unwrap();
        assert!(format!("{error:#}").contains("the disk is full"), "{error:#}");
    }
}
