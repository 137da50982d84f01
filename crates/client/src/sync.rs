//! The sync engine: which entries the application gets, and what has to be fetched for it. Pure: no I/O, and time is
//! handed in.
//!
//! Per conversation it holds the position up to which entries were delivered. Whatever arrives, from pushes, pages, heads or
//! acknowledgements of own sends, goes through [`Engine::offer`], the one place that delivers: the next position at once,
//! known ones never again, later ones when the gap before them has closed. So pushes may be lost, doubled and reordered.
//!
//! A sync runs in pages from the stored cursor. Its own cursor is handed out as a [`Output::Checkpoint`] only after every
//! entry that its heads promised has been delivered, so that a stored cursor never skips anything.

mod asking;
mod log;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use protocol::{ConversationId, UserId, limits, wire};
use tokio::time::Instant;

use crate::profile::ConversationState;
pub(crate) use asking::Request;
use log::{Log, Phase};

/// Entries held back, in all conversations together, because ones before them are missing. Beyond it they are dropped and
/// fetched later.
const EARLY_MAX: usize = 4_096;
/// The same in one conversation.
const EARLY_PER_LOG_MAX: usize = 512;
/// After a fetch that brought nothing although something is missing.
const FUTILE_PAUSE: Duration = Duration::from_secs(1);

/// What happened, in the order in which the application is to learn of it.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    Entry {
        conversation: ConversationId,
        kind: wire::ConversationKind,
        entry: wire::Entry,
    },
    Heads(Vec<wire::Head>),
    ReadMoved {
        conversation: ConversationId,
        user: UserId,
        position: u64,
    },
    /// The state of reading to be stored.
    Read(ConversationId, ConversationState),
    Checkpoint(String),
    CaughtUp,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Engine {
    user: UserId,
    gap_patience: Duration,
    first_screen_entries: u32,
    /// How many entries before its end a log begins that was not heard of before; `None`: at position 1.
    recent_entries: Option<u64>,
    logs: HashMap<ConversationId, Log>,
    /// Up to here everything is delivered.
    cursor: String,
    sync: Sync,
    /// A push told, or it is time, to sync again.
    sync_wanted: bool,
    /// The last one was refused.
    sync_not_before: Option<Instant>,
    /// Since the connection came up.
    caught_up: bool,
    /// Logs that have not been delivered as far as the running sync's heads promise.
    behind: usize,
    /// To be fetched now, in this order.
    queue: VecDeque<ConversationId>,
    /// Gaps that may close by themselves until then.
    gaps: BTreeSet<(Instant, ConversationId)>,
    fetches: usize,
    /// Entries held back.
    early: usize,
    /// The application does not keep up: entries are noted, not held.
    congested: bool,
    outputs: Vec<Output>,
}

#[derive(Debug, Default)]
enum Sync {
    #[default]
    Idle,
    Running {
        /// The cursor of the first page, once that has come.
        cursor: Option<String>,
        /// The next page to ask for; `None` after the last one.
        next: Option<String>,
        /// A page is on its way.
        asked: bool,
        /// What is behind is fetched at once, rather than given the time to arrive by push.
        at_once: bool,
    },
}

impl Engine {
    pub(crate) fn new(
        user: UserId,
        stored: &HashMap<ConversationId, ConversationState>,
        cursor: String,
        gap_patience: Duration,
        first_screen_entries: u32,
    ) -> Self {
        Self {
            user,
            gap_patience,
            first_screen_entries: first_screen_entries.min(limits::SYNC_ENTRIES_MAX),
            recent_entries: None,
            logs: stored.iter().map(|(&id, &state)| (id, Log::from(state))).collect(),
            cursor,
            sync: Sync::Idle,
            sync_wanted: false,
            sync_not_before: None,
            caught_up: false,
            behind: 0,
            queue: VecDeque::new(),
            gaps: BTreeSet::new(),
            fetches: 0,
            early: 0,
            congested: false,
            outputs: Vec::new(),
        }
    }

    /// Where logs begin that were not heard of before: see [`Options::recent_entries`](crate::Options::recent_entries).
    pub(crate) fn beginning_at(self, recent_entries: Option<u64>) -> Self {
        Self { recent_entries, ..self }
    }

    /// A connection is about to come up: forgets what was under way on the one before, and gives the sync that goes along
    /// with `connect`. May be called again if that connection fails.
    pub(crate) fn connect(&mut self) -> wire::Sync {
        for log in self.logs.values_mut() {
            log.phase = Phase::Idle;
            log.promised = 0;
        }
        (self.queue, self.gaps) = (VecDeque::new(), BTreeSet::new());
        (self.fetches, self.behind) = (0, 0);
        (self.caught_up, self.sync_wanted, self.sync_not_before) = (false, false, None);
        self.sync = Sync::Running { cursor: None, next: Some(String::new()), asked: true, at_once: true };
        wire::Sync { cursor: self.cursor.clone(), entries: self.first_screen_entries, ..wire::Sync::default() }
    }

