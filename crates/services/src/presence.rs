//! The presence service: who is online, where, and since when not.

use std::sync::Arc;

use api::{Arrival, Call, MessageService, PresenceService, UserIds};
use async_trait::async_trait;
use protocol::{
    Error, GatewayId, Result, UserId, limits,
    queue::delivery::What,
    wire::{self, server_frame::Body},
};
use queue::{Queue, Topic};
use store::LastSeen;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    Clock,
    noted::Noted,
    push::{self, Pushes},
};

/// The presence service, in this process.
pub struct Service {
    store: Arc<dyn LastSeen>,
    queue: Arc<dyn Queue>,
    messages: Arc<dyn MessageService>,
    seen: Arc<Noted<UserId>>,
    clock: Clock,
}

/// The running task of a service.
#[derive(Debug)]
pub struct Tasks {
    stop: CancellationToken,
    noting: JoinHandle<()>,
}

impl Tasks {
    /// Writes who was last seen when, then ends.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.noting.await {
            tracing::error!(%error, "noting when users were last seen ended early");
        }
    }
}

impl Service {
    /// Starts the service.
    pub fn start(
        store: Arc<dyn LastSeen>,
        queue: Arc<dyn Queue>,
        messages: Arc<dyn MessageService>,
        clock: Clock,
    ) -> (Arc<Self>, Tasks) {
        let seen = Noted::new();
        let stop = CancellationToken::new();
        let noting = tokio::spawn({
            let store = Arc::clone(&store);
            let write = move |seen| {
                let store = Arc::clone(&store);
                async move { store.note_seen(seen).await }
            };
            Arc::clone(&seen).run(stop.clone(), write)
        });
        (Arc::new(Self { store, queue, messages, seen, clock }), Tasks { stop, noting })
    }

    /// Tells those who watch. That it fails is no error: watchers ask again.
    async fn tell(&self, user: UserId, online: bool) {
        let seen_ms = if online { 0 } else { self.clock.now_ms() };
        let presence = wire::Presence { user: user.get(), online, seen_ms, away: false };
        let mut pushes = Pushes::default();
        pushes.add_for_topic(Topic::Presence(user), 0, What::Frame(push::frame(Body::PresenceChanged(presence))));
        if let Err(error) = pushes.publish(self.queue.as_ref(), 1).await {
            tracing::debug!(%error, "a change of presence was not published");
        }
    }
}

fn unavailable(error: queue::Error) -> Error {
    Error::unavailable("who is online is not known at the moment").with_source(error)
}

#[async_trait]
impl PresenceService for Service {
    async fn arrive(&self, call: &Call, request: Arrival) -> Result<wire::Done> {
        let user = call.caller()?.user;
        if self.queue.bind(user, GatewayId::new(request.gateway)).await.map_err(unavailable)? {
            self.tell(user, true).await;
        }
        Ok(wire::Done {})
    }

    async fn leave(&self, call: &Call, request: Arrival) -> Result<wire::Done> {
        let user = call.caller()?.user;
        if self.queue.unbind(user, GatewayId::new(request.gateway)).await.map_err(unavailable)? {
            self.seen.note(user, self.clock.now_ms());
            self.tell(user, false).await;
        }
        Ok(wire::Done {})
    }

    async fn watch(&self, call: &Call, request: wire::WatchPresence) -> Result<wire::Presences> {
        let count = request.users.len();
        if count > limits::WATCH_USERS_MAX {
            return Err(Error::limit("users", count, limits::WATCH_USERS_MAX));
        }
        let peers = self.messages.filter_visible(call, UserIds { ids: request.users }).await?;
        let peers: Vec<UserId> = peers.ids.into_iter().map(UserId::new).collect();
        let online = self.queue.routes(&peers).await.map_err(unavailable)?;
        let seen = self.store.last_seen(peers.clone()).await?;
        let presence = |(user, gateways): (&UserId, Vec<GatewayId>)| {
            let online = !gateways.is_empty();
            let seen_ms = seen.iter().find(|(known, _)| known == user).map_or(0, |(_, seen_ms)| *seen_ms);
            wire::Presence { user: user.get(), online, seen_ms: if online { 0 } else { seen_ms }, away: false }
        };
        Ok(wire::Presences { presences: peers.iter().zip(online).map(presence).collect() })
    }
}
