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
            if self.standing(user, peer)?.blocked {
                self.store_blocked_at(conversation, user, Some(0))?;
            }
        }
        Ok(new)
    }

    /// The log of two users is at an end for the other's view of a member's reading, or no longer.
    fn store_blocked_at(&mut self, conversation: i64, user: i64, position: Option<i64>) -> rusqlite::Result<()> {
        self.prepared("UPDATE members SET blocked_at = ?3 WHERE user = ?1 AND conversation = ?2")?.execute(params![
            user,
            conversation,
            position
        ])?;
        Ok(())
    }

    /// Notes in the direct conversation, if there is one, that `user` has blocked `peer`, or no longer.
    pub(super) fn note_blocked(&mut self, user: UserId, peer: UserId, blocked: bool) -> rusqlite::Result<()> {
        let found: Option<i64> = self.prepared(FIND)?.query_row(pair(user, peer), |row| row.get(0)).optional()?;
        let Some(conversation) = found else { return Ok(()) };
        let Some(log) = self.log(conversation)? else { return Ok(()) };
        let (user, peer) = (column(user.get()), column(peer.get()));
        self.store_blocked_at(conversation, user, blocked.then_some(log.last_position))?;
        // As long as it lasts, what the user does is no change for the other; what was before and comes after is.
        self.touch_member(conversation, if blocked { peer } else { user })
    }
}
