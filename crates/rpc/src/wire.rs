//! Frames: how calls and answers look on a connection. `docs/rpc.md` describes them for whoever writes a peer.
//!
//! ```text
//! length u32 | kind u8 | call u64 | payload        length: of what follows it; all numbers big-endian
//! REQUEST's payload: method u32 | remaining_ms u32 | flags u8 | [trace 16, span 8, flags 1] | header length u16 | header | body
//! ```

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message;
use protocol::{Error, wire};
use tokio::time::{Duration, Instant};

use crate::{config::FRAME_BYTES_MAX, trace::TraceContext};

pub(crate) const REQUEST: u8 = 1;
/// The method's answer.
pub(crate) const ANSWER: u8 = 2;
/// The method's error.
pub(crate) const ERROR: u8 = 3;
/// The method was not begun, and will not be.
pub(crate) const REFUSED: u8 = 4;
/// Nobody waits for the answer any longer.
pub(crate) const CANCEL: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const PONG: u8 = 7;
/// New calls on this connection are going to be refused; to be closed when those under way are answered.
pub(crate) const DRAINING: u8 = 8;
/// The receiver broke the rules; the connection ends.
pub(crate) const FAULT: u8 = 9;

const LENGTH_BYTES: usize = 4;
const KIND_AND_CALL_BYTES: usize = 9;
const TRACED: u8 = 1;

/// What is wrong with what a peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than allowed; told by the length alone.
    #[error("a frame of {0} bytes, allowed are {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// Too short for the kind of frame that it is.
    #[error("a frame of {0} bytes is too short for what it is")]
    TooShort(usize),
    /// A request with a number that another one under way bears.
    #[error("call {0} is under way already")]
    CallReused(u64),
    /// A frame that callers send came to a caller, or the other way round.
    #[error("a frame of kind {0} does not go in this direction")]
    WrongDirection(u8),
}

/// A message is larger than a frame may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong(pub(crate) usize);

/// A frame as it came. The payload shares the memory that it was read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) call: u64,
    pub(crate) payload: Bytes,
}

impl Frame {
    /// Takes the next frame off the bytes read so far; `None` if it is not whole yet.
    pub(crate) fn take(read: &mut BytesMut) -> Result<Option<Self>, Malformed> {
        let Some(length) = read.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Malformed::TooLong(length));
        }
        if length < KIND_AND_CALL_BYTES {
            return Err(Malformed::TooShort(length));
        }
        if read.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        let mut payload = read.split_to(LENGTH_BYTES + length).freeze();
        payload.advance(LENGTH_BYTES);
        Ok(Some(Self { kind: payload.get_u8(), call: payload.get_u64(), payload }))
    }

    /// The error that the frame carries. One that cannot be read leaves the outcome unknown.
    pub(crate) fn error(self) -> Error {
        wire::Error::decode(self.payload).unwrap_or_default().into()
    }
}

/// Appends a frame. On failure nothing is appended.
pub(crate) fn put(
    to: &mut BytesMut,
    kind: u8,
    call: u64,
    payload: impl FnOnce(&mut BytesMut) -> Result<(), TooLong>,
) -> Result<(), TooLong> {
    let start = to.len();
    to.put_u32(0);
    to.put_u8(kind);
    to.put_u64(call);
    let put = payload(to);
    let length = to.len() - start - LENGTH_BYTES;
    let put = put.and(if length > FRAME_BYTES_MAX { Err(TooLong(length)) } else { Ok(()) });
    match put {
        Ok(()) => to[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes()),
        Err(_) => to.truncate(start),
    }
    put
}

/// Appends a message, as a frame's payload.
pub(crate) fn put_message(to: &mut BytesMut, message: &impl Message) -> Result<(), TooLong> {
    // Before anything is copied, and so that the buffer grows once.
    let length = message.encoded_len();
    if length > FRAME_BYTES_MAX {
        return Err(TooLong(length));
    }
    to.reserve(length);
    message.encode_raw(to);
    Ok(())
}

/// What a request bears before its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: u32,
    /// How long the caller goes on waiting; clocks need not agree.
    pub(crate) remaining: Duration,
    pub(crate) trace: Option<TraceContext>,
}

impl Head {
    /// For a caller that waits until `deadline`.
    pub(crate) fn new(method: u32, now: Instant, deadline: Instant) -> Self {
        Self { method, remaining: deadline.saturating_duration_since(now), trace: TraceContext::current() }
    }

