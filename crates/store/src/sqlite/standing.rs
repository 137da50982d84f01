//! What users are to each other, and who may write: remembered by the writer, so that a message need not read it.

use std::collections::HashMap;

use protocol::wire::{ConversationKind, Role};
use rusqlite::OptionalExtension;

use super::{
    contacts,
    logs::{Log, Member},
    writer::Writer,
};
use crate::{NewEntry, Refused, UserSettings};

/// Contacts remembered; beyond that all are forgotten, and read again when needed.
const CONTACTS_MAX: usize = 262_144;
/// Settings remembered.
const SETTINGS_MAX: usize = 65_536;

/// True to the open transaction, as the logs are.
#[derive(Debug, Default)]
pub(super) struct Standings {
    /// By owner and peer; also of those who have no row.
    contacts: HashMap<(i64, i64), Standing>,
    /// By user; also of those who have no row.
    settings: HashMap<i64, UserSettings>,
}

/// What matters of a contact when somebody writes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Standing {
    pub(super) friend: bool,
    pub(super) blocked: bool,
}

impl Standings {
    /// Forgets all if it has become too much.
    pub(super) fn trim(&mut self) {
        if self.contacts.len() > CONTACTS_MAX {
            self.contacts = HashMap::new();
        }
        if self.settings.len() > SETTINGS_MAX {
            self.settings = HashMap::new();
        }
    }
}

impl Writer<'_> {
    /// What `peer` is to `owner`.
    pub(super) fn standing(&mut self, owner: i64, peer: i64) -> rusqlite::Result<Standing> {
        if let Some(standing) = self.logs.standings.contacts.get(&(owner, peer)) {
            return Ok(*standing);
        }
        let standing = self
            .prepared("SELECT friend, blocked FROM contacts WHERE user = ?1 AND peer = ?2")?
            .query_row([owner, peer], |row| Ok(Standing { friend: row.get(0)?, blocked: row.get(1)? }))
            .optional()?
            .unwrap_or_default();
        self.remember_standing(owner, peer, standing);
        Ok(standing)
    }

    /// Remembers what `peer` is to `owner` now; the row is the caller's business.
    pub(super) fn remember_standing(&mut self, owner: i64, peer: i64, standing: Standing) {
        self.logs.standings.contacts.insert((owner, peer), standing);
    }

    /// A user's settings.
    pub(super) fn settings(&mut self, user: i64) -> rusqlite::Result<UserSettings> {
        if let Some(settings) = self.logs.standings.settings.get(&user) {
            return Ok(*settings);
        }
        let settings = contacts::settings(self.connection, user)?;
        self.remember_settings(user, settings);
        Ok(settings)
    }

    /// Remembers a user's settings; the row is the caller's business.
    pub(super) fn remember_settings(&mut self, user: i64, settings: UserSettings) {
        self.logs.standings.settings.insert(user, settings);
    }

    /// Whether the sender may write a message or a change of one, and if so, whether it is withheld from the other.
    pub(super) fn may_write(
        &mut self,
        entry: &NewEntry,
        log: Log,
        member: Member,
        sender: i64,
    ) -> rusqlite::Result<Result<bool, Refused>> {
        if log.dissolved {
            return Ok(Err(Refused::Dissolved));
        }
        match log.kind {
            ConversationKind::Group if log.muted && member.role == Role::Member => Ok(Err(Refused::Muted(0))),
            ConversationKind::Group if member.muted_until_ms > entry.time_ms => {
                Ok(Err(Refused::Muted(member.muted_until_ms)))
            }
            ConversationKind::Direct if log.users.0 != log.users.1 => {
                let peer = other(log, sender);
                let theirs = self.standing(peer, sender)?;
                if self.settings(peer)?.write_policy == protocol::wire::WritePolicy::Friends && !theirs.friend {
                    return Ok(Err(Refused::FriendsOnly));
                }
                if self.standing(sender, peer)?.blocked {
                    return Ok(Err(Refused::Blocking));
                }
                Ok(Ok(theirs.blocked))
            }
            _ => Ok(Ok(false)),
        }
    }
}

/// The other user of a direct conversation, or the user if there is no other.
pub(super) fn other(log: Log, user: i64) -> i64 {
    if log.users.0 == user { log.users.1 } else { log.users.0 }
}
