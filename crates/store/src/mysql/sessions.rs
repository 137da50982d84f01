//! Sessions and their refresh tokens.

use protocol::{
    RawContent, SessionId, UserId,
    wire::{SessionEnded, SessionInfo, content},
};
use sqlx::MySqlConnection;

use super::{
    accounts::{self, note_tellings},
    convert::{self, column, get},
    links,
    script::Script,
};
use crate::{
    LINK_RETRY_MS, NewSession, Rotation, SessionRow, Telling, TokenHash,
    refresh::{Exchange, Token, Verdict},
};

/// Inserts a session and its first refresh token.
pub(super) async fn insert(connection: &mut MySqlConnection, user: UserId, session: &NewSession) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO sessions (id, user, device, created_ms, seen_ms, refresh_expires_ms) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(column(session.id.get()))
    .bind(column(user.get()))
    .bind(&session.device)
    .bind(session.created_ms)
    .bind(session.created_ms)
    .bind(session.refresh_expires_ms)
    .execute(&mut *connection)
    .await?;
    insert_token(connection, session.refresh, session.id, session.refresh_expires_ms).await
}

/// Starts a session; `false` if `limit` are live already, or the account is kept out or gone.
pub(super) async fn create(
    connection: &mut MySqlConnection,
    user: UserId,
    session: &NewSession,
    limit: usize,
    tell: &[Telling],
) -> sqlx::Result<bool> {
    accounts::lock(connection, user).await?;
    let again = sqlx::query("SELECT 1 FROM sessions WHERE id = ? AND user = ?")
        .bind(column(session.id.get()))
        .bind(column(user.get()))
        .fetch_optional(&mut *connection)
        .await?;
    // The same id: the call is made again, since its outcome was unknown.
    if again.is_some() {
        return Ok(true);
    }
    let welcome = sqlx::query("SELECT 1 FROM users WHERE id = ? AND suspended = 0 AND deleted = 0")
        .bind(column(user.get()))
        .fetch_optional(&mut *connection)
        .await?;
    if welcome.is_none() {
        return Ok(false);
    }
    let live: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sessions WHERE user = ? AND ended_ms IS NULL AND refresh_expires_ms > ?",
    )
    .bind(column(user.get()))
    .bind(session.created_ms)
    .fetch_one(&mut *connection)
    .await?;
    if live >= i64::try_from(limit).unwrap_or(i64::MAX) {
        return Ok(false);
    }
    insert(connection, user, session).await?;
    note_tellings(connection, tell).await?;
    Ok(true)
}

/// Exchanges a refresh token.
pub(super) async fn rotate(connection: &mut MySqlConnection, exchange: &Exchange) -> sqlx::Result<Rotation> {
    // Of two who come at once, one waits here.
    sqlx::query("SELECT 1 FROM refresh_tokens WHERE hash = ? FOR UPDATE")
        .bind(exchange.old.as_slice())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(token) = token(connection, exchange.old).await? else { return Ok(Rotation::NotFound) };
    match token.judge(exchange) {
        Verdict::Answer(rotation) => Ok(rotation),
        Verdict::UseUp => use_up(connection, exchange, token.session).await,
        Verdict::Replayed => replayed(connection, token.session, exchange.now_ms).await,
        Verdict::InPlaceOf(successor) => {
            if self::token(connection, successor).await?.is_some_and(|successor| successor.used.is_some()) {
                return replayed(connection, token.session, exchange.now_ms).await;
            }
            sqlx::query("DELETE FROM refresh_tokens WHERE hash = ?")
                .bind(successor.as_slice())
                .execute(&mut *connection)
                .await?;
            use_up(connection, exchange, token.session).await
        }
    }
}

async fn use_up(connection: &mut MySqlConnection, exchange: &Exchange, session: SessionRow) -> sqlx::Result<Rotation> {
    sqlx::query("UPDATE refresh_tokens SET used_by = ?, successor = ? WHERE hash = ?")
        .bind(exchange.request.as_slice())
        .bind(exchange.new.as_slice())
        .bind(exchange.old.as_slice())
        .execute(&mut *connection)
        .await?;
    insert_token(connection, exchange.new, session.id, exchange.new_expires_ms).await?;
    sqlx::query("UPDATE sessions SET refresh_expires_ms = ?, seen_ms = GREATEST(seen_ms, ?) WHERE id = ?")
        .bind(exchange.new_expires_ms)
        .bind(exchange.now_ms)
        .bind(column(session.id.get()))
        .execute(connection)
        .await?;
    Ok(Rotation::Rotated(session))
}

