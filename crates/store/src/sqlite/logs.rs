//! What the writer remembers of logs and their members, so that an append need not read them.

use std::collections::{HashMap, hash_map::Entry};

use protocol::wire::{ConversationKind, Role};
use rusqlite::{OptionalExtension, params};

use super::{convert, standing::Standings, writer::Writer};

/// Logs remembered; beyond that all are forgotten, and read again when needed.
const LOGS_MAX: usize = 65_536;
/// Members remembered.
const MEMBERS_MAX: usize = 262_144;

/// True to the open transaction; emptied when one is rolled back.
#[derive(Debug, Default)]
pub(super) struct Logs {
    logs: HashMap<i64, Log>,
    /// By conversation and user.
    members: HashMap<(i64, i64), Member>,
    /// Members whose row is to be written before the commit, once however often they changed.
    changed: Vec<(i64, i64)>,
    /// What users are to each other.
    pub(super) standings: Standings,
}

/// A log as the open transaction sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    pub(super) kind: ConversationKind,
    /// DIRECT: its users, the smaller id first. PERSONAL: the owner, twice.
    pub(super) users: (i64, i64),
    /// How many members there are.
    pub(super) members: u64,
    pub(super) last_position: i64,
    /// How many of its entries are messages that count.
    pub(super) messages: i64,
    /// GROUP: only owner and admins write.
    pub(super) muted: bool,
    /// GROUP: nothing is written any more.
    pub(super) dissolved: bool,
}

/// A member's row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) muted_until_ms: i64,
    pub(super) read_position: i64,
    /// Reading is receiving: what is received is the larger one of both.
    pub(super) delivered_position: i64,
    pub(super) revision: i64,
    changed: bool,
}

impl Logs {
    /// Forgets all if it has become too much. Between transactions only.
    pub(super) fn trim(&mut self) {
        debug_assert!(self.changed.is_empty(), "every transaction stores what changed, or is rolled back");
        if self.logs.len() > LOGS_MAX {
            self.logs = HashMap::new();
        }
        if self.members.len() > MEMBERS_MAX {
            self.members = HashMap::new();
        }
        self.standings.trim();
    }
}

