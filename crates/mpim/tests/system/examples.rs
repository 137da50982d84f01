//! The programs in `examples/`, run as their readers would run them. They need `python3` and `node`.

use std::{
    path::PathBuf,
    process::{Output, Stdio},
};

use client::{
    ConversationId, EntryId,
    wire::{self, client_frame::Body as Request, server_frame::Body as Answer},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{
    device::PATIENCE,
    process::{MPIM, Process},
    receiver::Owner,
};

/// The interpreters, and how their programs are called.
const LANGUAGES: [(&str, &str); 2] = [("python3", "python/{}.py"), ("node", "javascript/{}.mjs")];

fn command(language: (&str, &str), name: &str) -> Command {
    let (interpreter, path) = language;
    let examples = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"));
    let mut command = Command::new(interpreter);
    command.arg(examples.join(path.replace("{}", name)));
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A program that goes on, and what it prints.
struct Running {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the interpreter is installed");
        Self { lines: BufReader::new(child.stdout.take().unwrap()).lines(), _child: child }
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("printed in time");
        line.unwrap().expect("the program has not ended")
    }
}

async fn output(mut command: Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output()).await.expect("ended in time").unwrap()
}

/// The texts of a conversation, once there are so many.
async fn texts(owner: &Owner, conversation: ConversationId, count: usize) -> Vec<String> {
    let looked = async {
        loop {
            let page = owner.client.history_after(conversation, 0, 0).await.unwrap();
            let texts = page.entries.iter().filter_map(|entry| entry.content.as_ref()?.text()).collect::<Vec<_>>();
            if texts.len() >= count {
                return texts;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looked).await.expect("said in time")
}

async fn echo(language: (&str, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let owner = Owner::start(&process.server()).await;
    let request = wire::CreateApiKey {
        id: EntryId::generate().to_string(),
        bot: owner.bot.get(),
        label: "echo".into(),
        scopes: vec![wire::Scope::Read.into(), wire::Scope::Write.into()],
        expires_ms: 0,
    };
    let Answer::ApiKey(key) = owner.client.request(Request::CreateApiKey(request)).await.unwrap() else {
        panic!("no key")
    };
    owner.say("before it runs").await;
    let direct = ConversationId::new(owner.client.open_direct("robot").await.unwrap().id);
    let run = || {
        let mut command = command(language, "echo_bot");
        command.arg(process.url()).env("MPIM_API_KEY", &key.secret);
        Running::start(command)
    };
    let mut bot = run();
    assert_eq!(bot.line().await, "ready");
    owner.say("天气").await;
    assert_eq!(texts(&owner, direct, 3).await, ["before it runs", "天气", "天气"]);
    owner.client.close().await;
}

async fn receive(language: (&str, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let owner = Owner::start(&process.server()).await;
    // The receiver needs the secret, the webhook the receiver's address: a port is taken beforehand.
    let port = crate::process::free_port();
    let webhook = owner.webhook(&format!("http://127.0.0.1:{port}/")).await;
    let mut command = command(language, "webhook_receiver");
    command.arg(port.to_string()).env("MPIM_WEBHOOK_SECRET", &webhook.secret);
    let mut receiver = Running::start(command);
    assert_eq!(receiver.line().await, format!("listening http://127.0.0.1:{port}/"));
    for text in ["one", "天气"] {
        owner.say(text).await;
        assert_eq!(receiver.line().await, format!("alice: {text}"));
    }
    owner.client.close().await;
}

async fn notify(language: (&str, &str)) {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let owner = Owner::start(&process.server()).await;
    let direct = ConversationId::new(owner.client.open_direct("robot").await.unwrap().id);
    let request = wire::CreateIncomingWebhook {
        id: EntryId::generate().to_string(),
        bot: owner.bot.get(),
        conversation: direct.get(),
        label: "builds".into(),
    };
    let answer = owner.client.request(Request::CreateIncomingWebhook(request)).await.unwrap();
    let Answer::IncomingWebhook(hook) = answer else { panic!("{answer:?}") };
    let run = async |token: &str| {
        let mut command = command(language, "notify");
        command.arg(format!("{}/api/v1/hooks/{token}", process.url())).arg("the build is green");
        output(command).await
    };
    let posted = run(&hook.token).await;
    assert_eq!(String::from_utf8(posted.stdout).unwrap(), "stored at position 1\n");
    assert_eq!(texts(&owner, direct, 1).await, ["the build is green"]);
    let refused = run("wrong").await;
    assert!(!refused.status.success() && String::from_utf8(refused.stderr).unwrap().contains("refused"));
    owner.client.close().await;
}

/// In place of what went wrong within.
#[tokio::test]
async fn an_example_without_what_it_needs_says_how_it_is_called() {
    for language in LANGUAGES {
        for name in ["echo_bot", "webhook_receiver", "notify"] {
            let mut command = command(language, name);
            command.env_remove("MPIM_API_KEY").env_remove("MPIM_WEBHOOK_SECRET");
            let output = output(command).await;
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && error.starts_with("usage: "), "{language:?} {name}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

/// The blocks of the page, pasted as it says; those that go on are started beside the others.
#[tokio::test]
async fn the_page_of_the_examples_works_as_it_is_pasted() {
    let page = include_str!("../../../../examples/README.md");
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [server, owner, echo, write, receive, notify] = blocks[..] else { panic!("other blocks: {blocks:?}") };
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"), dir.path().join("examples"))
        .unwrap();
    let (port, receiver_port) = (crate::process::free_port(), crate::process::free_port());
    let shell = |block: &str| {
        let block = block.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"));
        let block = block.replace("mpim up", &format!("exec mpim up --listen 127.0.0.1:{port}"));
        let block = block.replace("python3 examples", "exec python3 examples");
        let block = block.replace("8090", &receiver_port.to_string());
        let binaries = PathBuf::from(MPIM).parent().unwrap().display().to_string();
        let block = format!("export PATH={binaries}:$PATH\n{block}");
        let mut command = Command::new("bash");
        command.args(["-euc", &block]).current_dir(dir.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    // `exec` is for the last command of a block that ends as well.
    let ends = async |block: &str| {
        let output = output(shell(&block.replace("exec ", ""))).await;
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let _server = Running::start(shell(server));
    ends(owner).await;
    let mut echo = Running::start(shell(echo));
    assert_eq!(echo.line().await, "ready");
    let mut receiver = Running::start(shell(receive));
    assert!(receiver.line().await.starts_with("listening"));
    ends(write).await;
    assert_eq!(receiver.line().await, "owner: are you there?");
    // What the bot says is posted too.
    let (said, posted) = notify.split_at(notify.find("mpim client history").unwrap());
    let stored = output(shell(said)).await;
    assert!(String::from_utf8_lossy(&stored.stdout).contains("stored at position"), "{stored:?}");
    let history = ends(&format!("export MPIM_PROFILE=./mpim-examples/owner\n{posted}")).await;
    assert!(history.contains("echo: the build is green"), "{history}");
}

#[tokio::test]
async fn the_python_examples_do_what_they_say() {
    echo(LANGUAGES[0]).await;
    receive(LANGUAGES[0]).await;
    notify(LANGUAGES[0]).await;
}

#[tokio::test]
async fn the_javascript_examples_do_what_they_say() {
    echo(LANGUAGES[1]).await;
    receive(LANGUAGES[1]).await;
    notify(LANGUAGES[1]).await;
}
