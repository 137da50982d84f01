//! Histories from a replica, where it has what is asked for.
//!
//! It may be behind. What a reader may see, where a log ends and what was erased is therefore asked of the primary first;
//! the replica is believed only if its log reaches as far as the answer, and has erased as much. If it has not, or fails, the
//! primary answers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use sqlx::MySqlConnection;
use tokio::time::Instant;

use super::{changes, convert::column, pages, pool::Pool, transaction::snapshot_from, views::Sight};
use crate::{Headed, Page, PageRequest, Result, Scan};

/// How long the replica may take for an answer at most: the primary is asked then, and that counts, too.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// How long a replica that failed is left alone.
const SET_ASIDE: Duration = Duration::from_secs(5);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Replica {
    pool: Pool,
    began: Instant,
    /// Until when it is left alone, in milliseconds since it began.
    aside_until_ms: AtomicU64,
}

impl Replica {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pool, began: Instant::now(), aside_until_ms: AtomicU64::new(0) }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// The pages, if the replica has all of them.
    pub(super) async fn pages(
        &self,
        sights: &[Option<Sight>],
        requests: &[PageRequest],
        bytes_max: usize,
    ) -> Option<Vec<Option<Page>>> {
        let asked = async {
            snapshot_from!(&self.pool, |snapshot| {
                for (sight, request) in sights.iter().zip(requests) {
                    if let Some(sight) = sight
                        && !reaches(snapshot, sight, last_wanted(sight, request)).await?
                    {
                        return Ok(None);
                    }
                }
                pages::read(snapshot, sights, requests, bytes_max).await.map(Some)
            })
        };
        self.answered(asked).await
    }

    /// A scan, if the replica knows all that messages say now.
    pub(super) async fn scan(&self, sight: &Sight, before: u64, entries: u32) -> Option<Scan> {
        let asked = async {
            snapshot_from!(&self.pool, |snapshot| match reaches(snapshot, sight, sight.last_position).await? {
                true => changes::scan(snapshot, sight, before, entries).await.map(Some),
                false => Ok(None),
            })
        };
        self.answered(asked).await
    }

    /// What was asked for; `None` as well if the replica fails, or was left alone.
    async fn answered<T>(&self, asked: impl Future<Output = Result<Option<T>>>) -> Option<T> {
        if self.now_ms() < self.aside_until_ms.load(Ordering::Relaxed) {
            return None;
        }
        let error = match asked.await {
            Ok(answer) => return answer,
            Err(error) => error.to_string(),
        };
        let aside = u64::try_from(SET_ASIDE.as_millis()).unwrap_or(u64::MAX);
        self.aside_until_ms.store(self.now_ms() + aside, Ordering::Relaxed);
        tracing::warn!(error, "the replica failed: histories come from the primary for a while");
        None
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The last position that a page may hold.
fn last_wanted(sight: &Sight, request: &PageRequest) -> u64 {
    let last = match request.from {
        Headed::After(position) => position.saturating_add(request.limit.into()),
        Headed::Before(position) => position.saturating_sub(1),
    };
    last.min(sight.last_position)
}

/// Whether the replica's log reaches a position, and whatever was erased is erased there too. What the reader has deleted one
/// by one may be missing there.
async fn reaches(connection: &mut MySqlConnection, sight: &Sight, position: u64) -> sqlx::Result<bool> {
    if sight.has_gaps {
        return Ok(false);
    }
    let found = sqlx::query("SELECT 1 FROM conversations WHERE id = ? AND position >= ? AND erasures >= ?")
        .bind(column(sight.conversation.get()))
        .bind(column(position))
        .bind(sight.erasures)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}
