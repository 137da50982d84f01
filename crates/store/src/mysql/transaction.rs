//! Transactions and reads: connections, retries, outcomes.
//!
//! What is run is given to macros rather than to functions, as no bound can say that the future of an async closure may be
//! sent to another thread.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    failure::{self, Meaning},
    pool::{Lent, Pool, silent},
    script::{CommitError, Script},
};
use crate::{Error, Result};

/// How often a transaction is run at most that loses races.
const CONFLICTS_MAX: u32 = 12;
/// How often a transaction or read is begun at most on connections that turn out to be lost. After a restart of the server all
/// that were idle are; the second one is new.
const LOST_MAX: u32 = 6;
/// Between two tries after a conflict, times the number of tries.
const CONFLICT_WAIT: Duration = Duration::from_millis(2);

/// Runs this on a connection in a transaction; it tells, as a `sqlx::Result`, the value and what is yet to be executed, with which
/// the transaction is committed. It is run again if the transaction was rolled back; a duplicate key is taken for a race, so that it
/// has to look for what may be there.
macro_rules! transaction {
    ($store:expr, |$connection:ident| $run:expr) => {{
        let pool = &$store.shared.writers;
        let mut tries = $crate::mysql::transaction::Tries::new(pool);
        loop {
            let mut lent = match tries.connection(pool).await {
                Ok(lent) => lent,
                Err(error) => break Err(error),
            };
            let outcome: sqlx::Result<_> = tries
                .within(async {
                    let $connection = &mut *lent;
                    $run
                })
                .await;
            match tries.end(pool, lent, outcome).await {
                Ok(Some(value)) => break Ok(value),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        }
    }};
}

/// Runs this, which tells a value, in a transaction and commits it, as [`transaction!`] does; to its end though the caller may stop
/// waiting. What is to be executed together with the commit is added to `last`.
macro_rules! write {
    ($store:expr, |$connection:ident| $run:expr) => {
        $crate::mysql::transaction::write!($store, |$connection, _last| $run)
    };
    ($store:expr, |$connection:ident, $last:ident| $run:expr) => {{
        let store = $store.clone();
        $crate::mysql::transaction::detached(async move {
            $crate::mysql::transaction::transaction!(store, |$connection| {
                let mut script = $crate::mysql::script::Script::default();
                let value: sqlx::Result<_> = async {
                    let $last = &mut script;
                    $run
                }
                .await;
                value.map(|value| (value, script))
            })
        })
        .await
    }};
}

/// Runs this, which only reads, on a connection of a pool: statement by statement it finds what is committed then.
macro_rules! read_from {
    ($pool:expr, |$connection:ident| $run:expr) => {{
        let pool: &$crate::mysql::pool::Pool = $pool;
        let mut tries = $crate::mysql::transaction::Tries::new(pool);
        loop {
            let mut lent = match tries.connection(pool).await {
                Ok(lent) => lent,
                Err(error) => break Err(error),
            };
            let outcome: sqlx::Result<_> = tries
                .within(async {
                    let $connection = &mut *lent;
                    $run
                })
                .await;
            match tries.read(pool, lent, outcome).await {
                Ok(Some(value)) => break Ok(value),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        }
    }};
}

/// As [`read_from!`], on one state of the database.
macro_rules! snapshot_from {
    ($pool:expr, |$connection:ident| $run:expr) => {
        $crate::mysql::transaction::read_from!($pool, |connection| {
            let mut transaction = sqlx::Connection::begin(connection).await?;
            let value: sqlx::Result<_> = async {
                let $connection = &mut *transaction;
                $run
            }
            .await;
            let value = value?;
            transaction.rollback().await?;
            Ok(value)
        })
    };
}

/// [`read_from!`] the store's database.
macro_rules! read {
    ($store:expr, |$connection:ident| $run:expr) => {
        $crate::mysql::transaction::read_from!(&$store.shared.readers, |$connection| $run)
    };
}

pub(super) use {read, read_from, snapshot_from, transaction, write};

/// Runs a write to its end, though its caller may stop waiting.
pub(super) async fn detached<T: Send + 'static>(write: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(write).await.unwrap_or_else(|error| Err(Error::Unknown(error.into())))
}

/// The tries of one call. All of them together have the time that an answer may take; a commit has as much again. Where a method
/// tells nothing, there is to be another try.
#[derive(Debug)]
pub(super) struct Tries {
    timeout: Duration,
    deadline: Instant,
    conflicts: u32,
    lost: u32,
}

impl Tries {
    pub(super) fn new(pool: &Pool) -> Self {
        let timeout = pool.timeout();
        Self { timeout, deadline: Instant::now() + timeout, conflicts: 0, lost: 0 }
    }

    /// A connection for the next try.
    pub(super) async fn connection(&self, pool: &Pool) -> Result<Lent> {
        pool.lend(self.deadline).await.map_err(failure::not_stored)
    }

    /// Runs a try, as long as there is time.
    pub(super) async fn within<T>(&self, run: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        timeout_at(self.deadline, run).await.unwrap_or_else(|_| Err(silent(self.timeout)))
    }

    /// Executes what is left of a transaction and commits it, if all went well.
    pub(super) async fn end<T>(
        &mut self,
        pool: &Pool,
        mut lent: Lent,
        outcome: sqlx::Result<(T, Script)>,
    ) -> Result<Option<T>> {
        let error = match outcome {
            Ok((value, rest)) => match timeout(self.timeout, rest.commit(&mut lent)).await {
                Ok(Ok(())) => {
                    lent.give_back();
                    return Ok(Some(value));
                }
                Ok(Err(CommitError::Before(error))) => error,
                // The connection is closed. Whatever becomes of the commit, it is before a retry with the same ids: that waits
                // for the rows which this transaction has locked.
                Ok(Err(CommitError::Unknown(error))) => return Err(Error::Unknown(error.into())),
                Err(_) => return Err(Error::Unknown(silent(self.timeout).into())),
            },
            Err(error) => error,
        };
        self.roll_back(lent, &error).await;
        self.again(pool, error).await.map(|()| None)
    }

    /// What a read found.
    pub(super) async fn read<T>(&mut self, pool: &Pool, lent: Lent, outcome: sqlx::Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => {
                lent.give_back();
                Ok(Some(value))
            }
            Err(error) => {
                drop(lent);
                self.again(pool, error).await.map(|()| None)
            }
        }
    }

    /// Undoes what a transaction has done, so that its connection may be used again. If the server does not answer, the
    /// connection is closed, and the server does it when it sees that.
    async fn roll_back(&self, mut lent: Lent, error: &sqlx::Error) {
        if failure::meaning(error) == Meaning::Lost {
            return;
        }
        let rolled_back = self.within(sqlx::raw_sql("ROLLBACK").execute(&mut *lent)).await;
        if rolled_back.is_ok() {
            lent.give_back();
        }
    }

    /// Waits for the next try after a failure that left nothing stored; the failure if there is to be none.
    async fn again(&mut self, pool: &Pool, error: sqlx::Error) -> Result<()> {
        let is_time_left = Instant::now() < self.deadline;
        match failure::meaning(&error) {
            Meaning::Conflict if is_time_left && self.conflicts + 1 < CONFLICTS_MAX => {
                self.conflicts += 1;
                tracing::debug!(%error, tries = self.conflicts, "a transaction is run again");
                // Those who met must not meet again.
                let spread = RandomState::new().hash_one(()) % 8;
                sleep(CONFLICT_WAIT * self.conflicts + Duration::from_micros(250 * spread)).await;
                Ok(())
            }
            Meaning::Lost if is_time_left && self.lost + 1 < LOST_MAX => {
                self.lost += 1;
                pool.forget_idle();
                Ok(())
            }
            _ => Err(failure::not_stored(error)),
        }
    }
}
