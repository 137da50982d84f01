//! `mpim cluster`: a whole system by one command.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use client::{EntryId, Target};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use servers::Known;
use tokio::process::Command;

use crate::{
    device::Device,
    people::{connected, direct, until, until_texts},
    process::{ENVIRONMENT, MPIM},
};

/// Longer than it takes by far.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);

/// A system in a directory; stopped in the end, whatever became of the test.
struct Cluster {
    dir: PathBuf,
}

/// What a command said.
struct Said {
    success: bool,
    output: String,
    error: String,
}

impl Cluster {
    async fn run(&self, words: &[&str]) -> Said {
        self.run_with(words, &[]).await
    }

    async fn run_with(&self, words: &[&str], environment: &[(&str, &str)]) -> Said {
        let mut command = Command::new(MPIM);
        command.arg("cluster").args(words).arg("--dir").arg(&self.dir).envs(ENVIRONMENT).kill_on_drop(true);
        command.envs(environment.iter().copied());
        let output = tokio::time::timeout(COMMAND_WITHIN, command.output()).await.expect("it ends").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { success: output.status.success(), output: text(output.stdout), error: text(output.stderr) }
    }

    /// Starts it; where clients connect.
    async fn up(&self) -> client::Server {
        let up = self.run(&["up"]).await;
        assert!(up.success, "{}", up.error);
        let url = up.output.trim().strip_prefix("ready ").unwrap_or_else(|| panic!("{}", up.output));
        url.parse().unwrap()
    }

    /// The processes that it has started, by name.
    fn processes(&self) -> BTreeMap<String, Known> {
        let Ok(text) = fs::read(self.dir.join("processes.json")) else { return BTreeMap::new() };
        let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
        let known = |row: &Value| Known {
            id: row["id"].as_u64().unwrap().try_into().unwrap(),
            began: row["began"].as_u64().unwrap(),
        };
        rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), known(row))).collect()
    }

    /// Asserts that nothing of these is left: no process, and nobody who listens on any of the system's ports.
    fn nothing_is_left(&self, processes: &BTreeMap<String, Known>) {
        for (name, process) in processes {
            assert!(!process.is_running(), "{name} runs");
        }
        assert!(
            of_directory(&self.dir).is_empty(),
            "processes that were told of this directory: {:?}",
            of_directory(&self.dir)
        );
        let ports: BTreeMap<String, u16> = match fs::read(self.dir.join("ports.json")) {
            Ok(text) => serde_json::from_slice(&text).unwrap(),
            Err(_) => BTreeMap::new(),
        };
        for (name, port) in ports {
            assert!(TcpListener::bind(("127.0.0.1", port)).is_ok(), "somebody listens on the port of {name}");
        }
    }

    async fn status(&self) -> (bool, BTreeMap<String, Value>) {
        let status = self.run(&["status", "--json"]).await;
        let objects = status.output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        (status.success, objects.map(|object| (object["name"].as_str().unwrap().to_owned(), object)).collect())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::process::Command::new(MPIM).args(["cluster", "down", "--dir"]).arg(&self.dir).output();
    }
}

/// Processes that have this directory among their arguments or in their environment, or work in it.
fn of_directory(dir: &Path) -> Vec<String> {
    let name = dir.to_str().unwrap();
    let holds = |path: PathBuf| fs::read(path).is_ok_and(|text| String::from_utf8_lossy(&text).contains(name));
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let ids = ids.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
    ids.filter(|id| {
        let of = |file: &str| Path::new("/proc").join(id).join(file);
        let works_there = fs::read_link(of("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        *id != std::process::id().to_string() && (works_there || holds(of("cmdline")) || holds(of("environ")))
    })
    .collect()
}

/// A system comes up with one command, is used through Nginx, loses a gateway, tells so, goes down without a trace, and comes up again
/// with all that was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_up_is_used_and_goes_down_without_a_trace_and_its_data_survives() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster { dir: dir.path().join("system") };
    let server = cluster.up().await;
    let processes = cluster.processes();
    assert_eq!(processes.len(), 4 + 2 * 5 + 1, "{processes:?}");
    assert!(processes.values().all(|process| process.is_running()));
    let (is_well, status) = cluster.status().await;
    assert!(is_well && status.keys().eq(processes.keys()));
    assert!(status.values().all(|process| process["health"] == "ok" && process["memory_bytes"].as_u64() > Some(0)));

    let second = cluster.run(&["up"]).await;
    assert!(!second.success && second.error.contains("running already"), "{}", second.error);
    assert_eq!(cluster.processes(), processes, "and changes nothing");

    let (ann, bob) = (Device::register(&server, "ann").await, Device::register(&server, "bob").await);
    let (here, there) = (connected(&ann, &server).await, connected(&bob, &server).await);
    let alone = direct(&here, &bob).await;
    here.send(alone, "before").await;
    until_texts(&bob, alone, 1).await;
    let gateway = processes["gateway-001"];
    kill(Pid::from_raw(gateway.id.try_into().unwrap()), Signal::SIGKILL).unwrap();
    until("it has ended", async || !gateway.is_running()).await;
    for number in 2..10 {
        here.send(alone, "by the other gateway").await;
        until_texts(&bob, alone, number).await;
    }
    let (is_well, status) = cluster.status().await;
    assert!(!is_well);
    for (name, process) in status {
        assert_eq!(process["health"], if name == "gateway-001" { "down" } else { "ok" }, "{name}");
    }
    here.go_offline().await;
    there.go_offline().await;

    let down = cluster.run(&["down"]).await;
    assert!(down.success && down.error.contains("gateway-001 had ended by itself"), "{}", down.error);
    assert!(!down.error.contains("killed"), "{}", down.error);
    cluster.nothing_is_left(&processes);
    let stopped = cluster.run(&["status"]).await;
    assert!(!stopped.success && stopped.error.contains("stopped"), "{}", stopped.error);
    assert!(cluster.run(&["down"]).await.success, "there is nothing to do");

    let again = cluster.up().await;
    assert_eq!(again, server, "where it was");
    let third = connected(&Device::log_in(&again, "bob").await, &again).await;
    until_texts(&third.device, alone, 9).await;
    let target = Target::Conversation(alone);
    third.client.send(target, client::text("after"), EntryId::generate()).await.unwrap();
    third.go_offline().await;
    let processes = cluster.processes();
    assert!(cluster.run(&["down"]).await.success);
    cluster.nothing_is_left(&processes);
}

/// Programs that are not installed are named with their Debian packages, all at once, before anything is started.
#[tokio::test]
async fn missing_programs_are_named_with_their_debian_packages() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster { dir: dir.path().join("system") };
    let up = cluster.run_with(&["up"], &[("PATH", "/nonexistent")]).await;
    assert!(!up.success);
    for missing in
        ["redis-server is not installed: apt-get install redis-server", "java is not installed: apt-get install"]
    {
        assert_eq!(up.error.matches(missing).count(), 1, "{missing} in: {}", up.error);
    }
    cluster.nothing_is_left(&cluster.processes());
    assert!(cluster.processes().is_empty());
    assert!(!cluster.run(&["down"]).await.error.contains("killed"));
}

/// A command about a directory where nothing is says so.
#[tokio::test]
async fn a_directory_without_a_system_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster { dir: dir.path().join("nothing") };
    for action in ["status", "down"] {
        let said = cluster.run(&[action]).await;
        assert!(!said.success && said.error.contains("mpim cluster up"), "{}", said.error);
    }
    let said = cluster.run(&["up", "--gateways", "0"]).await;
    assert!(!said.success && said.error.contains("--gateways: from 1 to 64"), "{}", said.error);
}
