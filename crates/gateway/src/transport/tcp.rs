//! TCP: the preface, then frames in protobuf, each after its length as a varint.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use prost::encoding::encode_varint;
use protocol::{
    TCP_PREFACE,
    limits::{CLIENT_FRAME_BYTES_MAX, FIRST_FRAMES_BYTES_MAX},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Progress, Received, Transport, decode, stream::Stream};
use crate::frame::Encoding;

/// A native client's connection.
#[derive(Debug)]
pub(crate) struct Tcp<S> {
    stream: Stream<S>,
    preface_seen: bool,
    frame_bytes_max: usize,
}

/// Bytes of the longest length prefix that is within the limit, and then some.
const LENGTH_BYTES_MAX: usize = 5;

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Tcp<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            stream: Stream::new(socket, BytesMut::new()),
            preface_seen: false,
            frame_bytes_max: FIRST_FRAMES_BYTES_MAX,
        }
    }

    /// What the bytes at hand hold, if they are enough.
    fn take(&mut self) -> Option<Received> {
        if !self.preface_seen {
            let incoming = &mut self.stream.incoming;
            let known = incoming.len().min(TCP_PREFACE.len());
            if incoming[..known] != TCP_PREFACE[..known] {
                return Some(Received::Garbage("a TCP connection begins with MPIM/1".into()));
            }
            if known < TCP_PREFACE.len() {
                return None;
            }
            incoming.advance(known);
            self.preface_seen = true;
        }
        let (length, prefix) = match length(&self.stream.incoming, self.frame_bytes_max) {
            Ok(known) => known?,
            Err(why) => return Some(Received::Garbage(why)),
        };
        let frame = self.stream.incoming.get(prefix..prefix + length)?;
        let received = decode(frame);
        self.stream.incoming.advance(prefix + length);
        Some(received)
    }
}

/// The length of the next frame and of its prefix, once all of the prefix is there.
fn length(bytes: &[u8], max: usize) -> Result<Option<(usize, usize)>, String> {
    let mut length = 0u64;
    for (i, byte) in bytes.iter().take(LENGTH_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * i);
        if length > max as u64 {
            return Err(format!("a frame of {length} bytes or more, allowed are {max}"));
        }
        if byte & 0x80 == 0 {
            return Ok(Some((usize::try_from(length).expect("at most the limit"), i + 1)));
        }
    }
    if bytes.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err("a frame's length takes too many bytes".into()) }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Transport for Tcp<S> {
    fn encoding(&self) -> Encoding {
        Encoding::Protobuf
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        loop {
            if let Some(received) = self.take() {
                return Poll::Ready(received);
            }
            if !matches!(ready!(self.stream.poll_fill(context)), Ok(true)) {
                return Poll::Ready(Received::Ended);
            }
        }
    }

    fn heard(&mut self) -> bool {
        self.stream.heard()
    }

    fn allow_large_frames(&mut self) {
        self.frame_bytes_max = CLIENT_FRAME_BYTES_MAX;
    }

    fn feed(&mut self, frame: &[u8]) {
        self.stream.outgoing.reserve(frame.len() + LENGTH_BYTES_MAX);
        encode_varint(frame.len() as u64, &mut self.stream.outgoing);
        self.stream.outgoing.extend_from_slice(frame);
    }

    fn feed_end(&mut self, _proper: bool) {}

    fn progress(&self) -> Progress {
        self.stream.progress()
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use prost::Message as _;
    use protocol::wire::{ClientFrame, Ping, client_frame};
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn ping(request: u32) -> ClientFrame {
        ClientFrame { request, body: Some(client_frame::Body::Ping(Ping {})) }
    }

    #[tokio::test]
    async fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = TCP_PREFACE.to_vec();
        for request in [1, 300, 70_000] {
            bytes.extend(ping(request).encode_length_delimited_to_vec());
        }
        for piece in 1..=bytes.len() {
            let (mut client, server) = tokio::io::duplex(4);
            let pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
            let writer = tokio::spawn(async move {
                for piece in pieces {
                    client.write_all(&piece).await.unwrap();
                }
            });
            let mut tcp = Tcp::new(server);
            for request in [1, 300, 70_000] {
                assert_eq!(poll_fn(|context| tcp.poll_receive(context)).await, Received::Frame(ping(request)));
            }
            assert_eq!(poll_fn(|context| tcp.poll_receive(context)).await, Received::Ended);
            writer.await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_idle_connection_holds_no_buffer() {
        let (mut client, server) = tokio::io::duplex(1_024);
        let mut tcp = Tcp::new(server);
        client.write_all(TCP_PREFACE).await.unwrap();
        client.write_all(&ping(1).encode_length_delimited_to_vec()).await.unwrap();
        assert_eq!(poll_fn(|context| tcp.poll_receive(context)).await, Received::Frame(ping(1)));
        tcp.feed(b"answer");
        poll_fn(|context| tcp.poll_flush(context)).await.unwrap();
        assert!(poll_fn(|context| Poll::Ready(tcp.poll_receive(context).is_pending())).await);
        assert_eq!((tcp.stream.incoming.capacity(), tcp.stream.outgoing.capacity()), (0, 0));
    }

    #[tokio::test]
    async fn what_is_not_the_protocol_is_garbage_before_it_takes_memory() {
        let mut oversized = TCP_PREFACE.to_vec();
        encode_varint(FIRST_FRAMES_BYTES_MAX as u64 + 1, &mut oversized);
        for bytes in [
            b"MOVE / HTTP/1.1".to_vec(),
            oversized,
            b"MPIM/1\x80\x80\x80\x80\x80\x80".to_vec(),
            b"MPIM/1\x01\xff".to_vec(),
        ] {
            let (mut client, server) = tokio::io::duplex(1_024);
            client.write_all(&bytes).await.unwrap();
            let mut tcp = Tcp::new(server);
            let received = poll_fn(|context| tcp.poll_receive(context)).await;
            assert!(matches!(received, Received::Garbage(_)), "{received:?}");
        }
    }
}
