//! What the presence service stores.

use async_trait::async_trait;
use protocol::UserId;

use super::{
    MysqlStore,
    convert::{self, column, get},
    lists::{ids, parts},
    script::{Script, Value},
    transaction::{read, write},
};
use crate::{LastSeen, Result};

#[async_trait]
impl LastSeen for MysqlStore {
    async fn note_seen(&self, mut seen: Vec<(UserId, i64)>) -> Result<()> {
        // In one order for all who do so.
        seen.sort_unstable();
        let rows: Vec<_> = seen.iter().map(|(user, ms)| [Value::id(user.get()), Value::Number(*ms)]).collect();
        write!(self, |connection| {
            let mut notes = Script::default();
            notes.rows(
                "INSERT INTO last_seen (user, seen_ms) VALUES ",
                &rows,
                " ON DUPLICATE KEY UPDATE seen_ms = GREATEST(seen_ms, VALUES(seen_ms))",
            );
            notes.execute(connection).await
        })
    }

    async fn last_seen(&self, users: Vec<UserId>) -> Result<Vec<(UserId, i64)>> {
        let users: Vec<i64> = users.into_iter().map(|user| column(user.get())).collect();
        read!(self, |connection| {
            let mut seen = Vec::new();
            for part in parts(&users) {
                let rows = ids("SELECT user, seen_ms FROM last_seen WHERE user IN ", part, "");
                for row in rows.fetch_all(&mut *connection).await? {
                    seen.push((convert::user(&row, 0)?, get(&row, 1)?));
                }
            }
            Ok(seen)
        })
    }
}
