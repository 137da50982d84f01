//! A device: one session's client, which may go away and come back, and all that it ever received.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, bail};
use client::{Backoff, Client, Event, Events, MemoryProfile};
use fastrand::Rng;
use parking_lot::Mutex;
use protocol::{ConversationId, EntryId};
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{accounts::Route, ledger::Said, measure::Recorder};

/// How long a restless device stays on, in milliseconds.
const ON_MS: std::ops::Range<u64> = 150..900;
/// How long it stays away.
const OFF_MS: std::ops::Range<u64> = 50..700;
/// Waits of a device that has lost the server: short, as it is to be back soon.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(1) };
/// A client that does not end within this time is left behind.
const CLOSE_WITHIN: Duration = Duration::from_secs(15);
/// Oddities noted at each device; more are only counted with the differences.
const ODDITIES_MAX: usize = 20;

/// Which part of the run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Restless devices come and go.
    Playing,
    /// All devices stay on, to receive what is left.
    Settling,
    /// All devices end.
    Over,
}

/// One of an account's devices.
pub(super) struct Device {
    /// For differences: `first device of b…-3-0`.
    pub(super) name: String,
    is_always_on: bool,
    profile: Arc<MemoryProfile>,
    client: watch::Sender<Option<Client>>,
    received: Mutex<Received>,
    texts: AtomicUsize,
    connections: AtomicU64,
    absences: AtomicU64,
}

/// What a device's events told, in their order.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// The texts of each conversation.
    pub(super) said: HashMap<ConversationId, Vec<Said>>,
    /// What should not have been.
    pub(super) oddities: Vec<String>,
    last: HashMap<ConversationId, u64>,
}

impl Device {
    /// A device that is off.
    pub(super) fn new(name: String, is_always_on: bool, profile: Arc<MemoryProfile>) -> Self {
        Self {
            name,
            is_always_on,
            profile,
            client: watch::channel(None).0,
            received: Mutex::default(),
            texts: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            absences: AtomicU64::new(0),
        }
    }

    /// Its client, if it is on.
    pub(super) fn client(&self) -> Option<Client> {
        self.client.borrow().clone()
    }

