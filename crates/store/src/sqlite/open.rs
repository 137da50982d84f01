//! Opening: the directory, its lock, the schema, the connections, the threads.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;

use super::{
    READ_QUEUE_MAX, Running, Shared, SqliteConfig, SqliteStore, WRITE_QUEUE_MAX, checkpoint, log_room::LogRoom,
    readers, upgrade, writer,
};

/// The schema's versions; `PRAGMA user_version` tells how many of them a database has seen. One that was released is
/// never changed.
const MIGRATIONS: [&str; 4] = [
    include_str!("migrations/001_logs_and_accounts.sql"),
    include_str!("migrations/002_chat.sql"),
    include_str!("migrations/003_mutes.sql"),
    include_str!("migrations/004_revoked_links.sql"),
];
/// For locks that the store's own connections hold for moments, for example while one recovers the log.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements kept by a connection: more than the store has.
const STATEMENTS_MAX: usize = 256;

/// A store could not be opened. Nothing was changed in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has the directory open.
    #[error("the data directory {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory, or the lock file in it, cannot be made or opened.
    #[error("the data directory {} cannot be used", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database is there but may only be read.
    #[error("{} cannot be written: make it writable or choose another data directory", path.display())]
    NotWritable {
        /// The database.
        path: PathBuf,
    },
    /// A newer program has been here.
    #[error(
        "{} has schema version {found}, this program knows versions up to {known}: use the newer program that made it",
        path.display()
    )]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// The version of its schema.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database cannot be opened, or its schema not be brought up to date.
    #[error("{} cannot be opened", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The system gives no more threads.
    #[error("a thread of the store cannot be started")]
    Thread(#[source] io::Error),
}

pub(super) fn open(config: &SqliteConfig) -> Result<SqliteStore, OpenError> {
    let lock = lock(&config.dir)?;
    let path = config.dir.join("mpim.db");
    make_private(&path)?;
    let database = |source| OpenError::Database { path: path.clone(), source };
    let mut main =
        connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE).map_err(database)?;
    if main.is_readonly("main").map_err(database)? {
        return Err(OpenError::NotWritable { path });
    }
    migrate(&mut main, &path)?;
    prepare_writer(&main, config).map_err(database)?;
    let copying = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(database)?;
    copying.pragma_update(None, "synchronous", "FULL").map_err(database)?;
    let reading = (0..config.readers.get())
        .map(|_| connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .collect::<Result<Vec<_>, _>>()
        .map_err(database)?;

    let (writes, commands) = mpsc::channel(WRITE_QUEUE_MAX);
    let (reads, jobs) = mpsc::channel(READ_QUEUE_MAX);
    let checkpoints =
        checkpoint::start(copying, config.checkpoint_pages, LogRoom::open(&path)).map_err(OpenError::Thread)?;
    let jobs = Arc::new(Mutex::new(jobs));
    // If a thread cannot be started, the queues close with this function, and the threads before it end.
    let readers = (0..)
        .zip(reading)
        .map(|(number, connection)| {
            let jobs = jobs.clone();
            spawn(&format!("store-read-{number}"), move || readers::run(&connection, &jobs))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let writer = spawn("store-write", move || writer::run(main, commands, checkpoints))?;
    let running = Running { readers, writer: Some(writer), lock: Some(lock) };
    Ok(SqliteStore { shared: Arc::new(Shared { writes, reads, running: Mutex::new(running) }) })
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, OpenError> {
    thread::Builder::new().name(name.into()).spawn(run).map_err(OpenError::Thread)
}

/// Makes the directory if it is not there, and locks it. The lock ends with the file or the process.
fn lock(dir: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Directory { dir: dir.into(), source };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    // Password hashes and messages are nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(failed)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("mpim.lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.into() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes the database's file if it is not there, readable by its owner only; SQLite makes the others like it.
fn make_private(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
            Err(OpenError::NotWritable { path: path.into() })
        }
        Err(source) => Err(OpenError::Directory { dir: path.parent().unwrap_or(path).into(), source }),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(LOCK_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let database = |source| OpenError::Database { path: path.into(), source };
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    let known = MIGRATIONS.len().cast_signed() as i64;
    if found > known {
        return Err(OpenError::NewerSchema { path: path.into(), found, known });
    }
    for (version, migration) in (1..=known).zip(MIGRATIONS).filter(|&(version, _)| version > found) {
        let transaction = connection.transaction().map_err(database)?;
        transaction.execute_batch(migration).map_err(database)?;
        upgrade::fill(&transaction, version).map_err(database)?;
        transaction.pragma_update(None, "user_version", version).map_err(database)?;
        transaction.commit().map_err(database)?;
    }
    Ok(())
}

fn prepare_writer(connection: &Connection, config: &SqliteConfig) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Not within commits; see `checkpoint`.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    // What is erased is to be gone, and not lie about in the free space of pages.
    connection.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
    // A log that grew beyond its measure gives the disk back when it begins anew.
    let bytes_max = 2 * 4_096 * i64::from(config.checkpoint_pages);
    connection.pragma_update_and_check(None, "journal_size_limit", bytes_max, |_| Ok(()))
}
