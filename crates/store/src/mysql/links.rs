//! Ways into a group: requests to be let in, and links.

use protocol::{EntryId, GroupId, UserId};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    accounts::note_tellings,
    convert::{self, bound, column, get},
};
use crate::{GroupLink, JoinRequestRow, Telling};

pub(super) async fn put_join_request(
    connection: &mut MySqlConnection,
    group: GroupId,
    request: &JoinRequestRow,
    tell: &[Telling],
) -> sqlx::Result<bool> {
    let noted = sqlx::query("SELECT 1 FROM join_requests WHERE `group` = ? AND user = ? FOR UPDATE")
        .bind(column(group.get()))
        .bind(column(request.user.get()))
        .fetch_optional(&mut *connection)
        .await?;
    if noted.is_some() {
        sqlx::query("UPDATE join_requests SET message = ? WHERE `group` = ? AND user = ?")
            .bind(&request.message)
            .bind(column(group.get()))
            .bind(column(request.user.get()))
            .execute(connection)
            .await?;
        return Ok(false);
    }
    sqlx::query("INSERT INTO join_requests (`group`, user, message, time_ms) VALUES (?, ?, ?, ?)")
        .bind(column(group.get()))
        .bind(column(request.user.get()))
        .bind(&request.message)
        .bind(request.time_ms)
        .execute(&mut *connection)
        .await?;
    note_tellings(connection, tell).await?;
    Ok(true)
}

pub(super) async fn close_join_request(
    connection: &mut MySqlConnection,
    group: GroupId,
    user: UserId,
    tell: &[Telling],
) -> sqlx::Result<bool> {
    let deleted = sqlx::query("DELETE FROM join_requests WHERE `group` = ? AND user = ?")
        .bind(column(group.get()))
        .bind(column(user.get()))
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() > 0 {
        note_tellings(connection, tell).await?;
    }
    Ok(deleted.rows_affected() > 0)
}

/// Who asks to be let in, by ascending id.
pub(super) async fn join_requests(
    connection: &mut MySqlConnection,
    group: GroupId,
    after: UserId,
    limit: u32,
) -> sqlx::Result<Vec<JoinRequestRow>> {
    let rows = sqlx::query(
        "SELECT user, message, time_ms FROM join_requests WHERE `group` = ? AND user > ? ORDER BY user LIMIT ?",
    )
    .bind(column(group.get()))
    .bind(bound(after.get()))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    let request = |row: &MySqlRow| {
        Ok(JoinRequestRow { user: convert::user(row, 0)?, message: get(row, 1)?, time_ms: get(row, 2)? })
    };
    rows.iter().map(request).collect()
}

