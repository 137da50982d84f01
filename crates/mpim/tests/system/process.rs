//! `mpim up` as a process of its own, to be killed.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

use client::Server;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::device::PATIENCE;

/// A server process and its data directory. Killed when dropped.
pub struct Process {
    child: Child,
    port: u16,
    data: PathBuf,
    wrapper: Vec<String>,
}

/// The binary under test.
pub const MPIM: &str = env!("CARGO_BIN_EXE_mpim");

/// What these tests are not about: the cost of passwords, being slowed down, long waits; and webhooks here on this machine.
pub const ENVIRONMENT: [(&str, &str); 17] = [
    ("MPIM_USER_PASSWORD_MEMORY_KIB", "8"),
    ("MPIM_USER_PASSWORD_ITERATIONS", "1"),
    ("MPIM_GATEWAY_SENDS_PER_SECOND", "0"),
    ("MPIM_GATEWAY_REQUESTS_PER_SECOND", "0"),
    ("MPIM_GATEWAY_ACCOUNTS_PER_SECOND", "0"),
    ("MPIM_GATEWAY_CONVERSATION_SENDS_PER_SECOND", "0"),
    ("MPIM_GATEWAY_CONTACTS_PER_MINUTE", "0"),
    ("MPIM_GATEWAY_GROUPS_PER_MINUTE", "0"),
    ("MPIM_GATEWAY_SEARCHES_PER_SECOND", "0"),
    ("MPIM_GATEWAY_BOTS_PER_MINUTE", "0"),
    ("MPIM_GATEWAY_REPORTS_PER_MINUTE", "0"),
    ("MPIM_GATEWAY_TYPING_PER_SECOND", "0"),
    ("MPIM_GATEWAY_DRAFTS_PER_SECOND", "0"),
    ("MPIM_GATEWAY_DRAIN_RECONNECT_SPREAD", "0"),
    ("MPIM_WEBHOOKS_ALLOW_PRIVATE", "true"),
    ("MPIM_WEBHOOKS_ATTEMPTS_MAX", "3"),
    ("MPIM_WEBHOOKS_WAIT_MIN", "10"),
];

impl Process {
    /// Starts a server on a free port and waits until it accepts clients.
    pub async fn start(data: &Path) -> Self {
        Self::start_in(data, &[]).await
    }

    /// As [`start`](Self::start), by way of a command that runs another, such as `unshare`.
    pub async fn start_in(data: &Path, wrapper: &[&str]) -> Self {
        let wrapper: Vec<String> = wrapper.iter().map(ToString::to_string).collect();
        let port = free_port();
        let child = spawn(&wrapper, data, port).await;
        Self { child, port, data: data.to_owned(), wrapper }
    }

    /// Where clients connect, by WebSocket.
    pub fn server(&self) -> Server {
        self.url().parse().unwrap()
    }

    /// Where clients connect, by TCP.
    pub fn tcp_server(&self) -> Server {
        format!("tcp://127.0.0.1:{}", self.port).parse().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> std::net::SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// One of the server's figures.
    pub async fn figure(&self, name: &str) -> u64 {
        let text = crate::http::get(self.address(), "/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no figure {name}")).parse().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and a start on the same data.
    pub async fn kill_and_restart(&mut self) {
        self.kill();
        self.restart().await;
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn restart(&mut self) {
        self.child = spawn(&self.wrapper, &self.data, self.port).await;
    }

    /// SIGTERM; waits for the end, and tells whether it was a good one.
    pub async fn terminate(&mut self) -> bool {
        let killed = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.success();
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("ends after SIGTERM")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn spawn(wrapper: &[String], data: &Path, port: u16) -> Child {
    let mut words = wrapper.iter().map(String::as_str).chain([MPIM]);
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--data"])
        .arg(data)
        .envs(ENVIRONMENT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
    let mut lines = BufReader::new(stdout).lines();
    let ready = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("ready in time").unwrap();
    assert_eq!(ready, Some(format!("ready http://127.0.0.1:{port}")));
    child
}

/// A port below the kernel's range for outgoing connections, so that no client's socket takes it between a kill and the
/// restart.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = (std::process::id() % 10_000) as u16;
    loop {
        let port = 20_000 + (base + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
