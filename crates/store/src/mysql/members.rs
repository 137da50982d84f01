//! Who is a member, and how far members have read and received.

use std::collections::HashSet;

use protocol::{ConversationId, UserId};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    convert::{self, bound, column, get},
    lists::{sql, steps},
};
use crate::{MemberPage, MemberRow, ReceiptCounts};

/// A member from the columns `user`, `role`, `nickname`, `muted_until_ms`, `delivered_position`, `read_position`.
fn member(row: &MySqlRow) -> sqlx::Result<MemberRow> {
    let read_position = convert::number(row, 5)?;
    Ok(MemberRow {
        user: convert::user(row, 0)?,
        role: convert::role(row, 1)?,
        nickname: get(row, 2)?,
        muted_until_ms: get(row, 3)?,
        delivered_position: convert::number(row, 4)?.max(read_position),
        read_position,
    })
}

async fn is_member(connection: &mut MySqlConnection, conversation: ConversationId, user: UserId) -> sqlx::Result<bool> {
    let found = sqlx::query("SELECT 1 FROM members WHERE user = ? AND conversation = ?")
        .bind(column(user.get()))
        .bind(column(conversation.get()))
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

pub(super) async fn page(
    connection: &mut MySqlConnection,
    reader: UserId,
    conversation: ConversationId,
    after: UserId,
    limit: u32,
    admins: bool,
) -> sqlx::Result<Option<MemberPage>> {
    if !is_member(connection, conversation, reader).await? {
        return Ok(None);
    }
    let log = column(conversation.get());
    let total = if admins {
        let count = sqlx::query("SELECT count(*) FROM members WHERE conversation = ? AND role > 0");
        convert::number(&count.bind(log).fetch_one(&mut *connection).await?, 0)?
    } else {
        count(connection, conversation).await?
    };
    let query = sqlx::query(if admins {
        "SELECT user, role, nickname, muted_until_ms, delivered_position, read_position, blocked_at FROM members
         WHERE conversation = ? AND user > ? AND role > 0 ORDER BY user LIMIT ?"
    } else {
        "SELECT user, role, nickname, muted_until_ms, delivered_position, read_position, blocked_at FROM members
         WHERE conversation = ? AND user > ? ORDER BY user LIMIT ?"
    });
    let rows = query.bind(log).bind(bound(after.get())).bind(i64::from(limit)).fetch_all(connection).await?;
    let shown = |row: &MySqlRow| {
        let mut member = member(row)?;
        let end = get::<Option<i64>>(row, 6)?.filter(|_| member.user != reader);
        if let Some(end) = end.map(i64::cast_unsigned) {
            member.read_position = member.read_position.min(end);
            member.delivered_position = member.delivered_position.min(end);
        }
        Ok(member)
    };
    let members = rows.iter().map(shown).collect::<sqlx::Result<_>>()?;
    Ok(Some(MemberPage { members, total }))
}

pub(super) async fn find(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    user: UserId,
) -> sqlx::Result<Option<MemberRow>> {
    let row = sqlx::query(
        "SELECT user, role, nickname, muted_until_ms, delivered_position, read_position FROM members
         WHERE user = ? AND conversation = ?",
    )
    .bind(column(user.get()))
    .bind(column(conversation.get()))
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(member).transpose()
}

pub(super) async fn count(connection: &mut MySqlConnection, conversation: ConversationId) -> sqlx::Result<u64> {
    let row = sqlx::query("SELECT members FROM conversations WHERE id = ?")
        .bind(column(conversation.get()))
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(0), |row| convert::number(&row, 0))
}

pub(super) async fn administrators(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    limit: u32,
) -> sqlx::Result<Vec<UserId>> {
    let rows = sqlx::query("SELECT user FROM members WHERE conversation = ? AND role > 0 ORDER BY user LIMIT ?")
        .bind(column(conversation.get()))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| convert::user(row, 0)).collect()
}

pub(super) async fn bans(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    after: UserId,
    limit: u32,
) -> sqlx::Result<Vec<UserId>> {
    let rows = sqlx::query("SELECT user FROM bans WHERE conversation = ? AND user > ? ORDER BY user LIMIT ?")
        .bind(column(conversation.get()))
        .bind(bound(after.get()))
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    rows.iter().map(|row| convert::user(row, 0)).collect()
}

/// Those of `users` who are members, in their order.
pub(super) async fn filter(
    connection: &mut MySqlConnection,
    conversation: ConversationId,
    users: &[UserId],
) -> sqlx::Result<Vec<UserId>> {
    let mut members = HashSet::new();
    for part in steps(users) {
        let mut query =
            sqlx::query(sql("SELECT user FROM members WHERE conversation = ? AND user IN ", 1, part.len(), ""))
                .bind(column(conversation.get()));
        for user in part {
            query = query.bind(column(user.get()));
        }
        for row in query.fetch_all(&mut *connection).await? {
            members.insert(convert::user(&row, 0)?);
        }
    }
    Ok(users.iter().copied().filter(|user| members.contains(user)).collect())
}

/// How many of the others have received and read an entry of the reader's.
pub(super) async fn receipts(
    connection: &mut MySqlConnection,
    reader: UserId,
    conversation: ConversationId,
    position: u64,
) -> sqlx::Result<Option<ReceiptCounts>> {
    if !is_member(connection, conversation, reader).await? {
        return Ok(None);
    }
    let (user, log) = (column(reader.get()), column(conversation.get()));
    let entry = sqlx::query("SELECT withheld FROM entries WHERE conversation = ? AND position = ? AND sender = ?")
        .bind(log)
        .bind(bound(position))
        .bind(user)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(entry) = entry else { return Ok(None) };
    // What reading and receiving tells ends where a member has blocked the reader.
    let row = sqlx::query(
        "SELECT count(*),
             count(CASE WHEN GREATEST(delivered_position, read_position) >= ? AND coalesce(blocked_at >= ?, 1) THEN 1 END),
             count(CASE WHEN read_position >= ? AND coalesce(blocked_at >= ?, 1) THEN 1 END)
         FROM members WHERE conversation = ? AND user <> ?",
    )
    .bind(bound(position))
    .bind(bound(position))
    .bind(bound(position))
    .bind(bound(position))
    .bind(log)
    .bind(user)
    .fetch_one(connection)
    .await?;
    let members = convert::number(&row, 0)?;
    // To the other it never arrives.
    if get(&entry, 0)? {
        return Ok(Some(ReceiptCounts { members, ..ReceiptCounts::default() }));
    }
    Ok(Some(ReceiptCounts { members, delivered: convert::number(&row, 1)?, read: convert::number(&row, 2)? }))
}
