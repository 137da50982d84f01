//! The parsers of what clients send, for fuzz targets: they must neither panic nor hold more than they are allowed to.

use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{join, sink};

use crate::{
    frame::Encoding,
    transport::{Received, Tcp, Transport, WebSocket},
};

/// A client's bytes after the WebSocket handshake; the first `early` of them came with it.
pub fn websocket(bytes: &[u8], early: usize, is_json: bool) {
    let (early, rest) = bytes.split_at(early.min(bytes.len()));
    let encoding = if is_json { Encoding::Json } else { Encoding::Protobuf };
    drain(WebSocket::new(join(rest, sink()), BytesMut::from(early), encoding));
}

/// A client's bytes over TCP.
pub fn tcp(bytes: &[u8]) {
    drain(Tcp::new(join(bytes, sink())));
}

fn drain(mut transport: impl Transport) {
    let mut context = Context::from_waker(Waker::noop());
    let mut frames = 0;
    loop {
        match transport.poll_receive(&mut context) {
            Poll::Ready(Received::Ended | Received::Garbage(_)) | Poll::Pending => return,
            Poll::Ready(_) => frames += 1,
        }
        if frames == 3 {
            transport.allow_large_frames();
        }
        let _ = transport.poll_flush(&mut context);
    }
}
