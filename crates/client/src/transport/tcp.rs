//! Length-delimited protobuf over TCP.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use prost::Message as _;
use protocol::{
    TCP_PREFACE,
    limits::SERVER_FRAME_BYTES_MAX,
    wire::{ClientFrame, ServerFrame},
};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use crate::{
    Error,
    transport::{FRAMES_MAX, Wire},
};

const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;
/// A varint of 64 bits has at most so many bytes.
const VARINT_BYTES_MAX: usize = 10;

#[derive(Debug)]
pub(crate) struct Tcp {
    stream: Wire,
    /// The beginning of a frame whose rest has not arrived.
    partial: BytesMut,
    unwritten: BytesMut,
    /// How much to ask for; follows what arrives.
    read_bytes: usize,
}

impl Tcp {
    pub(crate) fn new(stream: Wire) -> Self {
        let unwritten = BytesMut::from(&TCP_PREFACE[..]);
        Self { stream, partial: BytesMut::new(), unwritten, read_bytes: READ_BYTES_MIN }
    }

    pub(crate) fn queue(&mut self, frame: &ClientFrame) {
        let length = frame.encoded_len();
        self.unwritten.reserve(length + VARINT_BYTES_MAX);
        frame.encode_length_delimited(&mut self.unwritten).expect("room was made for it");
    }

    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten.len()
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unwritten)).map_err(Error::broken)?;
            self.unwritten.advance(written);
            if self.unwritten.is_empty() {
                self.unwritten = BytesMut::new();
            }
        }
        // What TLS holds; nothing without.
        Pin::new(&mut self.stream).poll_flush(cx).map_err(Error::broken)
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, frames: &mut Vec<ServerFrame>) -> Poll<Result<(), Error>> {
        let before = frames.len();
        loop {
            // Frames left by a read that brought more than fit.
            self.take_frames(frames)?;
            if frames.len() > before {
                return Poll::Ready(Ok(()));
            }
            // A buffer is made only once there is something to read.
            ready!(self.stream.poll_read_ready(cx)).map_err(Error::broken)?;
            ready!(self.poll_fill(cx))?;
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let before = self.partial.len();
        // Zeroing a few KiB costs less than the system call that follows by far.
        self.partial.resize(before + self.read_bytes, 0);
        let mut buffer = ReadBuf::new(&mut self.partial[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        self.partial.truncate(before + read);
        if polled.is_pending() && before == 0 {
            self.partial = BytesMut::new();
        }
        ready!(polled).map_err(Error::broken)?;
        if read == 0 {
            return Poll::Ready(Err(Error::broken(io::Error::from(io::ErrorKind::UnexpectedEof))));
        }
        self.read_bytes = match read {
            _ if read == self.read_bytes => (self.read_bytes * 2).min(READ_BYTES_MAX),
            _ if read < self.read_bytes / 4 => (self.read_bytes / 2).max(READ_BYTES_MIN),
            _ => self.read_bytes,
        };
        Poll::Ready(Ok(()))
    }

    /// Takes whole frames off the buffer, and frees it when it is empty.
    fn take_frames(&mut self, frames: &mut Vec<ServerFrame>) -> Result<(), Error> {
        let mut rest = &self.partial[..];
        for _ in 0..FRAMES_MAX {
            let Some((header, length)) = frame_length(rest)? else { break };
            let Some(frame) = rest.get(header..header + length) else { break };
            frames.push(ServerFrame::decode(frame).map_err(|error| Error::Protocol(error.to_string()))?);
            rest = &rest[header + length..];
        }
        let taken = self.partial.len() - rest.len();
        if taken == self.partial.len() {
            self.partial = BytesMut::new();
        } else {
            self.partial.advance(taken);
        }
        Ok(())
    }

    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.stream.shutdown().await.map_err(Error::broken)
    }
}

/// The lengths of a frame's header and of the frame; `None` if the header has not arrived whole.
fn frame_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut length = 0u64;
    for (i, &byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * i).min(63);
        if byte & 0x80 == 0 {
            return match usize::try_from(length) {
                Ok(length) if length <= SERVER_FRAME_BYTES_MAX => Ok(Some((i + 1, length))),
                _ => Err(Error::Protocol(format!("a frame of {length} bytes, allowed are {SERVER_FRAME_BYTES_MAX}"))),
            };
        }
    }
    if bytes.len() >= VARINT_BYTES_MAX { Err(Error::Protocol("a frame's length has no end".into())) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use protocol::wire::{Error as WireError, server_frame::Body};

    #[test]
    fn a_length_is_read_whole_or_not_at_all_and_has_a_limit() {
        assert_eq!(frame_length(&[]).unwrap(), None);
        assert_eq!(frame_length(&[0x80]).unwrap(), None);
        assert_eq!(frame_length(&[0xac, 0x02, 9]).unwrap(), Some((2, 300)));
        assert!(frame_length(&[0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(frame_length(&[0xff; 10]).is_err());
    }

    #[tokio::test]
    async fn frames_survive_being_cut_anywhere() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut sent = Vec::new();
        let mut bytes = Vec::new();
        for request in 0..40u32 {
            let message = "天气".repeat(request as usize * request as usize * 8);
            let body = Some(Body::Error(WireError { message, ..WireError::default() }));
            let frame = ServerFrame { request, body };
            frame.encode_length_delimited(&mut bytes).unwrap();
            sent.push(frame);
        }
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (i, piece) in bytes.chunks(997).enumerate() {
                stream.write_all(piece).await.unwrap();
                if i % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut socket = Tcp::new(Wire::Plain(tokio::net::TcpStream::connect(address).await.unwrap()));
        let mut received = Vec::new();
        while received.len() < sent.len() {
            std::future::poll_fn(|cx| socket.poll_read(cx, &mut received)).await.unwrap();
        }
        assert_eq!(received, sent);
        assert_eq!(socket.partial.capacity(), 0, "an idle connection holds no buffer");
        server.await.unwrap();
    }
}