    /// Its client; waits until it is on. Cancel safe.
    pub(super) async fn client_when_on(&self) -> Option<Client> {
        self.client.subscribe().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Texts received so far.
    pub(super) fn texts(&self) -> usize {
        self.texts.load(Ordering::Relaxed)
    }

    /// How often it connected, beyond the first time.
    pub(super) fn reconnects(&self) -> u64 {
        self.connections.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// How often it went away of its own will.
    pub(super) fn absences(&self) -> u64 {
        self.absences.load(Ordering::Relaxed)
    }

    /// What it received; for when it has ended.
    pub(super) fn take_received(&self) -> Received {
        std::mem::take(&mut self.received.lock())
    }

    /// Lives until the phase is over: on all the time, or, with `restless`, on and off while it is played.
    ///
    /// # Errors
    ///
    /// The client has stopped, which it should not have.
    pub(super) async fn live(
        &self,
        route: &Route,
        mut restless: Option<Rng>,
        phase: watch::Receiver<Phase>,
        heard: &Heard,
    ) -> Result<()> {
        loop {
            let mut options = route.options(self.profile.clone());
            options.backoff = BACKOFF;
            let (mut off_at, mut off_for) = (None, Duration::ZERO);
            if let Some(rng) = &mut restless {
                off_at = Some(Instant::now() + Duration::from_millis(rng.u64(ON_MS)));
                off_for = Duration::from_millis(rng.u64(OFF_MS));
                // Half of the times it goes in an orderly way, half of the times it leaves its sends behind.
                options.close_timeout = if rng.bool() { Duration::from_secs(1) } else { Duration::ZERO };
            }
            let (client, mut events) = Client::start(options)?;
            self.client.send_replace(Some(client.clone()));
            let goes_away = self.stay(&mut events, off_at, &phase, heard).await;
            self.client.send_replace(None);
            // What has not been taken by now is yielded again next time.
            events.save().await;
            let _ = time::timeout(CLOSE_WITHIN, client.close()).await;
            if !goes_away? {
                return Ok(());
            }
            self.absences.fetch_add(1, Ordering::Relaxed);
            time::sleep(off_for).await;
        }
    }

    /// Takes events until it is over (`false`) or time to go away (`true`).
    async fn stay(
        &self,
        events: &mut Events,
        mut off_at: Option<Instant>,
        phase: &watch::Receiver<Phase>,
        heard: &Heard,
    ) -> Result<bool> {
        let mut over = phase.clone();
        loop {
            tokio::select! {
                // Events first: one counts as taken when the next one is asked for.
                biased;
                event = events.next() => match event {
                    Some(event) => self.take(event, heard)?,
                    None => bail!("the client of the {} stopped", self.name),
                },
                _ = over.wait_for(|phase| *phase == Phase::Over) => return Ok(false),
                () = time::sleep_until(off_at.unwrap_or_else(Instant::now)), if off_at.is_some() => {
                    if *phase.borrow() == Phase::Playing {
                        return Ok(true);
                    }
                    off_at = None;
                }
            }
        }
    }

    fn take(&self, event: Event, heard: &Heard) -> Result<()> {
        match event {
            Event::Connected { .. } => drop(self.connections.fetch_add(1, Ordering::Relaxed)),
            Event::Entry { conversation, entry, .. } => {
                let mut received = self.received.lock();
                received.follows(conversation, entry.position);
                if let Some(said) = Said::of(&entry) {
                    heard.at(self.is_always_on, said.id);
                    received.said.entry(conversation).or_default().push(said);
                    self.texts.fetch_add(1, Ordering::Relaxed);
                }
            }
            Event::SendRefused { id, error } => self.received.lock().odd(format!("{id} was refused: {error}")),
            Event::SessionEnded { error } => {
                return Err(anyhow::Error::from(error).context(format!("the session of the {} ended", self.name)));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Received {
    /// Every entry, whatever it holds, comes right after the one before it.
    fn follows(&mut self, conversation: ConversationId, position: u64) {
        let last = self.last.insert(conversation, position).unwrap_or(0);
        if position != last + 1 {
            self.odd(format!("conversation {conversation}: position {position} came after {last}"));
        }
    }

    fn odd(&mut self, what: String) {
        if self.oddities.len() < ODDITIES_MAX {
            self.oddities.push(what);
        }
    }
}

/// When texts were sent, to tell how long they took.
pub(super) struct Heard {
    recorder: Arc<Recorder>,
    sent: Mutex<HashMap<EntryId, u64>>,
}

impl Heard {
    /// Nothing was sent yet.
    pub(super) fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder, sent: Mutex::default() }
    }

    /// A text is being sent now.
    pub(super) fn sending(&self, id: EntryId) {
        let now = self.recorder.clock().now();
        self.sent.lock().insert(id, now);
    }

    /// A text has come. A device that was away says nothing about the time it took.
    fn at(&self, is_always_on: bool, id: EntryId) {
        let sent = if is_always_on { self.sent.lock().get(&id).copied() } else { None };
        match sent {
            Some(sent) => self.recorder.delivered(id.as_bytes()[15].into(), sent),
            None => self.recorder.delivered_late(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_skipped_or_repeated_is_odd_whatever_it_holds() {
        let (one, other) = (ConversationId::new(1), ConversationId::new(2));
        let mut received = Received::default();
        for (conversation, position) in [(one, 1), (one, 2), (other, 1), (one, 3)] {
            received.follows(conversation, position);
        }
        assert_eq!(received.oddities, Vec::<String>::new());
        received.follows(one, 5);
        received.follows(one, 5);
        received.follows(one, 6);
        assert_eq!(received.oddities.len(), 2, "{:?}", received.oddities);
    }
}
