//! The writer thread: group commit.

use rusqlite::{CachedStatement, Connection, Statement};
use tokio::sync::{mpsc, oneshot};

use super::{checkpoint::Checkpoints, failure::Failure, logs::Logs};
use crate::Result;

/// Commands in one transaction.
const TRANSACTION_COMMANDS_MAX: usize = 1_024;
/// Reads the last revision given.
pub(super) const NEWEST_REVISION: &str =
    "SELECT max(revision, coalesce((SELECT max(revision) FROM entries), 0)) FROM clock";

pub(super) enum WriterMessage {
    Run(Box<dyn Command>),
    /// No command is taken any more; those queued are still run.
    Close,
}

/// Something to be done in a transaction, and somebody who waits for the commit.
pub(super) trait Command: Send {
    /// Does it. Called again if the transaction is rolled back and tried again.
    fn run(&mut self, writer: &mut Writer<'_>) -> rusqlite::Result<()>;

    /// Tells of the commit, or why there was none.
    fn answer(self: Box<Self>, outcome: std::result::Result<(), &Failure>);
}

struct Waiting<F, T> {
    run: F,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<T>>,
}

/// A command that answers with what `run` returned, after the commit.
pub(super) fn command<T, F>(run: F) -> (Box<dyn Command>, oneshot::Receiver<Result<T>>)
where
    T: Send + 'static,
    F: FnMut(&mut Writer<'_>) -> rusqlite::Result<T> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    (Box::new(Waiting { run, outcome: None, answer }), answered)
}

impl<T, F> Command for Waiting<F, T>
where
    T: Send,
    F: FnMut(&mut Writer<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, writer: &mut Writer<'_>) -> rusqlite::Result<()> {
        self.outcome = Some((self.run)(writer)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: std::result::Result<(), &Failure>) {
        let outcome = match outcome {
            Ok(()) => Ok(self.outcome.expect("a transaction is committed after all its commands have run")),
            Err(failure) => Err(failure.to_error()),
        };
        // Whoever asked may have gone meanwhile.
        let _ = self.answer.send(outcome);
    }
}

/// What commands work with: the open transaction, and what the writer remembers of the logs.
pub(super) struct Writer<'c> {
    pub(super) connection: &'c Connection,
    pub(super) logs: Logs,
    pub(super) insert_entry: Statement<'c>,
    pub(super) update_member: Statement<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    /// The last one given, committed or not.
    revision: i64,
    /// The last one given in a committed transaction.
    revision_committed: i64,
    /// Whether the last one given is an entry's, so that `entries` tells it.
    revision_is_entry: bool,
}

/// Takes what waits, commits it, answers; until the queue is closed and empty.
pub(super) fn run(connection: Connection, mut messages: mpsc::Receiver<WriterMessage>, mut checkpoints: Checkpoints) {
    match Writer::new(&connection) {
        Ok(mut writer) => {
            Checkpoints::watch(&connection);
            let mut taken = Vec::with_capacity(TRANSACTION_COMMANDS_MAX);
            let mut commands = Vec::with_capacity(TRANSACTION_COMMANDS_MAX);
            while messages.blocking_recv_many(&mut taken, TRANSACTION_COMMANDS_MAX) > 0 {
                for message in taken.drain(..) {
                    match message {
                        WriterMessage::Run(command) => commands.push(command),
                        WriterMessage::Close => messages.close(),
                    }
                }
                writer.commit_all(&mut commands);
                checkpoints.after_commit(&connection);
            }
        }
        // The queue closes with this function: every call fails as certainly not stored.
        Err(error) => tracing::error!(%error, "the store's writer cannot start"),
    }
    checkpoints.end();
    // The last connection that may write: SQLite copies the log and removes it.
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database could not be closed cleanly");
    }
}

impl<'c> Writer<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let revision = connection.query_row(NEWEST_REVISION, [], |row| row.get(0))?;
        Ok(Self {
            connection,
            logs: Logs::default(),
            insert_entry: connection.prepare(
                "INSERT INTO entries (revision, conversation, position, messages, sender, id, time_ms, content, kind,
                     target, withheld)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id, sender) DO NOTHING",
            )?,
            update_member: connection.prepare(
                "UPDATE members SET read_position = ?3, delivered_position = ?4, revision = ?5
                 WHERE user = ?1 AND conversation = ?2",
            )?,
            begin: connection.prepare("BEGIN IMMEDIATE")?,
            commit: connection.prepare("COMMIT")?,
            revision,
            revision_committed: revision,
            revision_is_entry: false,
        })
    }

    /// The last one given in the open transaction.
    pub(super) fn last_revision(&self) -> i64 {
        self.revision
    }

    /// A revision for a change that is not an entry.
    pub(super) fn next_revision(&mut self) -> i64 {
        self.revision += 1;
        self.revision_is_entry = false;
        self.revision
    }

    /// A revision for an entry; to be [taken back](Self::take_back) if it is not inserted.
    pub(super) fn next_entry_revision(&mut self) -> EntryRevision {
        self.revision += 1;
        EntryRevision {
            revision: self.revision,
            before_was_entry: std::mem::replace(&mut self.revision_is_entry, true),
        }
    }

    /// The entry was there before.
    pub(super) fn take_back(&mut self, unused: EntryRevision) {
        self.revision = unused.revision - 1;
        self.revision_is_entry = unused.before_was_entry;
    }

    /// A statement that is prepared once.
    pub(super) fn prepared(&self, sql: &str) -> rusqlite::Result<CachedStatement<'c>> {
        self.connection.prepare_cached(sql)
    }

    fn commit_all(&mut self, commands: &mut Vec<Box<dyn Command>>) {
        if commands.is_empty() {
            return;
        }
        match self.transaction(commands) {
            Ok(()) => commands.drain(..).for_each(|command| command.answer(Ok(()))),
            Err(failure) if commands.len() > 1 && failure.may_be_a_command() => {
                tracing::warn!(error = %failure, "a transaction failed; its commands are tried one by one");
                for mut command in commands.drain(..) {
                    let outcome = self.transaction(std::slice::from_mut(&mut command));
                    command.answer(outcome.as_ref().copied());
                }
            }
            Err(failure) => commands.drain(..).for_each(|command| command.answer(Err(&failure))),
        }
    }

    fn transaction(&mut self, commands: &mut [Box<dyn Command>]) -> std::result::Result<(), Failure> {
        let outcome = self
            .run_all(commands)
            .map_err(Failure::before_commit)
            .and_then(|()| self.commit.execute([]).map(drop).map_err(Failure::at_commit));
        match outcome {
            Ok(()) => self.revision_committed = self.revision,
            Err(_) => self.roll_back(),
        }
        outcome
    }

    fn run_all(&mut self, commands: &mut [Box<dyn Command>]) -> rusqlite::Result<()> {
        self.logs.trim();
        self.begin.execute([])?;
        for command in commands {
            command.run(self)?;
        }
        self.store_positions()?;
        if self.revision != self.revision_committed && !self.revision_is_entry {
            self.prepared("UPDATE clock SET revision = ?1")?.execute([self.revision])?;
        }
        Ok(())
    }

    /// Undoes the transaction, and forgets what was learnt in it.
    fn roll_back(&mut self) {
        self.logs = Logs::default();
        self.revision = self.revision_committed;
        self.revision_is_entry = false;
        // Some failures make SQLite roll back by itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction could not be rolled back");
        }
    }
}

/// A revision given to an entry that may turn out to be there already.
#[derive(Debug)]
pub(super) struct EntryRevision {
    pub(super) revision: i64,
    before_was_entry: bool,
}
