//! Accounts that end, or are kept out.

use protocol::{SessionId, UserId};
use sqlx::MySqlConnection;

use super::{
    accounts,
    convert::{self, column},
    lists::ids,
    names, sessions,
};

/// What of an account goes when it ends, beside its row.
const EMPTIED: [&str; 9] = [
    "DELETE webhook_positions FROM webhook_positions JOIN webhooks ON webhooks.id = webhook_positions.webhook
     WHERE bot = ?",
    "DELETE dead_letters FROM dead_letters JOIN webhooks ON webhooks.id = dead_letters.webhook WHERE bot = ?",
    "DELETE FROM webhooks WHERE bot = ?",
    "DELETE FROM incoming_webhooks WHERE bot = ?",
    "DELETE FROM user_settings WHERE user = ?",
    "DELETE FROM own_views WHERE user = ?",
    "DELETE FROM last_seen WHERE user = ?",
    "DELETE FROM contacts WHERE user = ?",
    "DELETE FROM mutes WHERE user = ?",
];

/// Empties an account; its sessions and keys that ended with it, `None` if it has bots.
pub(super) async fn delete(
    connection: &mut MySqlConnection,
    user: UserId,
    now_ms: i64,
) -> sqlx::Result<Option<Vec<SessionId>>> {
    let id = column(user.get());
    // Who makes a bot waits, and then finds no owner; whatever of it is changed by entries waits as well.
    accounts::lock(connection, user).await?;
    let bot = sqlx::query("SELECT 1 FROM users WHERE owner = ? AND deleted = 0 LIMIT 1").bind(id);
    if bot.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(None);
    }
    ids("SELECT id FROM conversations WHERE id IN ", &[column(user.personal_log().get())], " FOR UPDATE")
        .fetch_all(&mut *connection)
        .await?;
    let given_up = sqlx::query("SELECT name_key, coalesce(owner, id) FROM users WHERE id = ? AND deleted = 0").bind(id);
    if let Some(row) = given_up.fetch_optional(&mut *connection).await? {
        names::keep(connection, &convert::key(&row, 0)?, convert::user(&row, 1)?, now_ms).await?;
    }
    // No name has a control character: the key is given up, and this one nobody else's.
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
    end_all(connection, user, now_ms).await.map(Some)
}

/// Keeps an account and its bots out, or no longer; the sessions and keys that ended with it.
pub(super) async fn suspend(
    connection: &mut MySqlConnection,
    user: UserId,
    suspended: bool,
    now_ms: i64,
) -> sqlx::Result<Option<Vec<(UserId, SessionId)>>> {
    let rows = sqlx::query("SELECT id FROM users WHERE (id = ? OR owner = ?) AND deleted = 0 ORDER BY id FOR UPDATE")
        .bind(column(user.get()))
        .bind(column(user.get()))
        .fetch_all(&mut *connection)
        .await?;
    let users: Vec<UserId> = rows.iter().map(|row| convert::user(row, 0)).collect::<sqlx::Result<_>>()?;
    if !users.contains(&user) {
        return Ok(None);
    }
    sqlx::query("UPDATE users SET suspended = ? WHERE id = ?")
        .bind(suspended)
        .bind(column(user.get()))
        .execute(&mut *connection)
        .await?;
    let mut ended = Vec::new();
    for user in users.into_iter().filter(|_| suspended) {
        let sessions = end_all(connection, user, now_ms).await?;
        ended.extend(sessions.into_iter().map(|session| (user, session)));
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
