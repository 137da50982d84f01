//! The task that hears the queue and hands on what comes.

use std::{sync::Arc, time::Duration};

use api::ConnectionId;
use prost::Message as _;
use protocol::{
    GroupId, SessionId, UserId,
    queue::{AccountClosed, Batch, Delivery, EntryDelivery, delivery::What},
    wire::{self, content, server_frame::Body},
};
use queue::{Delivered, Publication, Subscription, Topic};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Connection, Hub,
    groups::{Answer, GroupEntry, Steps},
    is_past,
    sessions::CHECK_EVERY,
};
use crate::frame::Push;

/// Publications taken from the queue at a time.
const RECEIVE_MAX: usize = 256;
/// Clients are told to catch up at most this often, however often pushes are lost.
const RESYNC_INTERVAL: Duration = Duration::from_secs(2);
/// How often arrivals and departures that failed are told again.
const ROUTES_INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Listener {
    hub: Arc<Hub>,
    subscription: Arc<dyn Subscription>,
    /// Look-ups under way: at most one for each group with a member here.
    checks: JoinSet<Answer>,
    /// Whether sessions have ended is asked about; at most once at a time.
    session_checks: JoinSet<()>,
    sessions_at: Instant,
    /// Something was lost, and not everybody was told.
    resync_is_due: bool,
    resync_not_before: Instant,
    routes_at: Instant,
}

