//! Opening: connections, schema.

use std::{sync::Arc, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, MySqlConnection,
    mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode},
    pool::PoolConnectionMetadata,
};
use tokio::time::timeout;

use super::{MysqlConfig, MysqlStore, Shared, Tls, marks, replica::Replica, schema};

/// How long a call waits for a connection, and a new connection for the server, before it fails as certainly not stored.
const ACQUIRE_WAIT: Duration = Duration::from_secs(5);
/// To find out why there is none.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// A connection that was not used for so long is asked whether it lives before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(2);
/// Idle connections are closed after this.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Prepared statements kept by a connection: those that a busy one uses. A server has room for 16,382 by default, of all
/// connections together.
const STATEMENTS_MAX: usize = 150;
/// How a connection that writes begins. Nobody waits longer for a lock than the 10 s; the transaction is run again then.
const WRITING: [&str; 2] =
    ["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET SESSION innodb_lock_wait_timeout = 10"];
/// How a connection that reads begins.
const READING: [&str; 1] = ["SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"];

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
    let options = options(&config.url, "url", &config.tls)?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(OpenError::NoDatabase);
    }
    let replica = match &config.replica {
        Some(url) => Some(self::options(url, "replica", &config.tls)?),
        None => None,
    };
    let half = config.connections_max / 2;
    let writers = match pool(half, &WRITING).connect_with(options.clone()).await {
        Ok(writers) => writers,
        Err(error) => return Err(unopened(&options, why(&options, error).await)),
    };
    let mut connection = writers.acquire().await.map_err(|error| unopened(&options, error))?;
    schema::bring_up_to_date(&mut connection).await?;
    drop(connection);
    let readers = pool(config.connections_max - half, &READING).connect_lazy_with(options);
    let replica = replica.map(|options| Replica::new(pool(config.connections_max - half, &READING), options));
    let (marks, gatherer) = marks::queue();
    let shared = Arc::new(Shared { writers, readers, replica, marks });
    // It ends with the store, whose queue closes then.
    tokio::spawn(gatherer.run(Arc::downgrade(&shared)));
    Ok(MysqlStore { shared })
}

fn unopened(options: &MySqlConnectOptions, source: sqlx::Error) -> OpenError {
    OpenError::Unreachable { server: format!("{}:{}", options.get_host(), options.get_port()), source }
}

/// Why there is no connection: a pool tells only that it has waited for one.
async fn why(options: &MySqlConnectOptions, error: sqlx::Error) -> sqlx::Error {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    match timeout(LOOK_WITHIN, MySqlConnection::connect_with(options)).await {
        Ok(Err(reason)) => reason,
        Ok(Ok(_)) | Err(_) => error,
    }
}

fn options(url: &str, which: &'static str, tls: &Tls) -> Result<MySqlConnectOptions, OpenError> {
    if !["mysql://", "mariadb://"].iter().any(|scheme| url.starts_with(scheme)) {
        let source = sqlx::Error::Configuration("it does not begin with mysql://".into());
        return Err(OpenError::Url { which, source });
    }
    let options: MySqlConnectOptions = url.parse().map_err(|source| OpenError::Url { which, source })?;
    // Names and times are the store's business: nothing of the server's clock or zone is used.
    let options = options
        .pipes_as_concat(false)
        .timezone(None)
        .statement_cache_capacity(STATEMENTS_MAX)
        .disable_statement_logging();
    Ok(match tls {
        Tls::FromUrl => options,
        Tls::Off => options.ssl_mode(MySqlSslMode::Disabled),
        Tls::Verified(None) => options.ssl_mode(MySqlSslMode::VerifyIdentity),
        Tls::Verified(Some(authority)) => options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca(authority),
    })
}

fn pool(connections_max: u32, begin: &'static [&'static str]) -> MySqlPoolOptions {
    MySqlPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_WAIT)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| Box::pin(lives(connection, metadata)))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for statement in begin {
                    sqlx::raw_sql(*statement).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
}

/// One round trip saved for each transaction of a busy store.
async fn lives(connection: &mut MySqlConnection, metadata: PoolConnectionMetadata) -> sqlx::Result<bool> {
    Ok(metadata.idle_for < TRUSTED_FOR || connection.ping().await.is_ok())
}
