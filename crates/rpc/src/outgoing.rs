//! What waits to be written on a connection.
//!
//! Frames are encoded straight into one buffer, in the order in which they are pushed. The writer takes all of it at once: a
//! frame that is alone leaves at once, and what gathers while a write runs leaves with the next one. No timer is involved.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::Notify,
    time::timeout,
};

use crate::{
    config::{OUTGOING_BYTES_HIGH, OUTGOING_BYTES_MAX, WRITE_STALL_MAX},
    wire::TooLong,
};

/// A buffer that has grown beyond this is not kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Outgoing {
    queue: Mutex<Queue>,
    /// The queue was empty and is not any longer, or was closed.
    filled: Notify,
    /// The writer has taken the queue.
    taken: Notify,
    /// Bytes that were handed to the socket, since the connection began.
    written: AtomicU64,
}

#[derive(Default)]
struct Queue {
    bytes: BytesMut,
    /// Bytes that were ever pushed.
    pushed: u64,
    closed: bool,
}

/// Why a frame was not pushed. It is certain that it is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotPushed {
    Closed,
    Full,
    TooLong(usize),
}

impl From<TooLong> for NotPushed {
    fn from(TooLong(length): TooLong) -> Self {
        Self::TooLong(length)
    }
}

impl Outgoing {
    /// Appends a frame. Never waits. Returns where it ends among all bytes of the connection; see
    /// [`may_have_left`](Self::may_have_left).
    pub(crate) fn push(&self, put: impl FnOnce(&mut BytesMut) -> Result<(), TooLong>) -> Result<u64, NotPushed> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(NotPushed::Closed);
        }
        let before = queue.bytes.len();
        if before > OUTGOING_BYTES_MAX {
            return Err(NotPushed::Full);
        }
        put(&mut queue.bytes)?;
        queue.pushed += (queue.bytes.len() - before) as u64;
        let end = queue.pushed;
        drop(queue);
        if before == 0 {
            self.filled.notify_one();
        }
        Ok(end)
    }

    /// Nothing is pushed any more; the writer ends when it has written what is there.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_one();
    }

    /// Whether the peer may have received all of the frame that ends here. If not, it is certain that the peer does not act
    /// on it: part of a frame is none.
    pub(crate) fn may_have_left(&self, end: u64) -> bool {
        end <= self.written.load(Ordering::Acquire)
    }

    /// Waits while a lot is waiting to be written. Cancel safe. For one task.
    pub(crate) async fn room(&self) {
        while self.queue.lock().bytes.len() > OUTGOING_BYTES_HIGH {
            self.taken.notified().await;
        }
    }

    /// Writes until the queue is closed and empty.
    ///
    /// # Errors
    ///
    /// The socket's, or the peer takes nothing for [`WRITE_STALL_MAX`].
    pub(crate) async fn write_to(&self, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut batch = BytesMut::new();
        loop {
            self.filled.notified().await;
            // Whatever is ready to run may have something to send along; if nothing is, this costs next to nothing.
            tokio::task::yield_now().await;
            loop {
                let closed = self.take(&mut batch);
                if batch.is_empty() {
                    if closed {
                        return socket.shutdown().await;
                    }
                    break;
                }
                self.write(&mut socket, &batch).await?;
                batch.clear();
                if batch.capacity() > KEPT_BYTES_MAX {
                    batch = BytesMut::new();
                }
            }
        }
    }

    /// Exchanges the queue for the empty `batch`; tells whether it is closed.
    fn take(&self, batch: &mut BytesMut) -> bool {
        let mut queue = self.queue.lock();
        std::mem::swap(&mut queue.bytes, batch);
        let closed = queue.closed;
        drop(queue);
        self.taken.notify_one();
        closed
    }

    async fn write(&self, socket: &mut (impl AsyncWrite + Unpin), batch: &[u8]) -> io::Result<()> {
        let mut rest = batch;
        while !rest.is_empty() {
            let count = timeout(WRITE_STALL_MAX, socket.write(rest)).await??;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written.fetch_add(count as u64, Ordering::Release);
            rest = &rest[count..];
        }
        timeout(WRITE_STALL_MAX, socket.flush()).await?
    }
}