async fn replayed(connection: &mut MySqlConnection, session: SessionRow, now_ms: i64) -> sqlx::Result<Rotation> {
    let ended = sqlx::query("UPDATE sessions SET ended_ms = ? WHERE id = ? AND ended_ms IS NULL")
        .bind(now_ms)
        .bind(column(session.id.get()))
        .execute(&mut *connection)
        .await?;
    if ended.rows_affected() > 0 {
        tell_ended(connection, session.user, &[session.id], now_ms).await?;
    }
    Ok(Rotation::Replayed(session))
}

/// Has the user's personal log tell that sessions have ended.
async fn tell_ended(
    connection: &mut MySqlConnection,
    user: UserId,
    sessions: &[SessionId],
    now_ms: i64,
) -> sqlx::Result<()> {
    let telling = |session: &SessionId| {
        let ended = content::Kind::SessionEnded(SessionEnded { session: session.get() });
        Telling { user, time_ms: now_ms, content: RawContent::from(ended).as_bytes().clone() }
    };
    note_tellings(connection, &sessions.iter().map(telling).collect::<Vec<_>>()).await
}

async fn insert_token(
    connection: &mut MySqlConnection,
    hash: TokenHash,
    session: SessionId,
    expires_ms: i64,
) -> sqlx::Result<()> {
    sqlx::query("INSERT INTO refresh_tokens (hash, session, expires_ms) VALUES (?, ?, ?)")
        .bind(hash.as_slice())
        .bind(column(session.get()))
        .bind(expires_ms)
        .execute(connection)
        .await?;
    Ok(())
}

async fn token(connection: &mut MySqlConnection, hash: TokenHash) -> sqlx::Result<Option<Token>> {
    let row = sqlx::query(
        "SELECT sessions.id, users.id, users.name, sessions.ended_ms IS NOT NULL, expires_ms, used_by IS NOT NULL,
             used_by, successor, users.suspended
         FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session
         JOIN users ON users.id = sessions.user WHERE hash = ?",
    )
    .bind(hash.as_slice())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let used = if get(&row, 5)? { Some((convert::array(&row, 6)?, convert::array(&row, 7)?)) } else { None };
        Ok(Token {
            session: SessionRow {
                id: convert::number(&row, 0).map(SessionId::new)?,
                user: convert::user(&row, 1)?,
                name: get(&row, 2)?,
            },
            session_ended: get(&row, 3)?,
            suspended: get(&row, 8)?,
            expires_ms: get(&row, 4)?,
            used,
        })
    })
    .transpose()
}

/// What notes when sessions were in use.
pub(super) fn touch(seen: &[(SessionId, i64)], lifetime_ms: i64) -> Script {
    let mut notes = Script::default();
    let mut seen = seen.to_vec();
    // In one order for all who do so.
    seen.sort_unstable();
    for (session, seen_ms) in seen {
        let (session, expires_ms) = (column(session.get()), seen_ms.saturating_add(lifetime_ms));
        notes.statement(&format!(
            "UPDATE sessions SET seen_ms = GREATEST(seen_ms, {seen_ms}),
                 refresh_expires_ms = GREATEST(refresh_expires_ms, {expires_ms})
             WHERE id = {session} AND ended_ms IS NULL"
        ));
        notes.statement(&format!(
            "UPDATE refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session
             SET expires_ms = GREATEST(expires_ms, {expires_ms})
             WHERE session = {session} AND used_by IS NULL AND ended_ms IS NULL"
        ));
    }
    notes
}

/// Ends a session and notes what is to be told; `false` if there is none, or it has ended before.
pub(super) async fn end(
    connection: &mut MySqlConnection,
    user: UserId,
    session: SessionId,
    now_ms: i64,
    tell: &[Telling],
) -> sqlx::Result<bool> {
    let ended = sqlx::query("UPDATE sessions SET ended_ms = ? WHERE id = ? AND user = ? AND ended_ms IS NULL")
        .bind(now_ms)
        .bind(column(session.get()))
        .bind(column(user.get()))
        .execute(&mut *connection)
        .await?;
    if ended.rows_affected() > 0 {
        note_tellings(connection, tell).await?;
    }
    Ok(ended.rows_affected() > 0)
}

