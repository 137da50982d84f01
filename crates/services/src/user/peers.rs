//! What other instances of the service did, where it matters here: sessions that ended, names that changed.

use std::{sync::Arc, time::Duration};

use store::Users;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{ended::Ended, ms, renamed::Renamed};
use crate::Clock;

/// Each look goes back by this beyond the one before: clocks of machines may differ by minutes, and what is dated is stored only
/// once its transaction has got its locks, which takes two minutes at most.
const OVERLAP: Duration = Duration::from_secs(600);

/// What is kept in memory of sessions and names while tokens about them are about.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) store: Arc<dyn Users>,
    pub(super) ended: Arc<Ended>,
    pub(super) renamed: Arc<Renamed>,
    pub(super) clock: Clock,
    /// How long a token may be about.
    pub(super) tokens_live: Duration,
}

impl Memory {
    /// Reads what happened since a time.
    pub(super) async fn learn(&self, since_ms: i64) -> store::Result<()> {
        let now_ms = self.clock.now_ms();
        let over_ms = now_ms + ms(self.tokens_live);
        for session in self.store.sessions_ended_since(since_ms).await? {
            self.ended.add(session, now_ms, over_ms);
        }
        for (user, name) in self.store.renamed_since(since_ms).await? {
            self.renamed.add(user, name, now_ms, over_ms);
        }
        Ok(())
    }

    /// Looks again and again: tokens of a session that another instance ended are good here until then.
    pub(super) async fn follow(self, every: Duration, stop: CancellationToken) {
        let mut seen_ms = self.clock.now_ms();
        loop {
            tokio::select! {
                () = sleep(every) => {}
                () = stop.cancelled() => return,
            }
            let now_ms = self.clock.now_ms();
            match self.learn(seen_ms - ms(OVERLAP)).await {
                Ok(()) => seen_ms = now_ms,
                Err(error) => tracing::warn!(%error, "what other instances did cannot be read; it is looked for again"),
            }
        }
    }
}
