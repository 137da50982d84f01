//! What clients and servers agree on: messages, ids, limits, error codes. Pure: no I/O, no clock of its own.
//!
//! The messages are generated from `proto/`; [`wire`] holds those between clients and gateways, [`queue`] those that
//! services publish to gateways. What more than one program must know has its one home here.

mod address;
mod content;
mod error;
mod id;
pub mod limits;
mod name;
mod webhook_url;
/// The generated messages of the client protocol, `mpim.client.v1`; `docs/protocol.md` describes their use.
// Generated: documented in the `.proto` files, and not in our style.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/mpim.client.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/mpim.client.v1.serde.rs"));
}
/// The generated messages that services publish through the message queue, `mpim.queue.v1`.
// Generated: documented in the `.proto` files, and not in our style.
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod queue {
    include!(concat!(env!("OUT_DIR"), "/mpim.queue.v1.rs"));
}

/// The protocol's own description: an encoded `google.protobuf.FileDescriptorSet` of all its files, with their comments.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The names of all requests, as in the protocol's files and in the paths of HTTP: `log_in`, `send` …
pub fn request_names() -> impl Iterator<Item = &'static str> {
    const NAMES: &[&str] = include!(concat!(env!("OUT_DIR"), "/requests.rs"));
    NAMES.iter().copied()
}

pub use address::is_public;
pub use content::RawContent;
pub use error::{Advice, Error, Result};
pub use id::{ConversationId, EntryId, GatewayId, GroupId, IdGenerator, InvalidId, NodeNumber, SessionId, UserId};
pub use name::{InvalidName, UserName, is_invisible, is_visible, name_key};
pub use webhook_url::{InvalidWebhookUrl, WebhookUrl};

/// What a client sends first on a TCP connection, before its first frame. No HTTP method begins with it, so that TCP
/// and HTTP share a port.
pub const TCP_PREFACE: &[u8; 6] = b"MPIM/1";

/// The WebSocket sub-protocol whose binary messages are protobuf frames.
pub const WEBSOCKET_PROTOBUF: &str = "mpim.v1.protobuf";

/// The WebSocket sub-protocol whose text messages are frames in canonical protobuf JSON.
pub const WEBSOCKET_JSON: &str = "mpim.v1.json";
