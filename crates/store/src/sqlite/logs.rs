//! What the writer remembers of logs and their members, so that an append need not read them.

use std::collections::{HashMap, hash_map::Entry};

use protocol::wire::ConversationKind;
use rusqlite::{OptionalExtension, params};

use super::{
    convert::{self, column},
    standing::Standings,
    writer::Writer,
};
use crate::append::{Log, Member};

/// Logs remembered; beyond that all are forgotten, and read again when needed.
const LOGS_MAX: usize = 65_536;
/// Members remembered.
const MEMBERS_MAX: usize = 262_144;

/// True to the open transaction; emptied when one is rolled back.
#[derive(Debug, Default)]
pub(super) struct Logs {
    logs: HashMap<i64, Log>,
    /// By conversation and user.
    members: HashMap<(i64, i64), Row>,
    /// Members whose row is to be written before the commit, once however often they changed.
    changed: Vec<(i64, i64)>,
    /// What users are to each other.
    pub(super) standings: Standings,
}

/// A member's row.
#[derive(Debug, Clone, Copy)]
struct Row {
    member: Member,
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
        self.standings.trim();
    }
}

impl Writer<'_> {
    /// The log, if there is one.
    pub(super) fn known_log(&mut self, conversation: i64) -> rusqlite::Result<Option<Log>> {
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
                    users: (convert::user(row, 1)?, convert::user(row, 2)?),
                    members: convert::number(row, 3)?,
                    last_position: convert::number(row, 4)?,
                    messages: convert::number(row, 5)?,
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
    pub(super) fn known_member(&mut self, conversation: i64, user: i64) -> rusqlite::Result<Option<Member>> {
        if let Some(row) = self.logs.members.get(&(conversation, user)) {
            return Ok(Some(row.member));
        }
        let row = self
            .prepared(
                "SELECT role, muted_until_ms, read_position, delivered_position, revision FROM members
                 WHERE user = ?1 AND conversation = ?2",
            )?
            .query_row([user, conversation], |row| {
                let member = Member {
                    role: convert::role(row, 0)?,
                    muted_until_ms: row.get(1)?,
                    read_position: convert::number(row, 2)?,
                    delivered_position: convert::number(row, 3)?,
                };
                Ok(Row { member, revision: row.get(4)?, changed: false })
            })
            .optional()?;
        if let Some(row) = row {
            self.logs.members.insert((conversation, user), row);
        }
        Ok(row.map(|row| row.member))
    }

    /// Moves a remembered member's positions; the row is written before the commit, with the last revision given.
    pub(super) fn remember_positions(&mut self, conversation: i64, user: i64, to: Member, revision: Option<i64>) {
        if let Entry::Occupied(mut row) = self.logs.members.entry((conversation, user)) {
            let row = row.get_mut();
            row.member = to;
            row.revision = revision.unwrap_or(row.revision);
            if !std::mem::replace(&mut row.changed, true) {
                self.logs.changed.push((conversation, user));
            }
        }
    }

    /// Changes what is remembered of a member; the row is the caller's business.
    pub(super) fn remember_member(&mut self, conversation: i64, user: i64, change: impl FnOnce(&mut Member)) {
        self.logs.members.entry((conversation, user)).and_modify(|row| change(&mut row.member));
    }

    /// Writes the rows of those whose positions moved.
    pub(super) fn store_positions(&mut self) -> rusqlite::Result<()> {
        for key in self.logs.changed.drain(..) {
            // Whoever ceased to be a member since then is not remembered.
            if let Some(row) = self.logs.members.get_mut(&key) {
                row.changed = false;
                self.update_member.execute(params![
                    key.1,
                    key.0,
                    column(row.member.read_position),
                    column(row.member.delivered_position),
                    row.revision
                ])?;
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
