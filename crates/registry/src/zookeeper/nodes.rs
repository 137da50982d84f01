//! Node numbers.
//!
//! A number is an ephemeral node, so ZooKeeper gives it to nobody else before the holder's session has ended. The holder does
//! not hear of that end while it is cut off, so it holds the number only for a part of the session's time after the last
//! write of its own that it knows to be committed. This is why that is before the end:
//!
//! - a session ends no earlier than its timeout after the *leader* last heard of it, and what the holder writes at a time `T`
//!   is committed only if the session had not ended then;
//! - the leader hears of a session through the member that the holder is connected to, which tells it twice a tick what it
//!   heard since; a timeout is at least two ticks. So the leader may know of what was heard up to a quarter of the timeout and
//!   a renewal interval before `T`, and the session lasts at least until `T` + timeout × (1 - 1/4 - [`RENEW`]);
//! - a leader that is cut off commits nothing, and a new one gives all sessions their whole timeout again.
//!
//! `T` is when the write was sent, by the holder's clock, which runs on while the process stands still.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use protocol::NodeNumber;
use tokio::{
    sync::{OwnedMutexGuard, oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Client, Error, MultiWriteError};

use super::{
    config::Tree,
    session::{Turns, is_end, pause},
    unavailable,
};
use crate::Hold;

/// Between two renewals: this part of the session's timeout.
const RENEW: f64 = 1.0 / 8.0;
/// A number is held for this part of the session's timeout after the last renewal that is known to be committed; see above.
const HOLD: f64 = 1.0 - 1.0 / 4.0 - RENEW;
/// Tries to take a number, each of which fails because somebody else took one at the same time.
const TRIES_MAX: u32 = 100;

/// What somebody who asked for a number gets.
pub(super) type Leased = crate::Result<(NodeNumber, watch::Receiver<Hold>)>;

/// Looks for a number, answers with it, and holds it until it is released or lost. `looking` is held while it looks.
pub(super) async fn hold(
    mut turns: Turns,
    tree: Tree,
    looking: impl Future<Output = OwnedMutexGuard<()>>,
    answer: oneshot::Sender<Leased>,
    released: CancellationToken,
) {
    let looking = looking.await;
    let taken = released.run_until_cancelled(take(&mut turns, &tree)).await;
    drop(looking);
    let (client, number, sent) = match taken {
        Some(Ok(taken)) => taken,
        Some(Err(error)) => {
            // Whoever asked may have gone.
            let _ = answer.send(Err(error));
            return;
        }
        None => return,
    };
    let path = format!("{}/{}", tree.nodes(), number.get());
    let (held, hold) = watch::channel(Hold::Until(sent + part(&client, HOLD)));
    if answer.send(Ok((number, hold))).is_ok() {
        let renewed = released.run_until_cancelled(renew(&client, &path, &held, sent)).await;
        held.send_replace(Hold::Lost);
        if let Some(Err(error)) = renewed {
            tracing::error!(number = number.get(), %error, "a node number is lost");
        }
    }
    give_back(&client, &path).await;
}

/// Deletes the node if it is of this session, however often the connection breaks; with the session it goes by itself.
async fn give_back(client: &Client, path: &str) {
    let mut failures = 0;
    loop {
        let done = async {
            match client.check_stat(path).await? {
                Some(stat) if stat.ephemeral_owner == client.session_id().0 => {
                    client.delete(path, Some(stat.version)).await
                }
                _ => Ok(()),
            }
        };
        match done.await {
            Err(error) if error != Error::NoNode && !is_end(&error) => {
                failures += 1;
                sleep(pause(failures)).await;
            }
            _ => return,
        }
    }
}

/// Takes a number, in whichever session; when the write that did it was sent.
async fn take(turns: &mut Turns, tree: &Tree) -> crate::Result<(Client, NodeNumber, Instant)> {
    let mut tries = 0;
    while let Some(client) = turns.session().await {
        match take_in(&client, tree).await {
            Ok(Some((number, sent))) => return Ok((client, number, sent)),
            Ok(None) => return Err(crate::Error::NoNodeNumber),
            Err(Error::BadVersion | Error::NodeExists) if tries < TRIES_MAX => {
                tries += 1;
                sleep(pause(1)).await;
            }
            Err(Error::BadVersion | Error::NodeExists) => {
                return Err(unavailable(format!("others took a node number at the same time, {TRIES_MAX} times")));
            }
            Err(error) => turns.failed("take a node number", &error).await,
        }
    }
    Err(unavailable("it was closed"))
}

async fn take_in(client: &Client, tree: &Tree) -> Result<Option<(NodeNumber, Instant)>, Error> {
    let nodes = tree.nodes();
    let (data, stat) = match client.get_data(&nodes).await {
        Err(Error::NoNode) => {
            client.mkdir(&nodes, &tree.lasting()).await?;
            client.get_data(&nodes).await?
        }
        read => read?,
    };
    let first = std::str::from_utf8(&data).ok().and_then(|text| text.parse::<u16>().ok()).unwrap_or(0);
    let held: HashSet<u16> = client.list_children(&nodes).await?.iter().filter_map(|name| name.parse().ok()).collect();
    let free = (0..NodeNumber::COUNT).map(|offset| (first % NodeNumber::COUNT + offset) % NodeNumber::COUNT);
    let Some(number) = free.filter(|number| !held.contains(number)).find_map(NodeNumber::new) else {
        return Ok(None);
    };
    let path = format!("{nodes}/{}", number.get());
    let next = (number.get() + 1) % NodeNumber::COUNT;
    let mut write = client.new_multi_writer();
    write.add_set_data(&nodes, next.to_string().as_bytes(), Some(stat.version))?;
    write.add_create(&path, &[], &tree.ephemeral())?;
    let sent = Instant::now();
    match write.commit().await {
        Ok(_) => Ok(Some((number, sent))),
        // Perhaps it was done: then the node is of this session.
        Err(MultiWriteError::RequestFailed { source: Error::ConnectionLoss }) => {
            let owner = client.check_stat(&path).await?.map(|stat| stat.ephemeral_owner);
            let is_ours = owner == Some(client.session_id().0);
            if is_ours { Ok(Some((number, sent))) } else { Err(Error::ConnectionLoss) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Renews the hold of a number until it is lost, and says why.
async fn renew(
    client: &Client,
    path: &str,
    held: &watch::Sender<Hold>,
    mut committed: Instant,
) -> Result<Infallible, Error> {
    loop {
        sleep_until(committed + part(client, RENEW)).await;
        committed = confirm(client, path, committed + part(client, HOLD)).await?;
        held.send_modify(|hold| hold.extend(committed + part(client, HOLD)));
        if *held.borrow() == Hold::Lost {
            return Err(Error::Timeout);
        }
    }
}

/// Writes the node until that is known to be committed, and says when the write was sent.
async fn confirm(client: &Client, path: &str, end: Instant) -> Result<Instant, Error> {
    let mut failures = 0;
    loop {
        let sent = Instant::now();
        match timeout_at(end, client.set_data(path, &[], None)).await {
            Ok(Ok(stat)) if stat.ephemeral_owner == client.session_id().0 => return Ok(sent),
            // It is somebody else's.
            Ok(Ok(_)) => return Err(Error::SessionExpired),
            Ok(Err(error)) if error == Error::NoNode || is_end(&error) => return Err(error),
            Ok(Err(error)) => tracing::debug!(path, %error, "a node number was not renewed; tried again"),
            Err(_) => return Err(Error::Timeout),
        }
        failures += 1;
        if timeout_at(end, sleep(pause(failures))).await.is_err() {
            return Err(Error::Timeout);
        }
    }
}

fn part(client: &Client, part: f64) -> Duration {
    client.session_timeout().mul_f64(part)
}
