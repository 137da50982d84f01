//! WebSocket (RFC 6455), one frame of the protocol a message, after the handshake.
//!
//! Written here rather than taken from a library, because of the memory: libraries keep a connection's buffers at the
//! size of the largest message it ever had. Extensions are not offered, so there is no compression.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BufMut as _, BytesMut};
use protocol::limits::{CLIENT_FRAME_BYTES_MAX, FIRST_FRAMES_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Progress, Received, Transport, decode, parse, stream::Stream};
use crate::frame::Encoding;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The largest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

/// A client's connection after the upgrade.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    stream: Stream<S>,
    encoding: Encoding,
    /// The message under way, if it comes in fragments.
    fragments: Option<BytesMut>,
    end_fed: bool,
    frame_bytes_max: usize,
}

/// A frame's head.
#[derive(Debug, Clone, Copy)]
struct Head {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    bytes: usize,
    payload: usize,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> WebSocket<S> {
    /// `incoming` is what came after the handshake already.
    pub(crate) fn new(socket: S, incoming: BytesMut, encoding: Encoding) -> Self {
        Self {
            stream: Stream::new(socket, incoming),
            encoding,
            fragments: None,
            end_fed: false,
            frame_bytes_max: FIRST_FRAMES_BYTES_MAX,
        }
    }

    /// What the bytes at hand hold, if they are enough.
    fn take(&mut self) -> Result<Option<Received>, String> {
        let Some(head) = head(&self.stream.incoming)? else { return Ok(None) };
        self.check(head)?;
        if self.stream.incoming.len() < head.bytes + head.payload {
            return Ok(None);
        }
        self.stream.incoming.advance(head.bytes);
        let mut payload = self.stream.incoming.split_to(head.payload);
        unmask(&mut payload, head.mask);
        Ok(Some(match head.opcode {
            CLOSE => {
                self.feed_close(payload.get(..2).map(|code| [code[0], code[1]]));
                Received::Ended
            }
            PING => {
                self.feed_frame(PONG, &payload);
                Received::Alive
            }
            PONG => Received::Alive,
            _ => match self.fragments.take() {
                None if head.is_final => self.message(&payload),
                fragments => {
                    let mut message = fragments.unwrap_or_default();
                    message.extend_from_slice(&payload);
                    if head.is_final {
                        self.message(&message)
                    } else {
                        self.fragments = Some(message);
                        Received::Alive
                    }
                }
            },
        }))
    }

    fn check(&self, head: Head) -> Result<(), String> {
        let expected = match self.encoding {
            Encoding::Protobuf => BINARY,
            Encoding::Json => TEXT,
        };
        match head.opcode {
            CLOSE | PING | PONG if head.is_final && head.payload <= CONTROL_BYTES_MAX => return Ok(()),
            CONTINUATION if self.fragments.is_some() => {}
            opcode if opcode == expected && self.fragments.is_none() => {}
            TEXT | BINARY if self.fragments.is_none() => {
                return Err("text messages belong to mpim.v1.json, binary ones to mpim.v1.protobuf".into());
            }
            _ => return Err("not a WebSocket frame that may come here".into()),
        }
        let size = self.fragments.as_ref().map_or(0, BytesMut::len) + head.payload;
        if size > self.frame_bytes_max {
            return Err(format!("a frame of {size} bytes or more, allowed are {} now", self.frame_bytes_max));
        }
        Ok(())
    }

    fn message(&self, payload: &[u8]) -> Received {
        match self.encoding {
            Encoding::Protobuf => decode(payload),
            Encoding::Json if std::str::from_utf8(payload).is_err() => Received::Garbage("a text is not UTF-8".into()),
            Encoding::Json => parse(payload),
        }
    }

    fn feed_frame(&mut self, opcode: u8, payload: &[u8]) {
        let outgoing = &mut self.stream.outgoing;
        outgoing.reserve(payload.len() + 10);
        outgoing.put_u8(FINAL | opcode);
        match payload.len() {
            length @ ..=125 => outgoing.put_u8(u8::try_from(length).expect("at most 125")),
            length => match u16::try_from(length) {
                Ok(length) => {
                    outgoing.put_u8(126);
                    outgoing.put_u16(length);
                }
                Err(_) => {
                    outgoing.put_u8(127);
                    outgoing.put_u64(length as u64);
                }
            },
        }
        outgoing.put_slice(payload);
    }

    fn feed_close(&mut self, code: Option<[u8; 2]>) {
        if !self.end_fed {
            self.end_fed = true;
            self.feed_frame(CLOSE, code.as_ref().map_or(&[], |code| &code[..]));
        }
    }
}

/// The head of the next frame, once all of it is there.
fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err("no WebSocket extension was agreed on".into());
    }
    if second & MASKED == 0 {
        return Err("a client's WebSocket frames are masked".into());
    }
    let (length_bytes, payload) = match second & 0x7f {
        126 => match rest.first_chunk() {
            Some(&length) => (2, u64::from(u16::from_be_bytes(length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(&length) => (8, u64::from_be_bytes(length)),
            None => return Ok(None),
        },
        length => (0, u64::from(length)),
    };
    let Some(&mask) = rest[length_bytes..].first_chunk() else { return Ok(None) };
    // Where it does not fit, it is past any limit.
    let payload = usize::try_from(payload).unwrap_or(usize::MAX / 2).min(usize::MAX / 2);
    Ok(Some(Head { is_final: first & FINAL != 0, opcode: first & 0x0f, mask, bytes: 2 + length_bytes + 4, payload }))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Transport for WebSocket<S> {
    fn encoding(&self) -> Encoding {
        self.encoding
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Received> {
        loop {
            match self.take() {
                Ok(Some(received)) => return Poll::Ready(received),
                Ok(None) => {}
                Err(why) => return Poll::Ready(Received::Garbage(why)),
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
        let opcode = match self.encoding {
            Encoding::Protobuf => BINARY,
            Encoding::Json => TEXT,
        };
        self.feed_frame(opcode, frame);
    }

    fn feed_end(&mut self, proper: bool) {
        // 1000: done; 1002: protocol error.
        self.feed_close(Some(if proper { 1000u16 } else { 1002 }.to_be_bytes()));
    }

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
mod tests;
