//! A socket and its two buffers.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Progress;

/// Bytes taken from a socket at a time. On the stack, so that waiting takes no memory.
const READ_BYTES: usize = 8 * 1024;

/// A socket with what came and was not yet read, and what was fed and not yet written.
#[derive(Debug)]
pub(super) struct Stream<S> {
    socket: S,
    pub(super) incoming: BytesMut,
    pub(super) outgoing: BytesMut,
    written: u64,
    heard: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// `incoming` is what was read already.
    pub(super) fn new(socket: S, incoming: BytesMut) -> Self {
        Self { socket, heard: !incoming.is_empty(), incoming, outgoing: BytesMut::new(), written: 0 }
    }

    /// Reads more; ready with `false` at the end. While it waits, an empty buffer takes no memory.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        match Pin::new(&mut self.socket).poll_read(context, &mut read) {
            Poll::Pending => {
                if self.incoming.is_empty() {
                    self.incoming = BytesMut::new();
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                let bytes = read.filled();
                self.heard |= !bytes.is_empty();
                self.incoming.extend_from_slice(bytes);
                Poll::Ready(Ok(!bytes.is_empty()))
            }
        }
    }

    pub(super) fn heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { buffered: self.outgoing.len(), written: self.written }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(context, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
            self.written += written as u64;
        }
        self.outgoing = BytesMut::new();
        Pin::new(&mut self.socket).poll_flush(context)
    }

    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if ready!(Pin::new(&mut self.socket).poll_shutdown(context)).is_err() {
            return Poll::Ready(());
        }
        loop {
            self.incoming.clear();
            if !matches!(ready!(self.poll_fill(context)), Ok(true)) {
                return Poll::Ready(());
            }
        }
    }
}
