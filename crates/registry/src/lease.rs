//! Holding a node number.

use std::{fmt, future::pending};

use protocol::NodeNumber;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::Release;

/// How long a number is one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// As long as the process.
    Always,
    /// Until then, by this machine's clock, as long as the sender of this is there.
    Until(Instant),
    /// No longer.
    Lost,
}

impl Hold {
    fn is_held(self) -> bool {
        match self {
            Self::Always => true,
            Self::Until(end) => Instant::now() < end,
            Self::Lost => false,
        }
    }

    /// Holds until `end`, unless it has ended before: what was seen as lost stays lost.
    ///
    /// To be called where nobody reads it meanwhile, as in [`watch::Sender::send_modify`].
    pub(crate) fn extend(&mut self, end: Instant) {
        *self = if self.is_held() { Self::Until(end) } else { Self::Lost };
    }
}

/// Holds a node number until it is dropped. Whoever makes ids with the number keeps this for as long.
#[must_use = "the number is given back when the lease is dropped"]
pub struct NodeLease {
    number: NodeNumber,
    hold: watch::Receiver<Hold>,
    release: Option<Release>,
}

impl NodeLease {
    /// For the back ends. `hold` says how long the number is kept; its sender is dropped before the number is given back in
    /// any other way than by `release`.
    pub fn new(
        number: NodeNumber,
        hold: watch::Receiver<Hold>,
        release: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self { number, hold, release: Some(Box::new(release)) }
    }

    /// The number.
    pub fn number(&self) -> NodeNumber {
        self.number
    }

    /// Whether the number is still this holder's. Once false it stays so: make no more ids, lease anew. It turns false
    /// before anybody else can have the number, also in a process that stood still meanwhile; cheap enough to be asked for
    /// each id. Always true in a [`LocalRegistry`](crate::LocalRegistry).
    pub fn is_held(&self) -> bool {
        let hold = *self.hold.borrow();
        hold == Hold::Always || hold.is_held() && self.hold.has_changed().is_ok()
    }

    /// Waits until the number is no longer held. Cancel safe.
    pub async fn lost(&self) {
        let mut hold = self.hold.clone();
        loop {
            let now = *hold.borrow_and_update();
            let end = match now {
                Hold::Always => pending().await,
                Hold::Until(end) if self.is_held() => end,
                Hold::Until(_) | Hold::Lost => return,
            };
            tokio::select! {
                _ = hold.changed() => {}
                () = sleep_until(end) => {}
            }
        }
    }
}

impl Drop for NodeLease {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release();
        }
    }
}

impl fmt::Debug for NodeLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeLease").field("number", &self.number).field("held", &self.is_held()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_number_is_held_as_long_as_it_is_extended_and_stays_lost() {
        let (sender, hold) = watch::channel(Hold::Until(Instant::now() + 2 * SECOND));
        let lease = NodeLease::new(NodeNumber::new(7).unwrap(), hold, || {});
        tokio::time::advance(SECOND).await;
        sender.send_modify(|hold| hold.extend(Instant::now() + 2 * SECOND));
        tokio::time::advance(SECOND + SECOND / 2).await;
        assert!(lease.is_held(), "it was extended");
        let began = Instant::now();
        lease.lost().await;
        assert!(!lease.is_held() && began.elapsed() >= SECOND / 2);
        sender.send_modify(|hold| hold.extend(Instant::now() + 2 * SECOND));
        assert!(!lease.is_held(), "it was seen as lost");
        drop(sender);
        lease.lost().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_that_nobody_keeps_any_more_is_lost_at_once() {
        let (sender, hold) = watch::channel(Hold::Until(Instant::now() + 2 * SECOND));
        let lease = NodeLease::new(NodeNumber::new(7).unwrap(), hold, || {});
        assert!(lease.is_held());
        drop(sender);
        assert!(!lease.is_held());
        lease.lost().await;
        let always = NodeLease::new(NodeNumber::new(7).unwrap(), watch::channel(Hold::Always).1, || {});
        assert!(always.is_held());
    }
}
