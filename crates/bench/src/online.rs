//! Clients that are connected, and what takes their events.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use client::{Client, Event, Events, MemoryProfile, Options};
use futures_util::{StreamExt as _, stream};
use tokio::{sync::Semaphore, task::JoinSet, time};

use crate::{
    accounts::{Account, Route},
    load::Texts,
    measure::Recorder,
    progress::Progress,
};

/// Connections being made at a time: fewer than a listener's backlog holds.
const CONNECTING_MAX: usize = 64;
/// Connections being closed at a time.
const CLOSING_MAX: usize = 256;

/// A client that has caught up, and its events.
pub(crate) struct Online {
    /// To send and ask.
    pub(crate) client: Client,
    /// To be taken, or the client stops reading.
    pub(crate) events: Events,
}

impl Route {
    /// The options of a client under load.
    pub(crate) fn options(&self, profile: Arc<MemoryProfile>) -> Options {
        let mut options = Options::new(self.server.clone(), profile);
        options.connect_timeout = self.patience;
        options.request_timeout = self.patience;
        // What it sends must not queue up in the client, where the server's behaviour would not show.
        options.send_window = protocol::limits::SENDS_IN_FLIGHT_MAX;
        options
    }

    /// Connects a device and waits until it has caught up.
    ///
    /// # Errors
    ///
    /// The server refuses it, or cannot be reached for longer than the patience.
    pub(crate) async fn connect(&self, profile: Arc<MemoryProfile>) -> Result<Online> {
        let (client, mut events) = Client::start(self.options(profile))?;
        let caught_up = async {
            let mut last = None;
            while let Some(event) = events.next().await {
                match event {
                    Event::CaughtUp => return Ok(()),
                    Event::SessionEnded { error } => return Err(error.into()),
                    Event::Disconnected { error, .. } => last = Some(error),
                    _ => {}
                }
            }
            match last {
                Some(error) => Err(error.into()),
                None => bail!("the client stopped"),
            }
        };
        time::timeout(self.patience, caught_up).await.context("no connection in time")?.context("cannot connect")?;
        Ok(Online { client, events })
    }

    /// Connects the first devices of many accounts, some at a time; in the order of the accounts.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), for the first one that fails.
    pub(crate) async fn connect_all(&self, accounts: &[Account], progress: &Progress) -> Result<Vec<Online>> {
        let bar = progress.bar("connections", accounts.len() as u64);
        let mut online = Vec::with_capacity(accounts.len());
        let mut connecting =
            stream::iter(accounts).map(|account| self.connect(account.profile.clone())).buffered(CONNECTING_MAX);
        while let Some(connected) = connecting.next().await {
            online.push(connected?);
            bar.step();
        }
        Ok(online)
    }
}

/// Takes the events of clients until they are closed, and records what others sent.
pub(crate) struct Receivers {
    recorder: Arc<Recorder>,
    tasks: JoinSet<()>,
    clients: Vec<Client>,
}

impl Receivers {
    /// None yet.
    pub(crate) fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder, tasks: JoinSet::new(), clients: Vec::new() }
    }

    /// Takes the events of one more; what it receives gives a permit to `window`, if there is one.
    pub(crate) fn add(&mut self, online: Online, window: Option<Arc<Semaphore>>) -> Client {
        let Online { client, events } = online;
        let number = self.clients.len();
        let me = client.user().get();
        self.tasks.spawn(receive(number, me, events, self.recorder.clone(), window));
        self.clients.push(client.clone());
        client
    }

    /// Closes the clients and waits until all their events are taken.
    pub(crate) async fn close(mut self) {
        close_all(self.clients).await;
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn receive(number: usize, me: u64, mut events: Events, recorder: Arc<Recorder>, window: Option<Arc<Semaphore>>) {
    while let Some(event) = events.next().await {
        let entry = match event {
            Event::Entry { entry, .. } if entry.sender != me => entry,
            Event::Disconnected { .. } | Event::SessionEnded { .. } => {
                recorder.disconnected();
                continue;
            }
            _ => continue,
        };
        let text = entry.content.as_ref().and_then(protocol::RawContent::text);
        if let Some(stamp) = text.as_deref().and_then(Texts::stamp) {
            recorder.delivered(number, stamp);
            if let Some(window) = &window {
                window.add_permits(1);
            }
        }
    }
}

/// Closes clients, some at a time.
pub(crate) async fn close_all(clients: impl IntoIterator<Item = Client>) {
    stream::iter(clients)
        .for_each_concurrent(CLOSING_MAX, |client| async move {
            // One that hangs must not keep the others.
            let _ = time::timeout(Duration::from_secs(15), client.close()).await;
        })
        .await;
}
