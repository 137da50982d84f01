//! `mpim cluster`: a whole system by one command.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use client::{EntryId, Target};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use servers::Known;
use tokio::process::{Child, Command};

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

    /// Begins to start it, and stands still as soon as this program has been started in the directory of this process.
    async fn start_until(&self, process: &str, program: &str) -> Child {
        let mut command = Command::new(MPIM);
        command.args(["cluster", "up", "--dir"]).arg(&self.dir).envs(ENVIRONMENT).kill_on_drop(true);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_there = async || Known::recorded(&self.dir.join(process), program).is_some_and(Known::is_running);
        until(program, is_there).await;
        // However long it takes to look around.
        kill(Pid::from_raw(child.id().unwrap().try_into().unwrap()), Signal::SIGSTOP).unwrap();
        child
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

/// `kill -9` of one process, and not of those that it has started.
async fn kill_alone(process: Known) {
    kill(Pid::from_raw(process.id.try_into().unwrap()), Signal::SIGKILL).unwrap();
    until("it has ended", async || !process.is_running()).await;
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::process::Command::new(MPIM).args(["cluster", "down", "--dir"]).arg(&self.dir).output();
    }
}

/// The benchmark kills a gateway and a message service, starts them again, finds every text, and leaves all running.
async fn replay_with_a_kill(cluster: &Cluster) {
    let said =
        |number| format!(r#"{{"language": "any", "topic": "tea", "turns": ["你好 {number}", "hello {number}"]}}"#);
    let dialogues = cluster.dir.join("dialogues.jsonl");
    fs::write(&dialogues, (0..50).map(said).collect::<Vec<_>>().join("\n")).unwrap();
    let before = cluster.processes();
    let mut replay = Command::new(MPIM);
    replay.args(["bench", "replay"]).arg(&dialogues).args(["--kills", "1", "--json", "--cluster"]).arg(&cluster.dir);
    let replayed = replay.envs(ENVIRONMENT).kill_on_drop(true).output();
    let replayed = tokio::time::timeout(COMMAND_WITHIN, replayed).await.expect("it ends").unwrap();
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let after = cluster.processes();
    assert_eq!(before.iter().filter(|(name, process)| after[*name] != **process).count(), 2, "{before:?} {after:?}");
    let (is_well, status) = cluster.status().await;
    assert!(is_well, "{status:?}");
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

/// A system comes up with one command, in a directory whose name holds a space, is used through Nginx, loses a gateway, tells so, gets it
/// back, goes down without a trace, also of Nginx's workers without their master, and comes up again with all that was said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_comes_up_is_used_and_goes_down_without_a_trace_and_its_data_survives() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster { dir: dir.path().join("the system") };
    let server = cluster.up().await;
    let processes = cluster.processes();
    assert_eq!(processes.len(), 4 + 2 * 5 + 1, "{processes:?}");
    assert!(processes.values().all(|process| process.is_running()));
    let (is_well, status) = cluster.status().await;
    assert!(is_well && status.keys().eq(processes.keys()));
    assert!(status.values().all(|process| process["health"] == "ok" && process["memory_bytes"].as_u64() > Some(0)));

    let second = cluster.run(&["up"]).await;
    assert!(second.success && second.error.contains("all of it runs already"), "{}", second.error);
    let (_, nobody_reads) = std::io::pipe().unwrap();
    let mut status = Command::new(MPIM);
    status.args(["cluster", "status", "--dir"]).arg(&cluster.dir).envs(ENVIRONMENT).stdout(nobody_reads);
    let status = status.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().await.unwrap();
    assert!(status.status.success() && status.stderr.is_empty(), "{}", String::from_utf8_lossy(&status.stderr));
    let larger = cluster.run(&["up", "--gateways", "3"]).await;
    assert!(!larger.success && larger.error.contains("--gateways 2; to have another number"), "{}", larger.error);
    assert_eq!(cluster.processes(), processes, "and neither changes anything");
    let told = cluster.dir.join("cluster.toml");
    let set =
        [&["config", "set", "gateway.sends_per_second", "500", "--config"], &[told.to_str().unwrap()][..]].concat();
    let set = Command::new(MPIM).args(set).envs(ENVIRONMENT).output().await.unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));

    let (ann, bob) = (Device::register(&server, "ann").await, Device::register(&server, "bob").await);
    let (here, there) = (connected(&ann, &server).await, connected(&bob, &server).await);
    let alone = direct(&here, &bob).await;
    here.send(alone, "before").await;
    until_texts(&bob, alone, 1).await;
    kill_alone(processes["gateway-001"]).await;
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
    let own = cluster.dir.join("mpim.toml");
    let before = fs::read(&own).unwrap();
    fs::write(&own, "[gateway]\nsends_per_second = \"many\"\n").unwrap();
    let refused = cluster.run(&["up"]).await;
    assert!(!refused.success && refused.error.contains("mpim.toml:2"), "{}", refused.error);
    let run = |(_, process): &(&String, &Known)| process.is_running();
    assert_eq!(processes.iter().filter(run).count(), processes.len() - 1, "what ran before stays");
    fs::write(&own, before).unwrap();
    assert_eq!(cluster.up().await, server);
    let (is_well, _) = cluster.status().await;
    assert!(is_well, "the gateway is back");
    let mut others = cluster.processes();
    assert_ne!(others.insert("gateway-001".into(), processes["gateway-001"]), Some(processes["gateway-001"]));
    assert_eq!(others, processes, "the others are those that were there");
    replay_with_a_kill(&cluster).await;
    let processes = cluster.processes();
    kill_alone(processes["nginx"]).await;

    let down = cluster.run(&["down"]).await;
    assert!(down.success && down.error.contains("gateway-001 stopped"), "{}", down.error);
    assert!(down.error.contains("nginx had ended by itself: what it had left behind was killed"), "{}", down.error);
    assert!(!down.error.contains("did not stop in time"), "{}", down.error);
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

