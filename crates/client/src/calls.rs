//! One typed method for each request, by topic.
//!
//! Where a method takes an `id`, what it asks for happens once, however often it is asked with the same id.

/// Picks the answer that belongs to a request.
macro_rules! expect {
    ($answer:expr, $variant:ident) => {
        match $answer {
            protocol::wire::server_frame::Body::$variant(answer) => Ok(answer),
            other => Err(crate::calls::unexpected(&other)),
        }
    };
}

mod account;
mod bots;
mod contacts;
mod conversation;
mod groups;
mod presence;

use std::{collections::HashMap, sync::Arc};

use protocol::{
    UserId,
    wire::{client_frame::Body as Request, server_frame::Body as Answer},
};

use crate::{Client, Error};

pub use conversation::SyncPages;

/// The names that were looked up.
pub(crate) type Names = HashMap<UserId, Arc<str>>;

pub(crate) fn unexpected(answer: &Answer) -> Error {
    let text = format!("{answer:?}");
    let name = text.split(['(', ' ']).next().unwrap_or_default();
    Error::Protocol(format!("it answered with {name}, which does not belong to the request"))
}

impl Client {
    /// Asks for something that is answered with nothing but that it is done.
    async fn done(&self, request: Request) -> Result<(), Error> {
        expect!(self.request(request).await?, Done).map(drop)
    }
}

/// Ids as they travel.
fn numbers(users: &[UserId]) -> Vec<u64> {
    users.iter().map(|user| user.get()).collect()
}
