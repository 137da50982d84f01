//! Webhooks, delivered by those processes of the user service that are told where to reach gateways.

use std::sync::Arc;

use prometheus_client::registry::Registry as Metrics;
use protocol::IdGenerator;
use registry::{Instance, Registration, Registry};
use services::user;
use tokio::task::JoinSet;
use webhooks::{Bell, Parts, Webhooks};

use super::{discovery, share::Share};
use crate::{assembly::Bots, config::Config};

/// What they who deliver register as. An instance of the user service that does not has no share in it.
const SERVICE: &str = "webhooks";

/// What webhooks are delivered with.
pub(super) struct Delivering {
    pub(super) users: Arc<user::Service>,
    pub(super) store: Arc<dyn store::Webhooks>,
    pub(super) ids: Arc<IdGenerator>,
    pub(super) bell: Bell,
}

/// Delivers this process's share of the webhooks, and announces that it does; `None` if it is not told where to reach
/// gateways. `own` is the process, as it is announced for its service.
///
/// # Errors
///
/// The registry cannot be reached.
pub(super) async fn start(
    config: &Config,
    registry: &dyn Registry,
    own: Instance,
    with: Delivering,
    metrics: &mut Metrics,
    tasks: &mut JoinSet<()>,
) -> registry::Result<Option<(Webhooks, Registration)>> {
    let Some(server) = config.webhooks_gateway() else { return Ok(None) };
    let Delivering { users, store, ids, bell } = with;
    let own = Instance { service: SERVICE.into(), ..own };
    let address = own.address.clone();
    let registration = registry.register(own).await?;
    let those_who_deliver = discovery::endpoints(registry.watch(SERVICE).await?, tasks);
    let ringing = bell.clone();
    let share = Share::follow(those_who_deliver, address, move || ringing.ring(), tasks);
    let parts = Parts {
        store,
        credentials: Arc::new(Bots(users)),
        server,
        is_ours: Arc::new(move |webhook| share.holds(webhook)),
        bell,
        ids,
        metrics: webhooks::Metrics::new(metrics.sub_registry_with_prefix("mpim_webhooks")),
    };
    Ok(Some((Webhooks::start(config.webhooks(), parts), registration)))
}
