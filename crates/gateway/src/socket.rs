//! A client's socket, plain or under TLS, whose first bytes can be looked at before anybody reads it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// Bytes looked at in one go. What was looked at is freed once it is read.
const LOOK_BYTES: usize = 512;

/// A client's socket. Under TLS it is boxed, so that a plain one takes no more memory than before there was TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    /// As it is.
    Plain(Ahead<TcpStream>),
    /// With everything in TLS.
    Tls(Box<Ahead<TlsStream<Ahead<TcpStream>>>>),
}

impl Socket {
    /// The first byte from the client, which stays to be read; `None` at the end. Cancel safe.
    pub(crate) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        match self {
            Self::Plain(socket) => socket.first_byte().await,
            Self::Tls(socket) => socket.first_byte().await,
        }
    }
}

/// Something to be read, some of which was looked at already.
#[derive(Debug)]
pub(crate) struct Ahead<S> {
    /// Looked at, and not yet read.
    seen: BytesMut,
    inner: S,
}

impl<S: AsyncRead + Unpin> Ahead<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { seen: BytesMut::new(), inner }
    }

    /// What was looked at.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// Takes the first `count` bytes away that were looked at.
    pub(crate) fn skip(&mut self, count: usize) {
        self.seen.advance(count);
    }

    /// Looks further; `false` at the end. Cancel safe.
    pub(crate) async fn look(&mut self) -> io::Result<bool> {
        self.seen.reserve(LOOK_BYTES);
        Ok(self.inner.read_buf(&mut self.seen).await? > 0)
    }

    async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        if self.seen.is_empty() {
            self.look().await?;
        }
        Ok(self.seen.first().copied())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.inner).poll_read(context, into);
        }
        let count = self.seen.len().min(into.remaining());
        into.put_slice(&self.seen[..count]);
        self.seen.advance(count);
        if self.seen.is_empty() {
            self.seen = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, into),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(socket) => socket.is_write_vectored(),
            Self::Tls(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(socket) => Pin::new(socket.as_mut()).poll_shutdown(context),
        }
    }
}
