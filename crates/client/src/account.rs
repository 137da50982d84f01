//! Accounts and log-in, before there is a session.
use protocol::wire;

use crate::{Error, Server};

/// Makes an account and its first session, on a connection of its own.
///
/// # Errors
///
/// The server cannot be reached, or refuses: the name is taken, or name or password are not allowed.
pub async fn register(server: &Server, name: &str, password: &str, device: &str) -> Result<wire::Session, Error> {
    let _ = (server, name, password, device);
    Err(Error::Closed)
}

/// Starts a session, on a connection of its own.
///
/// # Errors
///
/// The server cannot be reached, or refuses: name or password are wrong.
pub async fn log_in(server: &Server, name: &str, password: &str, device: &str) -> Result<wire::Session, Error> {
    let _ = (server, name, password, device);
    Err(Error::Closed)
}
