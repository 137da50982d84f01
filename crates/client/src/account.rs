//! Accounts and log-in, before there is a session.

use std::time::Duration;

use protocol::wire::{self, client_frame::Body as Request, server_frame::Body as Answer};

use crate::{Error, Server, calls::unexpected, transport::Socket};

/// Passwords are hashed on purpose slowly, by a bounded pool: in a storm of log-ins it takes its time.
const TIMEOUT: Duration = Duration::from_secs(60);
/// For a connection alone.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// For the farewell, which nobody waits for in earnest.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes an account and its first session, on a connection of its own. `device` is what the user will call it in the list
/// of sessions.
///
/// # Errors
///
/// The server cannot be reached, or refuses: the name is taken, or name or password are not allowed.
pub async fn register(server: &Server, name: &str, password: &str, device: &str) -> Result<wire::Session, Error> {
    let (name, password, device) = (name.into(), password.into(), device.into());
    begin_session(server, Request::Register(wire::Register { name, password, device })).await
}

/// Starts a session, on a connection of its own.
///
/// # Errors
///
/// The server cannot be reached, or refuses: name or password are wrong.
pub async fn log_in(server: &Server, name: &str, password: &str, device: &str) -> Result<wire::Session, Error> {
    let (name, password, device) = (name.into(), password.into(), device.into());
    begin_session(server, Request::LogIn(wire::LogIn { name, password, device })).await
}

/// Opens a connection to a server, and ends it: what is asked of a person afterwards is not asked in vain.
///
/// # Errors
///
/// The server cannot be reached.
pub async fn reach(server: &Server) -> Result<(), Error> {
    let timed_out = |_| Error::TimedOut { after: REACH_TIMEOUT, source: None };
    let socket = tokio::time::timeout(REACH_TIMEOUT, Socket::open(server)).await.map_err(timed_out)??;
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.close()).await;
    Ok(())
}

async fn begin_session(server: &Server, request: Request) -> Result<wire::Session, Error> {
    let exchange = async {
        let mut socket = Socket::open(server).await?;
        let answer = exchange(&mut socket, 1, request, &mut Vec::new()).await?;
        // The session is begun, however the connection ends.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, socket.close()).await;
        match answer {
            Answer::Session(session) => Ok(session),
            Answer::Error(error) => Err(Error::Refused(error.into())),
            other => Err(unexpected(&other)),
        }
    };
    let timed_out = |_| Error::TimedOut { after: TIMEOUT, source: None };
    tokio::time::timeout(TIMEOUT, exchange).await.map_err(timed_out)?
}

/// Asks one thing on a connection on which nothing else is asked, and waits for its answer. Frames that belong to no
/// request go to `pushed`. Bounded by whoever calls.
pub(crate) async fn exchange(
    socket: &mut Socket,
    request: u32,
    body: Request,
    pushed: &mut Vec<wire::ServerFrame>,
) -> Result<Answer, Error> {
    socket.queue(&wire::ClientFrame { request, body: Some(body) });
    let mut frames = Vec::new();
    loop {
        socket.drive(true, &mut frames).await?;
        let mut answer = None;
        for frame in frames.drain(..) {
            match frame.body {
                Some(Answer::Goodbye(goodbye)) if answer.is_none() => return Err(Error::goodbye(goodbye)),
                Some(body) if frame.request == request => answer = Some(body),
                body => pushed.push(wire::ServerFrame { request: frame.request, body }),
            }
        }
        if let Some(answer) = answer {
            return Ok(answer);
        }
    }
}
