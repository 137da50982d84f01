//! Looking up what a transaction has to know: all at once, in one packet of statements; logs first, whose rows are locked, then
//! members.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::{
    ConversationId, UserId,
    wire::{ConversationKind, Role},
};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    contacts,
    convert::{self, column, get},
    facts::{Facts, Need},
    script::{Script, Value},
};
use crate::{
    Revision, UserSettings,
    append::{Log, Member, Stored, Target},
    kinds,
};

/// Whether rows of logs are locked, as they must be by whoever appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logs {
    Locked,
    Read,
}

/// Looks up what is needed, and remembers where there is nothing.
pub(super) async fn learn(
    facts: &mut Facts,
    connection: &mut MySqlConnection,
    needs: &BTreeSet<Need>,
    how: Logs,
) -> sqlx::Result<()> {
    facts.suppose_nothing(needs);
    let mut keys = Keys::new(needs);
    if !keys.directs.is_empty() {
        // They are locked with the others, in the order of all. But only once a user's own log is locked nobody makes one any
        // more, so it is looked again.
        let mut before = Look::default();
        before.directs(&keys);
        before.learn(connection, facts).await?;
        keys.logs.extend(facts.directs.values().flatten().filter(|log| !facts.logs.contains_key(log)));
    }
    let mut look = Look::default();
    look.logs(&keys, how);
    look.directs(&keys);
    look.members(&keys);
    look.others(&keys);
    look.learn(connection, facts).await
}

/// Needs by kind, as their statements take them.
#[derive(Default)]
struct Keys {
    directs: Vec<[Value; 2]>,
    /// In the order in which their rows are locked.
    logs: BTreeSet<ConversationId>,
    members: Vec<[Value; 2]>,
    contacts: Vec<[Value; 2]>,
    settings: Vec<[Value; 1]>,
    standings: Vec<[Value; 1]>,
    stored: Vec<[Value; 2]>,
    targets: Vec<[Value; 2]>,
    pins: Vec<(ConversationId, u64, UserId)>,
    bans: Vec<[Value; 2]>,
    mutes: Vec<[Value; 2]>,
    admins: Vec<[Value; 1]>,
    effects: Vec<[Value; 1]>,
    drafts: Vec<[Value; 2]>,
}

impl Keys {
    fn new(needs: &BTreeSet<Need>) -> Self {
        let pair = |one, other| [Value::id(one), Value::id(other)];
        let mut keys = Self::default();
        for need in needs {
            match *need {
                Need::Direct(a, b) => keys.directs.push(pair(a.get(), b.get())),
                Need::Log(log) => drop(keys.logs.insert(log)),
                Need::Member(user, log) => keys.members.push(pair(user.get(), log.get())),
                Need::Contact(owner, peer) => keys.contacts.push(pair(owner.get(), peer.get())),
                Need::Settings(user) => keys.settings.push([Value::id(user.get())]),
                Need::Standings(log) => keys.standings.push([Value::id(log.get())]),
                Need::Stored(sender, id) => keys.stored.push([Value::Id(id), Value::id(sender.get())]),
                Need::Target(log, position) => keys.targets.push(pair(log.get(), position)),
                Need::Pin(log, target, reader) => keys.pins.push((log, target, reader)),
                Need::Ban(log, user) => keys.bans.push(pair(log.get(), user.get())),
                Need::Mute(log, user) => keys.mutes.push(pair(log.get(), user.get())),
                Need::Admins(log) => keys.admins.push([Value::id(log.get())]),
                Need::Effect(effect) => keys.effects.push([Value::id(effect.0)]),
                Need::Draft(user, log) => keys.drafts.push(pair(user.get(), log.get())),
            }
        }
        keys
    }
}

/// Makes a fact of a row.
type Reader = fn(&mut Facts, &MySqlRow) -> sqlx::Result<()>;

/// Statements, and for each of them who reads what it finds.
#[derive(Default)]
struct Look {
    script: Script,
    readers: Vec<Reader>,
}

impl Look {
    async fn learn(self, connection: &mut MySqlConnection, facts: &mut Facts) -> sqlx::Result<()> {
        let found = self.script.fetch(connection).await?;
        for (rows, read) in found.iter().zip(self.readers) {
            for row in rows {
                read(facts, row)?;
            }
        }
        Ok(())
    }

