//! Telling gateways' processes of changed routes: until it is heard, for a while.

use std::{collections::VecDeque, mem, sync::Arc, time::Duration};

use ::redis::{Value, cmd};
use parking_lot::Mutex;
use protocol::GatewayId;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    envelope::{self, Holding},
    failure::Failure,
    names::{Names, Slot},
    nodes::{Addressed, Nodes},
};
use crate::Topic;

/// What was not heard is told again this often, and for so long: a gateway that lost its connection is back by then, or gone.
const AGAIN: Duration = Duration::from_millis(500);
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// What waits to be told, or to be told again, at most; the oldest make room.
const UNTOLD_MAX: usize = 10_000;

pub(super) struct Telling {
    nodes: Arc<Nodes>,
    names: Names,
    untold: Mutex<VecDeque<Told>>,
    added: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    gateway: GatewayId,
    holding: Holding,
    since: Instant,
}

impl Telling {
    pub(super) fn new(nodes: Arc<Nodes>, names: Names) -> Self {
        Self { nodes, names, untold: Mutex::default(), added: Notify::new() }
    }

    /// Tells a gateway of a route that was changed, soon.
    pub(super) fn tell(&self, gateway: GatewayId, holding: Holding) {
        let mut untold = self.untold.lock();
        if untold.len() == UNTOLD_MAX {
            untold.pop_front();
        }
        untold.push_back(Told { gateway, holding, since: Instant::now() });
        self.added.notify_one();
    }

    /// Tells former openings of a gateway that there is a new one. Who does not hear it learns it in another way.
    pub(super) async fn tell_opening(&self, gateway: GatewayId, opening: u64) -> Result<(), Failure> {
        self.nodes.ask(vec![self.command(gateway, &envelope::opened(opening))], |_| {}).await.map(drop)
    }

    /// Tells what there is to tell, and again what was not heard, until it is stopped.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let telling = async {
            let mut unheard = Vec::new();
            let mut again_at = Instant::now();
            loop {
                tokio::select! {
                    () = self.added.notified() => {}
                    () = sleep_until(again_at), if !unheard.is_empty() => {}
                }
                let mut all = Vec::new();
                if again_at <= Instant::now() {
                    again_at = Instant::now() + AGAIN;
                    all = mem::take(&mut unheard);
                }
                all.extend(self.untold.lock().drain(..));
                unheard.extend(self.tell_all(all).await);
                unheard.drain(..unheard.len().saturating_sub(UNTOLD_MAX));
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = telling => {}
        }
    }

    /// Returns those that were not heard.
    async fn tell_all(&self, all: Vec<Told>) -> Vec<Told> {
        let commands = all.iter().map(|told| self.command(told.gateway, &told.holding.encode())).collect();
        let heard = self.nodes.ask(commands, |_| {}).await.inspect_err(|failure| {
            tracing::debug!(%failure, "gateways could not be told of routes, trying again");
        });
        let heard = heard.unwrap_or_default();
        let is_heard = |index: usize| matches!(heard.get(index), Some(Value::Int(1..)));
        let unheard = all
            .into_iter()
            .enumerate()
            .filter(|(index, told)| !is_heard(*index) && told.since.elapsed() < GIVEN_UP_AFTER);
        unheard.map(|(_, told)| told).collect()
    }

    /// Its answer is how many heard it.
    fn command(&self, gateway: GatewayId, envelope: &[u8]) -> Addressed {
        let mut command = cmd(if self.nodes.is_cluster() { "SPUBLISH" } else { "PUBLISH" });
        command.arg(self.names.channel(Topic::Gateway(gateway))).arg(envelope);
        Addressed { slot: Slot::of(gateway), command }
    }
}
