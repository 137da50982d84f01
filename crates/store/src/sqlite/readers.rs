//! The reader threads.

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use crate::Result;

/// A read, boxed so that one queue carries them all.
pub(super) type Job = Box<dyn FnOnce(&Connection) + Send>;

pub(super) enum ReaderMessage {
    Run(Job),
    /// No job is taken any more; those queued are still run.
    Close,
}

/// A job that answers with what `run` returns, unless nobody waits for it any more.
pub(super) fn job<T, F>(run: F, answer: oneshot::Sender<Result<T>>) -> Job
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
{
    Box::new(move |connection| {
        if !answer.is_closed() {
            let outcome = on_snapshot(connection, run);
            // Whoever asked may have gone meanwhile.
            let _ = answer.send(outcome.map_err(|error| Failure::before_commit(error).to_error()));
        }
    })
}

/// Runs jobs until the queue is closed. The threads take turns at the queue's lock; whoever holds it waits for a job.
pub(super) fn run(connection: &Connection, jobs: &Mutex<mpsc::Receiver<ReaderMessage>>) {
    loop {
        let message = {
            let mut jobs = jobs.lock();
            let message = jobs.blocking_recv();
            if matches!(message, Some(ReaderMessage::Close)) {
                jobs.close();
            }
            message
        };
        match message {
            Some(ReaderMessage::Run(job)) => job(connection),
            Some(ReaderMessage::Close) => {}
            None => return,
        }
    }
}

/// All that `run` reads is of one state of the database. The snapshot ends with it, so that checkpoints get on.
fn on_snapshot<T>(
    connection: &Connection,
    run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let outcome = run(&transaction);
    transaction.rollback()?;
    outcome
}
