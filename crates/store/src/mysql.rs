//! MySQL, MariaDB or TiDB: the store of many processes.
//!
//! - Every write is one transaction, at READ COMMITTED. Rows are locked in one order by everybody: logs by id, then members,
//!   last of all the clock. A transaction that loses a deadlock or meets a race is run again, a bounded number of times.
//! - The position of an entry is decided under the lock of its log's row, so that instances which both believe they own a
//!   log give no position twice. Which one appends is a matter of speed alone.
//! - Revisions are given under the lock of one row, the clock, which is taken when all else is written and held until the
//!   commit: they are in the order of commits, and a reader that has seen one has seen all before it.
//! - What is given up before the commit is certainly not stored; if the answer to a commit gets lost, the outcome is
//!   [unknown](crate::Error::Unknown), and a retry with the same ids tells.
//! - Connections are made anew by themselves. A database that does not answer holds no step of a call up for longer than the
//!   [timeout](MysqlConfig::timeout): the connection is closed, and the call ends with an outcome that is true.
//! - Histories may be read from a replica, where it has what is asked for; nothing else is.
//!
//! See `docs/decisions/mysql.md`.

mod accounts;
mod api_keys;
mod append;
mod bots;
mod changes;
mod closing;
mod contacts;
mod convert;
mod direct;
mod facts;
mod failure;
mod groups;
mod heads;
mod links;
mod lists;
mod look;
mod marks;
mod members;
mod messages;
mod names;
mod open;
mod pages;
mod pending;
mod pool;
mod presence;
mod profiles;
mod replica;
mod reports;
mod schema;
mod script;
mod sessions;
mod statements;
mod transaction;
mod users;
mod views;
mod webhooks;
mod workbench;

use std::{sync::Arc, time::Duration};

use crate::Result;
pub use open::OpenError;
use pool::Pool;
use replica::Replica;
use transaction::read;

/// Where a [`MysqlStore`] keeps its data.
#[derive(Clone)]
pub struct MysqlConfig {
    /// `mysql://USER:PASSWORD@HOST:PORT/DATABASE`; the database must exist. A password with other characters than letters and
    /// digits is percent-encoded.
    ///
    /// Connections are encrypted if the server can, and whoever answers is believed. Across a network that is not trusted, add
    /// `?ssl-mode=VERIFY_IDENTITY`: the server has to have a certificate for its name by an authority that the system trusts,
    /// or by that of `&ssl-ca=FILE` (PEM). `?ssl-mode=DISABLED` encrypts nothing.
    pub url: String,
    /// A replica of it that histories may be read from.
    pub replica: Option<String>,
    /// Connections to the database at most, half of them for writes: at least 2. Each keeps up to 150 prepared statements, of
    /// which a server has room for 16,382 by default (`max_prepared_stmt_count`): with more than 5 instances of 20
    /// connections, make more room there.
    pub connections_max: u32,
    /// How long each step of a call, a read or a transaction, may take altogether: for a connection, for its statements, and for
    /// trying again what was rolled back. It fails then, as [certainly not stored](crate::Error::NotStored). Only a commit that is
    /// under way may take as long again, before its outcome is told to be [unknown](crate::Error::Unknown).
    ///
    /// Most calls are one step. [`read_pages`](crate::Messages::read_pages) and [`scan`](crate::Messages::scan) are up to three:
    /// what the reader may see, the replica (at most 1 s), the database;
    /// [`open_direct`](crate::Messages::open_direct) is a read and perhaps a transaction. Marks wait for the transaction before
    /// theirs to end, and are not begun if this time is over then.
    ///
    /// Below 2 s, a wait for a lock, which servers count in seconds, may be taken for silence.
    pub timeout: Duration,
}

impl MysqlConfig {
    /// The defaults, for a database: no replica, 20 connections, 5 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), replica: None, connections_max: 20, timeout: Duration::from_secs(5) }
    }
}

impl std::fmt::Debug for MysqlConfig {
    /// Without the URLs, which bear passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MysqlConfig")
            .field("replica", &self.replica.is_some())
            .field("connections_max", &self.connections_max)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// The store on MySQL. Clones are the same store; see the [module](self) for how it works.
///
/// Writes go on though their futures are dropped; reads end with them.
#[derive(Debug, Clone)]
pub struct MysqlStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// At READ COMMITTED; whatever is executed is in a transaction.
    writers: Pool,
    /// At REPEATABLE READ.
    readers: Pool,
    replica: Option<Replica>,
    /// Marks of calls that are under way at once are written together.
    marks: marks::Queue,
}

impl MysqlStore {
    /// Connects to a database, and brings its schema up to date; of several processes that do so at once, one does it, and the
    /// others wait for it. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(config: MysqlConfig) -> Result<Self, OpenError> {
        open::open(&config).await
    }

    /// The largest id of a user, session, group, conversation, key, webhook, dead letter or report here; new ones are to be
    /// larger. 0: none.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn newest_id(&self) -> Result<u64> {
        const TABLES: [&str; 9] = [
            "SELECT max(id) FROM users",
            "SELECT max(id) FROM sessions",
            "SELECT max(id) FROM `groups`",
            "SELECT max(id) FROM conversations",
            "SELECT max(id) FROM api_keys",
            "SELECT max(id) FROM webhooks",
            "SELECT max(id) FROM incoming_webhooks",
            "SELECT max(id) FROM dead_letters",
            "SELECT max(id) FROM reports",
        ];
        read!(self, |connection| {
            let mut newest = 0;
            for table in TABLES {
                let id: Option<i64> = sqlx::query_scalar(table).fetch_one(&mut *connection).await?;
                newest = newest.max(id.unwrap_or(0).cast_unsigned());
            }
            Ok(newest)
        })
    }

    /// Waits for what is under way and closes all connections; calls from now on fail with [`Error::NotStored`](crate::Error::NotStored). Closing
    /// twice is harmless.
    pub async fn close(&self) {
        self.shared.writers.close().await;
        self.shared.readers.close().await;
        if let Some(replica) = &self.shared.replica {
            replica.close().await;
        }
    }
}
