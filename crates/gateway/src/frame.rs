//! Frames for clients, in the encoding that a client chose.

use std::sync::OnceLock;

use bytes::Bytes;
use prost::Message as _;
use protocol::wire::{
    Error, Goodbye, GoodbyeReason, ServerFrame,
    server_frame::{self, Body},
};

/// How the frames of a connection are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// Encodes one frame.
    pub(crate) fn encode(self, frame: &ServerFrame) -> Bytes {
        match self {
            Self::Protobuf => frame.encode_to_vec().into(),
            Self::Json => match serde_json::to_vec(frame) {
                Ok(json) => json.into(),
                Err(error) => {
                    // Only a stored content that is no content (which no service stores) cannot be written as JSON.
                    tracing::error!(%error, request = frame.request, "a frame cannot be written as JSON");
                    unreadable(frame.request)
                }
            },
        }
    }
}

fn unreadable(request: u32) -> Bytes {
    let error = protocol::Error::unavailable("the answer cannot be written as JSON");
    let frame = ServerFrame { request, body: Some(Body::Error(Error::from(error))) };
    serde_json::to_vec(&frame).expect("an error consists of numbers and text").into()
}

/// A frame for many connections: as it was published, and in JSON once somebody needs it.
#[derive(Debug)]
pub(crate) struct Push {
    protobuf: Bytes,
    json: OnceLock<Option<Bytes>>,
}

impl Push {
    /// Takes an encoded server frame.
    pub(crate) fn from_encoded(protobuf: Bytes) -> Self {
        Self { protobuf, json: OnceLock::new() }
    }

    /// Encodes a frame with this body.
    pub(crate) fn new(body: server_frame::Body) -> Self {
        Self::from_encoded(Encoding::Protobuf.encode(&ServerFrame { request: 0, body: Some(body) }))
    }

    /// The frame in an encoding; all receivers share its bytes. `None` if what was published cannot be read.
    pub(crate) fn encoded(&self, encoding: Encoding) -> Option<Bytes> {
        match encoding {
            Encoding::Protobuf => Some(self.protobuf.clone()),
            Encoding::Json => self.json.get_or_init(|| self.to_json()).clone(),
        }
    }

    fn to_json(&self) -> Option<Bytes> {
        match ServerFrame::decode(self.protobuf.clone()) {
            Ok(frame) => Some(Encoding::Json.encode(&frame)),
            Err(error) => {
                tracing::error!(%error, "a published frame cannot be read");
                None
            }
        }
    }

    /// The decoded body, for the few frames that concern the gateway itself.
    pub(crate) fn body(&self) -> Option<Body> {
        ServerFrame::decode(self.protobuf.clone()).ok()?.body
    }
}

/// The last frame of a connection.
pub(crate) fn goodbye(reason: GoodbyeReason, message: &str, reconnect_after_ms: u32) -> ServerFrame {
    let goodbye = Goodbye { reason: reason.into(), message: message.into(), reconnect_after_ms };
    ServerFrame { request: 0, body: Some(Body::Goodbye(goodbye)) }
}

/// The answer to a request.
pub(crate) fn answer(request: u32, result: Result<Body, protocol::Error>) -> ServerFrame {
    ServerFrame { request, body: Some(result.unwrap_or_else(|error| Body::Error(error.into()))) }
}

#[cfg(test)]
mod tests {
    use protocol::wire::{Content, Entry, EntryPush, Text, content};

    use super::*;

    #[test]
    fn a_push_is_encoded_once_for_each_encoding() {
        let entry = Entry {
            position: 7,
            content: Some(content::Kind::Text(Text { body: "天气".into() }).into()),
            ..Entry::default()
        };
        let push = Push::new(Body::Entry(EntryPush { entry: Some(entry), ..EntryPush::default() }));
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let (first, second) = (push.encoded(encoding).unwrap(), push.encoded(encoding).unwrap());
            assert_eq!(first.as_ptr(), second.as_ptr());
        }
        let json = push.encoded(Encoding::Json).unwrap();
        let read: ServerFrame = serde_json::from_slice(&json).unwrap();
        assert_eq!(read, ServerFrame { request: 0, body: push.body() });
    }

    #[test]
    fn a_content_that_is_none_does_not_take_the_connection_down() {
        assert!(Content::decode(&b"\xff"[..]).is_err());
        let content = Some(protocol::RawContent::from_bytes(Bytes::from_static(b"\xff")));
        let body =
            Body::Entry(EntryPush { entry: Some(Entry { content, ..Entry::default() }), ..EntryPush::default() });
        let json = Encoding::Json.encode(&ServerFrame { request: 9, body: Some(body) });
        let read: ServerFrame = serde_json::from_slice(&json).unwrap();
        assert!(matches!(read, ServerFrame { request: 9, body: Some(Body::Error(_)) }));
    }
}
