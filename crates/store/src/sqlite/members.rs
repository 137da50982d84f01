//! Read positions, and who is a member.

use protocol::{ConversationId, GroupId, UserId, wire::ConversationKind};
use rusqlite::{Connection, Row, params};

use super::{
    append::{pair, users},
    convert::{self, bound, column},
    writer::Writer,
};
use crate::{Audience, MemberPage, MemberRow, Moved, ReadMark};

impl Writer<'_> {
    /// Moves a read position forward; `None` if it did not move.
    pub(super) fn mark_read(&mut self, mark: &ReadMark) -> rusqlite::Result<Option<Moved>> {
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
        Ok(Some(Moved { position: position.cast_unsigned(), audience: Audience::Users(concerned) }))
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
    admins: bool,
) -> rusqlite::Result<MemberPage> {
    let conversation = column(conversation.get());
    let total = connection
        .prepare_cached(if admins {
            "SELECT count(*) FROM members WHERE conversation = ?1 AND role > 0"
        } else {
            "SELECT members FROM conversations WHERE id = ?1"
        })?
        .query_row([conversation], |row| convert::number(row, 0))?;
    let role = if admins { "AND role > 0" } else { "" };
    let members = connection
        .prepare_cached(&format!(
            "SELECT user, role, nickname, muted_until_ms, delivered_position, read_position FROM members
             WHERE conversation = ?1 AND user > ?2 {role} ORDER BY user LIMIT ?3"
        ))?
        .query_map(params![conversation, bound(after.get()), limit], member)?
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

pub(super) fn filter_visible(
    connection: &Connection,
    user: UserId,
    users: Vec<UserId>,
) -> rusqlite::Result<Vec<UserId>> {
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