    /// Adds what asks about these keys: a statement that ends in `IN (`, the keys, and the rest of the statement from `)` on.
    fn ask<const N: usize>(&mut self, before: &str, keys: &[[Value; N]], after: &str, read: Reader) {
        let statements = self.script.rows(before, keys, after);
        self.readers.extend(std::iter::repeat_n(read, statements));
    }

    fn directs(&mut self, keys: &Keys) {
        self.ask(
            "SELECT user_a, user_b, id FROM conversations WHERE (user_a, user_b) IN (",
            &keys.directs,
            ")",
            |facts, row| {
                let users = (convert::user(row, 0)?, convert::user(row, 1)?);
                facts.directs.insert(users, Some(convert::conversation(row, 2)?));
                Ok(())
            },
        );
    }

    fn logs(&mut self, keys: &Keys, how: Logs) {
        let logs: Vec<[Value; 1]> = keys.logs.iter().map(|log| [Value::id(log.get())]).collect();
        let lock = match how {
            Logs::Locked => ") ORDER BY id FOR UPDATE",
            Logs::Read => ")",
        };
        self.ask(
            "SELECT id, kind, coalesce(user_a, id), coalesce(user_b, id), members, position, messages, muted, dissolved
             FROM conversations FORCE INDEX (PRIMARY) WHERE id IN (",
            &logs,
            lock,
            |facts, row| {
                let log = Log {
                    kind: convert::kind(row, 1)?,
                    users: (convert::user(row, 2)?, convert::user(row, 3)?),
                    members: convert::number(row, 4)?,
                    last_position: convert::number(row, 5)?,
                    messages: convert::number(row, 6)?,
                    muted: get(row, 7)?,
                    dissolved: get(row, 8)?,
                };
                facts.logs.insert(convert::conversation(row, 0)?, Some(log));
                Ok(())
            },
        );
    }

    fn members(&mut self, keys: &Keys) {
        self.ask(
            "SELECT conversation, user, role, muted_until_ms, read_position, delivered_position
             FROM members FORCE INDEX (PRIMARY) WHERE (user, conversation) IN (",
            &keys.members,
            ") ORDER BY user, conversation FOR UPDATE",
            |facts, row| {
                let member = Member {
                    role: convert::role(row, 2)?,
                    muted_until_ms: get(row, 3)?,
                    read_position: convert::number(row, 4)?,
                    delivered_position: convert::number(row, 5)?,
                };
                facts.members.insert((convert::conversation(row, 0)?, convert::user(row, 1)?), Some(member));
                Ok(())
            },
        );
    }

    /// What is not locked: it changes only under the lock of a log.
    fn others(&mut self, keys: &Keys) {
        self.users(keys);
        self.entries(keys);
        self.groups(keys);
        self.ask("SELECT number FROM effects WHERE number IN (", &keys.effects, ")", |facts, row| {
            facts.effects.insert(Revision(convert::number(row, 0)?), true);
            Ok(())
        });
        self.ask(
            "SELECT user, conversation, draft_position FROM own_views WHERE draft_position IS NOT NULL
                 AND (user, conversation) IN (",
            &keys.drafts,
            ")",
            |facts, row| {
                let told = convert::number(row, 2)?;
                facts.drafts.insert((convert::user(row, 0)?, convert::conversation(row, 1)?), Some(told));
                Ok(())
            },
        );
    }

    fn users(&mut self, keys: &Keys) {
        let contacts = format!("{}(", contacts::SELECT_PAIRS);
        self.ask(&contacts, &keys.contacts, ")", |facts, row| {
            let contact = contacts::from_row(row)?;
            facts.contacts.insert((convert::user(row, 7)?, contact.peer), Some(contact));
            Ok(())
        });
        let settings = format!("{}(", contacts::SELECT_SETTINGS);
        self.ask(&settings, &keys.settings, ")", |facts, row| {
            facts.settings.insert(convert::user(row, 2)?, contacts::settings_from(row)?);
            Ok(())
        });
        // In this order: of a group, not one of the members is looked at.
        let standings = format!(
            "SELECT members.peer, friend, request, message, remark, blocked, changed_ms, members.user,
                 coalesce(write_policy, 0), coalesce(invisible, 0)
             FROM conversations STRAIGHT_JOIN members
                 ON members.conversation = conversations.id AND conversations.kind = {}
                 LEFT JOIN contacts ON contacts.user = members.user AND contacts.peer = members.peer
                 LEFT JOIN user_settings ON user_settings.user = members.user
             WHERE conversations.id IN (",
            ConversationKind::Direct as i32
        );
        self.ask(&standings, &keys.standings, ")", |facts, row| {
            let (user, peer) = (convert::user(row, 7)?, convert::user(row, 0)?);
            let is_contact = get::<Option<bool>>(row, 1)?.is_some();
            let contact = if is_contact { Some(contacts::from_row(row)?) } else { None };
            facts.contacts.insert((user, peer), contact);
            let settings = UserSettings { write_policy: convert::enumerated(row, 8)?, invisible: get(row, 9)? };
            facts.settings.insert(user, settings);
            Ok(())
        });
    }

    fn entries(&mut self, keys: &Keys) {
        self.ask(
            "SELECT sender, id, conversation, position, time_ms, withheld, kind, content FROM entries
             WHERE (id, sender) IN (",
            &keys.stored,
            ")",
            |facts, row| {
                let stored = Stored {
                    conversation: convert::conversation(row, 2)?,
                    position: convert::number(row, 3)?,
                    time_ms: get(row, 4)?,
                    withheld: get(row, 5)?,
                    kind: get::<i32>(row, 6)?.cast_unsigned(),
                    content: Bytes::from(get::<Vec<u8>>(row, 7)?),
                };
                facts.stored.insert((convert::user(row, 0)?, convert::entry_id(row, 1)?), Some(stored));
                Ok(())
            },
        );
        self.ask(
            "SELECT conversation, position, sender, kind, time_ms, withheld FROM entries
             WHERE (conversation, position) IN (",
            &keys.targets,
            ")",
            |facts, row| {
                let target = Target {
                    sender: convert::user(row, 2)?,
                    kind: get::<i32>(row, 3)?.cast_unsigned(),
                    time_ms: get(row, 4)?,
                    withheld: get(row, 5)?,
                };
                facts.targets.insert((convert::conversation(row, 0)?, convert::number(row, 1)?), Some(target));
                Ok(())
            },
        );
        for &(log, target, reader) in &keys.pins {
            let (log, target, reader) = (column(log.get()), column(target), column(reader.get()));
            self.script.statement(&format!(
                "SELECT changes.conversation, target, {reader}, content FROM changes JOIN entries
                     ON entries.conversation = changes.conversation AND entries.position = changes.position
                 WHERE changes.conversation = {log} AND target = {target} AND kind = {}
                     AND (withheld = 0 OR sender = {reader})
                 ORDER BY changes.position DESC LIMIT 1",
                kinds::PIN
            ));
            self.readers.push(|facts, row| {
                let key = (convert::conversation(row, 0)?, convert::number(row, 1)?, convert::user(row, 2)?);
                let content: Vec<u8> = get(row, 3)?;
                facts.pins.insert(key, kinds::pins(&content.into()));
                Ok(())
            });
        }
    }

    fn groups(&mut self, keys: &Keys) {
        self.ask(
            "SELECT conversation, user FROM bans WHERE (conversation, user) IN (",
            &keys.bans,
            ")",
            |facts, row| {
                facts.bans.insert((convert::conversation(row, 0)?, convert::user(row, 1)?), true);
                Ok(())
            },
        );
        self.ask(
            "SELECT conversation, user, until_ms FROM mutes WHERE (conversation, user) IN (",
            &keys.mutes,
            ")",
            |facts, row| {
                facts.mutes.insert((convert::conversation(row, 0)?, convert::user(row, 1)?), get(row, 2)?);
                Ok(())
            },
        );
        let admins = format!(
            "SELECT conversation, count(*) FROM members WHERE role = {} AND conversation IN (",
            Role::Admin as i32
        );
        self.ask(&admins, &keys.admins, ") GROUP BY conversation", |facts, row| {
            facts.admins.insert(convert::conversation(row, 0)?, convert::number(row, 1)?);
            Ok(())
        });
    }
}
