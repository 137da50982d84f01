//! Names: who bears one, and who bore it of late.

use protocol::{UserId, wire::UserInfo};
use sqlx::MySqlConnection;

use super::{
    accounts,
    convert::{self, column, get},
    profiles,
};
use crate::users::kept_since;

/// A name to be given to an account.
#[derive(Debug)]
pub(super) struct NewName {
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) key: String,
    pub(super) now_ms: i64,
    /// Names that others gave up after this time are kept.
    pub(super) kept_since_ms: i64,
}

/// Gives the account another name; `None` if that is taken or kept, or there is no such account.
pub(super) async fn rename(connection: &mut MySqlConnection, new: &NewName) -> sqlx::Result<Option<UserInfo>> {
    let now = sqlx::query("SELECT name, name_key FROM users WHERE id = ? AND deleted = 0 FOR UPDATE")
        .bind(column(new.user.get()))
        .fetch_optional(&mut *connection)
        .await?;
    let Some(now) = now else { return Ok(None) };
    let (old_name, old_key): (String, String) = (get(&now, 0)?, convert::key(&now, 1)?);
    if old_name == new.name {
        return accounts::info(connection, new.user).await;
    }
    if old_key != new.key {
        let taken = sqlx::query("SELECT 1 FROM users WHERE name_key = ?")
            .bind(new.key.as_bytes())
            .fetch_optional(&mut *connection)
            .await?;
        if taken.is_some() || is_kept(connection, &new.key, new.user, new.kept_since_ms).await? {
            return Ok(None);
        }
        sqlx::query("DELETE FROM former_names WHERE name_key = ?")
            .bind(new.key.as_bytes())
            .execute(&mut *connection)
            .await?;
        keep(connection, &old_key, new.user, new.now_ms).await?;
    }
    sqlx::query("UPDATE users SET name = ?, name_key = ?, renamed_ms = ? WHERE id = ?")
        .bind(&new.name)
        .bind(new.key.as_bytes())
        .bind(new.now_ms)
        .bind(column(new.user.get()))
        .execute(&mut *connection)
        .await?;
    profiles::tell(connection, new.user, new.now_ms).await
}

/// Keeps a name that is given up now from all but this user, and forgets those that were kept long enough.
pub(super) async fn keep(connection: &mut MySqlConnection, key: &str, user: UserId, now_ms: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM former_names WHERE given_up_ms <= ?")
        .bind(kept_since(now_ms))
        .execute(&mut *connection)
        .await?;
    sqlx::query("REPLACE INTO former_names (name_key, user, given_up_ms) VALUES (?, ?, ?)")
        .bind(key.as_bytes())
        .bind(column(user.get()))
        .bind(now_ms)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether a name was given up by somebody else after this time.
pub(super) async fn is_kept(
    connection: &mut MySqlConnection,
    key: &str,
    user: UserId,
    kept_since_ms: i64,
) -> sqlx::Result<bool> {
    let kept = sqlx::query("SELECT 1 FROM former_names WHERE name_key = ? AND user <> ? AND given_up_ms > ?")
        .bind(key.as_bytes())
        .bind(column(user.get()))
        .bind(kept_since_ms)
        .fetch_optional(connection)
        .await?;
    Ok(kept.is_some())
}

pub(super) async fn renamed_since(
    connection: &mut MySqlConnection,
    since_ms: i64,
) -> sqlx::Result<Vec<(UserId, String)>> {
    let rows = sqlx::query("SELECT id, name FROM users WHERE renamed_ms > ? AND deleted = 0")
        .bind(since_ms)
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| Ok((convert::user(row, 0)?, get(row, 1)?))).collect()
}