    /// Appends the payload of a request.
    pub(crate) fn put(&self, to: &mut BytesMut, header: &impl Message, body: &impl Message) -> Result<(), TooLong> {
        // Rounded up: a deadline that is near is not one that has passed.
        let remaining_ms = self.remaining.as_micros().div_ceil(1_000);
        to.put_u32(self.method);
        to.put_u32(u32::try_from(remaining_ms).unwrap_or(u32::MAX));
        match self.trace {
            None => to.put_u8(0),
            Some(TraceContext { trace, span, flags }) => {
                to.put_u8(TRACED);
                to.put_u128(trace);
                to.put_u64(span);
                to.put_u8(flags);
            }
        }
        let length = header.encoded_len();
        to.put_u16(u16::try_from(length).map_err(|_| TooLong(length))?);
        put_message(to, header)?;
        put_message(to, body)
    }

    /// Splits a request's payload: its head, header and body.
    pub(crate) fn take(mut payload: Bytes) -> Result<(Self, Bytes, Bytes), Malformed> {
        let length = payload.len();
        let too_short = |_| Malformed::TooShort(length);
        let method = payload.try_get_u32().map_err(too_short)?;
        let remaining = Duration::from_millis(payload.try_get_u32().map_err(too_short)?.into());
        let mut trace = None;
        if payload.try_get_u8().map_err(too_short)? & TRACED != 0 {
            trace = Some(TraceContext {
                trace: payload.try_get_u128().map_err(too_short)?,
                span: payload.try_get_u64().map_err(too_short)?,
                flags: payload.try_get_u8().map_err(too_short)?,
            });
        }
        let header = usize::from(payload.try_get_u16().map_err(too_short)?);
        if payload.len() < header {
            return Err(Malformed::TooShort(length));
        }
        let header = payload.split_to(header);
        Ok((Self { method, remaining, trace }, header, payload))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(traced: bool) -> Head {
        let trace = traced.then_some(TraceContext { trace: 1 << 100, span: 7, flags: 1 });
        Head { method: 0xdead_beef, remaining: Duration::from_millis(1_500), trace }
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_are_cut(
            bodies in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>(), any::<u64>()), 1..8),
            pieces in prop::collection::vec(1usize..64, 1..20),
        ) {
            let mut bytes = BytesMut::new();
            for (body, traced, call) in &bodies {
                let put_head = |to: &mut BytesMut| head(*traced).put(to, &"header".to_string(), body);
                put(&mut bytes, REQUEST, *call, put_head).unwrap();
            }
            let (mut read, mut found, mut pieces) = (BytesMut::new(), Vec::new(), pieces.into_iter().cycle());
            while !bytes.is_empty() {
                let piece = pieces.next().unwrap().min(bytes.len());
                read.extend_from_slice(&bytes.split_to(piece));
                while let Some(frame) = Frame::take(&mut read).unwrap() {
                    found.push(frame);
                }
            }
            prop_assert!(read.is_empty());
            prop_assert_eq!(found.len(), bodies.len());
            for (frame, (body, traced, call)) in found.into_iter().zip(bodies) {
                prop_assert_eq!((frame.kind, frame.call), (REQUEST, call));
                let (found, header, rest) = Head::take(frame.payload).unwrap();
                prop_assert_eq!(found, head(traced));
                prop_assert_eq!(String::decode(header).unwrap(), "header");
                prop_assert_eq!(Vec::<u8>::decode(rest).unwrap(), body);
            }
        }

        #[test]
        fn nothing_that_a_peer_can_send_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut read = BytesMut::from(bytes.as_slice());
            while let Ok(Some(frame)) = Frame::take(&mut read) {
                let _ = Head::take(frame.payload.clone());
                let _ = frame.error();
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut read = BytesMut::from(&(FRAME_BYTES_MAX as u32 + 1).to_be_bytes()[..]);
        assert_eq!(Frame::take(&mut read), Err(Malformed::TooLong(FRAME_BYTES_MAX + 1)));
        let mut read = BytesMut::from(&8u32.to_be_bytes()[..]);
        assert_eq!(Frame::take(&mut read), Err(Malformed::TooShort(8)));
    }

    #[test]
    fn a_message_beyond_the_limit_leaves_nothing_behind() {
        let mut to = BytesMut::from(&b"before"[..]);
        let body = vec![0u8; FRAME_BYTES_MAX];
        assert!(put(&mut to, ANSWER, 1, |to| put_message(to, &body)).is_err());
        assert_eq!(&to[..], b"before");
    }
}
