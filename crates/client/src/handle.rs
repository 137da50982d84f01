//! The application's handle on a client.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use protocol::{ConversationId, EntryId, RawContent, SessionId, UserId, wire};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Events, Options, SendError,
    calls::Names,
    driver::{self, Ask, Submission},
    events::BATCHES_MAX,
    profile::{Outgoing, on_profile},
};

/// Sends and requests that wait to be taken over by the connection's task.
const HANDOVER_MAX: usize = 64;

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A conversation.
    Conversation(ConversationId),
    /// A user's name: the direct conversation with them, made if there is none yet.
    Name(String),
}

/// The content of a text message.
pub fn text(body: impl Into<String>) -> RawContent {
    wire::content::Kind::Text(wire::Text { body: body.into() }).into()
}

/// What the connection is doing.
#[derive(Debug, Clone)]
pub enum State {
    /// Connecting, or waiting to.
    Connecting {
        /// Why the last connection ended, or could not be made.
        error: Option<Arc<Error>>,
    },
    /// Requests and entries flow.
    Connected,
    /// The client has stopped for good.
    Stopped {
        /// Why; `None`: it was closed.
        error: Option<Arc<Error>>,
    },
}

/// A client of one session. Clones share the connection; when the last clone and the [`Events`] are gone, it ends.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: Arc<Options>,
    pub(crate) user: UserId,
    name: String,
    session: SessionId,
    pub(crate) names: Mutex<Names>,
    submissions: mpsc::Sender<Box<Submission>>,
    asks: mpsc::Sender<Ask>,
    status: Arc<driver::Status>,
    closing: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Starts a client for the profile's session. It connects on its own; requests and sends wait for that.
    ///
    /// Must be called within a tokio runtime. The profile is read here and now.
    ///
    /// # Errors
    ///
    /// The profile cannot be read, or holds no session.
    pub fn start(options: Options) -> Result<(Self, Events), Error> {
        let options = Arc::new(options);
        let tokens = options.profile.tokens()?.ok_or(Error::NotLoggedIn)?;
        let stored = options.profile.load()?;
        let (submissions, submitted) = mpsc::channel(HANDOVER_MAX);
        let (asks, asked) = mpsc::channel(HANDOVER_MAX);
        let (batches, events) = mpsc::channel(BATCHES_MAX);
        let status = Arc::new(driver::Status::default());
        let closing = CancellationToken::new();
        let inputs = driver::Inputs { submitted, asked, batches, closing: closing.clone() };
        let task = driver::spawn(options.clone(), tokens.user, stored, inputs, status.clone());
        let events = Events::new(events, options.profile.clone());
        let shared = Shared {
            options,
            user: tokens.user,
            name: tokens.name,
            session: tokens.session,
            names: Mutex::default(),
            submissions,
            asks,
            status,
            closing,
            task: Mutex::new(Some(task)),
        };
        Ok((Self { shared: Arc::new(shared) }, events))
    }

    /// The session's user.
    pub fn user(&self) -> UserId {
        self.shared.user
    }

    /// The user's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.shared.session
    }

    /// What the connection is doing.
    pub fn state(&self) -> State {
        self.shared.status.state()
    }

    /// Sends a message and waits for its acknowledgement, over as many connections as it takes.
    ///
    /// Cancel safe in that a message once submitted is sent whether or not anyone waits.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub async fn send(&self, target: Target, content: RawContent, id: EntryId) -> Result<wire::Sent, SendError> {
        self.submit(target, content, id).await?.await
    }

    /// Puts a message into the outbox. Messages leave in the order in which `submit` returned; await what it returns for
    /// the acknowledgement. With a durable profile the message now survives a crash of the application.
    ///
    /// If a server refuses a message for the moment while later ones are under way, those may be stored first.
    ///
    /// # Errors
    ///
    /// The message was certainly not sent: the profile failed, or the outbox remained full for
    /// [`send_timeout`](Options::send_timeout), or the client has stopped.
    pub async fn submit(&self, target: Target, content: RawContent, id: EntryId) -> Result<Submitted, SendError> {
        let shared = &*self.shared;
        let deadline = shared.options.send_timeout.map(|timeout| Instant::now() + timeout);
        let permit = match deadline {
            None => shared.submissions.reserve().await,
            Some(deadline) => match tokio::time::timeout_at(deadline, shared.submissions.reserve()).await {
                Ok(permit) => permit,
                Err(_) => return Err(SendError::NotStored { error: self.timed_out(shared.options.send_timeout) }),
            },
        }
        .map_err(|_| SendError::NotStored { error: self.stopped() })?;
        let message = Outgoing { id, target, content };
        if shared.options.profile.is_durable() {
            let copy = message.clone();
            on_profile(&shared.options.profile, move |profile| profile.put_outgoing(&copy))
                .await
                .map_err(|error| SendError::NotStored { error: error.into() })?;
        }
        let (answer, answered) = oneshot::channel();
        permit.send(Box::new(Submission { message, deadline, answer: Some(answer) }));
        Ok(Submitted { id, answered })
    }

    /// Asks one thing of the server over the live connection, waiting for one if there is none.
    ///
    /// # Errors
    ///
    /// The server refuses; or the connection breaks or no answer comes within
    /// [`request_timeout`](Options::request_timeout), and the outcome is unknown.
    pub async fn request(&self, body: wire::client_frame::Body) -> Result<wire::server_frame::Body, Error> {
        let shared = &*self.shared;
        let timeout = shared.options.request_timeout;
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            let ask = Ask { body: Box::new(body), answer };
            shared.asks.send(ask).await.map_err(|_| self.stopped())?;
            answered.await.unwrap_or_else(|_| Err(self.stopped()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(wire::server_frame::Body::Error(error))) => Err(Error::Refused(error.into())),
            Ok(result) => result,
            Err(_) => Err(self.timed_out(Some(timeout))),
        }
    }

    /// Waits until the outbox is empty, at most [`close_timeout`](Options::close_timeout), and ends the connection. What
    /// then is still in the outbox of a durable profile is sent by the next client that uses it.
    ///
    /// For what was taken to be stored, call [`Events::save`] too.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let task = self.shared.task.lock().take();
        if let Some(task) = task
            && let Err(failure) = task.await
        {
            tracing::error!(error = &failure as &dyn std::error::Error, "the connection's task failed");
        }
    }

    /// Ends the task where it stands, as a kill of the process would.
    #[cfg(test)]
    pub(crate) async fn abort(&self) {
        let task = self.shared.task.lock().take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    fn timed_out(&self, after: Option<Duration>) -> Error {
        let source = match self.state() {
            State::Connecting { error } | State::Stopped { error } => error,
            State::Connected => None,
        };
        Error::TimedOut { after: after.unwrap_or_default(), source }
    }

    fn stopped(&self) -> Error {
        match self.state() {
            State::Stopped { error: Some(error) } => (*error).clone(),
            _ => Error::Closed,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("user", &self.shared.user).field("state", &self.state()).finish_non_exhaustive()
    }
}

/// A message in the outbox; resolves with its acknowledgement. Dropping it does not take the message back.
#[derive(Debug)]
#[must_use = "the message is sent all the same, but nobody learns whether it was stored"]
pub struct Submitted {
    id: EntryId,
    answered: oneshot::Receiver<Result<wire::Sent, SendError>>,
}

impl Submitted {
    /// The message's id.
    pub fn id(&self) -> EntryId {
        self.id
    }
}

impl Future for Submitted {
    type Output = Result<wire::Sent, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answered).poll(cx));
        Poll::Ready(answer.unwrap_or_else(|_| Err(SendError::OutcomeUnknown { id: self.id, error: Error::Closed })))
    }
}
