//! A gateway's lease: taken when it opens, renewed as long as it is open, given back in the end.

use std::{mem, sync::Arc, time::Duration};

use ::redis::Value;
use protocol::{GatewayId, UserId};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    ear::Ear,
    envelope::Route,
    failure::{Failure, unexpected},
    metrics::Metrics,
    names::{Names, Slot},
    nodes::{Addressed, Nodes},
    scripts,
};

/// A gateway that died without a word has routes for so long.
const LIFETIME: Duration = Duration::from_secs(10);
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// How long a user's routes stay unless they are written again: what a gateway that died left behind is gone then, even if
/// its users never come again.
pub(super) const ROUTE_LIFETIME: Duration = Duration::from_secs(24 * 3_600);
/// All routes are written again this often.
const WRITE_ALL_INTERVAL: Duration = Duration::from_secs(8 * 3_600);
/// Routes written in one pipeline.
const CHUNK: usize = 500;

pub(super) struct Lease {
    nodes: Arc<Nodes>,
    names: Names,
    ear: Arc<Ear>,
    gateway: GatewayId,
    opening: u64,
    term: u64,
    /// For a while there was perhaps no lease, or not all routes, and whoever hears here was not told yet.
    was_gone: bool,
    /// The last attempt to renew it failed.
    failing: bool,
    /// What [`Nodes::lines_opened`] said last.
    lines_opened: Option<u64>,
    metrics: Metrics,
}

impl Lease {
    /// Takes the lease, also from a former opening of the gateway.
    pub(super) async fn take(
        nodes: Arc<Nodes>,
        names: Names,
        ear: Arc<Ear>,
        gateway: GatewayId,
        metrics: Metrics,
    ) -> Result<Self, Failure> {
        let mut command = scripts::run(&scripts::OPEN, &names.lease(gateway));
        command.arg(LIFETIME.as_millis() as u64);
        let opening = ask_number(&nodes, Addressed { slot: Slot::of(gateway), command }).await?;
        ear.set_opening(opening);
        ear.held.set_term(opening);
        Ok(Self {
            nodes,
            names,
            ear,
            gateway,
            opening,
            term: opening,
            was_gone: false,
            failing: false,
            lines_opened: None,
            metrics,
        })
    }

    pub(super) fn opening(&self) -> u64 {
        self.opening
    }

    /// Renews it until it is stopped, and then gives it back; or until the gateway was opened again.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut renew = interval(RENEW_INTERVAL);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut write_all_at = Instant::now() + WRITE_ALL_INTERVAL;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = renew.tick() => {
                    let renewed = self.renew().await;
                    self.note(renewed);
                    // Users' routes are elsewhere in a cluster, and may be lost where the lease is not.
                    let opened = self.nodes.lines_opened(RENEW_INTERVAL).await;
                    let before = self.lines_opened.replace(opened);
                    if before != Some(opened) {
                        self.ear.held.write_all();
                        self.was_gone |= before.is_some();
                    }
                    self.ear.held.sweep();
                }
                () = self.ear.held.changed.notified() => {}
            }
            if self.ear.is_replaced() {
                tracing::warn!(gateway = %self.gateway, "the gateway was opened again, this opening hears nothing any more");
                return;
            }
            if write_all_at <= Instant::now() {
                write_all_at = Instant::now() + WRITE_ALL_INTERVAL;
                self.ear.held.write_all();
            }
            // Without lease or routes nothing was addressed to the gateway, so nothing that comes will show a gap. It is told
            // once the routes count again: what is published from then on comes.
            if self.write().await && mem::take(&mut self.was_gone) {
                self.ear.miss();
            }
        }
        if let Err(failure) = self.give_back().await {
            tracing::debug!(gateway = %self.gateway, %failure, "the lease could not be given back, and runs out");
        }
    }

    async fn renew(&mut self) -> Result<(), Failure> {
        let mut command = scripts::run(&scripts::RENEW, &self.names.lease(self.gateway));
        command.arg(self.opening).arg(self.term).arg(LIFETIME.as_millis() as u64);
        let term = ask_number(&self.nodes, Addressed { slot: Slot::of(self.gateway), command }).await?;
        if term == 0 {
            self.ear.replace();
        } else if term != self.term {
            tracing::warn!(gateway = %self.gateway, "the lease had run out or was lost; the routes are written again");
            (self.term, self.was_gone) = (term, true);
            self.ear.held.set_term(term);
        }
        Ok(())
    }

    /// Says once that it fails, however long that lasts, and once that it does no longer.
    fn note(&mut self, renewed: Result<(), Failure>) {
        let failing = mem::replace(&mut self.failing, renewed.is_err());
        match renewed {
            Err(failure) if !failing => {
                tracing::warn!(gateway = %self.gateway, %failure, "the lease cannot be renewed, trying again");
            }
            Ok(()) if failing => tracing::info!(gateway = %self.gateway, "the lease is renewed again"),
            _ => {}
        }
    }

    /// Writes what is to be written, in pieces. Whether all of it is.
    async fn write(&self) -> bool {
        loop {
            let (term, routes) = self.ear.held.take(CHUNK);
            if routes.is_empty() {
                return true;
            }
            match self.write_some(term, &routes).await {
                Ok(times) => {
                    self.metrics.routes_rewritten.inc_by(routes.len() as u64);
                    for ((user, route), at) in routes.into_iter().zip(times) {
                        self.ear.held.written(user, route, at);
                    }
                }
                Err(failure) => {
                    tracing::debug!(%failure, "routes could not be written, they are with the next renewal");
                    self.ear.held.unwritten(routes.into_iter().map(|(user, _)| user));
                    return false;
                }
            }
        }
    }

    async fn write_some(&self, term: u64, routes: &[(UserId, Route)]) -> Result<Vec<u64>, Failure> {
        let write = |(user, route): &(UserId, Route)| {
            let mut command = scripts::run(&scripts::WRITE, &self.names.route(*user));
            command.arg(self.gateway.get()).arg(term).arg(*route as u8).arg(ROUTE_LIFETIME.as_millis() as u64);
            Addressed { slot: Slot::of(user), command }
        };
        let answers = self.nodes.ask(routes.iter().map(write).collect(), |_| {}).await?;
        answers.iter().map(|answer| number(answer).ok_or_else(|| unexpected("a time", answer))).collect()
    }

    async fn give_back(&self) -> Result<(), Failure> {
        let mut command = scripts::run(&scripts::CLOSE, &self.names.lease(self.gateway));
        command.arg(self.opening);
        self.nodes.ask(vec![Addressed { slot: Slot::of(self.gateway), command }], |_| {}).await.map(drop)
    }
}

async fn ask_number(nodes: &Arc<Nodes>, command: Addressed) -> Result<u64, Failure> {
    let answers = nodes.ask(vec![command], |_| {}).await?;
    answers.first().and_then(number).ok_or_else(|| unexpected("a number", &answers))
}

/// A number, which scripts return as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    ::redis::from_redis_value(value.clone()).ok()
}
