//! What the engine asks the server for: pages of a sync, and what is missing before and between the entries it has.

use protocol::{ConversationId, limits, wire};
use tokio::time::Instant;

use super::{Engine, Sync, log::Phase};

/// Entries asked for in one fetch; the server's limit in bytes comes on top.
const FETCH_ENTRIES_MAX: u64 = 2_000;
/// Fetches under way: one is applied while the other is answered.
pub(super) const FETCHES_MAX: usize = 2;

/// What to ask the server next.
#[derive(Debug)]
pub(crate) enum Request {
    Sync(wire::Sync),
    /// The histories, and whose they are.
    Fetch(wire::Fetch, Vec<ConversationId>),
}

impl Engine {
    /// What to ask next, if anything. To be called until it gives nothing, unless the application is congested.
    pub(crate) fn next_request(&mut self, now: Instant) -> Option<Request> {
        if self.congested {
            return None;
        }
        if let Some(sync) = self.next_sync(now) {
            return Some(Request::Sync(sync));
        }
        while self.gaps.first().is_some_and(|&(due, _)| due <= now) {
            let Some((_, id)) = self.gaps.pop_first() else { break };
            if let Some(log) = self.logs.get_mut(&id)
                && log.phase == Phase::Waiting
            {
                log.phase = Phase::Idle;
                self.fetch_now(id);
            }
        }
        if self.fetches >= FETCHES_MAX { None } else { self.next_fetch() }
    }

    fn next_sync(&mut self, now: Instant) -> Option<wire::Sync> {
        let may_start = self.sync_not_before.is_none_or(|not_before| not_before <= now);
        if matches!(self.sync, Sync::Idle) && self.sync_wanted && may_start {
            (self.sync_wanted, self.sync_not_before) = (false, None);
            self.sync =
                Sync::Running { cursor: None, next: Some(String::new()), asked: false, at_once: !self.caught_up };
        }
        match &mut self.sync {
            Sync::Running { next: Some(page), asked: asked @ false, .. } => {
                *asked = true;
                let (cursor, page, limit) = (self.cursor.clone(), page.clone(), limits::SYNC_HEADS_MAX);
                Some(wire::Sync { cursor, page, limit, entries: 0 })
            }
            _ => None,
        }
    }

    fn next_fetch(&mut self) -> Option<Request> {
        let (mut histories, mut ids, mut wanted) = (Vec::new(), Vec::new(), 0);
        while histories.len() < limits::FETCH_HISTORIES_MAX && wanted < FETCH_ENTRIES_MAX {
            let Some(id) = self.queue.pop_front() else { break };
            let Some(log) = self.logs.get_mut(&id) else { continue };
            let missing = log.missing().min(u64::from(limits::PAGE_ENTRIES_MAX));
            if missing == 0 {
                log.phase = Phase::Idle;
                continue;
            }
            log.phase = Phase::Fetching;
            wanted += missing;
            ids.push(id);
            let from = Some(wire::history::From::After(log.applied));
            histories.push(wire::History { conversation: id.get(), from, limit: missing as u32 });
        }
        if ids.is_empty() {
            return None;
        }
        self.fetches += 1;
        Some(Request::Fetch(wire::Fetch { histories }, ids))
    }

    pub(super) fn fetch_now(&mut self, id: ConversationId) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        // A log that waits in `gaps` is passed over there, as its phase tells.
        if matches!(log.phase, Phase::Idle | Phase::Waiting) && log.missing() > 0 {
            log.phase = Phase::Queued;
            self.queue.push_back(id);
        }
    }

    pub(super) fn expect_gap_to_close(&mut self, id: ConversationId, due: Instant) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        if log.phase == Phase::Idle && log.missing() > 0 {
            log.phase = Phase::Waiting;
            self.gaps.insert((due, id));
        }
    }
}
