//! One task for each webhook, started and stopped as webhooks come and go.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use client::Server;
use protocol::{IdGenerator, SessionId};
use store::WebhookRow;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{Bell, Config, Credentials, Metrics, hook, post::Poster};

/// What webhooks need of the rest.
pub struct Parts {
    /// Webhooks, how far they came, dead letters.
    pub store: Arc<dyn store::Webhooks>,
    /// To act for bots.
    pub credentials: Arc<dyn Credentials>,
    /// The gateway, or what is in front of several.
    pub server: Server,
    /// Whether a webhook, by its id, is to be delivered by this process; asked again whenever the bell rings, as others come and go. Where
    /// two deliver for a moment, receivers see the same `webhook-id` twice.
    pub is_ours: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    /// Rung when something changed; see [`Announcing`](crate::Announcing).
    pub bell: Bell,
    /// For ids of dead letters.
    pub ids: Arc<IdGenerator>,
    /// What is counted.
    pub metrics: Metrics,
}

/// What all webhooks share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) parts: Parts,
    pub(crate) poster: Poster,
    /// One permit for each request that may be under way.
    pub(crate) requests: Semaphore,
}

/// All webhooks at work. To be ended with [`stop`](Self::stop).
pub struct Webhooks {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Webhooks {
    /// Starts delivering. Must be called within a tokio runtime; reads the certificates that this machine trusts.
    pub fn start(config: Config, parts: Parts) -> Self {
        let poster = Poster::new(config.timeout, config.allow_private);
        let requests = Semaphore::new(config.requests_max);
        let shared = Arc::new(Shared { config, parts, poster, requests });
        let stop = CancellationToken::new();
        let supervisor = Supervisor { shared, running: HashMap::new(), stop: stop.clone() };
        Self { stop, task: tokio::spawn(supervisor.run()) }
    }

    /// Stops all webhooks where they are: what is under way is posted again after a restart.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(failure) = self.task.await {
            tracing::error!(error = &failure as &dyn std::error::Error, "the webhooks' task failed");
        }
    }
}

struct Running {
    stop: CancellationToken,
    bell: Bell,
    task: JoinHandle<()>,
}

struct Supervisor {
    shared: Arc<Shared>,
    running: HashMap<u64, Running>,
    stop: CancellationToken,
}

impl Supervisor {
    async fn run(mut self) {
        let (stop, shared) = (self.stop.clone(), Arc::clone(&self.shared));
        loop {
            let turn = async {
                self.look().await;
                tokio::select! {
                    () = shared.parts.bell.rung() => {}
                    () = tokio::time::sleep(shared.config.poll_every) => {}
                }
            };
            tokio::select! {
                () = turn => {}
                () = stop.cancelled() => break,
            }
        }
        for running in self.running.values() {
            running.stop.cancel();
        }
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.end(id).await;
        }
    }

    /// Stops a webhook and waits for its end. Cancel safe: what was not waited for to the end is still known.
    async fn end(&mut self, id: u64) {
        let Some(running) = self.running.get_mut(&id) else { return };
        running.stop.cancel();
        if let Err(failure) = (&mut running.task).await {
            tracing::error!(error = &failure as &dyn std::error::Error, webhook = id, "a webhook's task failed");
        }
        self.running.remove(&id);
    }

    /// Makes the running tasks those that should run.
    async fn look(&mut self) {
        let mut wanted = HashMap::new();
        match self.shared.parts.store.webhooks(None).await {
            Ok(rows) => {
                let ours = rows.into_iter().filter(|row| (self.shared.parts.is_ours)(row.id));
                wanted.extend(ours.map(|row| (row.id, row)));
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "webhooks cannot be read");
                return;
            }
        }
        self.leave_out_idle_bots(&mut wanted).await;
        let over: Vec<u64> = self
            .running
            .iter()
            .filter(|(id, running)| running.task.is_finished() || !wanted.contains_key(id))
            .map(|(&id, _)| id)
            .collect();
        for id in over {
            let Some(running) = self.running.get(&id) else { continue };
            running.stop.cancel();
            // Others need not wait for its farewell.
            if running.task.is_finished() {
                self.end(id).await;
            }
        }
        for (id, row) in wanted {
            match self.running.get(&id) {
                // It was stopped and may go on before it has ended: two would post the same.
                Some(running) if running.stop.is_cancelled() => {
                    self.end(id).await;
                    self.running.insert(id, start(&self.shared, row));
                }
                // Letters may be marked to be redelivered.
                Some(running) if row.dead_letters > 0 => running.bell.ring(),
                Some(_) => {}
                None => drop(self.running.insert(id, start(&self.shared, row))),
            }
        }
    }

    /// Those whose bots may not act, as they are suspended or gone.
    async fn leave_out_idle_bots(&self, wanted: &mut HashMap<u64, WebhookRow>) {
        let mut idle = HashSet::new();
        let bots: HashMap<_, _> = wanted.values().map(|row| (row.bot, row.id)).collect();
        for (bot, webhook) in bots {
            match self.shared.parts.credentials.issue(bot, SessionId::new(webhook)).await {
                Ok(Some(_)) => {}
                Ok(None) => drop(idle.insert(bot)),
                Err(error) => {
                    // What runs goes on, what does not waits; the connection decides.
                    tracing::warn!(error = &error as &dyn std::error::Error, %bot, "no credential for a bot");
                }
            }
        }
        wanted.retain(|_, row| !idle.contains(&row.bot));
    }
}

fn start(shared: &Arc<Shared>, row: WebhookRow) -> Running {
    let (stop, bell) = (CancellationToken::new(), Bell::default());
    let task = tokio::spawn(hook::run(Arc::clone(shared), row, bell.clone(), stop.clone()));
    Running { stop, bell, task }
}
