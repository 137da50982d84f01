//! The connection's task: keeps a connection, over which the outbox, the application's requests and the sync engine share
//! one socket.
//!
//! `connect` opens and authenticates, `online` is the life of one connection, `outbox` what is on its way out.

mod connect;
mod online;
mod outbox;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    future::{Future, pending},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use protocol::{UserId, wire};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::JoinHandle,
    time::{Instant, error::Elapsed, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Event, Options, SendError, State,
    events::Item,
    profile::{Outgoing, Stored, on_profile},
    sync::{Engine, Output},
};
use connect::{Credential, Failure, Opened};
use online::{End, Online};
use outbox::Outbox;

/// A connection that lasted so long was a good one: the next wait is a short one.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// Events that wait for room in the channel. Entries in it are bounded by what was asked for; other events beyond this are
/// dropped, and a sync makes up for them.
const UNDELIVERED_MAX: usize = 4_096;
/// The wait until something that is not due at all.
const FAR: Duration = Duration::from_secs(3_600);

/// A message to be sent.
pub(crate) struct Submission {
    pub(crate) message: Outgoing,
    pub(crate) deadline: Option<Instant>,
    /// `None` for messages of an earlier run.
    pub(crate) answer: Option<oneshot::Sender<Result<wire::Sent, SendError>>>,
}

/// A request of the application.
pub(crate) struct Ask {
    pub(crate) body: Box<wire::client_frame::Body>,
    pub(crate) answer: oneshot::Sender<Result<wire::server_frame::Body, Error>>,
}

/// What the handle sees of the task.
pub(crate) struct Status(Mutex<State>);

impl Default for Status {
    fn default() -> Self {
        Self(Mutex::new(State::Connecting { error: None }))
    }
}

impl Status {
    pub(crate) fn state(&self) -> State {
        self.0.lock().clone()
    }

    fn set(&self, state: State) {
        *self.0.lock() = state;
    }
}

/// The task's ends of its channels.
pub(crate) struct Inputs {
    pub(crate) submitted: mpsc::Receiver<Box<Submission>>,
    pub(crate) asked: mpsc::Receiver<Ask>,
    pub(crate) batches: mpsc::Sender<Vec<Item>>,
    pub(crate) closing: CancellationToken,
}

/// Starts the task. It ends when it is told to close, when handle and events are both gone, or when the session ends.
pub(crate) fn spawn(
    options: Arc<Options>,
    user: UserId,
    stored: Stored,
    inputs: Inputs,
    status: Arc<Status>,
) -> JoinHandle<()> {
    let engine = options.catch_up.then(|| {
        let (patience, entries) = (options.gap_patience, options.first_screen_entries);
        let engine = Engine::new(user, &stored.conversations, stored.cursor, patience, entries);
        Box::new(engine.beginning_at(options.recent_entries))
    });
    let outbox = Outbox::new(stored.outgoing, &options);
    let work = Work { options, user, inputs, outbox, engine, undelivered: Vec::new(), down: None, close_by: None };
    tokio::spawn(run(work, status))
}

/// What lives longer than a connection.
struct Work {
    options: Arc<Options>,
    user: UserId,
    inputs: Inputs,
    outbox: Outbox,
    /// `None` if nobody wants entries.
    engine: Option<Box<Engine>>,
    /// Waits for room in the channel.
    undelivered: Vec<Item>,
    /// Why there is no connection.
    down: Option<Arc<Error>>,
    /// Closing: the outbox has until then.
    close_by: Option<Instant>,
}

