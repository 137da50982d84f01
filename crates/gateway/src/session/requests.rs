//! A connection's requests other than sends: a bounded number, side by side.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use api::{Call, Watched};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use protocol::{
    Result,
    limits::REQUESTS_IN_FLIGHT_MAX,
    wire::{Done, SetAway, SyncPage, client_frame::Body as Request, server_frame::Body as Answer},
};
use tokio::time::timeout_at;

use crate::{
    dispatch::{self, Dispatch},
    hub::{Bound, Connection, Hub},
};

/// How much a request with a large answer counts against the limit, as its answer may have to wait in memory.
const PAGE_WEIGHT: usize = REQUESTS_IN_FLIGHT_MAX / 2;

/// What a request came to.
pub(super) enum Finished {
    Answer { request: u32, result: Result<Answer> },
    Connected { request: u32, result: Result<Bound> },
    Synced { request: u32, page: SyncPage },
    Watching { request: u32, watched: Watched },
    LoggedOut { request: u32, done: Done },
    AccountDeleted { request: u32, done: Done },
}

type UnderWay = Pin<Box<dyn Future<Output = (usize, Finished)> + Send>>;

/// The requests under way. Takes no memory while there are none.
#[derive(Default)]
pub(super) struct Requests {
    under_way: Option<Box<FuturesUnordered<UnderWay>>>,
    weight: usize,
}

impl Requests {
    pub(super) fn has_room(&self) -> bool {
        self.weight < REQUESTS_IN_FLIGHT_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_none()
    }

    pub(super) fn push<F>(&mut self, body: Request, run: impl FnOnce(Request) -> F)
    where
        F: Future<Output = Finished> + Send + 'static,
    {
        let weight = if dispatch::row(&body).answers_with_a_page() { PAGE_WEIGHT } else { 1 };
        self.weight += weight;
        let finished = run(body);
        self.under_way.get_or_insert_default().push(Box::pin(async move { (weight, finished.await) }));
    }

    /// The next one that is finished; pending also if there are none.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Finished> {
        let Some(under_way) = &mut self.under_way else { return Poll::Pending };
        match ready!(under_way.poll_next_unpin(context)) {
            Some((weight, finished)) => {
                self.weight -= weight;
                Poll::Ready(finished)
            }
            None => {
                self.under_way = None;
                Poll::Pending
            }
        }
    }
}

/// Runs one request to its end, by the call's deadline.
pub(super) async fn run(
    dispatch: Dispatch,
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    call: Call,
    request: u32,
    body: Request,
) -> Finished {
    let kind = dispatch::row(&body).name;
    match body {
        Request::Connect(connect) => {
            let result = timeout_at(call.deadline, hub.connect(&connection, call.clone(), connect)).await;
            // Connecting again does no harm: so this is no «outcome unknown».
            let result = result.unwrap_or_else(|_| Err(dispatch::late(true)));
            Finished::Connected { request, result: dispatch.settle(kind, result) }
        }
        Request::WatchPresence(watch) => {
            let result = timeout_at(call.deadline, hub.watch(&connection, &call, watch)).await;
            match dispatch.settle(kind, result.unwrap_or_else(|_| Err(dispatch::late(true)))) {
                Ok(watched) => Finished::Watching { request, watched },
                Err(error) => Finished::Answer { request, result: Err(error) },
            }
        }
        Request::SetAway(SetAway { away }) => {
            // What cannot be told now is told later: nothing that the client could do about it.
            let _ = timeout_at(call.deadline, hub.set_away(&connection, away)).await;
            let result = dispatch.settle(kind, Ok(Answer::Done(Done {})));
            Finished::Answer { request, result }
        }
        Request::LogOut(_) => match dispatch.answer(&call, body).await {
            Ok(Answer::Done(done)) => Finished::LoggedOut { request, done },
            result => Finished::Answer { request, result },
        },
        Request::DeleteAccount(_) => match dispatch.answer(&call, body).await {
            Ok(Answer::Done(done)) => Finished::AccountDeleted { request, done },
            result => Finished::Answer { request, result },
        },
        body => match dispatch.answer(&call, body).await {
            Ok(Answer::Sync(page)) => Finished::Synced { request, page },
            result => Finished::Answer { request, result },
        },
    }
}
