//! Which conversations of a user changed.
//!
//! First all of the user's conversations are looked at, through indexes alone; then those of the page are read.

use std::cmp::Reverse;

use protocol::{
    UserId, limits,
    wire::{ConversationKind, Role},
};
use rusqlite::{Connection, OptionalExtension};

use super::{
    convert::{self, bound, column},
    pages,
    views::Sight,
    writer::NEWEST_REVISION,
};
use crate::{HeadRow, Revision, append::EVERYONE, kinds, messages::HeadsQuestion};

/// A member's row, and when the conversation last changed for the member.
#[derive(Debug)]
struct Change {
    revision: i64,
    conversation: i64,
    kind: ConversationKind,
    peer: Option<i64>,
    role: Role,
    read_position: i64,
}

pub(super) fn read(connection: &Connection, question: HeadsQuestion) -> rusqlite::Result<(Vec<HeadRow>, Revision)> {
    let newest = connection.prepare_cached(NEWEST_REVISION)?.query_row([], |row| convert::number(row, 0))?;
    let mut changes = changes(connection, question)?;
    changes.sort_unstable_by_key(|change| Reverse(change.revision));
    changes.truncate(usize::try_from(question.limit).unwrap_or(usize::MAX));
    let mut room = limits::PAGE_BYTES_MAX;
    let heads = changes
        .into_iter()
        .map(|change| head(connection, column(question.user.get()), change, question.entries, &mut room))
        .collect::<rusqlite::Result<_>>()?;
    Ok((heads, Revision(newest)))
}

fn changes(connection: &Connection, question: HeadsQuestion) -> rusqlite::Result<Vec<Change>> {
    let mut statement = connection.prepare_cached(
        "SELECT mine.conversation, mine.kind, mine.peer, mine.read_position, mine.revision,
             (SELECT revision FROM entries WHERE entries.conversation = mine.conversation
                 ORDER BY position DESC LIMIT 1),
             (SELECT revision FROM members AS theirs
                 WHERE theirs.user = mine.peer AND theirs.conversation = mine.conversation
                 AND theirs.blocked_at IS NULL),
             mine.role
         FROM members AS mine WHERE mine.user = ?1",
    )?;
    let mut rows = statement.query([column(question.user.get())])?;
    let since = convert::bound(question.since.0);
    let until = question.until.map_or(i64::MAX, |until| convert::bound(until.0));
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let (mine, last, theirs): (i64, Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?, row.get(6)?);
        let revision = mine.max(last.unwrap_or(0)).max(theirs.unwrap_or(0));
        if revision <= since || revision > until {
            continue;
        }
        let kind = convert::kind(row, 1)?;
        // One that was opened, but nobody has said anything.
        if kind == ConversationKind::Direct && last.is_none() {
            continue;
        }
        let (conversation, peer, read_position) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let role = convert::role(row, 7)?;
        changes.push(Change { revision, conversation, kind, peer, role, read_position });
    }
    Ok(changes)
}

fn head(
    connection: &Connection,
    user: i64,
    change: Change,
    entries: u32,
    room: &mut usize,
) -> rusqlite::Result<HeadRow> {
    let conversation = change.conversation;
    let (last_position, messages) = connection
        .prepare_cached(
            "SELECT position, messages FROM entries WHERE conversation = ?1 ORDER BY position DESC LIMIT 1",
        )?
        .query_row([conversation], |row| Ok((convert::number(row, 0)?, convert::number(row, 1)?)))
        .optional()?
        .unwrap_or((0, 0));
    let (sight, own) = Sight::with_view(connection, user, conversation)?;
    // What the user has deleted counts as read.
    let from = change.read_position.max(bound(own.deleted_up_to));
    let messages_read = connection
        .prepare_cached("SELECT messages FROM entries WHERE conversation = ?1 AND position = ?2")?
        .query_row([conversation, from], |row| convert::number(row, 0))
        .optional()?
        .unwrap_or(0);
    let mut unread = messages.saturating_sub(messages_read);
    if unread > 0 && sight.has_gaps() {
        unread = unread.saturating_sub(deleted_messages(connection, user, conversation, from)?);
    }
    let unread_mentions = if unread == 0 { 0 } else { mentions(connection, user, conversation, from)? };
    let (peer_read_position, peer_delivered_position) = match change.peer {
        Some(peer) => positions(connection, peer, conversation)?,
        None => (0, 0),
    };
    Ok(HeadRow {
        conversation: protocol::ConversationId::new(conversation.cast_unsigned()),
        kind: change.kind,
        peer: change.peer.map(|peer| UserId::new(peer.cast_unsigned())),
        revision: Revision(change.revision.cast_unsigned()),
        last_position,
        read_position: change.read_position.cast_unsigned(),
        unread,
        peer_read_position,
        entries: pages::last(connection, &sight, entries, room)?,
        unread_mentions,
        peer_delivered_position,
        own,
        role: change.role,
    })
}

/// How far a member has read and received, as the other is told.
fn positions(connection: &Connection, user: i64, conversation: i64) -> rusqlite::Result<(u64, u64)> {
    let positions = connection
        .prepare_cached(
            "SELECT read_position, max(delivered_position, read_position), blocked_at FROM members
             WHERE user = ?1 AND conversation = ?2",
        )?
        .query_row([user, conversation], |row| {
            let end = row.get::<_, Option<i64>>(2)?.map_or(u64::MAX, i64::cast_unsigned);
            Ok((convert::number(row, 0)?.min(end), convert::number(row, 1)?.min(end)))
        })
        .optional()?;
    Ok(positions.unwrap_or((0, 0)))
}

/// How many messages after a position mention the user, who has not deleted them.
fn mentions(connection: &Connection, user: i64, conversation: i64, from: i64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT count(DISTINCT position) FROM mentions
             WHERE conversation = ?1 AND user IN (?2, ?4) AND position > ?3 AND NOT EXISTS
                 (SELECT 1 FROM deleted_entries WHERE deleted_entries.user = ?2
                     AND deleted_entries.conversation = ?1 AND deleted_entries.position = mentions.position)",
        )?
        .query_row([conversation, user, from, column(EVERYONE.get())], |row| convert::number(row, 0))
}

/// How many of the messages that count as unread after a position the user has deleted one by one. A cross join goes from
/// the few that were deleted to the entries.
fn deleted_messages(connection: &Connection, user: i64, conversation: i64, from: i64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM deleted_entries CROSS JOIN entries USING (conversation, position)
             WHERE user = ?1 AND conversation = ?2 AND position > ?3 AND kind BETWEEN 1 AND ?4 AND NOT withheld",
        )?
        .query_row([user, conversation, from, i64::from(kinds::RECALLED)], |row| convert::number(row, 0))
}
