//! Transactions and reads: connections, retries, outcomes.
//!
//! What is run is given to macros rather than to functions, as no bound can say that the future of an async closure may be
//! sent to another thread.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use sqlx::{MySqlPool, Transaction, mysql::MySql, pool::PoolConnection};
use tokio::time::sleep;

use super::failure::{self, Meaning};
use crate::{Error, Result};

/// How often a transaction is run at most that loses races.
const CONFLICTS_MAX: u32 = 12;
/// How often a transaction or read is begun at most on connections that turn out to be lost: after a restart of the server
/// all of a pool's are.
const LOST_MAX: u32 = 6;
/// Between two tries after a conflict, times the number of tries.
const CONFLICT_WAIT: Duration = Duration::from_millis(2);

/// Runs this on a connection in a transaction and commits it; the value is a `crate::Result`. It is run again if the
/// transaction was rolled back; a duplicate key is taken for a race, so that it has to look for what may be there.
macro_rules! transaction {
    ($store:expr, |$connection:ident| $run:expr) => {{
        let mut tries = $crate::mysql::transaction::Tries::default();
        loop {
            let begun = tries.begin(&$store.shared.writers).await;
            let mut transaction = match begun {
                Ok(Some(transaction)) => transaction,
                Ok(None) => continue,
                Err(error) => break Err(error),
            };
            let outcome: sqlx::Result<_> = async {
                let $connection = &mut *transaction;
                $run
            }
            .await;
            match tries.end(transaction, outcome).await {
                Ok(Some(value)) => break Ok(value),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        }
    }};
}

/// As [`transaction!`], run to its end though the caller may stop waiting.
macro_rules! write {
    ($store:expr, |$connection:ident| $run:expr) => {{
        let store = $store.clone();
        $crate::mysql::transaction::detached(async move {
            $crate::mysql::transaction::transaction!(store, |$connection| $run)
        })
        .await
    }};
}

/// Runs this, which only reads, on a connection: statement by statement it finds what is committed then.
macro_rules! read {
    ($store:expr, |$connection:ident| $run:expr) => {{
        let mut tries = $crate::mysql::transaction::Tries::default();
        loop {
            let acquired = $crate::mysql::transaction::acquire(&$store.shared.readers).await;
            let mut connection = match acquired {
                Ok(connection) => connection,
                Err(error) => break Err(error),
            };
            let outcome: sqlx::Result<_> = async {
                let $connection = &mut *connection;
                $run
            }
            .await;
            drop(connection);
            match tries.read(outcome).await {
                Ok(Some(value)) => break Ok(value),
                Ok(None) => {}
                Err(error) => break Err(error),
            }
        }
    }};
}

/// As [`read!`], on one state of the database.
macro_rules! snapshot {
    ($store:expr, |$connection:ident| $run:expr) => {
        $crate::mysql::transaction::read!($store, |connection| {
            let mut transaction = sqlx::Connection::begin(connection).await?;
            let $connection = &mut *transaction;
            let value = $run?;
            transaction.rollback().await?;
            Ok(value)
        })
    };
}

pub(super) use {read, snapshot, transaction, write};

/// Runs a write to its end, though its caller may stop waiting.
pub(super) async fn detached<T: Send + 'static>(write: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(write).await.unwrap_or_else(|error| Err(Error::Unknown(error.into())))
}

/// A connection of a pool. One that turns out to be lost is not given back to anybody: the pool asks whether it lives.
pub(super) async fn acquire(pool: &MySqlPool) -> Result<PoolConnection<MySql>> {
    pool.acquire().await.map_err(|error| Error::NotStored(error.into()))
}

/// What is counted over the tries of one call. Where a method tells nothing, there is to be another try.
#[derive(Debug, Default)]
pub(super) struct Tries {
    conflicts: u32,
    lost: u32,
}

impl Tries {
    /// Begins a transaction.
    pub(super) async fn begin(&mut self, pool: &MySqlPool) -> Result<Option<Transaction<'static, MySql>>> {
        let connection = acquire(pool).await?;
        match Transaction::begin(connection, None).await {
            Ok(transaction) => Ok(Some(transaction)),
            Err(error) => self.again(error).await.map(|()| None),
        }
    }

    /// Commits a transaction, if all went well.
    pub(super) async fn end<T>(
        &mut self,
        transaction: Transaction<'static, MySql>,
        outcome: sqlx::Result<T>,
    ) -> Result<Option<T>> {
        let error = match outcome {
            Ok(value) => match transaction.commit().await {
                Ok(()) => return Ok(Some(value)),
                Err(error) if failure::is_conflict_at_commit(&error) => error,
                Err(error) => return Err(Error::Unknown(error.into())),
            },
            // Rolled back, by us or, if the connection is lost, by the server.
            Err(error) => {
                drop(transaction);
                error
            }
        };
        self.again(error).await.map(|()| None)
    }

    /// What a read found.
    pub(super) async fn read<T>(&mut self, outcome: sqlx::Result<T>) -> Result<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(error) => self.again(error).await.map(|()| None),
        }
    }

    /// Waits for the next try after a failure that left nothing stored; the failure if there is to be none.
    async fn again(&mut self, error: sqlx::Error) -> Result<()> {
        match failure::meaning(&error) {
            Meaning::Conflict if self.conflicts + 1 < CONFLICTS_MAX => {
                self.conflicts += 1;
                tracing::debug!(%error, tries = self.conflicts, "a transaction is run again");
                // Those who met must not meet again.
                let spread = RandomState::new().hash_one(()) % 8;
                sleep(CONFLICT_WAIT * self.conflicts + Duration::from_micros(250 * spread)).await;
                Ok(())
            }
            Meaning::Lost if self.lost + 1 < LOST_MAX => {
                self.lost += 1;
                Ok(())
            }
            _ => Err(failure::not_stored(error)),
        }
    }
}
