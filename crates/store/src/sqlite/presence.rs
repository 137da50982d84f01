//! What the presence service stores.

use async_trait::async_trait;
use protocol::UserId;
use rusqlite::OptionalExtension;

use super::{SqliteStore, convert::column};
use crate::{LastSeen, Result};

#[async_trait]
impl LastSeen for SqliteStore {
    async fn note_seen(&self, seen: Vec<(UserId, i64)>) -> Result<()> {
        self.write(move |writer| {
            let mut note = writer.prepared(
                "INSERT INTO last_seen (user, seen_ms) VALUES (?1, ?2)
                 ON CONFLICT (user) DO UPDATE SET seen_ms = excluded.seen_ms WHERE excluded.seen_ms > seen_ms",
            )?;
            for &(user, seen_ms) in &seen {
                note.execute([column(user.get()), seen_ms])?;
            }
            Ok(())
        })
        .await
    }

    async fn last_seen(&self, users: Vec<UserId>) -> Result<Vec<(UserId, i64)>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached("SELECT seen_ms FROM last_seen WHERE user = ?1")?;
            let mut seen = Vec::new();
            for user in users {
                if let Some(seen_ms) = find.query_row([column(user.get())], |row| row.get(0)).optional()? {
                    seen.push((user, seen_ms));
                }
            }
            Ok(seen)
        })
        .await
    }
}
