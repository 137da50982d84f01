//! Users' devices, and what each has seen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use client::{
    Client, ConversationId, EntryId, Event, MemoryProfile, Options, Profile, Server, UserId,
    fold::{Affairs, ConversationView},
    wire::{self, content::Kind},
};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks at something that is about to be so.
pub const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An entry as a device saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub position: u64,
    pub id: EntryId,
    pub sender: UserId,
    pub kind: Kind,
}

impl Seen {
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(&text.body),
            _ => None,
        }
    }
}

/// All that a device has seen, from position 1 on.
pub type Logs = BTreeMap<ConversationId, Vec<Seen>>;

/// What a device makes of what it has seen.
#[derive(Debug, Clone, Default)]
pub struct Folded {
    views: BTreeMap<ConversationId, ConversationView>,
    pub affairs: Affairs,
}

impl Folded {
    /// A conversation as the device shows it: without what the user has deleted.
    pub fn view(&self, conversation: ConversationId) -> Option<ConversationView> {
        let mut view = self.views.get(&conversation)?.clone();
        if let Some(deleted) = self.affairs.deleted(conversation) {
            view.delete(deleted.positions.iter().copied(), deleted.up_to);
        }
        Some(view)
    }

    /// How far the conversation goes here.
    pub fn last(&self, conversation: ConversationId) -> u64 {
        self.views.get(&conversation).and_then(ConversationView::last).unwrap_or(0)
    }
}

/// A device's state, kept while it is off.
#[derive(Clone)]
pub struct Device {
    pub profile: Arc<MemoryProfile>,
    folded: Arc<Mutex<Folded>>,
    logs: Arc<Mutex<Logs>>,
    changed: watch::Sender<()>,
}

/// A device that is on.
pub struct Online {
    pub client: Client,
    pub device: Device,
    listening: JoinHandle<()>,
}

impl Device {
    pub fn new(session: wire::Session) -> Self {
        Self {
            profile: Arc::new(MemoryProfile::new(session)),
            folded: Arc::default(),
            logs: Arc::default(),
            changed: watch::channel(()).0,
        }
    }

    /// Registers a user; this is the first device.
    pub async fn register(server: &Server, name: &str) -> Self {
        Self::new(client::register(server, name, "password", "first").await.unwrap())
    }

    /// Another device of a user.
    pub async fn log_in(server: &Server, name: &str) -> Self {
        Self::new(client::log_in(server, name, "password", "another").await.unwrap())
    }

    pub fn user(&self) -> UserId {
        self.profile.tokens().unwrap().unwrap().user
    }

    pub fn logs(&self) -> Logs {
        self.logs.lock().clone()
    }

    pub fn folded(&self) -> Folded {
        self.folded.lock().clone()
    }

    /// Switches the device on.
    pub fn go_online(&self, server: &Server) -> Online {
        self.go_online_with(Options::new(server.clone(), self.profile.clone()))
    }

    pub fn go_online_with(&self, options: Options) -> Online {
        let (client, mut events) = Client::start(options).unwrap();
        let device = self.clone();
        let listening = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if let Event::Entry { conversation, entry, .. } = event {
                    device.see(conversation, &entry);
                }
            }
            events.save().await;
        });
        Online { client, device: self.clone(), listening }
    }

    fn see(&self, conversation: ConversationId, entry: &wire::Entry) {
        let seen = Seen {
            position: entry.position,
            id: entry.id.parse().unwrap(),
            sender: UserId::new(entry.sender),
            kind: entry.content.as_ref().unwrap().view().unwrap().kind.unwrap(),
        };
        let mut logs = self.logs.lock();
        let log = logs.entry(conversation).or_default();
        assert_eq!(seen.position, log.len() as u64 + 1, "every entry once, in order");
        log.push(seen);
        drop(logs);
        self.fold(conversation, entry);
        self.changed.send_replace(());
    }

    fn fold(&self, conversation: ConversationId, entry: &wire::Entry) {
        let user = self.user();
        let mut folded = self.folded.lock();
        if conversation == user.personal_log() {
            folded.affairs.apply(entry);
        } else {
            folded.views.entry(conversation).or_insert_with(|| ConversationView::new(user)).apply(entry);
        }
    }

    /// Waits until what the device makes of what it has seen is as it should be.
    pub async fn until_folded(&self, what: &str, as_it_should: impl Fn(&Folded) -> bool) {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while !as_it_should(&self.folded.lock()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("not in time: {what}; has {:?}", self.folded.lock());
        }
    }

    /// Waits until what the device has seen is as it should be.
    pub async fn until(&self, what: &str, as_it_should: impl Fn(&Logs) -> bool) {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while !as_it_should(&self.logs.lock()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            let positions: Vec<_> = self.logs.lock().iter().map(|(id, log)| (*id, log.len())).collect();
            panic!("not in time: {what}; has {positions:?}");
        }
    }
}

impl Online {
    pub async fn send(&self, conversation: ConversationId, text: &str) -> wire::Sent {
        let target = client::Target::Conversation(conversation);
        self.client.send(target, client::text(text), EntryId::generate()).await.unwrap()
    }

    /// Switches the device off.
    pub async fn go_offline(self) {
        self.client.close().await;
        self.listening.await.unwrap();
    }
}
