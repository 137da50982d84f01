//! What generated code needs: methods by name, and requests to be answered.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use protocol::{Error, Result, wire::ErrorCode};
use tokio::time::Instant;

use crate::{
    outgoing::NotPushed,
    server::Peer,
    wire::{self, ANSWER, ERROR},
};

/// A method as both sides know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Package, service and method: `mpim.service.v1.UserService/LogIn`.
    pub name: &'static str,
    /// What stands for the name in frames: its 32-bit FNV-1a hash.
    pub id: u32,
    /// Doing it twice is as good as once: it may be tried again after a failure that leaves its outcome unknown.
    pub idempotent: bool,
}

impl Method {
    /// A method of this name.
    pub const fn new(name: &'static str, idempotent: bool) -> Self {
        let (bytes, mut id, mut i) = (name.as_bytes(), 0x811c_9dc5_u32, 0);
        while i < bytes.len() {
            id = (id ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
            i += 1;
        }
        Self { name, id, idempotent }
    }
}

/// Something that answers calls. Generated code implements it for each service of a `.proto` file.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// The service's name, for metrics: `UserService`.
    fn name(&self) -> &'static str;

    /// What it can be asked.
    fn methods(&self) -> &'static [Method];

    /// Answers a request through its [`Reply`]. Dropped when the caller has gone or the deadline has passed.
    async fn call(&self, request: Request);
}

/// A call that has come.
#[derive(Debug)]
pub struct Request {
    pub(crate) method: usize,
    pub(crate) header: Bytes,
    pub(crate) body: Bytes,
    pub(crate) reply: Reply,
}

impl Request {
    /// Which of the service's [`methods`](Service::methods) is called: its index.
    pub fn method(&self) -> usize {
        self.method
    }

    /// When the caller gives up, by this process's clock.
    pub fn deadline(&self) -> Instant {
        self.reply.deadline
    }

    /// The message, the header that came with it, and whom to answer. `bytes` fields share the memory that the frame was
    /// read into. `None` if one of them cannot be decoded; the caller has been told.
    pub fn open<H: Message + Default, M: Message + Default>(self) -> Option<(H, M, Reply)> {
        match (H::decode(self.header), M::decode(self.body)) {
            (Ok(header), Ok(message)) => Some((header, message, self.reply)),
            (Err(error), _) | (_, Err(error)) => {
                self.reply.fail(Error::invalid(format!("the request cannot be decoded: {error}")));
                None
            }
        }
    }
}

/// Whom to answer. Dropped without an answer in time, the caller is told that the outcome is unknown.
#[derive(Debug)]
pub struct Reply {
    peer: Option<Arc<Peer>>,
    call: u64,
    deadline: Instant,
}

impl Reply {
    pub(crate) fn new(peer: Arc<Peer>, call: u64, deadline: Instant) -> Self {
        Self { peer: Some(peer), call, deadline }
    }

    /// Sends the answer. Never waits. A caller that does not read its answers loses its connection.
    pub fn send<M: Message>(mut self, answer: Result<M>) {
        let Some(peer) = self.peer.take() else { return };
        let pushed = match answer {
            Ok(answer) => peer.push(|to| wire::put(to, ANSWER, self.call, |to| wire::put_message(to, &answer))),
            Err(error) => return push_error(&peer, self.call, error),
        };
        if let Err(NotPushed::TooLong(length)) = pushed {
            // It was perhaps done, but what came of it cannot be told.
            let error = format!("the answer would take {length} bytes, more than a frame may");
            push_error(&peer, self.call, Error::new(ErrorCode::OutcomeUnknown, error));
        }
    }

    /// Sends an error, as [`send`](Self::send) does.
    pub fn fail(self, error: Error) {
        self.send::<()>(Err(error));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(peer) = self.peer.take() else { return };
        // One that was dropped because nobody waits is not under way any more, or its time has passed.
        if peer.is_under_way(self.call) && Instant::now() < self.deadline {
            push_error(&peer, self.call, Error::new(ErrorCode::OutcomeUnknown, "the service failed while it answered"));
        }
    }
}

fn push_error(peer: &Peer, call: u64, error: Error) {
    let error = protocol::wire::Error::from(error);
    // An error is short; if the connection is closed or given up, nobody waits for it.
    let _ = peer.push(|to| wire::put(to, ERROR, call, |to| wire::put_message(to, &error)));
}
