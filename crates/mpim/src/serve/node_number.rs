//! The number by which this process makes ids.

use std::{sync::Arc, time::Duration};

use protocol::IdGenerator;
use registry::{NodeLease, Registry};
use tokio::time::sleep;

/// Between two tries to get a new number.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Holds a number. Where it is lost, because the registry was away for longer than a session, another one is taken as soon as
/// the registry gives one. Until then ids go on being made with the former: that two processes make the same one is unlikely,
/// and then the store, whose keys decide, refuses the second.
pub(super) async fn keep(mut lease: NodeLease, registry: Arc<dyn Registry>, ids: Arc<IdGenerator>) {
    loop {
        lease.lost().await;
        tracing::warn!(number = lease.number().get(), "the node number is lost: another one is taken");
        lease = loop {
            match registry.lease_node().await {
                Ok(lease) => break lease,
                Err(error) => tracing::warn!(%error, "no node number yet"),
            }
            sleep(TRY_AGAIN).await;
        };
        ids.renumber(lease.number());
        tracing::info!(number = lease.number().get(), "ids are made with a new node number");
    }
}
