//! What the engine knows of one conversation.

use std::collections::BTreeMap;

use protocol::wire;

use crate::profile::ConversationState;

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) kind: wire::ConversationKind,
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
        Self { kind, applied, last: applied, read, peer_read, ..Self::default() }
    }
}
