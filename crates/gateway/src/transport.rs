//! How frames travel on a connection: what a session needs of it, and the two ways there are.
//!
//! Everything is polled, so that one task drives reading, writing and waiting without holding a future for each; and
//! what is fed is only buffered, so that all frames of a turn leave in one write. Buffers are freed when they are empty:
//! an idle connection holds none.

mod stream;
mod tcp;
mod websocket;

use std::{
    io,
    task::{Context, Poll},
};

use prost::Message as _;
use protocol::wire::ClientFrame;
use serde::Deserialize;

pub(crate) use tcp::Tcp;
pub(crate) use websocket::WebSocket;

use crate::{frame::Encoding, json::read_json};

/// What came from a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    /// A request.
    Frame(ClientFrame),
    /// A text that is no request, though readable enough that the next may be one. The request's number, if it has one.
    Malformed { request: u32, message: String },
    /// Something of the transport's own, which is dealt with.
    Alive,
    /// Not this protocol: no sense can be made of what follows either.
    Garbage(String),
    /// The client closed the connection, or it broke.
    Ended,
}

/// A client's connection, as frames.
pub(crate) trait Transport: Send + Unpin {
    /// How frames are encoded on it.
    fn encoding(&self) -> Encoding;

    /// The next thing from the client. Cancel safe.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received>;

    /// Whether any byte came since the last call.
    fn heard(&mut self) -> bool;

    /// Takes frames as large as the protocol allows from now on, and not only what a client says before it is known.
    fn allow_large_frames(&mut self);

    /// Buffers one encoded frame for the next flush.
    fn feed(&mut self, frame: &[u8]);

    /// Buffers what tells the client, in the transport's own way, that nothing follows.
    fn feed_end(&mut self, proper: bool);

    /// How many bytes are buffered, and how many were written so far in all.
    fn progress(&self) -> Progress;

    /// Writes what is buffered.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends writing, and waits for the client to end as well; so the last frames arrive, which closing with unread input
    /// would not warrant. What still comes is discarded.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// How far writing has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) buffered: usize,
    pub(crate) written: u64,
}

/// Decodes a request in protobuf.
fn decode(frame: &[u8]) -> Received {
    match ClientFrame::decode(frame) {
        Ok(frame) => Received::Frame(frame),
        Err(error) => Received::Garbage(format!("not a frame of this protocol: {error}")),
    }
}

/// Reads a request in JSON.
fn parse(text: &[u8]) -> Received {
    #[derive(Deserialize)]
    struct Numbered {
        request: u32,
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    match read_json(&mut json).and_then(|frame| json.end().map(|()| frame).map_err(|error| error.to_string())) {
        Ok(frame) => Received::Frame(frame),
        Err(error) => {
            let request = serde_json::from_slice(text).map_or(0, |numbered: Numbered| numbered.request);
            Received::Malformed { request, message: format!("not a request: {error}") }
        }
    }
}
