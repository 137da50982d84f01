//! Which conversations of a user changed.
//!
//! First all of the user's conversations are looked at, through indexes alone; then those of the page are read.

use std::cmp::Reverse;

use protocol::{UserId, limits, wire::ConversationKind};
use rusqlite::{Connection, OptionalExtension};

use super::{
    convert::{self, column},
    pages,
    writer::NEWEST_REVISION,
};
use crate::{HeadRow, Revision};

/// What is asked for; see [`Messages::heads`](crate::Messages::heads).
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) user: UserId,
    pub(super) since: Revision,
    pub(super) until: Option<Revision>,
    pub(super) limit: u32,
    pub(super) entries: u32,
}

/// A member's row, and when the conversation last changed for the member.
#[derive(Debug)]
struct Change {
    revision: i64,
    conversation: i64,
    kind: ConversationKind,
    peer: Option<i64>,
    read_position: i64,
}

pub(super) fn read(connection: &Connection, question: Question) -> rusqlite::Result<(Vec<HeadRow>, Revision)> {
    let newest = connection.prepare_cached(NEWEST_REVISION)?.query_row([], |row| convert::number(row, 0))?;
    let mut changes = changes(connection, question)?;
    changes.sort_unstable_by_key(|change| Reverse(change.revision));
    changes.truncate(usize::try_from(question.limit).unwrap_or(usize::MAX));
    let mut room = limits::PAGE_BYTES_MAX;
    let heads = changes
        .into_iter()
        .map(|change| head(connection, change, question.entries, &mut room))
        .collect::<rusqlite::Result<_>>()?;
    Ok((heads, Revision(newest)))
}

fn changes(connection: &Connection, question: Question) -> rusqlite::Result<Vec<Change>> {
    let mut statement = connection.prepare_cached(
        "SELECT mine.conversation, mine.kind, mine.peer, mine.read_position, mine.revision,
             (SELECT revision FROM entries WHERE entries.conversation = mine.conversation
                 ORDER BY position DESC LIMIT 1),
             (SELECT revision FROM members AS theirs
                 WHERE theirs.user = mine.peer AND theirs.conversation = mine.conversation)
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
        changes.push(Change { revision, conversation, kind, peer, read_position });
    }
    Ok(changes)
}

fn head(connection: &Connection, change: Change, entries: u32, room: &mut usize) -> rusqlite::Result<HeadRow> {
    let (last_position, messages) = connection
        .prepare_cached(
            "SELECT position, messages FROM entries WHERE conversation = ?1 ORDER BY position DESC LIMIT 1",
        )?
        .query_row([change.conversation], |row| Ok((convert::number(row, 0)?, convert::number(row, 1)?)))
        .optional()?
        .unwrap_or((0, 0));
    let messages_read = connection
        .prepare_cached("SELECT messages FROM entries WHERE conversation = ?1 AND position = ?2")?
        .query_row([change.conversation, change.read_position], |row| convert::number(row, 0))
        .optional()?
        .unwrap_or(0);
    let peer_read_position = match change.peer {
        Some(peer) => connection
            .prepare_cached("SELECT read_position FROM members WHERE user = ?1 AND conversation = ?2")?
            .query_row([peer, change.conversation], |row| convert::number(row, 0))
            .optional()?
            .unwrap_or(0),
        None => 0,
    };
    Ok(HeadRow {
        conversation: protocol::ConversationId::new(change.conversation.cast_unsigned()),
        kind: change.kind,
        peer: change.peer.map(|peer| UserId::new(peer.cast_unsigned())),
        revision: Revision(change.revision.cast_unsigned()),
        last_position,
        read_position: change.read_position.cast_unsigned(),
        unread: messages.saturating_sub(messages_read),
        peer_read_position,
        entries: pages::last(connection, change.conversation, entries, room)?,
        unread_mentions: 0,
        peer_delivered_position: 0,
        own: crate::OwnView::default(),
        role: protocol::wire::Role::Member,
    })
}
