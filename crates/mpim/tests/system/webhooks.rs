//! Webhooks of real bots, from a real process to a real receiver.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use client::{
    Client, EntryId, Error, GroupId, MemoryProfile, Options, Server, Target, UserId,
    wire::{self, client_frame::Body as Request, server_frame::Body as Answer},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::{device::PATIENCE, process::Process};

/// Accepts what is posted to it, or refuses it as it is told.
pub struct Receiver {
    pub url: String,
    posted: mpsc::UnboundedReceiver<Value>,
    status: Arc<Mutex<StatusCode>>,
    _task: JoinSet<()>,
}

type Told = (mpsc::UnboundedSender<Value>, Arc<Mutex<StatusCode>>);

impl Receiver {
    pub async fn start() -> Self {
        let (sender, posted) = mpsc::unbounded_channel();
        let status = Arc::new(Mutex::new(StatusCode::NO_CONTENT));
        let receive = async |State((sender, status)): State<Told>, Json(body): Json<Value>| {
            let _ = sender.send(body);
            *status.lock()
        };
        let router = Router::new().route("/", post(receive)).with_state((sender, Arc::clone(&status)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, posted, status, _task: task }
    }

    fn answers(&self, status: StatusCode) {
        *self.status.lock() = status;
    }

    /// The text that is posted next.
    pub async fn text(&mut self) -> String {
        loop {
            let posted = tokio::time::timeout(PATIENCE, self.posted.recv()).await.expect("posted in time").unwrap();
            if let Some(text) = posted["entry"]["content"]["text"]["body"].as_str() {
                return text.to_owned();
            }
        }
    }
}

/// A user and a bot of that user's.
pub struct Owner {
    pub client: Client,
    pub bot: UserId,
}

impl Owner {
    pub async fn start(server: &Server) -> Self {
        let session = client::register(server, "alice", "password", "test").await.unwrap();
        let options =
            Options { catch_up: false, ..Options::new(server.clone(), Arc::new(MemoryProfile::new(session))) };
        let (client, _) = Client::start(options).unwrap();
        let request =
            wire::CreateBot { id: EntryId::generate().to_string(), name: "robot".into(), display_name: String::new() };
        let Answer::Bot(bot) = client.request(Request::CreateBot(request)).await.unwrap() else { panic!("no bot") };
        Self { client, bot: UserId::new(bot.user.unwrap().id) }
    }

    pub async fn webhook(&self, url: &str) -> wire::Webhook {
        let request = wire::CreateWebhook { id: EntryId::generate().to_string(), bot: self.bot.get(), url: url.into() };
        match self.client.request(Request::CreateWebhook(request)).await.unwrap() {
            Answer::Webhook(webhook) => webhook,
            other => panic!("{other:?}"),
        }
    }

    /// Says something to the bot.
    pub async fn say(&self, text: &str) {
        let target = Target::Name("robot".into());
        self.client.send(target, client::text(text), EntryId::generate()).await.unwrap();
    }

    async fn letters(&self, webhook: u64) -> Vec<wire::DeadLetter> {
        let request = wire::ListDeadLetters { webhook, after: 0, limit: 0 };
        match self.client.request(Request::ListDeadLetters(request)).await.unwrap() {
            Answer::DeadLetters(letters) => letters.letters,
            other => panic!("{other:?}"),
        }
    }

    /// Looks until the webhook has so many dead letters.
    async fn until_letters(&self, webhook: u64, count: usize) -> Vec<wire::DeadLetter> {
        let looked = async {
            loop {
                let letters = self.letters(webhook).await;
                if letters.len() == count {
                    return letters;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, looked).await.expect("dead letters in time")
    }
}

#[tokio::test]
async fn a_webhook_hears_what_is_said_to_its_bot_from_its_making_on() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let mut receiver = Receiver::start().await;
    let owner = Owner::start(&process.server()).await;
    owner.say("before").await;
    let webhook = owner.webhook(&receiver.url).await;
    assert!(webhook.secret.starts_with("whsec_"), "{}", webhook.secret);
    owner.say("direct").await;
    assert_eq!(receiver.text().await, "direct");

    let group = owner
        .client
        .create_group("friends", &[owner.bot], wire::JoinPolicy::default(), EntryId::generate())
        .await
        .unwrap();
    let target = Target::Conversation(GroupId::new(group.id).conversation());
    owner.client.send(target, client::text("to a group"), EntryId::generate()).await.unwrap();
    assert_eq!(receiver.text().await, "to a group");
    owner.client.close().await;
}

#[tokio::test]
async fn webhooks_lose_nothing_and_keep_the_order_when_the_server_is_killed() {
    const MESSAGES: usize = 60;
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    let mut receiver = Receiver::start().await;
    let owner = Owner::start(&process.server()).await;
    owner.webhook(&receiver.url).await;
    let mut heard = Vec::new();
    for number in 0..MESSAGES {
        owner.say(&number.to_string()).await;
        if number % 20 == 10 {
            // Some were posted, some perhaps not.
            heard.push(receiver.text().await);
            process.kill_and_restart().await;
        }
    }
    while heard.last().is_none_or(|text| *text != (MESSAGES - 1).to_string()) {
        heard.push(receiver.text().await);
    }
    // After a kill at most the delivery under way comes again.
    heard.dedup();
    let expected: Vec<String> = (0..MESSAGES).map(|number| number.to_string()).collect();
    assert_eq!(heard, expected);
    owner.client.close().await;
}

#[tokio::test]
async fn dead_letters_are_listed_and_redelivered_and_a_deleted_webhook_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path()).await;
    let mut receiver = Receiver::start().await;
    let owner = Owner::start(&process.server()).await;
    let webhook = owner.webhook(&receiver.url).await;
    receiver.answers(StatusCode::SERVICE_UNAVAILABLE);
    owner.say("a").await;
    let letters = owner.until_letters(webhook.id, 1).await;
    assert!(letters[0].error.contains("503") && letters[0].attempts > 1, "{:?}", letters[0]);
    for _ in 0..letters[0].attempts {
        assert_eq!(receiver.text().await, "a");
    }

    receiver.answers(StatusCode::NO_CONTENT);
    let request = wire::Redeliver { webhook: webhook.id, letters: vec![letters[0].id] };
    owner.client.request(Request::Redeliver(request)).await.unwrap();
    assert_eq!(receiver.text().await, "a");
    owner.until_letters(webhook.id, 0).await;

    let request = wire::DeleteWebhook { webhook: webhook.id };
    owner.client.request(Request::DeleteWebhook(request)).await.unwrap();
    let again = owner.client.request(Request::DeleteWebhook(request)).await;
    assert!(matches!(again, Err(Error::Refused(_))), "{again:?}");
    let mut second = Receiver::start().await;
    owner.webhook(&second.url).await;
    owner.say("b").await;
    assert_eq!(second.text().await, "b");
    assert!(receiver.posted.try_recv().is_err());
    owner.client.close().await;
}
