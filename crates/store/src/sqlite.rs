//! SQLite: the store of one process, in one directory.
//!
//! - One writer thread takes all the commands that are waiting, runs them in one transaction, commits with a sync of the
//!   disk, and then answers them all. No timer: a lone command is committed at once, under load batches grow by themselves.
//! - A few reader threads, each with a connection of its own, read snapshots; no read holds up a write.
//! - Checkpoints run beside the commits (see `checkpoint`), so that the write-ahead log stays bounded.
//! - A lock file keeps a second process out of the directory.
//!
//! The store heals by itself: after a failed transaction nothing is remembered of it, and the next one tries again.

mod accounts;
mod api_keys;
mod bots;
mod changes;
mod checkpoint;
mod closing;
mod contacts;
mod convert;
mod direct;
mod failure;
mod groups;
mod heads;
mod ledger;
mod links;
mod log_room;
mod logs;
mod members;
mod messages;
mod names;
mod open;
mod pages;
mod presence;
mod profiles;
mod readers;
mod reports;
mod sessions;
mod standing;
mod upgrade;
mod users;
mod views;
mod webhooks;
mod writer;

#[cfg(test)]
mod tests;

use std::{fs::File, num::NonZeroUsize, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{
    mpsc::{self, error::SendTimeoutError, error::TrySendError},
    oneshot,
};

use crate::{Error, Result};
pub use open::OpenError;
use readers::ReaderMessage;
use writer::{Writer, WriterMessage};

/// Commands that wait for the writer; further ones wait [`QUEUE_WAIT`] for room.
const WRITE_QUEUE_MAX: usize = 4_096;
/// Reads that wait for a reader thread; further ones wait [`QUEUE_WAIT`] for room.
const READ_QUEUE_MAX: usize = 4_096;
/// How long a call waits for room in a queue before it fails as certainly not stored.
const QUEUE_WAIT: Duration = Duration::from_secs(2);

/// Where and how a [`SqliteStore`] keeps its data.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The data directory, made if it does not exist. The store's files in it begin with `mpim.`.
    pub dir: PathBuf,
    /// Threads that read, each with a connection of its own.
    pub readers: NonZeroUsize,
    /// How long the write-ahead log may grow before it is copied into the database, in pages of 4 KiB. Larger: fewer
    /// pages are copied twice; smaller: less disk, and a faster start after a crash.
    pub checkpoint_pages: u32,
}

impl SqliteConfig {
    /// The defaults, for a directory: 2 readers, checkpoints from 64 MiB on.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), readers: NonZeroUsize::MIN.saturating_add(1), checkpoint_pages: 16_384 }
    }
}

/// The store on SQLite. Clones are the same store; see the [module](self) for how it works.
///
/// A call that finds its queue full waits up to two seconds for room and then fails with [`Error::NotStored`].
#[derive(Debug, Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writes: mpsc::Sender<WriterMessage>,
    reads: mpsc::Sender<ReaderMessage>,
    running: Mutex<Running>,
}

/// What has to end in order: the readers, the writer (which ends the checkpointer and truncates the log), the lock.
#[derive(Debug, Default)]
struct Running {
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
    lock: Option<File>,
}

impl SqliteStore {
    /// Opens the store in a directory, or makes it; brings the schema up to date. Blocks: a few milliseconds, after a
    /// crash up to some hundred more; a new schema may take longer.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(config: SqliteConfig) -> Result<Self, OpenError> {
        open::open(&config)
    }

    /// The largest id of a user, session, group, conversation, key, webhook, dead letter or report here; new ones are to be
    /// larger. 0: none.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn newest_id(&self) -> Result<u64> {
        self.read(|connection| {
            connection.query_row(
                "SELECT max(coalesce((SELECT max(id) FROM users), 0), coalesce((SELECT max(id) FROM sessions), 0),
                     coalesce((SELECT max(id) FROM groups), 0), coalesce((SELECT max(id) FROM conversations), 0),
                     coalesce((SELECT max(id) FROM api_keys), 0), coalesce((SELECT max(id) FROM webhooks), 0),
                     coalesce((SELECT max(id) FROM incoming_webhooks), 0),
                     coalesce((SELECT max(id) FROM dead_letters), 0),
                     coalesce((SELECT max(id) FROM reports), 0))",
                [],
                |row| convert::number(row, 0),
            )
        })
        .await
    }

    /// Commits what is queued, ends the store's threads and releases the directory; calls from now on fail with
    /// [`Error::NotStored`]. Closing twice is harmless. If the future is dropped while it waits, closing goes on.
    pub async fn close(&self) {
        let shared = self.shared.clone();
        let closed = tokio::task::spawn_blocking(move || {
            let running = std::mem::take(&mut *shared.running.lock());
            // A closed queue tells that its threads are ending already.
            let close_reads = || drop(shared.reads.blocking_send(ReaderMessage::Close));
            let close_writes = || drop(shared.writes.blocking_send(WriterMessage::Close));
            running.end(close_reads, close_writes);
        });
        if closed.await.is_err() {
            tracing::error!("closing the store panicked");
        }
    }

    /// Has the writer run `run` in its next transaction, and waits for the commit. `run` may be called a second time
    /// if the first transaction was rolled back.
    async fn write<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Writer<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (command, answer) = writer::command(run);
        enqueue(&self.shared.writes, WriterMessage::Run(command)).await?;
        answer.await.unwrap_or_else(|_| Err(Error::Unknown("the writer ended without an answer".into())))
    }

    /// Has a reader run `run` on a snapshot.
    async fn read<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        enqueue(&self.shared.reads, ReaderMessage::Run(readers::job(run, answer))).await?;
        answered.await.unwrap_or_else(|_| Err(Error::NotStored("the reader ended without an answer".into())))
    }
}

async fn enqueue<T>(queue: &mpsc::Sender<T>, message: T) -> Result<()> {
    // Trying first saves a timer.
    let message = match queue.try_send(message) {
        Ok(()) => return Ok(()),
        Err(TrySendError::Closed(_)) => return Err(Error::NotStored("the store is closed".into())),
        Err(TrySendError::Full(message)) => message,
    };
    queue.send_timeout(message, QUEUE_WAIT).await.map_err(|error| match error {
        SendTimeoutError::Timeout(_) => Error::NotStored("the store is overloaded: its queue is full".into()),
        SendTimeoutError::Closed(_) => Error::NotStored("the store is closed".into()),
    })
}

impl Running {
    /// Ends the readers before the writer, whose connection is then the last one: closing it truncates the log, which a
    /// reader's could not.
    fn end(self, close_reads: impl FnOnce(), close_writes: impl FnOnce()) {
        close_reads();
        self.readers.into_iter().for_each(join);
        close_writes();
        self.writer.into_iter().for_each(join);
        drop(self.lock);
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("a thread of the store panicked");
    }
}

impl Drop for Shared {
    /// Ends the store as [`SqliteStore::close`] does, blocking meanwhile.
    fn drop(&mut self) {
        let running = std::mem::take(self.running.get_mut());
        // With the last senders gone, the threads finish what is queued and end.
        running.end(|| self.reads = mpsc::channel(1).0, || self.writes = mpsc::channel(1).0);
    }
}
