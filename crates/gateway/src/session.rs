//! One client's connection, from its first frame to its last.
//!
//! A session is one task that is polled: in each turn it takes what came, hands on what is ready, and then writes once.
//! Sends go as batches, one under way at a time, so that they are appended in the order they came; other requests run
//! side by side. What a client may leave unanswered, unread or unsaid is bounded.

mod requests;
mod sends;
mod unwritten;
mod watchdog;

use std::{
    future::poll_fn,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use api::{Call, Caller};
use protocol::{
    Error, Result,
    limits::{HEARTBEAT_DEFAULT, HEARTBEAT_MAX, HEARTBEAT_MIN},
    queue::AccountClosed,
    wire::{
        ClientFrame, Done, ErrorCode, GoodbyeReason, ServerFrame, client_frame::Body as Request,
        server_frame::Body as Answer,
    },
};
use tokio::time::{Instant, timeout};

use self::{
    requests::{Finished, Requests},
    sends::Sends,
    unwritten::Unwritten,
    watchdog::{Alarm, Watchdog},
};
use crate::{
    admission::{Admitted, too_many},
    dispatch::{self, Dispatch, table::Class},
    frame,
    gateway::Shared,
    hub::{Bound, Membership},
    outbox::{Closed, Outlet},
    rate::Bucket,
    transport::{Received, Transport},
};

/// Frames taken from a client in one turn, before what they caused is written.
const FRAMES_PER_TURN: usize = 256;
/// Bytes fed and not yet written from which on nothing more is read from the client, nor taken from its outbox.
const UNWRITTEN_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may be nobody's.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// Bytes fed and not yet written, all connections together, from which on pages are refused: readers that do not read would
/// fill the memory with them.
pub(crate) const ALL_UNWRITTEN_BYTES_MAX: usize = 512 * 1024 * 1024;
/// How long a client may take to read its last frames and to close its end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The silence that a client is allowed, of the one it asks for (0: it does not ask).
pub(crate) fn accepted_heartbeat(asked_ms: u32) -> Duration {
    match asked_ms {
        0 => HEARTBEAT_DEFAULT,
        ms => Duration::from_millis(ms.into()).clamp(HEARTBEAT_MIN, HEARTBEAT_MAX),
    }
}

/// Serves a connection until it ends, in whichever way.
pub(crate) async fn run<T: Transport + 'static>(transport: T, gateway: Arc<Shared>, address: IpAddr) {
    let (mut transport, ending) = Session::new(transport, gateway.clone(), address).serve().await;
    if let Some(goodbye) = ending.goodbye() {
        let is_proper = !matches!(ending, Ending::ProtocolError(_));
        tokio::select! {
            said = timeout(CLOSE_TIMEOUT, say_goodbye(&mut transport, &goodbye, is_proper)) => if said.is_err() {
                tracing::debug!(%address, "the client did not take its last frames");
            },
            () = gateway.cut.cancelled() => {}
        }
    }
    gateway.closer.close(transport);
}

/// Best effort: a client that does not read learns by the closed connection.
async fn say_goodbye(transport: &mut impl Transport, goodbye: &ServerFrame, is_proper: bool) {
    transport.feed(&transport.encoding().encode(goodbye));
    transport.feed_end(is_proper);
    if poll_fn(|context| transport.poll_flush(context)).await.is_ok() {
        poll_fn(|context| transport.poll_close(context)).await;
    }
}

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ending {
    /// The client went; a WebSocket's closing frame is answered by then.
    Gone,
    /// The gateway has no time left.
    Cut,
    SlowConsumer,
    Silent,
    SessionEnded,
    /// The API key's time is over.
    KeyExpired,
    AccountClosed(AccountClosed),
    Draining(Duration),
    ProtocolError(String),
}

impl Ending {
    /// The last frame for the client; `None` if there is nobody to talk to.
    fn goodbye(&self) -> Option<ServerFrame> {
        let (reason, message, after) = match self {
            Self::Gone | Self::Cut => return None,
            Self::SlowConsumer => (GoodbyeReason::GoodbyeSlowConsumer, "you read too slowly: reconnect and resume", 0),
            Self::Silent => (GoodbyeReason::GoodbyeSilent, "nothing was heard from you for too long", 0),
            Self::SessionEnded => (GoodbyeReason::GoodbyeSessionEnded, "the session was ended", 0),
            Self::KeyExpired => (GoodbyeReason::GoodbyeSessionEnded, "the API key's time is over", 0),
            Self::AccountClosed(why) => (GoodbyeReason::GoodbyeAccountClosed, told(*why), 0),
            Self::Draining(after) => (GoodbyeReason::GoodbyeDraining, "this gateway stops", after.as_millis()),
            Self::ProtocolError(why) => (GoodbyeReason::GoodbyeProtocolError, why.as_str(), 0),
        };
        Some(frame::goodbye(reason, message, u32::try_from(after).unwrap_or(u32::MAX)))
    }
}