impl Writer<'_> {
    /// The log, if there is one.
    pub(super) fn log(&mut self, conversation: i64) -> rusqlite::Result<Option<Log>> {
        if let Some(log) = self.logs.logs.get(&conversation) {
            return Ok(Some(*log));
        }
        let log = self
            .prepared(
                "SELECT kind, coalesce(user_a, id), coalesce(user_b, id), members,
                     coalesce(position, 0), coalesce(messages, 0), muted, dissolved
                 FROM conversations LEFT JOIN
                     (SELECT position, messages FROM entries WHERE conversation = ?1 ORDER BY position DESC LIMIT 1)
                 WHERE id = ?1",
            )?
            .query_row([conversation], |row| {
                Ok(Log {
                    kind: convert::kind(row, 0)?,
                    users: (row.get(1)?, row.get(2)?),
                    members: convert::number(row, 3)?,
                    last_position: row.get(4)?,
                    messages: row.get(5)?,
                    muted: row.get(6)?,
                    dissolved: row.get(7)?,
                })
            })
            .optional()?;
        if let Some(log) = log {
            self.logs.logs.insert(conversation, log);
        }
        Ok(log)
    }

    /// Remembers a log's new state; its rows are the caller's business.
    pub(super) fn remember_log(&mut self, conversation: i64, log: Log) {
        self.logs.logs.insert(conversation, log);
    }

    /// The member; `None` if the user is none.
    pub(super) fn member(&mut self, conversation: i64, user: i64) -> rusqlite::Result<Option<Member>> {
        if let Some(member) = self.logs.members.get(&(conversation, user)) {
            return Ok(Some(*member));
        }
        let member = self
            .prepared(
                "SELECT role, muted_until_ms, read_position, delivered_position, revision FROM members
                 WHERE user = ?1 AND conversation = ?2",
            )?
            .query_row([user, conversation], |row| {
                Ok(Member {
                    role: convert::role(row, 0)?,
                    muted_until_ms: row.get(1)?,
                    read_position: row.get(2)?,
                    delivered_position: row.get(3)?,
                    revision: row.get(4)?,
                    changed: false,
                })
            })
            .optional()?;
        if let Some(member) = member {
            self.logs.members.insert((conversation, user), member);
        }
        Ok(member)
    }

    /// Moves a remembered member's read position; its row is written before the commit.
    pub(super) fn move_read_position(&mut self, conversation: i64, user: i64, position: i64, revision: i64) {
        self.change_member(conversation, user, |member| {
            member.read_position = position;
            member.revision = revision;
        });
    }

    /// Changes a remembered member's positions or revision; its row is written before the commit.
    pub(super) fn change_member(&mut self, conversation: i64, user: i64, change: impl FnOnce(&mut Member)) {
        if let Entry::Occupied(mut member) = self.logs.members.entry((conversation, user)) {
            let member = member.get_mut();
            change(member);
            if !std::mem::replace(&mut member.changed, true) {
                self.logs.changed.push((conversation, user));
            }
        }
    }

    /// Tells that what a member sees of the conversation has changed, though there is no entry.
    pub(super) fn touch_member(&mut self, conversation: i64, user: i64) -> rusqlite::Result<()> {
        if self.member(conversation, user)?.is_some() {
            let revision = self.next_revision();
            self.change_member(conversation, user, |member| member.revision = revision);
        }
        Ok(())
    }

    /// Writes the rows of those whose positions moved.
    pub(super) fn store_positions(&mut self) -> rusqlite::Result<()> {
        for key in self.logs.changed.drain(..) {
            // Whoever ceased to be a member since then is not remembered.
            if let Some(member) = self.logs.members.get_mut(&key) {
                member.changed = false;
                self.update_member.execute(params![
                    key.1,
                    key.0,
                    member.read_position,
                    member.delivered_position,
                    member.revision
                ])?;
            }
        }
        Ok(())
    }

    /// Gives a member another role.
    pub(super) fn store_role(&mut self, conversation: i64, user: i64, role: Role) -> rusqlite::Result<()> {
        self.prepared("UPDATE members SET role = ?3 WHERE user = ?1 AND conversation = ?2")?.execute(params![
            user,
            conversation,
            i32::from(role)
        ])?;
        self.logs.members.entry((conversation, user)).and_modify(|member| member.role = role);
        Ok(())
    }

    /// Mutes a user in a group until a time, whether the user is a member or not.
    pub(super) fn store_mute(&mut self, conversation: i64, user: i64, until_ms: i64) -> rusqlite::Result<()> {
        let members = self
            .prepared("UPDATE members SET muted_until_ms = ?3 WHERE user = ?1 AND conversation = ?2")?
            .execute([user, conversation, until_ms])?;
        self.logs.members.entry((conversation, user)).and_modify(|member| member.muted_until_ms = until_ms);
        if members == 0 {
            self.keep_mute(conversation, user, until_ms)?;
        }
        Ok(())
    }

    /// Keeps until when somebody is muted who is no member.
    fn keep_mute(&mut self, conversation: i64, user: i64, until_ms: i64) -> rusqlite::Result<()> {
        if until_ms == 0 {
            self.prepared("DELETE FROM mutes WHERE conversation = ?1 AND user = ?2")?.execute([conversation, user])?;
        } else {
            self.prepared("INSERT OR REPLACE INTO mutes (conversation, user, until_ms) VALUES (?1, ?2, ?3)")?
                .execute([conversation, user, until_ms])?;
        }
        Ok(())
    }

    /// Inserts a member's row.
    pub(super) fn insert_member(&mut self, row: NewMember) -> rusqlite::Result<()> {
        self.prepared(
            "INSERT INTO members (user, conversation, kind, peer, role, read_position, revision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            row.user,
            row.conversation,
            row.kind as i32,
            row.peer,
            row.role,
            row.read_position,
            row.revision
        ])?;
        if row.kind == ConversationKind::Group {
            let kept: Option<i64> = self
                .prepared("DELETE FROM mutes WHERE conversation = ?1 AND user = ?2 RETURNING until_ms")?
                .query_row([row.conversation, row.user], |row| row.get(0))
                .optional()?;
            if let Some(until_ms) = kept {
                self.store_mute(row.conversation, row.user, until_ms)?;
            }
        }
        Ok(())
    }

    /// Deletes a member's row; a mute is kept.
    pub(super) fn delete_member(&mut self, conversation: i64, user: i64) -> rusqlite::Result<()> {
        if let Some(member) = self.member(conversation, user)? {
            self.keep_mute(conversation, user, member.muted_until_ms)?;
        }
        self.logs.members.remove(&(conversation, user));
        self.prepared("DELETE FROM members WHERE user = ?1 AND conversation = ?2")?.execute([user, conversation])?;
        Ok(())
    }
}

/// A row of `members`.
pub(super) struct NewMember {
    pub(super) user: i64,
    pub(super) conversation: i64,
    pub(super) kind: ConversationKind,
    pub(super) peer: Option<i64>,
    pub(super) role: i32,
    pub(super) read_position: i64,
    pub(super) revision: i64,
}
