//! The SDK: connect, send, catch up, never lose or double a message.
//!
//! A [`Client`] keeps one connection to a server, reconnects by itself, and resumes where it was. What it promises:
//!
//! - **Each entry once, in order.** Per conversation, [`Events`] yields the entries 1, 2, 3 … without gaps or repeats,
//!   whatever the server's pushes do. Across a crash of the application an entry is repeated rather than lost: it counts
//!   as taken when the application asks for the next event.
//! - **Honest sends.** A send resolves with the position that the server acknowledged, or with an error that tells
//!   whether it was certainly not stored ([`SendError`]). Until then the SDK tries again, always with the same id, over as
//!   many connections as it takes; with a [`DiskProfile`] also after a crash.
//! - **Bounds.** Every queue has one. An application that does not take its events slows only itself down.
//!
//! It does not keep the entries: what the application has taken is the application's.
//!
//! ```no_run
//! use std::sync::Arc;
//! use client::{Client, Event, MemoryProfile, Options, Target};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server: client::Server = "http://127.0.0.1:8080".parse()?;
//! let session = client::register(&server, "alice", "correct horse", "laptop").await?;
//! let profile = Arc::new(MemoryProfile::new(session));
//! let (client, mut events) = Client::start(Options::new(server, profile))?;
//! let sent = client.send(Target::Name("bob".into()), client::text("hello"), client::EntryId::generate()).await?;
//! println!("stored at position {}", sent.position);
//! while let Some(event) = events.next().await {
//!     if let Event::Entry { conversation, entry, .. } = event {
//!         println!("{conversation} {}: {:?}", entry.position, entry.content);
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod account;
mod backoff;
mod calls;
mod driver;
mod error;
mod events;
pub mod fold;
mod handle;
mod options;
mod profile;
mod server;
mod sync;
mod transport;

pub use account::{log_in, reach, register};
pub use backoff::Backoff;
pub use calls::SyncPages;
pub use error::{Error, SendError};
pub use events::{Event, Events};
pub use handle::{Client, State, Submitted, Target, text};
pub use options::Options;
pub use profile::{
    Changes, ConversationState, DiskProfile, MemoryProfile, Outgoing, Profile, ProfileError, Stored, TokenLock, Tokens,
};
pub use protocol::{ConversationId, EntryId, GroupId, RawContent, SessionId, UserId, wire};
pub use server::{InvalidServer, Server};