impl Listener {
    pub(super) fn new(hub: Arc<Hub>, subscription: Arc<dyn Subscription>) -> Self {
        let now = Instant::now();
        let (checks, session_checks) = (JoinSet::new(), JoinSet::new());
        let (routes_at, sessions_at) = (now + ROUTES_INTERVAL, now + CHECK_EVERY);
        Self {
            hub,
            subscription,
            checks,
            session_checks,
            sessions_at,
            resync_is_due: false,
            resync_not_before: now,
            routes_at,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let wake_at = if self.resync_is_due { self.resync_not_before.min(self.routes_at) } else { self.routes_at };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(answer) = self.checks.join_next(), if !self.checks.is_empty() => match answer {
                    Ok(answer) => {
                        let steps = self.hub.answered(answer);
                        self.take(steps);
                    }
                    Err(error) => tracing::error!(%error, "a look-up of members broke off"),
                },
                () = sleep_until(wake_at) => self.tick(),
                delivered = self.subscription.receive(RECEIVE_MAX) => {
                    for delivered in delivered {
                        match delivered {
                            Delivered::Publication(publication) => self.publication(publication).await,
                            Delivered::Lost(count) => self.lost(count),
                        }
                    }
                    self.tick();
                }
            }
        }
        self.checks.shutdown().await;
        self.session_checks.shutdown().await;
    }

    fn lost(&mut self, count: u64) {
        tracing::warn!(count, "pushes were lost on the way; clients are told to catch up");
        self.hub.metrics.queue_lost.inc_by(count);
        self.resync_is_due = true;
    }

    fn tick(&mut self) {
        if self.resync_is_due && is_past(self.resync_not_before) {
            self.resync_is_due = false;
            self.resync_not_before = Instant::now() + RESYNC_INTERVAL;
            let everybody = self.hub.state.lock().connections.values().cloned().collect::<Vec<_>>();
            self.resync(everybody);
            self.sessions_at = Instant::now();
        }
        if is_past(self.sessions_at) {
            self.sessions_at = Instant::now() + CHECK_EVERY;
            // One that is under way may have asked before something was lost, and asks once more.
            while self.session_checks.try_join_next().is_some() {}
            if self.session_checks.is_empty() {
                self.session_checks.spawn(self.hub.clone().check_sessions());
            }
        }
        if is_past(self.routes_at) {
            self.routes_at = Instant::now() + ROUTES_INTERVAL;
            self.hub.settle_failed_routes();
        }
    }

    fn resync(&self, connections: Vec<Arc<Connection>>) {
        let entered: Vec<_> = connections.into_iter().filter(|connection| connection.session().is_some()).collect();
        self.push(&Push::new(Body::Resync(wire::Resync {})), &entered);
    }

    async fn publication(&mut self, publication: Publication) {
        match Batch::decode(publication.payload) {
            Ok(batch) => {
                for delivery in batch.deliveries {
                    self.deliver(publication.topic, delivery).await;
                }
            }
            Err(error) => {
                self.hub.metrics.queue_malformed.inc();
                tracing::error!(%error, topic = ?publication.topic, "a publication cannot be read");
            }
        }
    }

    async fn deliver(&mut self, topic: Topic, delivery: Delivery) {
        let origin = ConnectionId(delivery.origin);
        let users: Vec<UserId> = delivery.users.into_iter().map(UserId::new).collect();
        match (delivery.what, topic) {
            (None, _) => {}
            (Some(What::EndedSession(session)), _) => {
                for user in users {
                    self.hub.end_session(user, SessionId::new(session));
                }
            }
            (Some(What::AccountClosed(why)), _) => {
                let why = AccountClosed::try_from(why).unwrap_or_default();
                for user in users {
                    self.hub.close_account(user, why);
                }
            }
            (Some(What::Entry(entry)), Topic::Group(group)) => {
                let steps = self.hub.group_entry(group, GroupEntry::new(entry, origin));
                self.take(steps);
            }
            (Some(What::Entry(entry)), _) => self.entry_for_users(entry, &users, origin).await,
            (Some(What::Frame(frame)), Topic::Gateway(_)) => {
                self.push_to_users(&Push::from_encoded(frame), &users, origin);
            }
            (Some(What::Frame(frame)), Topic::Group(group)) => {
                let receivers = self.hub.group_receivers(group, origin);
                self.push(&Push::from_encoded(frame), &receivers);
            }
            (Some(What::Frame(frame)), Topic::Presence(user)) if delivery.hide_from != 0 => {
                let receivers = self.hub.hide(user, UserId::new(delivery.hide_from));
                self.push(&Push::from_encoded(frame), &receivers);
            }
            (Some(What::Frame(frame)), Topic::Presence(user)) => {
                let push = Arc::new(Push::from_encoded(frame));
                let mut receivers = Vec::new();
                self.hub.watchers(user, &push, &mut receivers);
                self.push(&push, &receivers);
            }
        }
    }

    /// An entry of a direct conversation or of a personal log. What the latter says of groups is done before the frame
    /// is handed on, so that a client that catches up on seeing it misses nothing.
    async fn entry_for_users(&mut self, entry: EntryDelivery, users: &[UserId], origin: ConnectionId) {
        let push = Push::from_encoded(entry.frame);
        if let [user] = users
            && user.personal_log().get() == entry.conversation
            && let Some(Body::Entry(entry)) = push.body()
            && let Some(content) = entry.entry.and_then(|entry| entry.content)
        {
            match content.view().ok().and_then(|content| content.kind) {
                Some(content::Kind::GroupEntered(entered)) => {
                    let topics = self.hub.add_groups(*user, [GroupId::new(entered.group)]);
                    // Without the queue there is nothing to hear; the frame says what there is to read.
                    let _ = self.hub.topics.heard(topics).await;
                }
                // Told on the way of its own as well; either may be lost.
                Some(content::Kind::SessionEnded(ended)) => {
                    self.hub.end_session(*user, SessionId::new(ended.session));
                }
                Some(content::Kind::GroupExited(exited)) => self.hub.doubt_group(*user, GroupId::new(exited.group)),
                _ => {}
            }
        }
        self.push_to_users(&push, users, origin);
    }

    fn push_to_users(&self, push: &Push, users: &[UserId], origin: ConnectionId) {
        let receivers: Vec<_> = {
            let state = self.hub.state.lock();
            users.iter().flat_map(|user| state.connections_of(*user, origin)).collect()
        };
        self.push(push, &receivers);
    }

    fn take(&mut self, steps: Steps) {
        for (push, receivers) in steps.deliveries {
            self.push(&push, &receivers);
        }
        if !steps.resync.is_empty() {
            self.resync(steps.resync);
        }
        if steps.dropped {
            self.lost(1);
        }
        if let Some(question) = steps.question {
            self.checks.spawn(self.hub.clone().ask(question));
        }
    }

    fn push(&self, push: &Push, receivers: &[Arc<Connection>]) {
        let delivered = receivers.iter().filter(|receiver| receiver.push(push)).count();
        self.hub.metrics.deliveries.inc_by(delivered as u64);
    }
}