/// Only one command at a time starts or stops a system; one that is killed meanwhile leaves nothing that the next does not find, to stop
/// it or to go on with it; and a port that somebody else has taken is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_killed_is_stopped_or_finished_by_the_next_command_and_no_two_work_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster { dir: dir.path().join("system") };
    let mut first = cluster.start_until("mariadb", "mariadb-install-db").await;
    for action in ["up", "down"] {
        let other = cluster.run(&[action]).await;
        assert!(!other.success && other.error.contains("another mpim cluster up or down works in"), "{}", other.error);
    }
    first.kill().await.unwrap();
    assert!(!of_directory(&cluster.dir).is_empty(), "what it has started runs");
    let processes = cluster.processes();
    let down = cluster.run(&["down"]).await;
    assert!(down.success, "{}", down.error);
    cluster.nothing_is_left(&processes);

    cluster.start_until("user-001", "user-001").await.kill().await.unwrap();
    let (is_well, status) = cluster.status().await;
    let of = |name: &str| status[name]["process"].as_u64().unwrap();
    assert!(!is_well && status.len() == 4 + 2 * 5 + 1 && of("redis-cache") > 0 && of("user-001") > 0);
    assert_eq!(status["nginx"]["health"], "down");
    cluster.up().await;
    let (is_well, all) = cluster.status().await;
    assert!(
        is_well && all["redis-cache"]["process"] == of("redis-cache") && all["user-001"]["process"] == of("user-001")
    );
    let processes = cluster.processes();
    assert!(cluster.run(&["down"]).await.success);
    cluster.nothing_is_left(&processes);

    let port = port_of(&all["nginx"]);
    let _other = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let moved = cluster.run(&["up"]).await;
    let line = format!("nginx: another program has taken its port {port}; it moves to ");
    assert!(moved.success && moved.error.contains(&line), "{}", moved.error);
    assert!(!moved.output.contains(&format!(":{port}\n")), "{}", moved.output);
}

/// Where a process is reached, as its status tells.
fn port_of(status: &Value) -> u16 {
    let address: std::net::SocketAddr = status["address"].as_str().unwrap().parse().unwrap();
    address.port()
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