/// Replaces the password's hash; `false` if it is no longer `old`.
pub(super) async fn replace_password(
    connection: &mut MySqlConnection,
    user: UserId,
    old: &str,
    new: &str,
) -> sqlx::Result<bool> {
    accounts::lock(connection, user).await?;
    let is_old = sqlx::query("SELECT 1 FROM users WHERE id = ? AND password_hash = ? AND deleted = 0")
        .bind(column(user.get()))
        .bind(old)
        .fetch_optional(&mut *connection)
        .await?;
    if is_old.is_none() {
        return Ok(false);
    }
    sqlx::query("UPDATE users SET password_hash = ? WHERE id = ?")
        .bind(new)
        .bind(column(user.get()))
        .execute(connection)
        .await?;
    Ok(true)
}

/// Ends the user's sessions but one, and has that told; returns those ended.
pub(super) async fn end_but(
    connection: &mut MySqlConnection,
    user: UserId,
    keep: Option<SessionId>,
    now_ms: i64,
) -> sqlx::Result<Vec<SessionId>> {
    let keep = keep.map_or(0, |keep| column(keep.get()));
    let rows =
        sqlx::query("SELECT id FROM sessions WHERE user = ? AND id <> ? AND ended_ms IS NULL ORDER BY id FOR UPDATE")
            .bind(column(user.get()))
            .bind(keep)
            .fetch_all(&mut *connection)
            .await?;
    let ended = rows.iter().map(|row| convert::number(row, 0).map(SessionId::new)).collect::<sqlx::Result<_>>()?;
    sqlx::query("UPDATE sessions SET ended_ms = ? WHERE user = ? AND id <> ? AND ended_ms IS NULL")
        .bind(now_ms)
        .bind(column(user.get()))
        .bind(keep)
        .execute(connection)
        .await?;
    Ok(ended)
}

/// Ends the user's sessions but one, and has each told.
pub(super) async fn end_others(
    connection: &mut MySqlConnection,
    user: UserId,
    keep: SessionId,
    now_ms: i64,
) -> sqlx::Result<Vec<SessionId>> {
    let ended = end_but(connection, user, Some(keep), now_ms).await?;
    tell_ended(connection, user, &ended, now_ms).await?;
    Ok(ended)
}

/// Forgets tokens, sessions and API keys that were over before this time, and revoked links whose retries were.
pub(super) async fn forget_expired(connection: &mut MySqlConnection, before_ms: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM refresh_tokens WHERE expires_ms < ?").bind(before_ms).execute(&mut *connection).await?;
    for statement in [
        "DELETE refresh_tokens FROM refresh_tokens JOIN sessions ON sessions.id = refresh_tokens.session
         WHERE ended_ms < ? OR refresh_expires_ms < ?",
        "DELETE FROM sessions WHERE ended_ms < ? OR refresh_expires_ms < ?",
        "DELETE FROM api_keys WHERE ended_ms < ? OR expires_ms BETWEEN 1 AND ? - 1",
    ] {
        sqlx::query(statement).bind(before_ms).bind(before_ms).execute(&mut *connection).await?;
    }
    links::forget_revoked(connection, before_ms - LINK_RETRY_MS).await
}

/// The sessions and API keys that ended after this time.
pub(super) async fn ended_since(connection: &mut MySqlConnection, since_ms: i64) -> sqlx::Result<Vec<SessionId>> {
    let rows =
        sqlx::query("SELECT id FROM sessions WHERE ended_ms > ? UNION ALL SELECT id FROM api_keys WHERE ended_ms > ?")
            .bind(since_ms)
            .bind(since_ms)
            .fetch_all(connection)
            .await?;
    rows.iter().map(|row| convert::number(row, 0).map(SessionId::new)).collect()
}

/// The user's live sessions, oldest first.
pub(super) async fn live(
    connection: &mut MySqlConnection,
    user: UserId,
    now_ms: i64,
) -> sqlx::Result<Vec<SessionInfo>> {
    let rows = sqlx::query(
        "SELECT id, device, created_ms, seen_ms FROM sessions
         WHERE user = ? AND ended_ms IS NULL AND refresh_expires_ms > ? ORDER BY created_ms, id",
    )
    .bind(column(user.get()))
    .bind(now_ms)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(SessionInfo {
                id: convert::number(row, 0)?,
                device: get(row, 1)?,
                created_ms: get(row, 2)?,
                seen_ms: get(row, 3)?,
                current: false,
            })
        })
        .collect()
}
