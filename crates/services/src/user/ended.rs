//! Sessions that have ended while short-lived tokens of theirs may still be about.

use std::collections::HashMap;

use parking_lot::RwLock;
use protocol::SessionId;

/// How many calls of [`Ended::add`] between two clearings of those whose tokens are over.
const CLEAR_EVERY: usize = 1_024;

/// Checked at each authentication, in memory.
#[derive(Debug, Default)]
pub(super) struct Ended {
    sessions: RwLock<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    /// When each ended session's last token is over.
    over_ms: HashMap<SessionId, i64>,
    added: usize,
}

impl Ended {
    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.sessions.read().over_ms.contains_key(&session)
    }

    pub(super) fn add(&self, session: SessionId, now_ms: i64, over_ms: i64) {
        let mut sessions = self.sessions.write();
        sessions.over_ms.insert(session, over_ms);
        sessions.added += 1;
        if sessions.added.is_multiple_of(CLEAR_EVERY) {
            sessions.over_ms.retain(|_, over_ms| *over_ms > now_ms);
        }
    }
}