    /// The application does not keep up (or does again). Meanwhile nothing is asked for, and pushed entries are noted
    /// rather than held.
    pub(crate) fn set_congested(&mut self, congested: bool) {
        self.congested = congested;
    }

    /// Something may have been lost: sync when the running sync is done.
    pub(crate) fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// What happened since the last call, in order.
    pub(crate) fn take_outputs(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// When [`next_request`](Self::next_request) may have something though nothing has happened.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let refused = self.sync_not_before.filter(|_| self.sync_wanted);
        self.gaps.first().map(|&(due, _)| due).into_iter().chain(refused).min()
    }

    /// An entry was pushed, or (then `kind` is unspecified) an own send was acknowledged.
    pub(crate) fn on_entry(
        &mut self,
        id: ConversationId,
        kind: wire::ConversationKind,
        entry: wire::Entry,
        now: Instant,
    ) {
        let recent = self.recent_entries;
        let log = self.logs.entry(id).or_default();
        log.begin(entry.position, recent);
        log.learn_kind(kind);
        if log.kind == wire::ConversationKind::Unspecified {
            // The first own message to a conversation that was made by sending it: its head will tell the kind.
            self.sync_wanted = true;
        }
        if self.congested {
            log.last = log.last.max(entry.position);
        } else {
            self.offer(id, entry);
        }
        self.expect_gap_to_close(id, now + self.gap_patience);
        self.settle();
    }

    pub(crate) fn on_read_moved(&mut self, id: ConversationId, user: UserId, position: u64) {
        let own = user == self.user;
        let log = self.logs.entry(id).or_default();
        if !own && log.kind == wire::ConversationKind::Group {
            // One number cannot tell how far each member has read; what is kept is told by requests.
            self.outputs.push(Output::ReadMoved { conversation: id, user, position });
            return;
        }
        let known = if own { &mut log.read } else { &mut log.peer_read };
        if position > *known {
            *known = position;
            self.outputs.push(Output::Read(id, log.reading()));
            self.outputs.push(Output::ReadMoved { conversation: id, user, position });
        }
    }

    /// A page of the running sync.
    pub(crate) fn on_sync_page(&mut self, page: wire::SyncPage, now: Instant) {
        let Sync::Running { cursor, next, asked, at_once } = &mut self.sync else { return };
        cursor.get_or_insert(page.cursor);
        *next = Some(page.next_page).filter(|next| !next.is_empty());
        *asked = false;
        let at_once = *at_once;
        let first = self.outputs.len();
        for head in &page.heads {
            self.on_head(head, at_once, now);
        }
        if !page.heads.is_empty() {
            self.outputs.insert(first, Output::Heads(page.heads));
        }
        self.settle();
    }

    fn on_head(&mut self, head: &wire::Head, at_once: bool, now: Instant) {
        let conversation = head.conversation.clone().unwrap_or_default();
        let id = ConversationId::new(conversation.id);
        let peer = conversation.peer.as_ref().map_or(UserId::new(0), |peer| UserId::new(peer.id));
        let recent = self.recent_entries;
        let log = self.logs.entry(id).or_default();
        log.begin(head.last_position, recent);
        log.learn_kind(conversation.kind());
        log.last = log.last.max(head.last_position);
        let closes_gap = head.entries.first().is_some_and(|first| first.position <= log.applied + 1);
        self.on_read_moved(id, self.user, head.read_position);
        if peer != self.user {
            self.on_read_moved(id, peer, head.peer_read_position);
        }
        if closes_gap {
            for entry in &head.entries {
                self.offer(id, entry.clone());
            }
        }
        self.release(id);
        let log = self.logs.entry(id).or_default();
        if log.applied < head.last_position {
            if log.promised == 0 {
                self.behind += 1;
            }
            log.promised = log.promised.max(head.last_position);
            if at_once {
                self.fetch_now(id);
            } else {
                self.expect_gap_to_close(id, now + self.gap_patience);
            }
        }
    }

