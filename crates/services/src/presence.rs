//! The presence service: who is online, where, and since when not.

use std::sync::Arc;

use api::{
    Announcement, Arrival, Call, Caller, MessageService, PresenceService, SettingsRequest, Standing, UserIds, Watched,
};
use async_trait::async_trait;
use cache::{Cache, Lifetime, Lookup, LookupConfig};
use protocol::{
    Error, GatewayId, Result, UserId, limits,
    queue::delivery::What,
    wire::{self, server_frame::Body},
};
use queue::{Presence, Queue, Topic};
use store::LastSeen;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    Clock,
    noted::Noted,
    push::{self, Pushes},
};

/// What may be set of the presence service.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long it may be cached when a user was last seen.
    pub seen_ttl: Lifetime,
}

/// When a user was last seen, as the cache holds it. Who may know it is never cached: that is asked each time.
#[derive(Clone, PartialEq, prost::Message)]
struct Seen {
    #[prost(int64, tag = "1")]
    ms: i64,
}

/// The presence service, in this process.
pub struct Service {
    store: Arc<dyn LastSeen>,
    last_seen: Arc<Lookup<Seen>>,
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
        config: &Config,
        store: Arc<dyn LastSeen>,
        cache: Arc<dyn Cache>,
        queue: Arc<dyn Queue>,
        messages: Arc<dyn MessageService>,
        clock: Clock,
    ) -> (Arc<Self>, Tasks) {
        let last_seen = Arc::new(Lookup::new(cache, LookupConfig::new("last_seen", config.seen_ttl.clone())));
        let seen = Noted::new();
        let stop = CancellationToken::new();
        let noting = tokio::spawn({
            let (store, last_seen) = (Arc::clone(&store), Arc::clone(&last_seen));
            let write = move |seen: Vec<(UserId, i64)>| {
                let (store, last_seen) = (Arc::clone(&store), Arc::clone(&last_seen));
                async move {
                    let users: Vec<UserId> = seen.iter().map(|(user, _)| *user).collect();
                    let outcome = store.note_seen(seen).await;
                    // Also if it failed: it may be written all the same.
                    last_seen.invalidate(&users).await;
                    outcome
                }
            };
            Arc::clone(&seen).run(stop.clone(), write)
        });
        (Arc::new(Self { store, last_seen, queue, messages, seen, clock }), Tasks { stop, noting })
    }

    /// When these users were last seen, in their order; 0: never.
    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<i64>> {
        let load = |users: Vec<UserId>| async move {
            let found = self.store.last_seen(users).await?;
            Ok(found.into_iter().map(|(user, ms)| (user, Seen { ms })).collect())
        };
        let found = self.last_seen.get_many(users, load).await?;
        Ok(found.into_iter().map(|seen| seen.map_or(0, |seen| seen.ms)).collect())
    }

    /// Whether nobody may see when the user is online, or was.
    async fn is_invisible(&self, call: &Call, user: UserId) -> bool {
        match self.messages.get_settings(&call.by_service(), SettingsRequest { user: user.get() }).await {
            Ok(settings) => settings.invisible,
            // To be seen less than one might is better than to be seen when one must not.
            Err(error) => {
                tracing::debug!(%error, "whether a user is invisible is not known; nobody is told");
                true
            }
        }
    }

    /// Tells those who watch what the user is now. That it fails is no error: watchers ask again.
    async fn tell(&self, user: UserId) {
        let presence = match self.queue.presences(&[user]).await {
            Ok(presences) => presences.first().copied().unwrap_or(Presence::Gone),
            Err(error) => {
                tracing::debug!(%error, "a change of presence was not published");
                return;
            }
        };
        let seen_ms = if presence == Presence::Gone { self.clock.now_ms() } else { 0 };
        self.publish(told(user, told_as(user, presence, seen_ms))).await;
    }

    /// Tells those who watch whether the user may be seen at all, and as what.
    async fn tell_visibility(&self, call: &Call, user: UserId) -> Result<()> {
        let presence = if self.is_invisible(call, user).await {
            told_as(user, Presence::Gone, 0)
        } else {
            let presence = self.queue.presences(&[user]).await.map_err(unavailable)?;
            let seen = self.last_seen(&[user]).await?;
            let presence = presence.first().copied().unwrap_or(Presence::Gone);
            told_as(user, presence, seen.first().copied().unwrap_or(0))
        };
        self.publish(told(user, presence)).await;
        Ok(())
    }

    async fn publish(&self, pushes: Pushes) {
        if let Err(error) = pushes.publish(self.queue.as_ref(), 1).await {
            tracing::debug!(%error, "a change of presence was not published");
        }
    }

    async fn may_see(&self, call: &Call, watcher: UserId, seen: UserId) -> Result<bool> {
        let caller = Caller { user: watcher, ..call.caller()? };
        let by_watcher = Call { caller: Some(caller), ..call.by_service() };
        let visible = self.messages.filter_visible(&by_watcher, UserIds { ids: vec![seen.get()] }).await?;
        Ok(!visible.ids.is_empty())
    }

    /// Those of these users, whom the caller may not see, who are friends: they are invisible or have blocked the caller,
    /// and in both cases look like somebody who is not there, so that nobody can tell the one from the other.
    async fn hidden_friends(&self, call: &Call, users: Vec<u64>) -> Result<Vec<Standing>> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let standings = self.messages.get_standings(call, UserIds { ids: users }).await?.standings;
        Ok(standings.into_iter().filter(|standing| standing.friend).collect())
    }
}

