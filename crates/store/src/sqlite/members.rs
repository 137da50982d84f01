//! Read positions, and who is a member.

use protocol::{
    ConversationId, GroupId, UserId,
    wire::{ConversationKind, Role},
};
use rusqlite::{Connection, params};

use super::{
    append::{pair, users},
    convert::{self, bound, column},
    writer::Writer,
};
use crate::ReadMark;

impl Writer<'_> {
    /// Moves a read position forward; `None` if it did not move.
    pub(super) fn mark_read(&mut self, mark: &ReadMark) -> rusqlite::Result<Option<(Vec<UserId>, u64)>> {
        let (conversation, user) = (column(mark.conversation.get()), column(mark.user.get()));
        let Some(log) = self.log(conversation)? else { return Ok(None) };
        let Some(read_position) = self.read_position(conversation, user)? else { return Ok(None) };
        let position = bound(mark.position).min(log.last_position);
        if position <= read_position {
            return Ok(None);
        }
        let revision = self.next_revision();
        self.move_read_position(conversation, user, position, revision);
        let concerned = match log.kind {
            ConversationKind::Direct => users(log.users),
            _ => vec![mark.user],
        };
        Ok(Some((concerned, position.cast_unsigned())))
    }
}

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

pub(super) fn page(
    connection: &Connection,
    conversation: ConversationId,
    after: UserId,
    limit: u32,
) -> rusqlite::Result<(Vec<(UserId, Role)>, u64)> {
    let conversation = column(conversation.get());
    let total = connection
        .prepare_cached("SELECT members FROM conversations WHERE id = ?1")?
        .query_row([conversation], |row| convert::number(row, 0))?;
    let members = connection
        .prepare_cached("SELECT user, role FROM members WHERE conversation = ?1 AND user > ?2 ORDER BY user LIMIT ?3")?
        .query_map(params![conversation, bound(after.get()), limit], |row| {
            Ok((convert::user(row, 0)?, convert::role(row, 1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((members, total))
}

pub(super) fn filter_peers(connection: &Connection, user: UserId, users: Vec<UserId>) -> rusqlite::Result<Vec<UserId>> {
    // Writing moves one's read position, and so does reading.
    let mut find = connection.prepare_cached(
        "SELECT 1 FROM conversations JOIN members ON conversation = id AND user = ?3
         WHERE user_a = ?1 AND user_b = ?2 AND (read_position > 0 OR user_a = user_b)",
    )?;
    let mut peers = Vec::new();
    for peer in users {
        let [a, b] = pair(user, peer);
        if find.exists([a, b, column(peer.get())])? {
            peers.push(peer);
        }
    }
    Ok(peers)
}
