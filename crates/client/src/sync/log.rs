//! What the engine knows of one conversation.

use std::collections::BTreeMap;

use protocol::wire;

use crate::profile::ConversationState;

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) kind: wire::ConversationKind,
    /// Something was heard of it, so that it has a beginning.
    pub(super) begun: bool,
    /// Delivered up to here.
    pub(super) applied: u64,
    /// The last position known to exist; never less than `applied`.
    pub(super) last: u64,
    /// The running sync promised the entries up to here; 0: nothing that is not delivered.
    pub(super) promised: u64,
    pub(super) read: u64,
    pub(super) peer_read: u64,
    pub(super) phase: Phase,
    /// Held back because ones before them are missing.
    pub(super) early: BTreeMap<u64, wire::Entry>,
}

/// What is being done about missing entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// They may arrive by themselves.
    Waiting,
    /// To be fetched.
    Queued,
    /// On their way.
    Fetching,
}

impl Log {
    pub(super) fn learn_kind(&mut self, kind: wire::ConversationKind) {
        if kind != wire::ConversationKind::Unspecified {
            self.kind = kind;
        }
    }

    /// Settles where delivery begins, the first time that a position is heard of: so many entries before it.
    pub(super) fn begin(&mut self, last: u64, recent: Option<u64>) {
        if !self.begun {
            self.begun = true;
            self.applied = recent.map_or(0, |recent| last.saturating_sub(recent));
            self.last = self.last.max(self.applied);
        }
    }

    /// How many entries to fetch: up to the first one held back, or to the last one.
    pub(super) fn missing(&self) -> u64 {
        let until = self.early.keys().next().map_or(self.last, |first| first - 1);
        until.saturating_sub(self.applied)
    }

    /// What to store about reading.
    pub(super) fn reading(&self) -> ConversationState {
        ConversationState { kind: self.kind, applied: 0, read: self.read, peer_read: self.peer_read }
    }
}

impl From<ConversationState> for Log {
    fn from(state: ConversationState) -> Self {
        let ConversationState { kind, applied, read, peer_read } = state;
        Self { kind, begun: applied > 0, applied, last: applied, read, peer_read, ..Self::default() }
    }
}
