//! Opening: connections, schema.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlSslMode},
};
use tokio::time::Instant;

use super::{
    MysqlConfig, MysqlStore, Shared, marks,
    pool::{Pool, PoolConfig},
    replica::{self, Replica},
    schema,
};

/// Connections that only read are closed when they were idle for so long.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Prepared statements kept by a connection: those that a busy one uses. A server has room for 16,382 by default, of all
/// connections together.
const STATEMENTS_MAX: usize = 150;
/// What a server says of a database that it does not have (`ER_BAD_DB_ERROR`).
const UNKNOWN_DATABASE: u16 = 1_049;

/// A store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one.
    #[error("the {which} is not a database's URL (mysql://USER:PASSWORD@HOST:PORT/DATABASE): {source}")]
    Url {
        /// Which of the configured ones.
        which: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The URL names no database.
    #[error("the URL names no database: mysql://USER:PASSWORD@HOST:PORT/DATABASE")]
    NoDatabase,
    /// Too few connections are allowed.
    #[error("connections_max is {0}: at least 2 are needed, one to read and one to write")]
    TooFewConnections(u32),
    /// The database does not say what its schema is.
    #[error("the database cannot be opened: {0}")]
    Connect(#[source] sqlx::Error),
    /// The server is there, and has no such database.
    #[error(
        "the server {server} has no database {database:?}: make it first (CREATE DATABASE), the tables are made then"
    )]
    NoSuchDatabase {
        /// Its host and port.
        server: String,
        /// The database's name.
        database: String,
    },
    /// There is no connection to the database, or it does not let us in.
    #[error("the database at {server} cannot be reached: {source}")]
    Unreachable {
        /// Its host and port.
        server: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A newer program has been here.
    #[error(
        "the database has schema version {found}, this program knows versions up to {known}: use the newer program that made it"
    )]
    NewerSchema {
        /// The version of its schema.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// Another process brings the schema up to date, and does not come to an end.
    #[error(
        "another process has been bringing the database's schema up to date for {0:?}: see what it does, and start again"
    )]
    SchemaBusy(Duration),
    /// The schema could not be brought up to date. It is tried again where it ended.
    #[error("the database's schema cannot be brought up to version {version}: {source}")]
    Schema {
        /// The version that was being made.
        version: i64,
        /// Why it failed.
        source: sqlx::Error,
    },
}

pub(super) async fn open(config: &MysqlConfig) -> Result<MysqlStore, OpenError> {
    if config.connections_max < 2 {
        return Err(OpenError::TooFewConnections(config.connections_max));
    }
    let options = options(&config.url, "url")?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(OpenError::NoDatabase);
    }
    let replica = match &config.replica {
        Some(url) => Some(self::options(url, "replica")?),
        None => None,
    };
    let for_writers = config.connections_max / 2;
    let connections_max = config.connections_max - for_writers;
    let reading = reading(connections_max, config.timeout);
    let readers = Pool::new(options.clone(), reading.clone());
    let deadline = Instant::now() + config.timeout;
    let mut connection = readers.lend(deadline).await.map_err(|error| unreachable(&options, error))?;
    schema::bring_up_to_date(&mut connection, config.timeout).await?;
    connection.give_back();
    let writers = Pool::new(options, writing(for_writers, config.timeout));
    let timeout = config.timeout.min(replica::ANSWER_WAIT);
    let replica = replica.map(|options| Replica::new(Pool::new(options, PoolConfig { timeout, ..reading })));
    let (marks, gatherer) = marks::queue(config.timeout);
    let shared = Arc::new(Shared { writers, readers, replica, marks });
    // It ends with the store, whose queue closes then.
    tokio::spawn(gatherer.run(Arc::downgrade(&shared)));
    Ok(MysqlStore { shared })
}

/// How connections read. The server keeps one for longer than we do, whatever its default is: it would close it under us.
fn reading(connections_max: u32, timeout: Duration) -> PoolConfig {
    let silence = 2 * IDLE_MAX.as_secs();
    let begin = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ;
         SET SESSION wait_timeout = {silence}"
    );
    PoolConfig { connections_max, timeout, idle_max: IDLE_MAX, begin }
}

/// How connections write. Each statement is in a transaction, without being told (`autocommit`). The server ends by itself what
/// keeps locks: a wait for somebody else's, before it is taken for silence, so that the outcome is known; and a transaction whose
/// process it does not hear of any more, which lost the network.
fn writing(connections_max: u32, timeout: Duration) -> PoolConfig {
    let lock_wait = (timeout.as_secs() / 2).max(1);
    let silence = (2 * timeout).as_secs().max(1);
    let begin = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
         SET SESSION autocommit = 0, innodb_lock_wait_timeout = {lock_wait}, wait_timeout = {silence}"
    );
    // The server would close it under us.
    PoolConfig { connections_max, timeout, idle_max: Duration::from_secs(silence) / 2, begin }
}

fn unreachable(options: &MySqlConnectOptions, source: sqlx::Error) -> OpenError {
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let told = source.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    match options.get_database() {
        Some(database) if told.is_some_and(|told| told.number() == UNKNOWN_DATABASE) => {
            OpenError::NoSuchDatabase { server, database: database.to_owned() }
        }
        _ => OpenError::Unreachable { server, source },
    }
}

fn options(url: &str, which: &'static str) -> Result<MySqlConnectOptions, OpenError> {
    if !["mysql://", "mariadb://"].iter().any(|scheme| url.starts_with(scheme)) {
        let source = sqlx::Error::Configuration("it does not begin with mysql://".into());
        return Err(OpenError::Url { which, source });
    }
    let options: MySqlConnectOptions = url.parse().map_err(|source| OpenError::Url { which, source })?;
    let verifies = matches!(options.get_ssl_mode(), MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
    if !verifies && ["ssl-ca", "sslca"].iter().any(|key| url.contains(&format!("{key}="))) {
        let problem = "its ssl-ca is of no use without ssl-mode=VERIFY_IDENTITY (or VERIFY_CA, for any name)";
        return Err(OpenError::Url { which, source: sqlx::Error::Configuration(problem.into()) });
    }
    // Names and times are the store's business: nothing of the server's clock or zone is used.
    Ok(options
        .pipes_as_concat(false)
        .timezone(None)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_are_shown_to_the_server_as_they_were_before_they_were_percent_encoded() {
        let options = options("mysql://us%40er:p%3Ap%40ss%2Fw%3Ard%231%25@db.example:3307/chat", "url").unwrap();
        assert_eq!((options.get_host(), options.get_port()), ("db.example", 3307));
        assert_eq!((options.get_username(), options.get_database()), ("us@er", Some("chat")));
        let shown = format!("{options:?}");
        assert!(shown.contains("\"p:p@ss/w:rd#1%\""), "{shown}");
    }
}
