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

use crate::{device::PATIENCE, process::Process, webhooks::Owner};

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