    /// The answer to a fetch.
    pub(crate) fn on_fetched(&mut self, ids: &[ConversationId], pages: Vec<wire::HistoryPage>, now: Instant) {
        self.fetches = self.fetches.saturating_sub(1);
        let futile = pages.iter().all(|page| page.entries.is_empty());
        let mut pages = pages.into_iter();
        let mut again = Vec::new();
        for &id in ids {
            let page = pages.next();
            let Some(log) = self.logs.get_mut(&id) else { continue };
            log.phase = Phase::Idle;
            match page {
                Some(page) if page.last_position == 0 => self.forget_rest(id),
                Some(page) => {
                    log.last = log.last.max(page.last_position);
                    for entry in page.entries {
                        self.offer(id, entry);
                    }
                    again.push(id);
                }
                None => again.push(id),
            }
        }
        // What is left goes on before what has not had its turn.
        for &id in again.iter().rev() {
            let Some(log) = self.logs.get_mut(&id) else { continue };
            if log.applied < log.last && log.phase == Phase::Idle {
                if futile {
                    self.expect_gap_to_close(id, now + FUTILE_PAUSE);
                } else {
                    log.phase = Phase::Queued;
                    self.queue.push_front(id);
                }
            }
        }
        self.settle();
    }

    /// A fetch was refused: it is tried again then.
    pub(crate) fn on_fetch_refused(&mut self, ids: &[ConversationId], again: Instant) {
        self.fetches = self.fetches.saturating_sub(1);
        for &id in ids {
            if let Some(log) = self.logs.get_mut(&id) {
                log.phase = Phase::Idle;
            }
            self.expect_gap_to_close(id, again);
        }
    }

    /// A page of the sync was refused: the sync is given up, and another one wanted then.
    pub(crate) fn on_sync_refused(&mut self, again: Instant) {
        if let Sync::Running { .. } = self.sync {
            for log in self.logs.values_mut() {
                log.promised = 0;
            }
            (self.sync, self.behind) = (Sync::Idle, 0);
        }
        (self.sync_wanted, self.sync_not_before) = (true, Some(again));
    }

    /// The server does not accept the cursor. Without one it lists everything; positions tell what is new.
    pub(crate) fn forget_cursor(&mut self) {
        self.cursor.clear();
    }

    /// The one place that delivers.
    fn offer(&mut self, id: ConversationId, entry: wire::Entry) {
        let log = self.logs.entry(id).or_default();
        log.last = log.last.max(entry.position);
        if entry.position <= log.applied {
            return;
        }
        if entry.position == log.applied + 1 && log.kind != wire::ConversationKind::Unspecified {
            self.deliver(id, entry);
            self.release(id);
        } else if self.early < EARLY_MAX && log.early.len() < EARLY_PER_LOG_MAX {
            self.early += usize::from(log.early.insert(entry.position, entry).is_none());
        }
    }

    /// Delivers what was held back and may now go.
    fn release(&mut self, id: ConversationId) {
        loop {
            let Some(log) = self.logs.get_mut(&id) else { return };
            if log.kind == wire::ConversationKind::Unspecified {
                return;
            }
            let Some(first) = log.early.first_entry() else { return };
            if *first.key() > log.applied + 1 {
                return;
            }
            let (position, entry) = first.remove_entry();
            self.early -= 1;
            if position == log.applied + 1 {
                self.deliver(id, entry);
            }
        }
    }

    fn deliver(&mut self, id: ConversationId, entry: wire::Entry) {
        let log = self.logs.entry(id).or_default();
        debug_assert_eq!(entry.position, log.applied + 1);
        log.applied = entry.position;
        if log.promised != 0 && log.applied >= log.promised {
            log.promised = 0;
            self.behind -= 1;
        }
        // Whoever says something has read what was said before.
        if entry.sender == self.user.get() {
            log.read = log.read.max(entry.position);
        } else if log.kind == wire::ConversationKind::Direct {
            log.peer_read = log.peer_read.max(entry.position);
        }
        if log.kind == wire::ConversationKind::Personal && enters_group(&entry) {
            // Entries of the group from before its pushes reach this connection are known to its head only.
            self.sync_wanted = true;
        }
        self.outputs.push(Output::Entry { conversation: id, kind: log.kind, entry });
    }

    /// The user is not a member any more: what is missing cannot be had.
    fn forget_rest(&mut self, id: ConversationId) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        self.early -= log.early.len();
        log.early.clear();
        log.last = log.applied;
        if log.promised != 0 {
            log.promised = 0;
            self.behind -= 1;
        }
    }

    /// Ends the sync when all of it has been delivered.
    fn settle(&mut self) {
        if let Sync::Running { cursor: cursor @ Some(_), next: None, asked: false, .. } = &mut self.sync
            && self.behind == 0
        {
            self.cursor = cursor.take().unwrap_or_default();
            self.sync = Sync::Idle;
            self.outputs.push(Output::Checkpoint(self.cursor.clone()));
            if !self.caught_up {
                self.caught_up = true;
                self.outputs.push(Output::CaughtUp);
            }
        }
    }
}

fn enters_group(entry: &wire::Entry) -> bool {
    let content = entry.content.as_ref().and_then(|content| content.view().ok());
    matches!(content.and_then(|content| content.kind), Some(wire::content::Kind::GroupEntered(_)))
}
