//! Frames over a socket: everything queued leaves in one flush, everything that arrived is taken at once.
//!
//! Buffers exist only while there is something in them, so that an idle connection costs next to nothing.

mod tcp;
mod trust;
mod websocket;
mod wire;

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use protocol::wire::{ClientFrame, ServerFrame};
use tokio::net::TcpStream;

use crate::{Error, Server, server::Transport};
use tcp::Tcp;
use websocket::WebSocket;
use wire::Wire;

pub(crate) use trust::Trust;

/// Bytes that wait to be written; while there are more, nothing should be queued.
const UNWRITTEN_BYTES_MAX: usize = 64 * 1024;
/// Frames taken at once, so that what else there is to do gets its turn.
const FRAMES_MAX: usize = 512;

/// A connection to a server, before or after `connect`.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(Tcp),
    WebSocket(Box<WebSocket>),
}

impl Socket {
    /// Connects and greets. Bounded by whoever calls.
    pub(crate) async fn open(server: &Server) -> Result<Self, Error> {
        let unreachable = |error| Error::unreachable(server, error);
        let stream = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(unreachable)?;
        // Frames are batched here; the kernel shall not wait for more.
        stream.set_nodelay(true).map_err(unreachable)?;
        let stream = match &server.trust {
            None => Wire::Plain(stream),
            Some(trust) => trust.greet(&server.host, stream).await.map_err(unreachable)?,
        };
        match server.transport {
            Transport::Tcp => Ok(Self::Tcp(Tcp::new(stream))),
            Transport::WebSocket => {
                let socket = WebSocket::open(stream, server).await.map_err(|error| Error::Unreachable {
                    server: Box::new(server.clone()),
                    source: websocket::cause(error),
                })?;
                Ok(Self::WebSocket(Box::new(socket)))
            }
        }
    }

    /// Queues a frame; [`drive`](Self::drive) writes it.
    pub(crate) fn queue(&mut self, frame: &ClientFrame) {
        match self {
            Self::Tcp(socket) => socket.queue(frame),
            Self::WebSocket(socket) => socket.queue(frame),
        }
    }

    /// Whether more may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.unwritten() < UNWRITTEN_BYTES_MAX
    }

    fn unwritten(&self) -> usize {
        match self {
            Self::Tcp(socket) => socket.unwritten(),
            Self::WebSocket(socket) => socket.unwritten(),
        }
    }

    /// Writes what is queued and, if `read`, waits for frames, which it appends to `frames`. Returns when there are some,
    /// or when there is room again for more to be queued.
    ///
    /// Cancel safe.
    pub(crate) async fn drive(&mut self, read: bool, frames: &mut Vec<ServerFrame>) -> Result<(), Error> {
        let had_room = self.has_room();
        poll_fn(|cx| {
            if self.poll_flush(cx)?.is_ready() && !had_room {
                return Poll::Ready(Ok(()));
            }
            if !read {
                return Poll::Pending;
            }
            match self {
                Self::Tcp(socket) => socket.poll_read(cx, frames),
                Self::WebSocket(socket) => socket.poll_read(cx, frames),
            }
        })
        .await
    }

    /// Writes everything that is queued.
    pub(crate) async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match self {
            Self::Tcp(socket) => socket.poll_flush(cx),
            Self::WebSocket(socket) => socket.poll_flush(cx),
        }
    }

    /// Writes what is queued and says goodbye. Bounded by whoever calls.
    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.flush().await?;
        match self {
            Self::Tcp(socket) => socket.close().await,
            Self::WebSocket(socket) => socket.close().await,
        }
    }
}
