//! A profile in a directory, shared by the processes that use it.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use protocol::{ConversationId, EntryId, RawContent, SessionId, UserId, wire};
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::{
    Target,
    profile::{Changes, ConversationState, Outgoing, Profile, ProfileError, Stored, TokenLock, Tokens},
};

/// How long to wait for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for another process's exchange of tokens, which is bounded by its connect timeout.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
const LOCK_POLL: Duration = Duration::from_millis(20);
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE session (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        user INTEGER NOT NULL, name TEXT NOT NULL, session INTEGER NOT NULL,
        access_token TEXT NOT NULL, access_expires_ms INTEGER NOT NULL,
        refresh_token TEXT NOT NULL, refresh_expires_ms INTEGER NOT NULL,
        refresh_id TEXT, resume_token TEXT
    );
    -- Whose positions these are, also while logged out; the cursor up to which they are complete; the server last used.
    CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), user INTEGER, cursor TEXT NOT NULL, server TEXT);
    INSERT INTO progress VALUES (1, NULL, '', NULL);
    CREATE TABLE conversation (
        id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, applied INTEGER NOT NULL,
        read INTEGER NOT NULL, peer_read INTEGER NOT NULL
    );
    CREATE TABLE outgoing (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
        conversation INTEGER, name TEXT, content BLOB NOT NULL,
        -- The process that is about to send it, while its lock file is locked.
        owner TEXT NOT NULL
    );
";

/// A profile on disk: `profile.db` in a directory that only its owner may read. Several processes may use it at the same
/// time, for example one that listens while others send.
#[derive(Debug)]
pub struct DiskProfile {
    directory: PathBuf,
    database: Mutex<Connection>,
    owner: Owner,
}

/// Marks this profile's messages in the outbox as being looked after, by a lock that vanishes with the process.
#[derive(Debug)]
struct Owner {
    name: String,
    path: PathBuf,
    _locked: File,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // A file left behind is removed by whoever takes over its messages.
        let _ = fs::remove_file(&self.path);
    }
}

