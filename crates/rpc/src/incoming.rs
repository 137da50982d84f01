//! Reading frames off a connection, and noticing that nothing comes any more.

use std::{
    future::pending,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    time::{self, Instant, MissedTickBehavior},
};

use crate::{
    config::SILENT_HEARTBEATS_MAX,
    wire::{Frame, Malformed},
};

/// What is read at once …
const READ_BYTES: usize = 16 * 1024;
/// … and at least; with less room there is more memory, as frames that are still in use keep what they were read into.
const READ_BYTES_MIN: usize = 2 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("the peer closed the connection")]
    Closed,
    /// In the middle of a frame.
    #[error("the connection ended in the middle of a frame")]
    Truncated,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error("nothing was heard for {SILENT_HEARTBEATS_MAX} heartbeats")]
    Silent,
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    #[error("the peer found fault: {0}")]
    Fault(protocol::Error),
    /// All calls are answered, and there will be no more.
    #[error("drained")]
    Drained,
}

/// The frames of a connection.
pub(crate) struct Incoming<'a, R> {
    socket: R,
    read: BytesMut,
    pulse: &'a Pulse,
}

impl<'a, R: AsyncRead + Unpin> Incoming<'a, R> {
    pub(crate) fn new(socket: R, pulse: &'a Pulse) -> Self {
        Self { socket, read: BytesMut::new(), pulse }
    }

    /// The next frame. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = Frame::take(&mut self.read)? {
                return Ok(frame);
            }
            // Grows with what has come, not with what a length announces.
            if self.read.capacity() - self.read.len() < READ_BYTES_MIN {
                self.read.reserve(READ_BYTES.max(self.read.len()));
            }
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(if self.read.is_empty() { End::Closed } else { End::Truncated });
            }
            self.pulse.heard.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether a peer was heard of late.
#[derive(Default)]
pub(crate) struct Pulse {
    heard: AtomicBool,
}

impl Pulse {
    /// Calls `beat` at each heartbeat; returns once nothing was heard for too many of them.
    pub(crate) async fn watch(&self, heartbeat: Duration, beat: impl Fn()) -> End {
        if heartbeat.is_zero() {
            return pending().await;
        }
        let mut ticks = time::interval_at(Instant::now() + heartbeat, heartbeat);
        // A process that was stopped for a while has not heard for as long, and first reads what has come.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent = 0;
        while silent < SILENT_HEARTBEATS_MAX {
            ticks.tick().await;
            beat();
            silent = if self.heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
        }
        End::Silent
    }
}