async fn run(mut work: Work, status: Arc<Status>) {
    let mut credential = Credential::Resume;
    let mut failures = 0u32;
    let stopped_by = loop {
        status.set(State::Connecting { error: work.down.clone() });
        let sync = work.engine.as_mut().map(|engine| engine.connect());
        let options = work.options.clone();
        let Some(attempt) = work.meanwhile(attempt(&options, &mut credential, sync)).await else { break None };
        let failure = match attempt {
            Ok(Ok(opened)) => {
                status.set(State::Connected);
                work.down = None;
                let since = Instant::now();
                let end = online(&mut work, opened).await;
                work.outbox.disconnected();
                if since.elapsed() >= STABLE_AFTER {
                    failures = 0;
                }
                match end {
                    End::Closed => break None,
                    End::Failed(error) => Failure::from(error),
                }
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::from(Error::TimedOut { after: options.connect_timeout, source: None }),
        };
        failures = failures.saturating_add(1);
        let (error, after) = match failure {
            Failure::Stop(error) => break Some(error),
            Failure::BadRequest(error) => {
                if let Some(engine) = &mut work.engine {
                    engine.forget_cursor();
                }
                (error, None)
            }
            Failure::Retry(error, after) => (error, after),
        };
        let retry_in = after.unwrap_or_else(|| options.backoff.wait(failures));
        tracing::debug!(error = &error as &dyn std::error::Error, ?retry_in, "not connected");
        work.down = Some(Arc::new(error.clone()));
        status.set(State::Connecting { error: work.down.clone() });
        work.notify(Event::Disconnected { error, retry_in });
        if work.meanwhile(tokio::time::sleep(retry_in)).await.is_none() {
            break None;
        }
    };
    status.set(State::Stopped { error: stopped_by.clone().map(Arc::new) });
    Box::pin(work.stop(stopped_by)).await;
}

// The task is as large as the largest of its states for as long as it lives. So the states that are large live on the heap,
// made outside of it, and an idle connection costs what an idle connection needs.

fn attempt<'a>(
    options: &'a Options,
    credential: &'a mut Credential,
    sync: Option<wire::Sync>,
) -> Pin<Box<impl Future<Output = Result<Result<Opened, Failure>, Elapsed>> + 'a>> {
    Box::pin(timeout(options.connect_timeout, connect::open(options, credential, sync)))
}

fn online<'a>(work: &'a mut Work, opened: Opened) -> Pin<Box<impl Future<Output = End> + 'a>> {
    Box::pin(Online::new(work, opened).run())
}

