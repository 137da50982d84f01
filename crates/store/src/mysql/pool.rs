//! Connections to one server: lent one by one, and taken back only in good order.
//!
//! - At most so many exist at a time; whoever wants one waits in line, and for a bounded time.
//! - A connection that is not given back is closed, and with it ends at the server whatever was under way on it. So none is used
//!   again whose answer somebody stopped waiting for.
//! - Nobody asks a connection whether it lives, which would be a round trip each time. One that was closed while it was idle is
//!   found out by the first statement on it, with nothing sent before: whoever meets that [forgets](Pool::forget_idle) all that
//!   are idle, which most likely are closed as well, and begins anew.

use std::{
    io,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, MySqlConnection, mysql::MySqlConnectOptions};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::failure;

/// Between two attempts to connect to a server that is not there (yet), doubled with each up to the second.
const CONNECT_AGAIN: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];
/// Saying goodbye to the server, so that it does not note a connection that broke.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// What a pool is to be.
#[derive(Debug, Clone)]
pub(super) struct PoolConfig {
    pub(super) connections_max: u32,
    /// How long an answer may take; see [`MysqlConfig`](super::MysqlConfig).
    pub(super) timeout: Duration,
    /// Connections that were not used for so long are closed.
    pub(super) idle_max: Duration,
    /// What is executed on each connection at first.
    pub(super) begin: String,
}

/// See the [module](self). Clones are the same pool.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    options: Arc<MySqlConnectOptions>,
    config: Arc<PoolConfig>,
    places: Arc<Semaphore>,
    /// The one used last at the end.
    idle: Arc<Mutex<Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: MySqlConnection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(options: MySqlConnectOptions, config: PoolConfig) -> Self {
        let places = Arc::new(Semaphore::new(config.connections_max as usize));
        Self { options: Arc::new(options), config: Arc::new(config), places, idle: Arc::default() }
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout
    }

    /// A connection, in the order of asking. Nothing is under way on it.
    ///
    /// # Errors
    ///
    /// There is none until the deadline, the server does not let us in, or the pool is closed.
    pub(super) async fn lend(&self, deadline: Instant) -> sqlx::Result<Lent> {
        let place = timeout_at(deadline, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        let connection = match self.take_idle() {
            Some(connection) => connection,
            None => self.connect(deadline).await?,
        };
        Ok(Lent { connection, pool: self.clone(), place })
    }

    /// Closes the connections that are idle.
    pub(super) fn forget_idle(&self) {
        let forgotten = std::mem::take(&mut *self.idle.lock());
        drop(forgotten);
    }

    /// Waits until all connections are given back, and closes them; nobody is lent one from now on. Closing twice is harmless.
    pub(super) async fn close(&self) {
        // In line with the others: whoever waits already gets a turn.
        let all = self.places.acquire_many(self.config.connections_max).await;
        self.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle.lock());
        let goodbyes = async {
            for Idle { connection, .. } in idle {
                // One that is lost is gone already.
                let _ = connection.close().await;
            }
        };
        let _ = timeout(GOODBYE_WITHIN, goodbyes).await;
    }

    fn take_idle(&self) -> Option<MySqlConnection> {
        let mut idle = self.idle.lock();
        let fresh = |idle: &Idle| idle.since.elapsed() < self.config.idle_max;
        let stale = idle.partition_point(|idle| !fresh(idle));
        idle.drain(..stale);
        idle.pop().map(|idle| idle.connection)
    }

    async fn connect(&self, deadline: Instant) -> sqlx::Result<MySqlConnection> {
        let [mut wait, wait_max] = CONNECT_AGAIN;
        loop {
            let error = match timeout_at(deadline, self.connect_once()).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => error,
                Err(_) => return Err(silent(self.config.timeout)),
            };
            if !failure::may_pass_while_connecting(&error) || Instant::now() + wait >= deadline {
                return Err(error);
            }
            sleep(wait).await;
            wait = wait_max.min(2 * wait);
        }
    }

    async fn connect_once(&self) -> sqlx::Result<MySqlConnection> {
        let mut connection = self.options.connect().await?;
        // Made of the store's own settings.
        sqlx::raw_sql(AssertSqlSafe(self.config.begin.clone())).execute(&mut connection).await?;
        Ok(connection)
    }
}

/// A connection on loan. Dropped, it is closed.
#[derive(Debug)]
pub(super) struct Lent {
    connection: MySqlConnection,
    pool: Pool,
    place: OwnedSemaphorePermit,
}

impl Lent {
    /// Gives it back, for others to use: everything on it has been answered, and no transaction is open.
    pub(super) fn give_back(self) {
        let Self { connection, pool, place } = self;
        pool.idle.lock().push(Idle { connection, since: Instant::now() });
        // Whoever gets the place finds the connection.
        drop(place);
    }
}

impl Deref for Lent {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}

/// What is made of an answer that does not come.
pub(super) fn silent(timeout: Duration) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the database has not answered within {timeout:?}"),
    ))
}