/// Why an account is closed, for its user to read.
fn told(why: AccountClosed) -> &'static str {
    match why {
        AccountClosed::Deleted => "the account was deleted",
        AccountClosed::Suspended => "the account was suspended by those who run the server",
    }
}

/// Who a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    /// Nothing more is read, and no push leaves, until this is decided.
    Connecting,
    Connected(Caller),
}

pub(crate) struct Session<T> {
    transport: T,
    requests: Requests,
    sends: Sends,
    outlet: Outlet,
    standing: Standing,
    /// What the session ends with as soon as all under way is answered.
    ending: Option<Ending>,
    bucket: Bucket,
    unwritten: Unwritten,
    watchdog: Watchdog,
    address: IpAddr,
    gateway: Arc<Shared>,
    /// Last, so that nothing that is under way outlives it.
    membership: Membership,
}

impl<T: Transport> Session<T> {
    fn new(transport: T, gateway: Arc<Shared>, address: IpAddr) -> Self {
        let (membership, outlet) = gateway.hub.open(transport.encoding());
        Self {
            transport,
            requests: Requests::default(),
            sends: Sends::default(),
            outlet,
            standing: Standing::New,
            ending: None,
            bucket: Bucket::default(),
            unwritten: Unwritten::new(gateway.unwritten.clone()),
            watchdog: Watchdog::new(CONNECT_WITHIN, HEARTBEAT_DEFAULT, gateway.config.write_timeout),
            address,
            gateway,
            membership,
        }
    }

