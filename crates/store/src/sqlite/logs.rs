//! What the writer remembers of logs and their members, so that an append need not read them.

use std::collections::{HashMap, hash_map::Entry};

use protocol::wire::ConversationKind;
use rusqlite::{OptionalExtension, params};

use super::{convert, writer::Writer};

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
    /// How many of its entries are messages.
    pub(super) messages: i64,
}

/// A member's row.
#[derive(Debug, Clone, Copy)]
struct Member {
    read_position: i64,
    revision: i64,
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
                     coalesce(position, 0), coalesce(messages, 0)
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

    /// The member's read position; `None` if the user is no member.
    pub(super) fn read_position(&mut self, conversation: i64, user: i64) -> rusqlite::Result<Option<i64>> {
        if let Some(member) = self.logs.members.get(&(conversation, user)) {
            return Ok(Some(member.read_position));
        }
        let member = self
            .prepared("SELECT read_position, revision FROM members WHERE user = ?1 AND conversation = ?2")?
            .query_row([user, conversation], |row| {
                Ok(Member { read_position: row.get(0)?, revision: row.get(1)?, changed: false })
            })
            .optional()?;
        if let Some(member) = member {
            self.logs.members.insert((conversation, user), member);
        }
        Ok(member.map(|member| member.read_position))
    }

    /// Moves a remembered member's read position; its row is written before the commit.
    pub(super) fn move_read_position(&mut self, conversation: i64, user: i64, position: i64, revision: i64) {
        if let Entry::Occupied(mut member) = self.logs.members.entry((conversation, user)) {
            let member = member.get_mut();
            member.read_position = position;
            member.revision = revision;
            if !std::mem::replace(&mut member.changed, true) {
                self.logs.changed.push((conversation, user));
            }
        }
    }

    /// Writes the rows of those whose read position moved.
    pub(super) fn store_read_positions(&mut self) -> rusqlite::Result<()> {
        for key in self.logs.changed.drain(..) {
            // Whoever ceased to be a member since then is not remembered.
            if let Some(member) = self.logs.members.get_mut(&key) {
                member.changed = false;
                self.update_member.execute(params![key.1, key.0, member.read_position, member.revision])?;
            }
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
        Ok(())
    }

    /// Deletes a member's row.
    pub(super) fn delete_member(&mut self, conversation: i64, user: i64) -> rusqlite::Result<()> {
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