impl Work {
    /// Runs something while there is no connection. `None` if the task is to end.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let mut other = pin!(other);
        loop {
            let now = Instant::now();
            self.outbox.expire(now, self.down.as_ref());
            self.forget_settled().await;
            self.hand_over();
            if self.is_over(now) {
                return None;
            }
            let wake = [self.outbox.next_deadline(), self.close_by].into_iter().flatten().min();
            tokio::select! {
                output = &mut other => return Some(output),
                _ = self.next_input(0) => {}
                () = sleep_until(wake.unwrap_or(now + FAR)) => {}
            }
        }
    }

    /// Waits for input, and deals with what does not need a connection. Gives the requests, of which it takes at most
    /// `asks_room`. Cancel safe.
    async fn next_input(&mut self, asks_room: usize) -> Vec<Ask> {
        enum Input {
            Submitted,
            Asked(Vec<Ask>),
            HandedOver,
            NobodyListens,
            Close,
        }
        let clients_gone = self.inputs.submitted.is_closed() && self.inputs.submitted.is_empty();
        let (mut submissions, mut asks) = (Vec::new(), Vec::new());
        let room = self.outbox.room();
        let Inputs { submitted, asked, batches, closing } = &mut self.inputs;
        let input = tokio::select! {
            _ = submitted.recv_many(&mut submissions, room), if room > 0 && !clients_gone => Input::Submitted,
            _ = asked.recv_many(&mut asks, asks_room), if asks_room > 0 && !clients_gone => Input::Asked(asks),
            permit = batches.reserve(), if !self.undelivered.is_empty() => match permit {
                Ok(permit) => {
                    permit.send(mem::take(&mut self.undelivered));
                    Input::HandedOver
                }
                Err(_) => Input::NobodyListens,
            },
            () = closing.cancelled(), if self.close_by.is_none() => Input::Close,
            () = batches.closed(), if clients_gone && self.close_by.is_none() => Input::NobodyListens,
            never = pending::<Infallible>() => match never {},
        };
        match input {
            Input::Submitted => submissions.into_iter().for_each(|submission| self.outbox.push(submission)),
            Input::Asked(asks) => return asks,
            Input::HandedOver => {}
            Input::NobodyListens => self.nobody_listens(),
            Input::Close => self.close(),
        }
        Vec::new()
    }

    fn close(&mut self) {
        self.close_by = Some(Instant::now() + self.options.close_timeout);
        self.inputs.submitted.close();
    }

    /// Closed and flushed, or nobody holds either end any more.
    fn is_over(&self, now: Instant) -> bool {
        if let Some(close_by) = self.close_by {
            return now >= close_by || self.outbox.is_empty() && self.inputs.submitted.is_empty();
        }
        self.inputs.submitted.is_closed() && self.inputs.submitted.is_empty() && self.inputs.batches.is_closed()
    }

    /// Whether the application does not keep up with its events.
    fn is_congested(&self) -> bool {
        self.engine.is_some() && !self.undelivered.is_empty()
    }

    fn notify(&mut self, event: Event) {
        if self.undelivered.len() < UNDELIVERED_MAX {
            self.undelivered.push(Item::Event(event));
        } else if let Some(engine) = &mut self.engine {
            engine.want_sync();
        }
    }

    /// Passes on what the engine and the outbox produced, as far as there is room.
    fn hand_over(&mut self) {
        for refused in self.outbox.take_refused() {
            self.notify(refused);
        }
        if let Some(engine) = &mut self.engine {
            self.undelivered.extend(engine.take_outputs().map(Item::from));
        }
        if !self.undelivered.is_empty() {
            match self.inputs.batches.try_send(mem::take(&mut self.undelivered)) {
                Ok(()) => {}
                // Whoever only sends need not look at events.
                Err(TrySendError::Full(_)) if self.engine.is_none() => {}
                Err(TrySendError::Full(batch)) => self.undelivered = batch,
                Err(TrySendError::Closed(_)) => self.nobody_listens(),
            }
        }
        let congested = self.is_congested();
        if let Some(engine) = &mut self.engine {
            engine.set_congested(congested);
        }
    }

    fn nobody_listens(&mut self) {
        self.engine = None;
        self.undelivered = Vec::new();
    }

    /// Lets the profile forget what is settled. If it fails, the next run sends again with the same id, which is harmless.
    async fn forget_settled(&mut self) {
        let settled = self.outbox.take_settled();
        if settled.is_empty() || !self.options.profile.is_durable() {
            return;
        }
        if let Err(error) = on_profile(&self.options.profile, move |profile| profile.remove_outgoing(&settled)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot remove sent messages from the outbox");
        }
    }

    /// Answers everybody who still waits, and says the last word.
    async fn stop(mut self, error: Option<Error>) {
        self.inputs.submitted.close();
        self.inputs.asked.close();
        while let Ok(submission) = self.inputs.submitted.try_recv() {
            self.outbox.push(submission);
        }
        self.forget_settled().await;
        let durable = self.options.profile.is_durable();
        match &error {
            None => self.outbox.close(durable),
            Some(error) => self.outbox.give_up(error),
        }
        self.forget_settled().await;
        if let Some(error) = error {
            while let Ok(ask) = self.inputs.asked.try_recv() {
                // Whoever asked may have given up.
                let _ = ask.answer.send(Err(error.clone()));
            }
            self.notify(Event::SessionEnded { error });
        }
        for refused in self.outbox.take_refused() {
            self.notify(refused);
        }
        if !self.undelivered.is_empty() {
            tokio::select! {
                // Nobody may take events any more.
                _ = self.inputs.batches.send(self.undelivered) => {}
                () = self.inputs.closing.cancelled() => {}
            }
        }
    }
}

impl From<Output> for Item {
    fn from(output: Output) -> Self {
        match output {
            Output::Entry { conversation, kind, entry } => Self::Event(Event::Entry { conversation, kind, entry }),
            Output::Heads(heads) => Self::Event(Event::Heads(heads)),
            Output::ReadMoved { conversation, user, position } => {
                Self::Event(Event::ReadMoved { conversation, user, position })
            }
            Output::Read(conversation, state) => Self::Read(conversation, state),
            Output::Checkpoint(cursor) => Self::Checkpoint(cursor),
            Output::CaughtUp => Self::Event(Event::CaughtUp),
        }
    }
}
