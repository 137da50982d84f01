//! The writer's open transaction, as the rules of appending see it.

use bytes::Bytes;
use prost::Message as _;
use protocol::{
    ConversationId, EntryId, UserId,
    wire::{ConversationKind, ConversationSettings, Draft, GroupChanged, Role},
};
use rusqlite::{OptionalExtension, params};

use super::{
    changes, contacts,
    convert::{self, bound, column},
    direct,
    logs::NewMember,
    writer::Writer,
};
use crate::{
    ContactRow, NewEntry, Revision, Telling, UserSettings,
    append::{Ledger, Log, Member, Standing, Stored, Target, Written},
    kinds,
};

impl Ledger for Writer<'_> {
    type Error = rusqlite::Error;

    fn log(&mut self, conversation: ConversationId) -> rusqlite::Result<Option<Log>> {
        self.known_log(column(conversation.get()))
    }

    fn member(&mut self, conversation: ConversationId, user: UserId) -> rusqlite::Result<Option<Member>> {
        self.known_member(column(conversation.get()), column(user.get()))
    }

    fn standing(&mut self, owner: UserId, peer: UserId) -> rusqlite::Result<Standing> {
        self.known_standing(column(owner.get()), column(peer.get()))
    }

    fn settings(&mut self, user: UserId) -> rusqlite::Result<UserSettings> {
        self.known_settings(column(user.get()))
    }

    fn contact(&mut self, owner: UserId, peer: UserId) -> rusqlite::Result<Option<ContactRow>> {
        contacts::contact(self.connection, column(owner.get()), column(peer.get()))
    }

    fn direct(&mut self, a: UserId, b: UserId) -> rusqlite::Result<Option<ConversationId>> {
        self.prepared(direct::FIND)?.query_row(direct::pair(a, b), |row| convert::conversation(row, 0)).optional()
    }

    fn stored(&mut self, sender: UserId, id: EntryId) -> rusqlite::Result<Option<Stored>> {
        self.prepared(
            "SELECT conversation, position, time_ms, withheld, kind, content FROM entries WHERE id = ?1 AND sender = ?2",
        )?
        .query_row(params![id.as_bytes(), column(sender.get())], |row| {
            Ok(Stored {
                conversation: convert::conversation(row, 0)?,
                position: convert::number(row, 1)?,
                time_ms: row.get(2)?,
                withheld: row.get(3)?,
                kind: row.get(4)?,
                content: Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?),
            })
        })
        .optional()
    }

    fn target(&mut self, conversation: ConversationId, position: u64) -> rusqlite::Result<Option<Target>> {
        self.prepared("SELECT sender, kind, time_ms, withheld FROM entries WHERE conversation = ?1 AND position = ?2")?
            .query_row([column(conversation.get()), column(position)], |row| {
                Ok(Target {
                    sender: convert::user(row, 0)?,
                    kind: row.get(1)?,
                    time_ms: row.get(2)?,
                    withheld: row.get(3)?,
                })
            })
            .optional()
    }

    fn is_pinned(&mut self, conversation: ConversationId, target: u64, reader: UserId) -> rusqlite::Result<bool> {
        let (conversation, reader) = (column(conversation.get()), column(reader.get()));
        changes::is_pinned(self.connection, conversation, column(target), reader)
    }

    fn is_banned(&mut self, conversation: ConversationId, user: UserId) -> rusqlite::Result<bool> {
        self.prepared("SELECT 1 FROM bans WHERE conversation = ?1 AND user = ?2")?
            .exists([column(conversation.get()), column(user.get())])
    }

    fn admins(&mut self, conversation: ConversationId) -> rusqlite::Result<u64> {
        self.prepared("SELECT count(*) FROM members WHERE conversation = ?1 AND role = ?2")?
            .query_row([column(conversation.get()), Role::Admin as i64], |row| convert::number(row, 0))
    }

    fn is_waiting(&mut self, effect: Revision) -> rusqlite::Result<bool> {
        self.prepared("SELECT 1 FROM effects WHERE revision = ?1")?.exists([column(effect.0)])
    }

    fn insert(&mut self, entry: &NewEntry, log: Log, written: Written<'_>) -> rusqlite::Result<bool> {
        let conversation = column(entry.conversation.get());
        let given = self.next_entry_revision();
        let inserted = self.insert_entry.execute(params![
            given.revision,
            conversation,
            column(log.last_position),
            column(log.messages),
            column(entry.sender.get()),
            entry.id.as_bytes(),
            entry.time_ms,
            written.content.as_ref(),
            written.kind,
            written.target.map(column),
            written.withheld
        ])?;
        if inserted == 0 {
            self.take_back(given);
            return Ok(false);
        }
        self.remember_log(conversation, log);
        Ok(true)
    }

    fn mention(&mut self, conversation: ConversationId, position: u64, users: &[UserId]) -> rusqlite::Result<()> {
        let mut mention = self.prepared(
            "INSERT INTO mentions (conversation, user, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        for user in users {
            mention.execute([column(conversation.get()), column(user.get()), column(position)])?;
        }
        Ok(())
    }

    fn move_member(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        to: Member,
        told: bool,
    ) -> rusqlite::Result<()> {
        let revision = told.then(|| self.next_revision());
        self.remember_positions(column(conversation.get()), column(user.get()), to, revision);
        Ok(())
    }

    fn note_effect(&mut self, telling: &Telling, peer: Option<UserId>) -> rusqlite::Result<()> {
        let revision = self.next_revision();
        self.prepared(
            "INSERT INTO effects (revision, user, id, time_ms, content, peer) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            revision,
            column(telling.user.get()),
            EntryId::generate().as_bytes(),
            telling.time_ms,
            telling.content.as_ref(),
            peer.map(|peer| column(peer.get()))
        ])?;
        Ok(())
    }

    fn settle(&mut self, effect: Revision) -> rusqlite::Result<()> {
        self.prepared("DELETE FROM effects WHERE revision = ?1")?.execute([column(effect.0)])?;
        Ok(())
    }

    fn erase_message(&mut self, conversation: ConversationId, target: u64) -> rusqlite::Result<()> {
        let (conversation, position) = (column(conversation.get()), column(target));
        self.prepared("UPDATE entries SET content = ?3, kind = ?4 WHERE conversation = ?1 AND position = ?2")?
            .execute(params![conversation, position, kinds::recalled().as_ref(), kinds::RECALLED])?;
        self.prepared("UPDATE entries SET content = ?3 WHERE conversation = ?1 AND target = ?2 AND kind = ?4")?
            .execute(params![conversation, position, kinds::erased_edit(target).as_ref(), kinds::EDIT])?;
        self.prepared("DELETE FROM mentions WHERE conversation = ?1 AND position = ?2")?
            .execute([conversation, position])?;
        self.prepared("DELETE FROM pins WHERE conversation = ?1 AND target = ?2")?.execute([conversation, position])?;
        Ok(())
    }

    fn pin(
        &mut self,
        conversation: ConversationId,
        target: u64,
        position: u64,
        only: Option<UserId>,
    ) -> rusqlite::Result<()> {
        self.prepared(if only.is_some() {
            "INSERT INTO pins (conversation, target, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
        } else {
            "INSERT INTO pins (conversation, target, position) VALUES (?1, ?2, ?3)
             ON CONFLICT (conversation, target) DO UPDATE SET position = excluded.position"
        })?
        .execute([column(conversation.get()), column(target), column(position)])?;
        Ok(())
    }

    /// The entry tells it.
    fn unpin(&mut self, _: ConversationId, _: u64, _: Option<UserId>) -> rusqlite::Result<()> {
        Ok(())
    }

    fn forget_pin(&mut self, conversation: ConversationId, target: u64) -> rusqlite::Result<()> {
        self.prepared("DELETE FROM pins WHERE conversation = ?1 AND target = ?2")?
            .execute([column(conversation.get()), column(target)])?;
        Ok(())
    }

    fn make_group_log(&mut self, conversation: ConversationId, _: Log) -> rusqlite::Result<()> {
        self.prepared("INSERT INTO conversations (id, kind, members) VALUES (?1, ?2, 0)")?
            .execute(params![column(conversation.get()), ConversationKind::Group as i32])?;
        Ok(())
    }

    fn store_log(&mut self, conversation: ConversationId, log: Log) -> rusqlite::Result<()> {
        self.prepared("UPDATE conversations SET members = ?2, muted = ?3, dissolved = ?4 WHERE id = ?1")?
            .execute(params![column(conversation.get()), column(log.members), log.muted, log.dissolved])?;
        Ok(())
    }

    fn enter(
        &mut self,
        conversation: ConversationId,
        users: &[(UserId, Role)],
        read_position: u64,
    ) -> rusqlite::Result<()> {
        for &(user, role) in users {
            self.insert_member(NewMember {
                user: column(user.get()),
                conversation: column(conversation.get()),
                kind: ConversationKind::Group,
                peer: None,
                role: role.into(),
                read_position: column(read_position),
                revision: self.last_revision(),
            })?;
        }
        Ok(())
    }

    fn exit(&mut self, conversation: ConversationId, users: &[UserId]) -> rusqlite::Result<()> {
        for user in users {
            self.delete_member(column(conversation.get()), column(user.get()))?;
        }
        Ok(())
    }

    fn store_ban(&mut self, conversation: ConversationId, user: UserId, banned: bool) -> rusqlite::Result<()> {
        self.prepared(if banned {
            "INSERT INTO bans (conversation, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM bans WHERE conversation = ?1 AND user = ?2"
        })?
        .execute([column(conversation.get()), column(user.get())])?;
        Ok(())
    }

    fn store_role(&mut self, conversation: ConversationId, user: UserId, role: Role) -> rusqlite::Result<()> {
        let (conversation, user) = (column(conversation.get()), column(user.get()));
        self.prepared("UPDATE members SET role = ?3 WHERE user = ?1 AND conversation = ?2")?.execute(params![
            user,
            conversation,
            i32::from(role)
        ])?;
        self.remember_member(conversation, user, |member| member.role = role);
        Ok(())
    }

    fn kept_mute(&mut self, conversation: ConversationId, user: UserId) -> rusqlite::Result<i64> {
        let kept = self
            .prepared("SELECT until_ms FROM mutes WHERE conversation = ?1 AND user = ?2")?
            .query_row([column(conversation.get()), column(user.get())], |row| row.get(0))
            .optional()?;
        Ok(kept.unwrap_or(0))
    }

    fn keep_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) -> rusqlite::Result<()> {
        let (conversation, user) = (column(conversation.get()), column(user.get()));
        if until_ms == 0 {
            self.prepared("DELETE FROM mutes WHERE conversation = ?1 AND user = ?2")?.execute([conversation, user])?;
        } else {
            self.prepared("INSERT OR REPLACE INTO mutes (conversation, user, until_ms) VALUES (?1, ?2, ?3)")?
                .execute([conversation, user, until_ms])?;
        }
        Ok(())
    }

    fn store_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) -> rusqlite::Result<()> {
        let (conversation, user) = (column(conversation.get()), column(user.get()));
        self.prepared("UPDATE members SET muted_until_ms = ?3 WHERE user = ?1 AND conversation = ?2")?.execute([
            user,
            conversation,
            until_ms,
        ])?;
        self.remember_member(conversation, user, |member| member.muted_until_ms = until_ms);
        Ok(())
    }

    fn store_nickname(&mut self, conversation: ConversationId, user: UserId, nickname: &str) -> rusqlite::Result<()> {
        self.prepared("UPDATE members SET nickname = ?3 WHERE user = ?1 AND conversation = ?2")?.execute(params![
            column(user.get()),
            column(conversation.get()),
            nickname
        ])?;
        Ok(())
    }

    fn store_group(&mut self, group: ConversationId, change: &GroupChanged) -> rusqlite::Result<()> {
        self.prepared(
            "UPDATE groups SET title = coalesce(?2, title), description = coalesce(?3, description),
                 avatar = coalesce(?4, avatar), announcement = coalesce(?5, announcement),
                 join_policy = coalesce(?6, join_policy), admins_invite = coalesce(?7, admins_invite)
             WHERE id = ?1",
        )?
        .execute(params![
            column(group.get()),
            change.title,
            change.description,
            change.avatar,
            change.announcement,
            change.join_policy,
            change.admins_invite
        ])?;
        Ok(())
    }

    fn store_contact(&mut self, owner: UserId, row: &ContactRow) -> rusqlite::Result<()> {
        let (owner, peer) = (column(owner.get()), column(row.peer.get()));
        self.remember_standing(owner, peer, Standing { friend: row.friend, blocked: row.blocked });
        if row.is_nothing() {
            self.prepared("DELETE FROM contacts WHERE user = ?1 AND peer = ?2")?.execute([owner, peer])?;
            return Ok(());
        }
        self.prepared(
            "INSERT OR REPLACE INTO contacts (user, peer, friend, request, message, remark, blocked, changed_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            owner,
            peer,
            row.friend,
            row.request as i32,
            row.message,
            row.remark,
            row.blocked,
            row.changed_ms
        ])?;
        Ok(())
    }

    fn store_settings(&mut self, user: UserId, settings: UserSettings) -> rusqlite::Result<()> {
        let user = column(user.get());
        self.prepared("INSERT OR REPLACE INTO user_settings (user, write_policy, invisible) VALUES (?1, ?2, ?3)")?
            .execute(params![user, settings.write_policy as i32, settings.invisible])?;
        self.remember_settings(user, settings);
        Ok(())
    }

    fn store_blocked_at(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        position: Option<u64>,
    ) -> rusqlite::Result<()> {
        self.prepared("UPDATE members SET blocked_at = ?3 WHERE user = ?1 AND conversation = ?2")?.execute(params![
            column(user.get()),
            column(conversation.get()),
            position.map(column)
        ])?;
        Ok(())
    }

    fn store_view(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        settings: &ConversationSettings,
    ) -> rusqlite::Result<()> {
        self.prepared(
            "INSERT INTO own_views (user, conversation, settings) VALUES (?1, ?2, ?3)
             ON CONFLICT (user, conversation) DO UPDATE SET settings = excluded.settings",
        )?
        .execute(params![column(user.get()), column(conversation.get()), settings.encode_to_vec()])?;
        Ok(())
    }

    fn store_draft(
        &mut self,
        user: UserId,
        of: ConversationId,
        draft: Option<&Draft>,
        position: u64,
    ) -> rusqlite::Result<()> {
        let (user, conversation) = (column(user.get()), column(of.get()));
        let told: Option<Option<i64>> = self
            .prepared("SELECT draft_position FROM own_views WHERE user = ?1 AND conversation = ?2")?
            .query_row([user, conversation], |row| row.get(0))
            .optional()?;
        if let Some(told) = told.flatten() {
            // A personal log bears its user's id.
            self.prepared("UPDATE entries SET content = ?3 WHERE conversation = ?1 AND position = ?2")?
                .execute(params![user, told, kinds::erased_draft(of.get()).as_ref()])?;
        }
        self.prepared(
            "INSERT INTO own_views (user, conversation, draft, draft_position) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user, conversation)
                 DO UPDATE SET draft = excluded.draft, draft_position = excluded.draft_position",
        )?
        .execute(params![
            user,
            conversation,
            draft.map(Draft::encode_to_vec),
            draft.map(|_| column(position))
        ])?;
        Ok(())
    }

    fn delete_up_to(&mut self, user: UserId, conversation: ConversationId, up_to: u64) -> rusqlite::Result<()> {
        let key = [column(user.get()), column(conversation.get()), bound(up_to)];
        self.prepared(
            "INSERT INTO own_views (user, conversation, deleted_up_to) VALUES (?1, ?2, ?3)
             ON CONFLICT (user, conversation)
                 DO UPDATE SET deleted_up_to = max(deleted_up_to, excluded.deleted_up_to)",
        )?
        .execute(key)?;
        self.prepared("DELETE FROM deleted_entries WHERE user = ?1 AND conversation = ?2 AND position <= ?3")?
            .execute(key)?;
        Ok(())
    }

    fn delete_entries(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        positions: &[u64],
    ) -> rusqlite::Result<()> {
        let mut delete = self.prepared(
            "INSERT INTO deleted_entries (user, conversation, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        for &position in positions {
            delete.execute([column(user.get()), column(conversation.get()), bound(position)])?;
        }
        Ok(())
    }
}
