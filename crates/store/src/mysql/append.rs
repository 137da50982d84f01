//! Appending: one transaction for all entries of a call.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{MysqlStore, facts, look::Logs, transaction::transaction, workbench};
use crate::{NewEntry, Result, append, append::Outcome};

impl MysqlStore {
    /// Appends in the order given.
    pub(super) async fn append_all(&self, entries: &[NewEntry]) -> Result<Vec<Outcome>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        // Nearly always nothing is sent twice, and no two write the same at once.
        let careful = AtomicBool::new(false);
        transaction!(self, |connection| {
            let careful = careful.swap(true, Ordering::Relaxed);
            let decided =
                workbench::decide(connection, entries, facts::foreseen, append::append, Logs::Locked, careful).await?;
            Ok((decided.outcomes, decided.pending.write(connection).await?))
        })
    }
}
