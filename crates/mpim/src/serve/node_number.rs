//! The number by which this process makes ids.

use std::{sync::Arc, time::Duration};

use protocol::IdGenerator;
use registry::{NodeLease, Registry};
use store::mysql::MysqlStore;
use tokio::{task::JoinSet, time::sleep};

use crate::told::of_zookeeper;

/// Between two tries to get a new number.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Makes ids with a number that is kept for this process, newer than those in the store.
///
/// # Errors
///
/// The registry gives no number, or the store cannot be read.
pub(super) async fn ids(
    registry: &Arc<dyn Registry>,
    store: Option<&MysqlStore>,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Arc<IdGenerator>> {
    let lease = registry.lease_node().await.map_err(of_zookeeper)?;
    let newest = match store {
        Some(store) => store.newest_id().await?,
        None => 0,
    };
    let ids = Arc::new(IdGenerator::new(lease.number()).after(newest));
    tasks.spawn(keep(lease, Arc::clone(registry), Arc::clone(&ids)));
    Ok(ids)
}

/// Holds a number. Where it is lost, because the registry was away for longer than a session, another one is taken as soon as
/// the registry gives one. Until then ids go on being made with the former: that two processes make the same one is unlikely,
/// and then the store, whose keys decide, refuses the second.
async fn keep(mut lease: NodeLease, registry: Arc<dyn Registry>, ids: Arc<IdGenerator>) {
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
