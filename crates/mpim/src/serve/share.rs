//! What of a service's standing work is this process's to do: each piece is one instance's, by its key.

use std::time::Duration;

use rpc::Endpoint;
use tokio::{sync::watch, task::JoinSet, time::timeout};

/// So long nobody does what one instance did and another is to do from now on: the former has to hear of it and stop.
const SETTLE: Duration = Duration::from_secs(1);

/// The work that belongs to this process, as instances come and go. One that loses a piece loses it as soon as it hears so; one that
/// gets a piece gets it [`SETTLE`] later. So two do the same only if one of them hears of others later than that.
#[derive(Debug, Clone)]
pub(super) struct Share {
    /// Where this process is reached.
    own: String,
    now: watch::Receiver<Vec<Endpoint>>,
    settled: watch::Receiver<Vec<Endpoint>>,
}

impl Share {
    /// Follows the instances, of which this process is the one that is reached at `own`, and tells whenever the share may have changed.
    pub(super) fn follow(
        instances: watch::Receiver<Vec<Endpoint>>,
        own: String,
        changed: impl Fn() + Send + 'static,
        following: &mut JoinSet<()>,
    ) -> Self {
        let (settle, settled) = watch::channel(Vec::new());
        let mut now = instances.clone();
        following.spawn(async move {
            loop {
                let known = now.borrow_and_update().clone();
                changed();
                let more = match timeout(SETTLE, now.changed()).await {
                    Ok(more) => more,
                    Err(_) => {
                        settle.send_replace(known);
                        changed();
                        now.changed().await
                    }
                };
                if more.is_err() {
                    return;
                }
            }
        });
        Self { own, now: instances, settled }
    }

    /// Whether the piece with this key is this process's.
    pub(super) fn holds(&self, key: u64) -> bool {
        let is_ours = |instances: &[Endpoint]| {
            let owner = rpc::owner_among(instances, key);
            owner.is_some_and(|owner| owner.address == self.own)
        };
        is_ours(&self.now.borrow()) && is_ours(&self.settled.borrow())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;

    fn endpoint(address: &str) -> Endpoint {
        Endpoint { address: address.into(), zone: String::new(), weight: 100 }
    }

    /// How many of a hundred pieces are its.
    fn count(share: &Share) -> usize {
        (0..100).filter(|key| share.holds(*key)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_piece_is_lost_at_once_gained_later_and_never_held_by_two() {
        let (sender, instances) = watch::channel(vec![endpoint("a")]);
        let mut following = JoinSet::new();
        let mut share = |own: &str| Share::follow(instances.clone(), own.into(), || {}, &mut following);
        let (a, b) = (share("a"), share("b"));
        assert_eq!(count(&a), 0, "others may do it still");
        tokio::time::sleep(2 * SETTLE).await;
        assert_eq!((count(&a), count(&b)), (100, 0));

        sender.send_replace(vec![endpoint("a"), endpoint("b")]);
        let (before, begun) = (count(&a), Instant::now());
        assert!((1..100).contains(&before) && count(&b) == 0, "{before}");
        while count(&b) == 0 {
            assert!((0..100).all(|key| !(a.holds(key) && b.holds(key))));
            advance(SETTLE / 20).await;
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() >= SETTLE && begun.elapsed() < 2 * SETTLE);
        assert_eq!((count(&a), count(&b)), (before, 100 - before));

        // One goes and comes back before anybody has taken over: it goes on.
        sender.send_replace(vec![endpoint("b")]);
        assert_eq!((count(&a), count(&b)), (0, 100 - before));
        sender.send_replace(vec![endpoint("a"), endpoint("b")]);
        assert_eq!((count(&a), count(&b)), (before, 100 - before));
    }
}
