//! The product as people use it: three terminals and a script over WebSocket JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use client::EntryId;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::{
    device::PATIENCE,
    process::{MPIM, Process},
};

/// A person's terminal: a profile, and the commands run with it.
pub struct Terminal {
    name: &'static str,
    pub profile: PathBuf,
    url: String,
}

impl Terminal {
    /// One on which nobody is logged in.
    pub fn new(process: &Process, dir: &std::path::Path, name: &'static str) -> Self {
        Self { name, profile: dir.join(name), url: process.url() }
    }

    pub async fn register(process: &Process, dir: &std::path::Path, name: &'static str) -> Self {
        let terminal = Self::new(process, dir, name);
        let registered = terminal.run(&["register", name, "--password-stdin"], "correct horse\n").await;
        registered.expect("registers");
        terminal
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(MPIM);
        command.args(["client", "--json", "--server", &self.url, "--profile"]).arg(&self.profile).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs a command: the JSON lines it prints, or the one line that says what is wrong.
    pub async fn run(&self, words: &[&str], input: &str) -> Result<Vec<Value>, String> {
        let mut child = self.command(words).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("ends in time").unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        if !output.status.success() {
            assert_eq!(stderr.lines().count(), 1, "one clear line: {stderr:?}");
            return Err(stderr);
        }
        Ok(String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    pub async fn json(&self, words: &[&str]) -> Value {
        let mut lines = self.run(words, "").await.unwrap_or_else(|error| panic!("{} {words:?}: {error}", self.name));
        assert_eq!(lines.len(), 1, "{words:?}");
        lines.remove(0)
    }

    fn listen(&self) -> Listener {
        let mut child = self.command(&["listen"]).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Listener { child, lines }
    }
}

struct Listener {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listener {
    /// The next entry with a text.
    async fn next(&mut self) -> Value {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await.expect("in time").unwrap().expect("goes on");
            let entry: Value = serde_json::from_str(&line).unwrap();
            if entry["text"].is_string() {
                return entry;
            }
        }
    }

    /// The next texts, by conversation.
    async fn texts(&mut self, count: usize) -> BTreeMap<String, Vec<String>> {
        let mut texts = BTreeMap::<_, Vec<_>>::new();
        for _ in 0..count {
            let entry = self.next().await;
            let conversation = entry["conversation"].as_str().unwrap().to_owned();
            texts.entry(conversation).or_default().push(entry["text"].as_str().unwrap().to_owned());
        }
        texts
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A script that speaks JSON over a WebSocket, written from the protocol's page alone.
struct Script {
    socket: tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
    last_request: u32,
}

impl Script {
    async fn connect(url: &str) -> Self {
        let mut request = url.replace("http", "ws").into_client_request().unwrap();
        *request.uri_mut() = format!("{}/ws", url.replace("http", "ws")).parse().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "mpim.v1.json".parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        Self { socket, last_request: 0 }
    }

    async fn frame(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("in time").unwrap().unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// One request and its answer; pushes on the way are passed over.
    async fn ask(&mut self, kind: &str, body: Value) -> Value {
        self.last_request += 1;
        let frame = json!({"request": self.last_request, kind: body}).to_string();
        self.socket.send(Message::text(frame)).await.unwrap();
        loop {
            let frame = self.frame().await;
            if frame["request"] == json!(self.last_request) {
                return frame;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_people_and_a_script_chat_and_a_kill_in_between_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    let bob = Terminal::register(&process, dir.path(), "小明").await;
    let carol = Terminal::register(&process, dir.path(), "carol").await;
    assert_eq!(bob.json(&["whoami"]).await["name"], "小明");

    let mut bob_hears = bob.listen();
    let sent = alice.json(&["send", "小明", "你好 👋"]).await;
    assert_eq!(sent["position"], 1);
    let entry = bob_hears.next().await;
    for member in ["conversation", "position", "id"] {
        assert_eq!(entry[member], sent[member], "{member}");
    }
    assert_eq!((&entry["from"], &entry["text"]), (&json!("alice"), &json!("你好 👋")));
    assert!(entry["time"].is_string());

    let group = alice.json(&["group", "create", "周末", "--member", "小明"]).await;
    let group = group["id"].as_str().unwrap();
    carol.json(&["group", "join", group]).await;
    let mut carol_hears = carol.listen();
    let id = EntryId::generate().to_string();
    let first = alice.json(&["send", "--group", group, "first", "--id", &id]).await;
    assert_eq!(bob_hears.next().await["text"], "first");
    assert_eq!(carol_hears.next().await["text"], "first");

    // The script.
    let mut script = Script::connect(&process.url()).await;
    let session = script.ask("register", json!({"name": "script", "password": "correct horse"})).await;
    let token = session["session"]["accessToken"].as_str().unwrap().to_owned();
    let connected = script.ask("connect", json!({"accessToken": token, "sync": {}})).await;
    assert_eq!(connected["connected"]["user"]["name"], "script");
    script.ask("joinGroup", json!({"group": group, "id": EntryId::generate().to_string()})).await;
    let send =
        json!({"conversation": group, "id": EntryId::generate().to_string(), "content": {"text": {"body": "beep"}}});
    let answer = script.ask("send", send).await;
    assert!(answer["sent"]["position"].is_string(), "{answer}");
    assert_eq!(bob_hears.next().await["text"], "beep");

    // Bob's terminal dies, then the server, while others talk.
    bob_hears.kill().await;
    carol.json(&["send", "--group", group, "while bob is away"]).await;
    process.kill_and_restart().await;
    let again = alice.json(&["send", "--group", group, "first", "--id", &id]).await;
    assert_eq!(again["position"], first["position"], "a retry after the restart stores nothing");
    carol.json(&["send", "小明", "only for you"]).await;
    let mut bob_hears = bob.listen();
    let mut missed = BTreeSet::from(["while bob is away", "only for you"].map(str::to_owned));
    while !missed.is_empty() {
        let text = bob_hears.next().await["text"].as_str().unwrap().to_owned();
        // What was printed in the moment of the crash may come again.
        assert!(missed.remove(&text) || text == "beep", "{text}");
    }
    assert_eq!(carol_hears.texts(3).await[group], ["beep", "while bob is away"]);

    let history = bob.run(&["history", "--group", group, "--limit", "100"], "").await.unwrap();
    let said: Vec<_> = history.iter().filter_map(|entry| entry["text"].as_str()).collect();
    assert_eq!(said, ["first", "beep", "while bob is away"]);
    let positions: Vec<_> = history.iter().map(|entry| entry["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, (1..=positions.len() as u64).collect::<Vec<_>>());
    let after = bob.run(&["history", "alice", "--after", "1"], "").await.unwrap();
    assert!(after.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told_in_one_line_and_exits_non_zero() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    let refused = async |words: &[&str], input: &str, wanted: &str| {
        let error = alice.run(words, input).await.expect_err("refused");
        assert!(error.contains(wanted), "{words:?}: {error}");
    };
    refused(&["send", "nobody", "hi"], "", "nobody").await;
    refused(&["send", "--group", "4711", "hi"], "", "not a member").await;
    refused(&["send", "alice", &"x".repeat(65_537)], "", "65536").await;
    refused(&["send", "alice", "hi", "--id", "seven"], "", "UUID").await;
    refused(&["send"], "", "NAME").await;
    refused(&["group", "join", "4711"], "", "4711").await;
    refused(&["login", "alice", "--password-stdin"], "wrong password\n", "wrong").await;
    let nobody = Terminal::new(&process, dir.path(), "nobody");
    let refused = async |words: &[&str], input: &str, wanted: &str| {
        let error = nobody.run(words, input).await.expect_err("refused");
        assert!(error.contains(wanted), "{words:?}: {error}");
    };
    refused(&["register", "alice", "--password-stdin"], "correct horse\n", "taken").await;
    refused(&["register", "a b", "--password-stdin"], "correct horse\n", "' '").await;
    refused(&["register", "dave", "--password-stdin"], "short\n", "8 bytes").await;
    drop(process);
    // It is found before a password is asked for, which on no terminal would be what goes wrong.
    refused(&["register", "dave"], "", "Another server is named with --server").await;
    let unreachable = alice.run(&["send", "alice", "hi", "--timeout", "1"], "").await.expect_err("no server");
    assert!(unreachable.contains("reach"), "{unreachable}");
}

/// Nobody could end a session whose profile was given to another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_in_use_is_not_given_to_another_user() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    Terminal::register(&process, dir.path(), "bob").await;
    for words in [["register", "carol", "--password-stdin"], ["login", "bob", "--password-stdin"]] {
        let refused = alice.run(&words, "correct horse\n").await.expect_err("alice is logged in");
        assert!(refused.contains("logged in as alice") && refused.contains("--profile"), "{refused}");
    }
    assert_eq!(alice.json(&["whoami"]).await["name"], "alice");
    // The same user gets a new session in place of the old one.
    let old = alice.json(&["whoami"]).await["session"].clone();
    alice.run(&["login", "Alice", "--password-stdin"], "correct horse\n").await.unwrap();
    let sessions = alice.run(&["sessions", "list"], "").await.unwrap();
    assert!(sessions.len() == 1 && sessions[0]["current"] == true && sessions[0]["id"] != old, "{sessions:?}");
    alice.json(&["logout"]).await;
    alice.run(&["login", "bob", "--password-stdin"], "correct horse\n").await.unwrap();
    assert_eq!(alice.json(&["whoami"]).await["name"], "bob");
    // Where the session has ended by itself there is none to lose.
    let elsewhere = Terminal::new(&process, dir.path(), "elsewhere");
    elsewhere.run(&["login", "bob", "--password-stdin"], "correct horse\n").await.unwrap();
    let ended = alice.json(&["whoami"]).await["session"].as_str().unwrap().to_owned();
    elsewhere.json(&["sessions", "revoke", &ended]).await;
    alice.run(&["register", "carol", "--password-stdin"], "correct horse\n").await.unwrap();
}

/// A person who sees messages has read them, on all devices; a script that takes them has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_was_shown_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    let bob = Terminal::register(&process, dir.path(), "bob").await;
    let group = alice.json(&["group", "create", "tea", "--member", "bob"]).await;
    let group = group["id"].as_str().unwrap();
    alice.json(&["send", "--group", group, "one"]).await;
    alice.json(&["send", "--group", group, "two"]).await;
    let unread = async || bob.json(&["group", "list"]).await["unread"].as_u64().unwrap();
    assert_eq!(bob.listen().texts(2).await[group], ["one", "two"]);
    assert_eq!(unread().await, 2);
    let url = process.url();
    let mut person = Command::new(MPIM);
    person.args(["client", "--server", &url, "--profile"]).arg(dir.path().join("bob")).arg("listen");
    let _person = person.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    alice.json(&["send", "--group", group, "three"]).await;
    let read = async { while unread().await > 0 {} };
    timeout(PATIENCE, read).await.expect("read in time");
}

/// SIGTERM: clients are told, what was accepted is finished, and everybody resumes after the restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_told_to_stop_says_goodbye_and_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    let mut hears = alice.listen();
    alice.json(&["send", "alice", "a note to myself"]).await;
    assert_eq!(hears.next().await["text"], "a note to myself");
    let mut script = Script::connect(&process.url()).await;
    let session = script.ask("logIn", json!({"name": "alice", "password": "correct horse"})).await;
    let token = session["session"]["accessToken"].as_str().unwrap();
    script.ask("connect", json!({"accessToken": token})).await;
    let (ended, last) = tokio::join!(process.terminate(), async {
        loop {
            let frame = script.frame().await;
            if frame["goodbye"].is_object() {
                return frame;
            }
        }
    });
    assert!(ended, "exits with 0");
    assert_eq!(last["goodbye"]["reason"], "GOODBYE_DRAINING");
    process.restart().await;
    alice.json(&["send", "alice", "another"]).await;
    assert_eq!(hears.next().await["text"], "another");
}

/// Whatever is typed into a second server on the same data, or a wrong configuration, is refused before anything starts.
#[tokio::test]
async fn a_second_server_on_the_same_data_and_a_wrong_configuration_do_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let _process = Process::start(&data).await;
    let up = async |words: &[&str]| {
        let mut command = Command::new(MPIM);
        command.args(["up", "--listen", "127.0.0.1:0"]).args(words).kill_on_drop(true);
        let output = timeout(Duration::from_secs(30), command.output()).await.expect("ends").unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let second = up(&["--data", data.to_str().unwrap()]).await;
    assert!(second.contains(data.to_str().unwrap()), "{second}");
    let config = dir.path().join("mpim.toml");
    std::fs::write(&config, "[gateway]\nconections_max = 5\n[user]\nhashing_threads = 0\n").unwrap();
    let wrong = up(&["--config", config.to_str().unwrap()]).await;
    assert!(wrong.contains("mpim.toml:2") && wrong.contains("connections_max"), "{wrong}");
    assert!(wrong.contains("mpim.toml:4"), "{wrong}");
}