impl DiskProfile {
    /// Opens the profile in a directory, made if it does not exist.
    ///
    /// # Errors
    ///
    /// The directory or the database cannot be made or read, or a newer version of this program made it.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, ProfileError> {
        let directory = directory.as_ref().to_path_buf();
        make_private_directory(&directory)
            .map_err(|e| failed(format!("cannot make the profile's directory {}", directory.display()))(e))?;
        let path = directory.join("profile.db");
        let what = format!("cannot open {}", path.display());
        private_file(&path).map_err(failed(what.clone()))?;
        let mut database = Connection::open(&path).map_err(failed(what.clone()))?;
        prepare(&mut database).map_err(failed(what.clone()))?;
        let version: i64 =
            database.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed(what.clone()))?;
        if version > SCHEMA_VERSION {
            return Err(ProfileError::new(format!(
                "{} was made by a newer version of this program (schema {version}, known is {SCHEMA_VERSION})",
                path.display()
            )));
        }
        let name = EntryId::generate().to_string();
        let owner_path = owner_path(&directory, &name);
        let locked = private_file(&owner_path).map_err(failed(what.clone()))?;
        locked.lock().map_err(failed(what))?;
        let owner = Owner { name, path: owner_path, _locked: locked };
        Ok(Self { directory, database: Mutex::new(database), owner })
    }

    /// The server that was remembered last.
    ///
    /// # Errors
    ///
    /// The profile cannot be read.
    pub fn server(&self) -> Result<Option<String>, ProfileError> {
        let database = self.database.lock();
        database.query_row("SELECT server FROM progress", [], |row| row.get(0)).map_err(unreadable)
    }

    /// Remembers the server that the session belongs to.
    ///
    /// # Errors
    ///
    /// The profile cannot be written.
    pub fn remember_server(&self, server: &str) -> Result<(), ProfileError> {
        self.database.lock().execute("UPDATE progress SET server = ?", [server]).map_err(unwritable)?;
        Ok(())
    }

    /// Makes the messages of processes that are gone this one's.
    fn adopt_outgoing(&self, database: &Connection) -> rusqlite::Result<()> {
        let mut owners = database.prepare("SELECT DISTINCT owner FROM outgoing WHERE owner <> ?")?;
        let owners = owners.query_map([&self.owner.name], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        for owner in owners {
            let path = owner_path(&self.directory, &owner);
            let gone = match File::open(&path) {
                Ok(file) => file.try_lock().is_ok(),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            if gone {
                database.execute("UPDATE outgoing SET owner = ? WHERE owner = ?", [&self.owner.name, &owner])?;
                // If it stays behind, it is empty and harms nobody.
                let _ = fs::remove_file(&path);
            }
        }
        Ok(())
    }
}

impl Profile for DiskProfile {
    fn is_durable(&self) -> bool {
        true
    }

    fn tokens(&self) -> Result<Option<Tokens>, ProfileError> {
        let database = self.database.lock();
        let sql = "SELECT user, name, session, access_token, access_expires_ms, refresh_token, refresh_expires_ms,
                          refresh_id, resume_token FROM session";
        database.prepare_cached(sql).and_then(|mut rows| rows.query_row([], read_tokens).optional()).map_err(unreadable)
    }

    fn store_tokens(&self, tokens: &Tokens) -> Result<(), ProfileError> {
        let mut database = self.database.lock();
        write(&mut database, |database| {
            let user = tokens.user.get() as i64;
            let known: Option<i64> = database.query_row("SELECT user FROM progress", [], |row| row.get(0))?;
            if known.is_some_and(|known| known != user) {
                database.execute_batch("DELETE FROM conversation; DELETE FROM outgoing")?;
                database.execute("UPDATE progress SET cursor = ''", [])?;
            }
            database.execute("UPDATE progress SET user = ?", [user])?;
            database.execute(
                "INSERT OR REPLACE INTO session VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    user,
                    tokens.name,
                    tokens.session.get() as i64,
                    tokens.access_token,
                    tokens.access_expires_ms,
                    tokens.refresh_token,
                    tokens.refresh_expires_ms,
                    tokens.refresh_id,
                    tokens.resume_token,
                ],
            )?;
            Ok(())
        })
    }

    fn store_resume_token(&self, session: SessionId, token: &str) -> Result<(), ProfileError> {
        let sql = "UPDATE session SET resume_token = ? WHERE session = ?";
        self.database.lock().execute(sql, params![token, session.get() as i64]).map_err(unwritable)?;
        Ok(())
    }

    fn log_out(&self) -> Result<(), ProfileError> {
        self.database.lock().execute("DELETE FROM session", []).map_err(unwritable)?;
        Ok(())
    }

    fn lock_tokens(&self) -> Result<TokenLock, ProfileError> {
        let path = self.directory.join("tokens.lock");
        let file = private_file(&path).map_err(failed("cannot open the lock of the tokens"))?;
        let until = Instant::now() + LOCK_WAIT_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(TokenLock::new(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    return Err(ProfileError::new("another process holds the tokens for too long"));
                }
                Err(TryLockError::Error(error)) => return Err(failed("cannot lock the tokens")(error)),
            }
        }
    }

    fn load(&self) -> Result<Stored, ProfileError> {
        let mut database = self.database.lock();
        write(&mut database, |database| {
            self.adopt_outgoing(database)?;
            let cursor = database.query_row("SELECT cursor FROM progress", [], |row| row.get(0))?;
            let mut rows = database.prepare("SELECT id, kind, applied, read, peer_read FROM conversation")?;
            let conversations = rows.query_map([], read_conversation)?.collect::<Result<HashMap<_, _>, _>>()?;
            let mut rows = database
                .prepare("SELECT id, conversation, name, content FROM outgoing WHERE owner = ? ORDER BY sequence")?;
            let outgoing = rows.query_map([&self.owner.name], read_outgoing)?.collect::<Result<Vec<_>, _>>()?;
            Ok(Stored { conversations, cursor, outgoing })
        })
    }

    fn save(&self, changes: &Changes) -> Result<(), ProfileError> {
        let mut database = self.database.lock();
        write(&mut database, |database| {
            let mut merge = database.prepare_cached(
                "INSERT INTO conversation VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET
                     kind = iif(excluded.kind = 0, kind, excluded.kind), applied = max(applied, excluded.applied),
                     read = max(read, excluded.read), peer_read = max(peer_read, excluded.peer_read)",
            )?;
            for (id, state) in &changes.conversations {
                merge.execute(params![
                    id.get() as i64,
                    state.kind as i32,
                    state.applied as i64,
                    state.read as i64,
                    state.peer_read as i64,
                ])?;
            }
            if let Some(cursor) = &changes.cursor {
                database.execute("UPDATE progress SET cursor = ?", [cursor])?;
            }
            Ok(())
        })
    }

    fn put_outgoing(&self, message: &Outgoing) -> Result<(), ProfileError> {
        let (conversation, name) = match &message.target {
            Target::Conversation(id) => (Some(id.get() as i64), None),
            Target::Name(name) => (None, Some(name.as_str())),
        };
        let sql = "INSERT INTO outgoing (id, conversation, name, content, owner) VALUES (?, ?, ?, ?, ?)
                   ON CONFLICT (id) DO NOTHING";
        let content = &message.content.as_bytes()[..];
        let values = params![&message.id.as_bytes()[..], conversation, name, content, self.owner.name];
        let database = self.database.lock();
        database.prepare_cached(sql).and_then(|mut insert| insert.execute(values)).map_err(unwritable)?;
        Ok(())
    }

    fn remove_outgoing(&self, ids: &[EntryId]) -> Result<(), ProfileError> {
        let mut database = self.database.lock();
        write(&mut database, |database| {
            let mut delete = database.prepare_cached("DELETE FROM outgoing WHERE id = ?")?;
            for id in ids {
                delete.execute([&id.as_bytes()[..]])?;
            }
            Ok(())
        })
    }
}

