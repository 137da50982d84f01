//! Direct conversations.

use protocol::{
    ConversationId, UserId,
    wire::{ConversationKind, Role},
};
use rusqlite::{OptionalExtension, params};

use super::{
    convert::{self, column},
    logs::NewMember,
    writer::Writer,
};
use crate::append::Ledger as _;

/// The direct conversation of two users, if there is one.
pub(super) const FIND: &str = "SELECT id FROM conversations WHERE user_a = ?1 AND user_b = ?2";

/// The two users of a direct conversation in the order in which they are stored.
pub(super) fn pair(a: UserId, b: UserId) -> [i64; 2] {
    let mut pair = [column(a.get()), column(b.get())];
    pair.sort_unstable();
    pair
}

impl Writer<'_> {
    /// Makes the direct conversation of two users, unless there is one.
    pub(super) fn open_direct(
        &mut self,
        a: UserId,
        b: UserId,
        new: ConversationId,
    ) -> rusqlite::Result<ConversationId> {
        let [a, b] = pair(a, b);
        let found = self.prepared(FIND)?.query_row([a, b], |row| convert::conversation(row, 0)).optional()?;
        if let Some(conversation) = found {
            return Ok(conversation);
        }
        let conversation = column(new.get());
        let rows = if a == b { vec![(a, a)] } else { vec![(a, b), (b, a)] };
        self.prepared("INSERT INTO conversations (id, kind, user_a, user_b, members) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![conversation, ConversationKind::Direct as i32, a, b, rows.len() as i64])?;
        // Nobody's heads show a direct conversation before its first entry, so that revision 0 will do.
        for (user, peer) in rows {
            self.insert_member(NewMember {
                user,
                conversation,
                kind: ConversationKind::Direct,
                peer: Some(peer),
                role: Role::Member.into(),
                read_position: 0,
                revision: 0,
            })?;
            if self.known_standing(user, peer)?.blocked {
                self.store_blocked_at(new, UserId::new(user.cast_unsigned()), Some(0))?;
            }
        }
        Ok(new)
    }
}
