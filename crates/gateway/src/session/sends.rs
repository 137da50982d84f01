//! The lane of a connection's sends: one batch under way, the next one gathering.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use api::Call;
use protocol::{Result, limits::SENDS_IN_FLIGHT_MAX, wire};

use crate::dispatch::Dispatch;

/// What became of one batch: a result for each request, in order.
pub(super) type Batch = Vec<(u32, Result<wire::Sent>)>;
type Results = Pin<Box<dyn Future<Output = Vec<Result<wire::Sent>>> + Send>>;

/// Sends in the order they came.
#[derive(Default)]
pub(super) struct Sends {
    waiting: Vec<(u32, wire::Send)>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    requests: Vec<u32>,
    results: Results,
}

impl Sends {
    pub(super) fn has_room(&self) -> bool {
        let under_way = self.under_way.as_ref().map_or(0, |batch| batch.requests.len());
        self.waiting.len() + under_way < SENDS_IN_FLIGHT_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    pub(super) fn push(&mut self, request: u32, send: wire::Send) {
        self.waiting.push((request, send));
    }

    /// What waits, unless a batch is under way: the next batch, to be started.
    pub(super) fn next_batch(&mut self) -> Option<(Vec<u32>, Vec<wire::Send>)> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        Some(std::mem::take(&mut self.waiting).into_iter().unzip())
    }

    pub(super) fn start(&mut self, requests: Vec<u32>, results: Results) {
        self.under_way = Some(UnderWay { requests, results });
    }

    /// The results of the batch under way.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Batch> {
        let Some(batch) = &mut self.under_way else { return Poll::Pending };
        let results = ready!(batch.results.as_mut().poll(context));
        let requests = std::mem::take(&mut batch.requests);
        self.under_way = None;
        Poll::Ready(requests.into_iter().zip(results).collect())
    }
}

impl Dispatch {
    /// Sends a batch on behalf of a connection.
    pub(super) fn send_batch(self, call: Call, sends: Vec<wire::Send>) -> Results {
        Box::pin(async move { self.answer_sends(&call, sends).await })
    }
}
