//! The services of other processes, as the registry tells of them.

use std::{sync::Arc, time::Duration};

use api::{GroupClient, MessageClient, PresenceClient, Services, UserClient};
use registry::{Instance, Registry};
use rpc::{Channel, ChannelConfig, Endpoint, Metrics, Security};
use tokio::{sync::watch, task::JoinSet};

use crate::{assembly::Role, monitor::Readiness};

/// Between two looks at whether a service answers, before it has.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A look takes at most so long.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// The other services, and what keeps them known.
pub(super) struct Discovery {
    pub(super) services: Services,
    channels: [Channel; 4],
    _following: JoinSet<()>,
}

impl Discovery {
    /// Follows the registry. What has answered nowhere yet is waited for in `readiness`.
    pub(super) async fn start(
        registry: &dyn Registry,
        security: &Security,
        config: &ChannelConfig,
        metrics: &Metrics,
        readiness: &Readiness,
    ) -> registry::Result<Self> {
        let mut following = JoinSet::new();
        let mut channel = async |role: Role| -> registry::Result<Channel> {
            let endpoints = endpoints(registry.watch(role.name()).await?, &mut following);
            let channel = Channel::new(role.name(), endpoints, security.clone(), config.clone(), metrics);
            readiness.waits(role.name(), "no instance of this service has answered yet");
            following.spawn(await_first(channel.clone(), role, readiness.clone()));
            Ok(channel)
        };
        let (user, message) = (channel(Role::User).await?, channel(Role::Message).await?);
        let (group, presence) = (channel(Role::Group).await?, channel(Role::Presence).await?);
        let services = Services {
            user: Arc::new(UserClient::new(user.clone())),
            message: Arc::new(MessageClient::new(message.clone())),
            group: Arc::new(GroupClient::new(group.clone())),
            presence: Arc::new(PresenceClient::new(presence.clone())),
        };
        Ok(Self { services, channels: [user, message, group, presence], _following: following })
    }

    /// Finishes the calls under way.
    pub(super) async fn close(self) {
        for channel in self.channels {
            channel.close().await;
        }
    }
}

/// The same instances as their callers see them.
pub(super) fn endpoints(
    mut instances: watch::Receiver<Vec<Instance>>,
    following: &mut JoinSet<()>,
) -> watch::Receiver<Vec<Endpoint>> {
    let endpoints = |instances: &[Instance]| instances.iter().map(endpoint).collect::<Vec<_>>();
    let (known, receiver) = watch::channel(endpoints(&instances.borrow_and_update()));
    following.spawn(async move {
        while instances.changed().await.is_ok() {
            known.send_replace(endpoints(&instances.borrow_and_update()));
        }
        // The registry tells nothing any more: what was known last stays.
        known.closed().await;
    });
    receiver
}

fn endpoint(instance: &Instance) -> Endpoint {
    Endpoint { address: instance.address.clone(), zone: instance.zone.clone(), weight: instance.weight }
}

/// From the first answer on the service is taken for there: what happens later is for each call to tell.
async fn await_first(channel: Channel, role: Role, readiness: Readiness) {
    loop {
        match asked(&channel).await {
            Ok(_) => break,
            Err(error) => {
                readiness.waits(role.name(), format!("no instance of this service answers: {}", error.message()));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    readiness.has(role.name());
}

async fn asked(channel: &Channel) -> protocol::Result<rpc::Health> {
    let deadline = tokio::time::Instant::now() + LOOK_WITHIN;
    channel.call(&rpc::HEALTH, rpc::Route::Any, deadline, &rpc::Nothing {}, &rpc::Nothing {}).await
}