fn prepare(database: &mut Connection) -> rusqlite::Result<()> {
    database.busy_timeout(BUSY_TIMEOUT)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    // A message in the outbox is worth as much as one that was sent: it survives a power failure too.
    database.pragma_update(None, "synchronous", "FULL")?;
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    transaction.commit()
}

/// Takes the write lock first, so that what is read cannot be outdated when it is written.
fn write<T>(
    database: &mut Connection,
    work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, ProfileError> {
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate).map_err(unwritable)?;
    let result = work(&transaction).map_err(unwritable)?;
    transaction.commit().map_err(unwritable)?;
    Ok(result)
}

fn read_tokens(row: &Row<'_>) -> rusqlite::Result<Tokens> {
    Ok(Tokens {
        user: UserId::new(row.get::<_, i64>(0)? as u64),
        name: row.get(1)?,
        session: SessionId::new(row.get::<_, i64>(2)? as u64),
        access_token: row.get(3)?,
        access_expires_ms: row.get(4)?,
        refresh_token: row.get(5)?,
        refresh_expires_ms: row.get(6)?,
        refresh_id: row.get(7)?,
        resume_token: row.get(8)?,
    })
}

fn read_conversation(row: &Row<'_>) -> rusqlite::Result<(ConversationId, ConversationState)> {
    let state = ConversationState {
        kind: wire::ConversationKind::try_from(row.get::<_, i32>(1)?).unwrap_or_default(),
        applied: row.get::<_, i64>(2)? as u64,
        read: row.get::<_, i64>(3)? as u64,
        peer_read: row.get::<_, i64>(4)? as u64,
    };
    Ok((ConversationId::new(row.get::<_, i64>(0)? as u64), state))
}

fn read_outgoing(row: &Row<'_>) -> rusqlite::Result<Outgoing> {
    let target = match row.get::<_, Option<i64>>(1)? {
        Some(id) => Target::Conversation(ConversationId::new(id as u64)),
        None => Target::Name(row.get(2)?),
    };
    let content = RawContent::from_bytes(row.get::<_, Vec<u8>>(3)?.into());
    Ok(Outgoing { id: EntryId::from_bytes(row.get(0)?), target, content })
}

fn owner_path(directory: &Path, owner: &str) -> PathBuf {
    directory.join(format!("outbox-{owner}.lock"))
}

#[cfg(unix)]
fn make_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Opens a file, made so that only its owner may read it. SQLite gives its other files the same mode.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn failed<E: std::error::Error + Send + Sync + 'static>(what: impl Into<String>) -> impl FnOnce(E) -> ProfileError {
    let what = what.into();
    move |error| ProfileError::new(what).with_source(error)
}

fn unreadable(error: rusqlite::Error) -> ProfileError {
    failed("the profile cannot be read")(error)
}

fn unwritable(error: rusqlite::Error) -> ProfileError {
    failed("the profile cannot be written")(error)
}
