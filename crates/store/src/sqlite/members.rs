//! Who is a member, and how far members have read and received.

use protocol::{ConversationId, GroupId, UserId, wire::ConversationKind};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::convert::{self, bound, column};
use crate::{MemberPage, MemberRow, ReceiptCounts};

pub(super) fn is_member(connection: &Connection, conversation: ConversationId, user: UserId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM members WHERE user = ?1 AND conversation = ?2")?
        .exists([column(user.get()), column(conversation.get())])
}

pub(super) fn groups_of(connection: &Connection, user: UserId) -> rusqlite::Result<Vec<GroupId>> {
    connection
        .prepare_cached("SELECT conversation FROM members WHERE user = ?1 AND kind = ?2")?
        .query_map(params![column(user.get()), ConversationKind::Group as i32], |row| {
            convert::conversation(row, 0).map(ConversationId::group)
        })?
        .collect()
}

/// The columns that [`member`] reads, in its order.
const COLUMNS: &str = "user, role, nickname, muted_until_ms, delivered_position, read_position";

pub(super) fn page(
    connection: &Connection,
    reader: UserId,
    conversation: ConversationId,
    after: UserId,
    limit: u32,
    admins: bool,
) -> rusqlite::Result<MemberPage> {
    let conversation = column(conversation.get());
    let total = connection
        .prepare_cached(if admins {
            "SELECT count(*) FROM members INDEXED BY members_with_role WHERE conversation = ?1 AND role > 0"
        } else {
            "SELECT members FROM conversations WHERE id = ?1"
        })?
        .query_row([conversation], |row| convert::number(row, 0))?;
    let (index, role) = if admins { ("INDEXED BY members_with_role", "AND role > 0") } else { ("", "") };
    let members = connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, blocked_at FROM members {index}
             WHERE conversation = ?1 AND user > ?2 {role} ORDER BY user LIMIT ?3"
        ))?
        .query_map(params![conversation, bound(after.get()), limit], |row| {
            let mut member = member(row)?;
            let shown = row.get::<_, Option<i64>>(6)?.filter(|_| member.user != reader);
            if let Some(end) = shown.map(i64::cast_unsigned) {
                member.read_position = member.read_position.min(end);
                member.delivered_position = member.delivered_position.min(end);
            }
            Ok(member)
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(MemberPage { members, total })
}

fn member(row: &Row<'_>) -> rusqlite::Result<MemberRow> {
    let read_position = convert::number(row, 5)?;
    Ok(MemberRow {
        user: convert::user(row, 0)?,
        role: convert::role(row, 1)?,
        nickname: row.get(2)?,
        muted_until_ms: row.get(3)?,
        delivered_position: convert::number(row, 4)?.max(read_position),
        read_position,
    })
}

pub(super) fn find(
    connection: &Connection,
    conversation: ConversationId,
    user: UserId,
) -> rusqlite::Result<Option<MemberRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM members WHERE user = ?1 AND conversation = ?2"))?
        .query_row([column(user.get()), column(conversation.get())], member)
        .optional()
}

pub(super) fn count(connection: &Connection, conversation: ConversationId) -> rusqlite::Result<u64> {
    let members = connection
        .prepare_cached("SELECT members FROM conversations WHERE id = ?1")?
        .query_row([column(conversation.get())], |row| convert::number(row, 0))
        .optional()?;
    Ok(members.unwrap_or(0))
}

pub(super) fn administrators(
    connection: &Connection,
    conversation: ConversationId,
    limit: u32,
) -> rusqlite::Result<Vec<UserId>> {
    connection
        .prepare_cached("SELECT user FROM members WHERE conversation = ?1 AND role > 0 ORDER BY user LIMIT ?2")?
        .query_map(params![column(conversation.get()), limit], |row| convert::user(row, 0))?
        .collect()
}

pub(super) fn bans(
    connection: &Connection,
    conversation: ConversationId,
    after: UserId,
    limit: u32,
) -> rusqlite::Result<Vec<UserId>> {
    connection
        .prepare_cached("SELECT user FROM bans WHERE conversation = ?1 AND user > ?2 ORDER BY user LIMIT ?3")?
        .query_map(params![column(conversation.get()), bound(after.get()), limit], |row| convert::user(row, 0))?
        .collect()
}

/// How many of the others have received and read an entry of the reader's.
pub(super) fn receipts(
    connection: &Connection,
    reader: UserId,
    conversation: ConversationId,
    position: u64,
) -> rusqlite::Result<Option<ReceiptCounts>> {
    let (user, conversation) = (column(reader.get()), column(conversation.get()));
    let withheld: Option<bool> = connection
        .prepare_cached("SELECT withheld FROM entries WHERE conversation = ?1 AND position = ?2 AND sender = ?3")?
        .query_row([conversation, bound(position), user], |row| row.get(0))
        .optional()?;
    let Some(withheld) = withheld else { return Ok(None) };
    // What reading and receiving tells ends where a member has blocked the reader.
    let counts = connection
        .prepare_cached(
            "SELECT count(*), count(*) FILTER (WHERE max(delivered_position, read_position) >= ?3 AND shown),
                 count(*) FILTER (WHERE read_position >= ?3 AND shown)
             FROM (SELECT delivered_position, read_position, coalesce(blocked_at >= ?3, TRUE) AS shown
                 FROM members WHERE conversation = ?1 AND user <> ?2)",
        )?
        .query_row([conversation, user, bound(position)], |row| {
            Ok(ReceiptCounts {
                members: convert::number(row, 0)?,
                delivered: convert::number(row, 1)?,
                read: convert::number(row, 2)?,
            })
        })?;
    // To the other it never arrives.
    Ok(Some(if withheld { ReceiptCounts { members: counts.members, ..ReceiptCounts::default() } } else { counts }))
}