pub(super) async fn create(
    connection: &mut MySqlConnection,
    link: &GroupLink,
    request: EntryId,
    links_max: usize,
    now_ms: i64,
) -> sqlx::Result<Option<GroupLink>> {
    // So that nobody else counts meanwhile.
    sqlx::query("SELECT id FROM `groups` WHERE id = ? FOR UPDATE")
        .bind(column(link.group.get()))
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(made) = made(connection, link.creator, request).await? {
        return Ok(Some(made));
    }
    if usable(connection, link.group, now_ms).await?.len() >= links_max {
        return Ok(None);
    }
    sqlx::query(
        "INSERT INTO group_links (code, `group`, creator, request, created_ms, expires_ms, uses_max, uses)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(link.code.as_bytes())
    .bind(column(link.group.get()))
    .bind(column(link.creator.get()))
    .bind(request.as_bytes().as_slice())
    .bind(link.created_ms)
    .bind(link.expires_ms)
    .bind(i64::from(link.uses_max))
    .bind(i64::from(link.uses))
    .execute(connection)
    .await?;
    Ok(Some(link.clone()))
}

pub(super) async fn use_up(
    connection: &mut MySqlConnection,
    code: &str,
    user: UserId,
    now_ms: i64,
) -> sqlx::Result<bool> {
    let link = sqlx::query("SELECT uses, uses_max, expires_ms FROM group_links WHERE code = ? FOR UPDATE")
        .bind(code.as_bytes())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(link) = link else { return Ok(false) };
    let (uses, uses_max, expires_ms): (i64, i64, i64) = (get(&link, 0)?, get(&link, 1)?, get(&link, 2)?);
    if expires_ms != 0 && expires_ms <= now_ms {
        return Ok(false);
    }
    let used = sqlx::query("SELECT 1 FROM link_uses WHERE code = ? AND user = ?")
        .bind(code.as_bytes())
        .bind(column(user.get()))
        .fetch_optional(&mut *connection)
        .await?;
    if used.is_some() {
        return Ok(true);
    }
    if uses_max != 0 && uses >= uses_max {
        return Ok(false);
    }
    sqlx::query("UPDATE group_links SET uses = uses + 1 WHERE code = ?")
        .bind(code.as_bytes())
        .execute(&mut *connection)
        .await?;
    sqlx::query("INSERT INTO link_uses (code, user) VALUES (?, ?)")
        .bind(code.as_bytes())
        .bind(column(user.get()))
        .execute(connection)
        .await?;
    Ok(true)
}

pub(super) async fn revoke(connection: &mut MySqlConnection, group: GroupId, code: &str) -> sqlx::Result<bool> {
    sqlx::query(
        "INSERT INTO revoked_links (code, `group`, creator, request, created_ms, expires_ms, uses_max, uses)
         SELECT code, `group`, creator, request, created_ms, expires_ms, uses_max, uses FROM group_links
         WHERE code = ? AND `group` = ? FOR UPDATE",
    )
    .bind(code.as_bytes())
    .bind(column(group.get()))
    .execute(&mut *connection)
    .await?;
    let deleted = sqlx::query("DELETE FROM group_links WHERE code = ? AND `group` = ?")
        .bind(code.as_bytes())
        .bind(column(group.get()))
        .execute(&mut *connection)
        .await?;
    if deleted.rows_affected() > 0 {
        sqlx::query("DELETE FROM link_uses WHERE code = ?").bind(code.as_bytes()).execute(connection).await?;
    }
    Ok(deleted.rows_affected() > 0)
}

/// Forgets revoked links that were made before this time.
pub(super) async fn forget_revoked(connection: &mut MySqlConnection, before_ms: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM revoked_links WHERE created_ms < ?").bind(before_ms).execute(connection).await.map(drop)
}

fn from_row(row: &MySqlRow) -> sqlx::Result<GroupLink> {
    let count = |index| u32::try_from(get::<i64>(row, index)?).map_err(|error| convert::undecodable(index, error));
    Ok(GroupLink {
        code: convert::key(row, 0)?,
        group: convert::conversation(row, 1)?.group(),
        creator: convert::user(row, 2)?,
        created_ms: get(row, 3)?,
        expires_ms: get(row, 4)?,
        uses_max: count(5)?,
        uses: count(6)?,
    })
}

/// The link that a request made, also if it was revoked.
pub(super) async fn made(
    connection: &mut MySqlConnection,
    creator: UserId,
    request: EntryId,
) -> sqlx::Result<Option<GroupLink>> {
    let row = sqlx::query(
        "SELECT code, `group`, creator, created_ms, expires_ms, uses_max, uses FROM group_links
         WHERE creator = ? AND request = ?
         UNION ALL SELECT code, `group`, creator, created_ms, expires_ms, uses_max, uses FROM revoked_links
         WHERE creator = ? AND request = ?",
    )
    .bind(column(creator.get()))
    .bind(request.as_bytes().as_slice())
    .bind(column(creator.get()))
    .bind(request.as_bytes().as_slice())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_row).transpose()
}

/// The link with this code.
pub(super) async fn find(connection: &mut MySqlConnection, code: &str) -> sqlx::Result<Option<GroupLink>> {
    let row = sqlx::query(
        "SELECT code, `group`, creator, created_ms, expires_ms, uses_max, uses FROM group_links WHERE code = ?",
    )
    .bind(code.as_bytes())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(from_row).transpose()
}

/// The group's links that can be used, oldest first.
pub(super) async fn usable(
    connection: &mut MySqlConnection,
    group: GroupId,
    now_ms: i64,
) -> sqlx::Result<Vec<GroupLink>> {
    let rows = sqlx::query(
        "SELECT code, `group`, creator, created_ms, expires_ms, uses_max, uses FROM group_links
         WHERE `group` = ? AND (expires_ms = 0 OR expires_ms > ?) AND (uses_max = 0 OR uses < uses_max)
         ORDER BY created_ms, code",
    )
    .bind(column(group.get()))
    .bind(now_ms)
    .fetch_all(connection)
    .await?;
    rows.iter().map(from_row).collect()
}
