//! What waits for one gateway. Publications leave in the order they came; neither their number nor their bytes exceed
//! the bounds; pushing never waits. What does not fit is counted, and the count stands in its place in the order.

use std::{collections::VecDeque, mem};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use crate::{Bounds, Delivered, Publication};

/// Counted for all mailboxes of a queue together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// Publications handed to gateways.
    pub(crate) delivered: Counter,
    /// Publications that gateways were told of as lost, or will be.
    pub(crate) lost: Counter,
}

#[derive(Debug)]
pub(crate) struct Mailbox {
    bounds: Bounds,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    figures: Figures,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Publications, and between them how many were lost there.
    queue: VecDeque<Delivered>,
    publications: usize,
    bytes: usize,
    /// Lost after the last of `queue`.
    lost: u64,
    /// Perhaps something was lost there, and nobody knows how much.
    missed: bool,
    /// Somebody sleeps until something arrives.
    asleep: bool,
    shut: bool,
}

impl Mailbox {
    pub(crate) fn new(bounds: Bounds, figures: Figures) -> Self {
        Self { bounds, waiting: Mutex::default(), arrived: Notify::new(), figures }
    }

    /// Adds a publication, or counts it as lost. Returns whether [`Self::wake`] must be called.
    pub(crate) fn push(&self, publication: Publication) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.shut {
            return false;
        }
        let bytes = waiting.bytes.saturating_add(publication.payload.len());
        if waiting.publications >= self.bounds.publications_max || bytes > self.bounds.bytes_max {
            waiting.lost += 1;
            self.figures.lost.inc();
        } else {
            waiting.note_lost();
            waiting.queue.push_back(Delivered::Publication(publication));
            waiting.publications += 1;
            waiting.bytes = bytes;
        }
        mem::take(&mut waiting.asleep)
    }

    /// Counts publications that were lost on the way here. Returns whether [`Self::wake`] must be called.
    pub(crate) fn lose(&self, count: u64) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.shut || count == 0 {
            return false;
        }
        waiting.lost += count;
        self.figures.lost.inc_by(count);
        mem::take(&mut waiting.asleep)
    }

    /// Notes that something was perhaps lost, and nobody knows how much. Returns whether [`Self::wake`] must be called.
    pub(crate) fn miss(&self) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.shut {
            return false;
        }
        waiting.missed = true;
        mem::take(&mut waiting.asleep)
    }

    pub(crate) fn wake(&self) {
        self.arrived.notify_one();
    }

    /// Waits for at least one, and takes at most `max`. Cancel safe: takes nothing before it returns.
    pub(crate) async fn receive(&self, max: usize) -> Vec<Delivered> {
        loop {
            if let Some(taken) = self.take(max.max(1)) {
                return taken;
            }
            // A wake-up between the look and this is kept by `Notify`.
            self.arrived.notified().await;
        }
    }

    fn take(&self, max: usize) -> Option<Vec<Delivered>> {
        let mut waiting = self.waiting.lock();
        if waiting.queue.len() < max {
            waiting.note_lost();
        }
        let count = waiting.queue.len().min(max);
        if count == 0 {
            waiting.asleep = true;
            return None;
        }
        let taken: Vec<_> = waiting.queue.drain(..count).collect();
        let bytes: usize = taken.iter().map(payload_bytes).sum();
        let publications = taken.iter().filter(|delivered| matches!(delivered, Delivered::Publication(_))).count();
        waiting.publications -= publications;
        waiting.bytes -= bytes;
        drop(waiting);
        self.figures.delivered.inc_by(publications as u64);
        Some(taken)
    }

    /// Forgets what waits and takes nothing more.
    pub(crate) fn shut(&self) {
        *self.waiting.lock() = Waiting { shut: true, ..Waiting::default() };
    }

    pub(crate) fn length(&self) -> usize {
        self.waiting.lock().publications
    }
}

impl Waiting {
    /// Puts what was lost in its place in the order.
    fn note_lost(&mut self) {
        if mem::take(&mut self.missed) || self.lost > 0 {
            self.queue.push_back(Delivered::Lost(mem::take(&mut self.lost)));
        }
    }
}

fn payload_bytes(delivered: &Delivered) -> usize {
    match delivered {
        Delivered::Publication(publication) => publication.payload.len(),
        Delivered::Lost(_) => 0,
    }
}