fn told_as(user: UserId, presence: Presence, seen_ms: i64) -> wire::Presence {
    let online = presence != Presence::Gone;
    let seen_ms = if online { 0 } else { seen_ms };
    wire::Presence { user: user.get(), online, seen_ms, away: presence == Presence::Away }
}

fn told(user: UserId, presence: wire::Presence) -> Pushes {
    let mut pushes = Pushes::default();
    pushes.add_for_topic(Topic::Presence(user), 0, What::Frame(push::frame(Body::PresenceChanged(presence))));
    pushes
}

/// To a watcher who may not see the user any longer, the user goes and is not heard of again.
fn hide(pushes: &mut Pushes, user: UserId, from: UserId) {
    let frame = push::frame(Body::PresenceChanged(told_as(user, Presence::Gone, 0)));
    pushes.add_to_hide(user, from, What::Frame(frame));
}

fn unavailable(error: queue::Error) -> Error {
    Error::unavailable("who is online is not known at the moment").with_source(error)
}

#[async_trait]
impl PresenceService for Service {
    async fn arrive(&self, call: &Call, request: Arrival) -> Result<wire::Done> {
        let user = call.caller()?.user;
        let changed =
            self.queue.bind(user, GatewayId::new(request.gateway), request.away).await.map_err(unavailable)?;
        if changed.is_some() && !self.is_invisible(call, user).await {
            self.tell(user).await;
        }
        Ok(wire::Done {})
    }

    async fn leave(&self, call: &Call, request: Arrival) -> Result<wire::Done> {
        let user = call.caller()?.user;
        let changed = self.queue.unbind(user, GatewayId::new(request.gateway)).await.map_err(unavailable)?;
        if let Some(now) = changed
            && !self.is_invisible(call, user).await
        {
            if now == Presence::Gone {
                self.seen.note(user, self.clock.now_ms());
            }
            self.tell(user).await;
        }
        Ok(wire::Done {})
    }

    async fn watch(&self, call: &Call, request: wire::WatchPresence) -> Result<Watched> {
        let count = request.users.len();
        if count > limits::WATCH_USERS_MAX {
            return Err(Error::limit("users", count, limits::WATCH_USERS_MAX));
        }
        let asked = request.users.clone();
        let seen = self.messages.filter_visible(call, UserIds { ids: request.users }).await?;
        let visible: Vec<UserId> = seen.ids.iter().copied().map(UserId::new).collect();
        let others = asked.into_iter().filter(|user| !seen.ids.contains(user)).collect();
        let hidden = self.hidden_friends(call, others).await?;
        let mut followed = seen.ids;
        let presences = self.queue.presences(&visible).await.map_err(unavailable)?;
        let seen = self.last_seen(&visible).await?;
        let visible = visible.iter().zip(presences).zip(seen);
        let visible = visible.map(|((user, presence), seen_ms)| told_as(*user, presence, seen_ms));
        let gone = hidden.iter().map(|standing| told_as(UserId::new(standing.user), Presence::Gone, 0));
        let presences = wire::Presences { presences: visible.chain(gone).collect() };
        // The invisible are heard of when they show themselves.
        followed.extend(hidden.iter().filter(|standing| !standing.blocked).map(|standing| standing.user));
        Ok(Watched { presences: Some(presences), followed })
    }

    async fn announce(&self, call: &Call, request: Announcement) -> Result<wire::Done> {
        let user = call.caller()?.user;
        let mut pushes = Pushes::default();
        // Of those who are invisible nothing is heard, as of those who block: else a watcher could tell the one from the other.
        if let Some(profile) = request.user
            && !self.is_invisible(call, user).await
        {
            let frame = push::frame(Body::UserChanged(profile));
            pushes.add_for_topic(Topic::Presence(user), 0, What::Frame(frame));
        }
        if request.hide_from != 0 {
            hide(&mut pushes, user, UserId::new(request.hide_from));
        }
        if request.parted_from != 0 {
            let other = UserId::new(request.parted_from);
            for (seen, watcher) in [(user, other), (other, user)] {
                if !self.may_see(call, watcher, seen).await? {
                    hide(&mut pushes, seen, watcher);
                }
            }
        }
        self.publish(pushes).await;
        if request.visibility {
            self.tell_visibility(call, user).await?;
        }
        Ok(wire::Done {})
    }
}
