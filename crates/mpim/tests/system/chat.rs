//! The full-screen client on a real terminal, which tmux keeps: what is typed, and what can then be read on the screen.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use crate::{
    device::PATIENCE,
    process::{MPIM, Process},
    terminals::Terminal,
};

/// A terminal of its own tmux server, in which the client runs.
struct Screen {
    socket: PathBuf,
}

impl Screen {
    /// `options` are those of the command, as a shell reads them.
    fn start(process: &Process, user: &Terminal, options: &str) -> Self {
        let screen = Self { socket: user.profile.join("tmux") };
        let (profile, url) = (user.profile.to_str().unwrap(), process.url());
        let client = format!("exec {MPIM} client --server {url} --profile {profile} chat {options}");
        // What is left on the terminal can be looked at after the client's end.
        let shell = format!("sh -c 'echo $$ > {profile}/pid; {client}'; echo ended $?; exec cat");
        screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &shell]);
        screen.tmux(&["set-option", "-g", "window-size", "manual"]);
        screen
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.args(["-u", "-S"]).arg(&self.socket).args(words).env("LC_ALL", "C.UTF-8").env_remove("TMUX");
        let Output { status, stdout, stderr } = command.output().expect("tmux is installed");
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        for key in keys {
            self.tmux(&["send-keys", key]);
        }
    }

    fn write(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen shows something.
    async fn shows(&self, wanted: &str) {
        self.until(wanted, |screen| screen.contains(wanted)).await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(&self.text()) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        assert!(waited.await.is_ok(), "the screen does not show {what:?}:\n{}", self.text());
    }

    /// Waits for the client's end, which is to be a good one and to give the terminal back.
    async fn ends(&self) {
        self.shows("ended 0").await;
        let state = self.tmux(&["display-message", "-p", "alternate #{alternate_on} mouse #{mouse_any_flag}"]);
        assert_eq!(state.trim(), "alternate 0 mouse 0");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

async fn said(user: &Terminal, with: &str) -> Vec<String> {
    let history = user.run(&["history", with], "").await.unwrap();
    let texts = history.iter().filter(|entry| entry["event"].is_null());
    texts.map(|entry| entry["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_chats_on_the_whole_screen_while_the_server_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    let bob = Terminal::register(&process, dir.path(), "小明").await;
    bob.json(&["send", "alice", "你好，吃饭了吗"]).await;
    let screen = Screen::start(&process, &alice, "--language en");
    screen.shows("connected · alice").await;
    screen.shows("你好，吃饭了吗").await;

    screen.keys(&["Enter"]);
    screen.shows("│>").await;
    screen.write("今天天气很好");
    screen.keys(&["M-Enter"]);
    screen.write("let us go");
    screen.keys(&["Enter"]);
    screen.shows("let us go ✓").await;
    assert_eq!(said(&bob, "alice").await, ["你好，吃饭了吗", "今天天气很好\nlet us go"]);

    // A mark on what the other said, and another text for one's own.
    screen.keys(&["Escape"]);
    screen.until("nothing to be written", |screen| screen.contains("> Message")).await;
    screen.keys(&["Up", "+"]);
    screen.shows("React").await;
    screen.keys(&["1"]);
    screen.shows("👍 1*").await;
    screen.keys(&["Down", "e"]);
    screen.shows("editing").await;
    screen.write("!");
    screen.keys(&["Enter"]);
    screen.shows("(edited)").await;
    let history = bob.run(&["history", "alice"], "").await.unwrap();
    assert!(history.iter().any(|entry| entry["event"] == "reaction" && entry["reaction"] == "👍"));
    assert!(history.iter().any(|entry| entry["event"] == "edit" && entry["text"] == "今天天气很好\nlet us go!"));

    for (columns, rows) in [("40", "10"), ("20", "5"), ("80", "24")] {
        screen.tmux(&["resize-window", "-x", columns, "-y", rows]);
        screen.shows("let us go!").await;
    }
    // There is room for both panes again.
    screen.shows("│>").await;

    process.kill();
    screen.shows("reconnecting in").await;
    screen.write("while nobody listens");
    screen.keys(&["Enter"]);
    screen.shows("while nobody listens …").await;
    process.restart().await;
    screen.shows("while nobody listens ✓").await;
    screen.shows("connected · alice").await;
    let texts = said(&bob, "alice").await;
    assert_eq!(texts.iter().filter(|text| *text == "while nobody listens").count(), 1);
    bob.json(&["send", "alice", "在呢", "--reply-to", "2"]).await;
    screen.shows("┃ you: 今天天气很好").await;
    screen.shows("在呢").await;

    screen.keys(&["C-c"]);
    screen.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_told_to_stop_gives_the_terminal_back() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    let screen = Screen::start(&process, &alice, "--language zh");
    screen.shows("已连接 · alice").await;
    let pid = std::fs::read_to_string(alice.profile.join("pid")).unwrap();
    assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap().success());
    screen.ends().await;
}

/// Time goes on so slowly here that a key drawn only with it would come too late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_drawn_at_once_and_not_when_time_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data")).await;
    let alice = Terminal::register(&process, dir.path(), "alice").await;
    alice.json(&["send", "alice", "a note to myself"]).await;
    let screen = Screen::start(&process, &alice, "--language en --tick-ms 3600000");
    screen.shows("a note to myself").await;
    screen.keys(&["Enter"]);
    screen.shows("│>").await;
    for length in 1..=10 {
        screen.write("x");
        screen.shows(&format!("│> {}", "x".repeat(length))).await;
    }
}
