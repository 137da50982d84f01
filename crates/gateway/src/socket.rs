//! A client's socket, by TCP or on this machine, plain or under TLS, whose first bytes can be looked at before anybody reads
//! it; and what such sockets come from.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener},
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::local::Local;

/// Bytes looked at in one go. What was looked at is freed once it is read.
const LOOK_BYTES: usize = 512;

/// Where clients come in.
#[derive(Debug)]
pub enum Listener {
    /// By TCP.
    Tcp(TcpListener),
    /// By a Unix socket: a proxy on this machine. Its address is [`SAME_MACHINE`].
    Unix(UnixListener),
}

/// The address of whoever comes by a Unix socket, which tells none.
pub const SAME_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

impl Listener {
    /// The next connection, and from where it is. Cancel safe.
    pub(crate) async fn accept(&self) -> io::Result<(Wire, IpAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Without it, small frames wait for the acknowledgement of the ones before.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a socket does not take TCP_NODELAY");
                }
                Ok((Either::Left(stream), peer.ip().to_canonical()))
            }
            Self::Unix(listener) => Ok((Either::Right(Local::new(listener.accept().await?.0)?), SAME_MACHINE)),
        }
    }
}

/// What a connection runs over.
pub(crate) type Wire = Either<TcpStream, Local>;

/// A client's socket. Under TLS it is boxed, so that a plain one takes no more memory than before there was TLS.
#[derive(Debug)]
pub(crate) enum Socket {
    /// As it is.
    Plain(Ahead<Wire>),
    /// With everything in TLS.
    Tls(Box<Ahead<TlsStream<Ahead<Wire>>>>),
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
