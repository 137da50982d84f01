//! Accounts that end, or are kept out.

use protocol::{SessionId, UserId};
use sqlx::MySqlConnection;

use super::{
    accounts,
    convert::{self, column},
    lists::ids,
    sessions,
};

/// What of an account goes when it ends, beside its row.
const EMPTIED: [&str; 8] = [
    "DELETE webhook_positions FROM webhook_positions JOIN webhooks ON webhooks.id = webhook_positions.webhook
     WHERE bot = ?",
    "DELETE dead_letters FROM dead_letters JOIN webhooks ON webhooks.id = dead_letters.webhook WHERE bot = ?",
    "DELETE FROM webhooks WHERE bot = ?",
    "DELETE FROM incoming_webhooks WHERE bot = ?",
    "DELETE FROM user_settings WHERE user = ?",
    "DELETE FROM own_views WHERE user = ?",
    "DELETE FROM last_seen WHERE user = ?",
    "DELETE FROM contacts WHERE user = ?",
];

/// Empties an account; its sessions and keys that ended with it.
pub(super) async fn delete(
    connection: &mut MySqlConnection,
    user: UserId,
    now_ms: i64,
) -> sqlx::Result<Vec<SessionId>> {
    let id = column(user.get());
    // Whatever of it is changed by entries waits.
    ids("SELECT id FROM conversations WHERE id IN ", &[column(user.personal_log().get())], " FOR UPDATE")
        .fetch_all(&mut *connection)
        .await?;
    // No name has a control character: the key is free, and this one nobody else's.
    sqlx::query(
        "UPDATE users SET name = '', name_key = ?, password_hash = '', display_name = '', display_key = NULL, avatar = '',
             status_line = '', language = '', deleted = 1, renamed_ms = NULL
         WHERE id = ? AND deleted = 0",
    )
    .bind(format!("\u{1}{id}").into_bytes())
    .bind(id)
    .execute(&mut *connection)
    .await?;
    for statement in EMPTIED {
        sqlx::query(statement).bind(id).execute(&mut *connection).await?;
    }
    end_all(connection, user, now_ms).await
}

/// Keeps an account and its bots out, or lets them in again; the sessions and keys that ended with it.
pub(super) async fn suspend(
    connection: &mut MySqlConnection,
    user: UserId,
    suspended: bool,
    now_ms: i64,
) -> sqlx::Result<Option<Vec<(UserId, SessionId)>>> {
    let is_there = accounts::info(connection, user).await?.is_some_and(|user| !user.deleted);
    if !is_there {
        return Ok(None);
    }
    let rows = sqlx::query("SELECT id FROM users WHERE (id = ? OR owner = ?) AND deleted = 0 ORDER BY id FOR UPDATE")
        .bind(column(user.get()))
        .bind(column(user.get()))
        .fetch_all(&mut *connection)
        .await?;
    let mut ended = Vec::new();
    for row in rows {
        let user = convert::user(&row, 0)?;
        sqlx::query("UPDATE users SET suspended = ? WHERE id = ?")
            .bind(suspended)
            .bind(column(user.get()))
            .execute(&mut *connection)
            .await?;
        if suspended {
            let sessions = end_all(connection, user, now_ms).await?;
            ended.extend(sessions.into_iter().map(|session| (user, session)));
        }
    }
    Ok(Some(ended))
}

/// Ends all of a user's sessions and keys.
async fn end_all(connection: &mut MySqlConnection, user: UserId, now_ms: i64) -> sqlx::Result<Vec<SessionId>> {
    let mut ended = sessions::end_but(connection, user, None, now_ms).await?;
    let keys = sqlx::query("SELECT id FROM api_keys WHERE bot = ? AND ended_ms IS NULL FOR UPDATE")
        .bind(column(user.get()))
        .fetch_all(&mut *connection)
        .await?;
    for key in &keys {
        ended.push(SessionId::new(convert::number(key, 0)?));
    }
    sqlx::query("UPDATE api_keys SET ended_ms = ? WHERE bot = ? AND ended_ms IS NULL")
        .bind(now_ms)
        .bind(column(user.get()))
        .execute(connection)
        .await?;
    Ok(ended)
}
