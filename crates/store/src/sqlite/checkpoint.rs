//! Copies the write-ahead log into the database, off the commit path, and keeps the log bounded.
//!
//! When the log passes its measure, a thread of its own copies it while commits go on, until only little is left; those
//! pages that came meanwhile would keep the log from ever beginning anew. So the writer copies that rest itself,
//! between two transactions, waits a moment for readers of the log, and begins it anew.

use std::{
    cell::Cell,
    io,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;

use super::log_room::LogRoom;

/// How long the writer waits for readers of the log before it puts the new beginning off.
const READERS_WAIT: Duration = Duration::from_millis(50);
/// How often the thread copies what came while it was copying, before it leaves the rest to the writer.
const ROUNDS_MAX: usize = 4;

/// Nothing to do, or the writer has not noticed yet.
const IDLE: u8 = 0;
/// The thread is copying.
const COPYING: u8 = 1;
/// The thread has copied all but little: the writer's turn.
const COPIED: u8 = 2;

thread_local! {
    /// Pages in the log after the last commit of this thread's connection; written by SQLite's hook, which can carry no
    /// state of its own.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

/// The writer's side.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// The log's measure, in pages.
    pages: u32,
    /// When to begin, in pages: the measure, or more after a failure.
    due: u32,
    phase: Arc<AtomicU8>,
    wake: SyncSender<()>,
    thread: JoinHandle<()>,
    room: LogRoom,
}

/// Starts the thread that copies, with a connection of its own. `pages` is the log's measure, `room` its file.
pub(super) fn start(connection: Connection, pages: u32, room: LogRoom) -> io::Result<Checkpoints> {
    let phase = Arc::new(AtomicU8::new(IDLE));
    let (wake, woken) = sync_channel(1);
    let copy_phase = phase.clone();
    let thread = thread::Builder::new()
        .name("store-checkpoint".into())
        .spawn(move || run(&connection, &woken, &copy_phase, pages))?;
    Ok(Checkpoints { pages, due: pages, phase, wake, thread, room })
}

impl Checkpoints {
    /// Makes the writer's connection tell the length of its log. To be called on the writer's thread.
    pub(super) fn watch(connection: &Connection) {
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages.cast_unsigned());
            Ok(())
        }));
    }

    /// Does what is due; called by the writer between two transactions.
    pub(super) fn after_commit(&mut self, connection: &Connection) {
        self.room.keep(LOG_PAGES.get());
        match self.phase.load(Ordering::Acquire) {
            IDLE if LOG_PAGES.get() >= self.due => {
                self.phase.store(COPYING, Ordering::Release);
                if let Err(TrySendError::Disconnected(())) = self.wake.try_send(()) {
                    tracing::error!("the checkpoint thread has ended");
                }
            }
            COPIED => {
                match begin_anew(connection) {
                    Ok(true) => self.due = self.pages,
                    // Readers are at work in the log, or the disk is full: try again when it has grown by an eighth.
                    Ok(false) => self.due = LOG_PAGES.get() + self.pages / 8,
                    Err(error) => {
                        tracing::warn!(%error, "the database's log could not be checkpointed");
                        self.due = LOG_PAGES.get() + self.pages / 8;
                    }
                }
                self.phase.store(IDLE, Ordering::Release);
            }
            _ => {}
        }
    }

    /// Ends the thread and waits for it.
    pub(super) fn end(self) {
        drop(self.wake);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, phase: &AtomicU8, pages: u32) {
    while woken.recv().is_ok() {
        if let Err(error) = copy(connection, pages) {
            tracing::warn!(%error, "the database's log could not be copied");
        }
        phase.store(COPIED, Ordering::Release);
    }
}

fn copy(connection: &Connection, pages: u32) -> rusqlite::Result<()> {
    let mut copied_before = 0;
    for _ in 0..ROUNDS_MAX {
        let copied: i64 = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2))?;
        // What came during this round is about as much as came during the one before.
        if copied - copied_before < i64::from(pages / 16) {
            break;
        }
        copied_before = copied;
    }
    Ok(())
}

/// Copies the rest, so that the next commit begins the log anew; `false` if a reader was in the way.
fn begin_anew(connection: &Connection) -> rusqlite::Result<bool> {
    let busy_timeout = connection.query_row("PRAGMA busy_timeout", [], |row| row.get::<_, u32>(0))?;
    connection.busy_timeout(READERS_WAIT)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(Duration::from_millis(busy_timeout.into()))?;
    Ok(!busy?)
}
