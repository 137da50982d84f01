//! What users are to each other: remembered by the writer, so that a message need not read it.

use std::collections::HashMap;

use rusqlite::OptionalExtension;

use super::{contacts, writer::Writer};
use crate::{UserSettings, append::Standing};

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
    pub(super) fn known_standing(&mut self, owner: i64, peer: i64) -> rusqlite::Result<Standing> {
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
    pub(super) fn known_settings(&mut self, user: i64) -> rusqlite::Result<UserSettings> {
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
}
