//! Sessions that have ended while short-lived tokens of theirs may still be about.

use std::collections::HashMap;

use parking_lot::RwLock;
use protocol::SessionId;

/// How many calls of [`Ended::add`] between two clearings of those whose tokens are over.
const CLEAR_EVERY: usize = 1_024;

/// Checked at each authentication, in memory.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// When each ended session's last token is over.
    over_ms: RwLock<HashMap<SessionId, i64>>,
}

impl Ended {
    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.over_ms.read().contains_key(&session)
    }

    pub(super) fn add(&self, session: SessionId, now_ms: i64, over_ms: i64) {
        let mut ended = self.over_ms.write();
        ended.insert(session, over_ms);
        if ended.len().is_multiple_of(CLEAR_EVERY) {
            ended.retain(|_, over_ms| *over_ms > now_ms);
        }
    }
}
