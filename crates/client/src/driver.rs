//! stub
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::{UserId, wire};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Options, SendError, State,
    events::Item,
    profile::{Outgoing, Stored},
};

pub(crate) struct Submission {
    pub(crate) message: Outgoing,
    pub(crate) deadline: Option<Instant>,
    pub(crate) answer: Option<oneshot::Sender<Result<wire::Sent, SendError>>>,
}
pub(crate) struct Ask {
    pub(crate) body: Box<wire::client_frame::Body>,
    pub(crate) answer: oneshot::Sender<Result<wire::server_frame::Body, Error>>,
}
pub(crate) struct Link {
    state: Mutex<State>,
}
impl Default for Link {
    fn default() -> Self {
        Self { state: Mutex::new(State::Connecting { error: None }) }
    }
}
impl Link {
    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }
}
pub(crate) struct Inputs {
    pub(crate) submitted: mpsc::Receiver<Submission>,
    pub(crate) asked: mpsc::Receiver<Ask>,
    pub(crate) batches: mpsc::Sender<Vec<Item>>,
    pub(crate) closing: CancellationToken,
}
pub(crate) fn spawn(
    _options: Options,
    _user: UserId,
    _stored: Stored,
    inputs: Inputs,
    _link: Arc<Link>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        inputs.closing.cancelled().await;
    })
}