    async fn serve(mut self) -> (T, Ending) {
        let ending = poll_fn(|context| self.poll(context)).await;
        if ending == Ending::SlowConsumer {
            tracing::info!(connection = self.membership.connection.id.0, "a slow consumer is closed");
        }
        (self.transport, ending)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ending> {
        let mut frames_left = FRAMES_PER_TURN;
        loop {
            let mut has_moved = self.poll_finished(context);
            has_moved |= self.poll_outlet(context);
            has_moved |= self.poll_frames(context, &mut frames_left);
            // Once the socket is read empty, so that all sends that came together go together.
            has_moved |= self.start_sends();
            if matches!(self.ending, Some(Ending::Gone | Ending::Cut | Ending::SlowConsumer | Ending::ProtocolError(_)))
            {
                break;
            }
            if !has_moved {
                break;
            }
        }
        // What was not polled because too much was unwritten has to be polled when that is written.
        let was_full = self.is_full();
        match self.transport.poll_flush(context) {
            Poll::Ready(Ok(())) => self.watchdog.all_written(),
            Poll::Ready(Err(_)) => return Poll::Ready(Ending::Gone),
            Poll::Pending => self.watchdog.unwritten(self.transport.progress()),
        }
        self.unwritten.set(self.transport.progress().buffered);
        if let Some(ending) = self.take_ending() {
            return Poll::Ready(ending);
        }
        if frames_left == 0 || was_full && !self.is_full() {
            context.waker().wake_by_ref();
        }
        // Who is not read from is not silent.
        if self.transport.heard() || !self.has_room() {
            self.watchdog.heard();
        }
        match self.watchdog.poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Alarm::Silent) => Poll::Ready(Ending::Silent),
            Poll::Ready(Alarm::Stuck) => {
                self.gateway.metrics.slow_consumers.inc();
                Poll::Ready(Ending::SlowConsumer)
            }
            Poll::Ready(Alarm::Over) => {
                self.ending.get_or_insert(Ending::KeyExpired);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn start_sends(&mut self) -> bool {
        let Some((requests, sends)) = self.sends.next_batch() else { return false };
        let results = self.gateway.dispatch.clone().send_batch(self.call(), sends);
        self.sends.start(requests, results);
        true
    }

    /// The ending, if there is one and nothing has to be waited for.
    fn take_ending(&mut self) -> Option<Ending> {
        if self.ends_orderly() && !(self.requests.is_empty() && self.sends.is_empty()) {
            None
        } else {
            self.ending.take()
        }
    }

    /// Whether it ends once all under way is answered.
    fn ends_orderly(&self) -> bool {
        use Ending::{AccountClosed, Draining, KeyExpired, SessionEnded};
        matches!(self.ending, Some(Draining(_) | SessionEnded | KeyExpired | AccountClosed(_)))
    }

    fn is_full(&self) -> bool {
        self.transport.progress().buffered > UNWRITTEN_BYTES_MAX
    }

    /// Feeds the answers that are ready.
    fn poll_finished(&mut self, context: &mut Context<'_>) -> bool {
        let mut has_moved = false;
        while let Poll::Ready(finished) = self.requests.poll_next(context) {
            has_moved = true;
            self.finish(finished);
        }
        while let Poll::Ready(batch) = self.sends.poll(context) {
            has_moved = true;
            for (request, result) in batch {
                self.answer(request, result.map(Answer::Sent));
            }
        }
        has_moved
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Answer { request, result } => self.answer(request, result),
            Finished::Synced { request, page } => {
                if let Standing::Connected(caller) = self.standing {
                    self.membership.hub.repair_groups(caller.user, &page);
                }
                self.answer(request, Ok(Answer::Sync(page)));
            }
            Finished::Connected { request, result } => match result {
                Ok(Bound { caller, connected, ends_at }) => {
                    self.standing = Standing::Connected(caller);
                    self.transport.allow_large_frames();
                    self.watchdog.connected(Duration::from_millis(connected.heartbeat_ms.into()), ends_at);
                    self.answer(request, Ok(Answer::Connected(connected)));
                }
                Err(error) => {
                    self.standing = Standing::New;
                    self.answer(request, Err(error));
                }
            },
            Finished::Watching { request, watched } => {
                let users: Vec<_> = watched.followed.into_iter().map(protocol::UserId::new).collect();
                self.answer(request, Ok(Answer::Presences(watched.presences.unwrap_or_default())));
                // Changes since leave after the answer.
                self.membership.hub.watch_allowed(&self.membership.connection, &users);
            }
            Finished::LoggedOut { request, done } => {
                self.answer(request, Ok(Answer::Done(done)));
                if let Standing::Connected(caller) = self.standing {
                    self.membership.hub.end_session(caller.user, caller.session);
                }
            }
            Finished::AccountDeleted { request, done } => {
                self.answer(request, Ok(Answer::Done(done)));
                if let Standing::Connected(caller) = self.standing {
                    self.membership.hub.close_account(caller.user, AccountClosed::Deleted);
                }
            }
        }
    }

    fn answer(&mut self, request: u32, result: Result<Answer>) {
        self.gateway.metrics.frames_out.inc();
        self.transport.feed(&self.transport.encoding().encode(&frame::answer(request, result)));
    }

    /// Feeds pushes while the client keeps up; whether there may be more to do at once.
    fn poll_outlet(&mut self, context: &mut Context<'_>) -> bool {
        if self.ending.is_some() && !self.ends_orderly() {
            return false;
        }
        if self.is_full() || self.standing == Standing::Connecting {
            if let Poll::Ready(closed) = self.outlet.poll_overflow(context) {
                self.close(closed);
            }
            return false;
        }
        let (frames, taken) = self.outlet.poll_take(context, UNWRITTEN_BYTES_MAX);
        self.gateway.metrics.frames_out.inc_by(frames.len() as u64);
        for frame in frames {
            self.transport.feed(&frame);
        }
        // If much was fed, its reader has the time that readers have, not only that of a goodbye: this is asked again then.
        if let Poll::Ready(Err(closed)) = taken
            && !self.is_full()
        {
            self.close(closed);
        }
        matches!(taken, Poll::Ready(Ok(())))
    }

    fn close(&mut self, closed: Closed) {
        self.ending = Some(match closed {
            Closed::SlowConsumer => Ending::SlowConsumer,
            Closed::SessionEnded => Ending::SessionEnded,
            Closed::AccountClosed(why) => Ending::AccountClosed(why),
            Closed::Draining(after) => Ending::Draining(after),
            Closed::Cut => Ending::Cut,
        });
    }

    /// Takes what the client sent while there is room for what it causes.
    fn poll_frames(&mut self, context: &mut Context<'_>, left: &mut usize) -> bool {
        let mut has_moved = false;
        while *left > 0 && self.has_room() {
            let Poll::Ready(received) = self.transport.poll_receive(context) else { break };
            has_moved = true;
            *left -= 1;
            match received {
                Received::Frame(frame) => self.received(frame),
                Received::Malformed { request, message } => {
                    let error = self.admit_rate().err().unwrap_or_else(|| Error::invalid(message));
                    self.refuse(request, "malformed", error);
                }
                Received::Alive => {}
                Received::Garbage(why) => self.ending = Some(Ending::ProtocolError(why)),
                Received::Ended => self.ending = Some(Ending::Gone),
            }
        }
        has_moved
    }

    fn has_room(&self) -> bool {
        self.ending.is_none()
            && self.standing != Standing::Connecting
            && self.sends.has_room()
            && self.requests.has_room()
            && !self.is_full()
    }

    fn received(&mut self, frame: ClientFrame) {
        self.gateway.metrics.frames_in.inc();
        let ClientFrame { request, body } = frame;
        let Some(body) = body else {
            let error = self.admit_rate().err().unwrap_or_else(unknown_request);
            return self.refuse(request, "unknown", error);
        };
        match self.admit(request, &body) {
            Ok(Admitted::Served) => {}
            Ok(Admitted::Dropped) => return self.answer(request, Ok(Answer::Done(Done {}))),
            Err(error) => return self.refuse(request, dispatch::row(&body).name, error),
        }
        match body {
            Request::Ping(_) => self.answer(request, Ok(Answer::Pong(dispatch::pong()))),
            Request::Send(send) => self.sends.push(request, send),
            body => self.start(request, body),
        }
    }

    fn refuse(&mut self, request: u32, kind: &'static str, error: Error) {
        let refused = self.gateway.dispatch.settle(kind, Err(error));
        self.answer(request, refused);
    }

    /// Whether the request may be made here and now.
    fn admit(&mut self, request: u32, body: &Request) -> Result<Admitted> {
        if request == 0 {
            return Err(Error::invalid("request is missing: a number from 1 on, which the answer will bear"));
        }
        let row = dispatch::row(body);
        if row.class != Class::Sends {
            self.admit_rate()?;
        }
        if row.class == Class::Accounts {
            return self.gateway.admission.account_request(self.address).map(|()| Admitted::Served);
        }
        match (body, self.standing) {
            (Request::Ping(_), _) => Ok(Admitted::Served),
            (Request::Connect(_), Standing::Connected(_)) => {
                Err(Error::invalid("this connection is connected already"))
            }
            (Request::Connect(_), _) => Ok(Admitted::Served),
            (_, Standing::New | Standing::Connecting) => Err(Error::new(ErrorCode::Unauthenticated, "connect first")),
            (_, Standing::Connected(_))
                if row.answers_with_a_page() && self.unwritten.all() > ALL_UNWRITTEN_BYTES_MAX =>
            {
                let message = "too many answers wait for their readers";
                Err(Error::new(ErrorCode::Overloaded, message).with_retry_after(Duration::from_secs(1)))
            }
            (body, Standing::Connected(caller)) => self.gateway.admission.request(caller, body),
        }
    }

    /// Counts against the connection's rate whatever is answered, sends apart.
    fn admit_rate(&mut self) -> Result<()> {
        let rate = self.gateway.admission.limits().requests_per_connection;
        self.bucket.take(rate, Instant::now()).map_err(|after| too_many("requests", after))
    }

    fn call(&self) -> Call {
        let caller = match self.standing {
            Standing::Connected(caller) => Some(caller),
            Standing::New | Standing::Connecting => None,
        };
        Call {
            caller,
            origin: Some(self.membership.connection.id),
            address: Some(self.address),
            deadline: self.gateway.dispatch.deadline(),
        }
    }

    fn start(&mut self, request: u32, body: Request) {
        let call = self.call();
        let dispatch: Dispatch = self.gateway.dispatch.clone();
        let (hub, connection) = (self.membership.hub.clone(), self.membership.connection.clone());
        if matches!(body, Request::Connect(_)) {
            self.standing = Standing::Connecting;
        }
        self.requests.push(body, |body| requests::run(dispatch, hub, connection, call, request, body));
    }
}

/// What a request is answered with that this gateway does not know.
pub(crate) fn unknown_request() -> Error {
    Error::new(ErrorCode::UnknownRequest, "this server does not know such a request")
}
