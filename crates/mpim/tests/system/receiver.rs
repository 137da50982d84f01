//! Receivers of webhooks, and whose bots these are.

use std::sync::Arc;

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use client::{
    Client, EntryId, MemoryProfile, Options, Server, Target, UserId,
    wire::{self, client_frame::Body as Request, server_frame::Body as Answer},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use crate::device::PATIENCE;

/// Accepts what is posted to it, or refuses it as it is told.
pub struct Receiver {
    pub url: String,
    pub posted: mpsc::UnboundedReceiver<Value>,
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

    pub fn answers(&self, status: StatusCode) {
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

    pub async fn letters(&self, webhook: u64) -> Vec<wire::DeadLetter> {
        let request = wire::ListDeadLetters { webhook, after: 0, limit: 0 };
        match self.client.request(Request::ListDeadLetters(request)).await.unwrap() {
            Answer::DeadLetters(letters) => letters.letters,
            other => panic!("{other:?}"),
        }
    }

    /// Looks until the webhook has so many dead letters.
    pub async fn until_letters(&self, webhook: u64, count: usize) -> Vec<wire::DeadLetter> {
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
