//! What a transaction has to know before it can decide: asked for in bulk, logs first, whose rows are locked.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use protocol::{ConversationId, EntryId, UserId, wire::Role};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    contacts,
    convert::{self, column, get},
    direct,
    lists::{ids, pairs, parts, sql},
};
use crate::{
    Act, Change, ChangeKind, ContactAct, ContactRow, ConversationAct, NewEntry, Revision, UserSettings,
    append::{Log, Member, Stored, Target},
    kinds,
};

/// A fact that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Need {
    /// The direct conversation of two users, the smaller id first.
    Direct(UserId, UserId),
    Log(ConversationId),
    /// In the order in which their rows are locked.
    Member(UserId, ConversationId),
    Contact(UserId, UserId),
    Settings(UserId),
    Stored(UserId, [u8; 16]),
    Target(ConversationId, u64),
    /// As a member sees it.
    Pin(ConversationId, u64, UserId),
    Ban(ConversationId, UserId),
    Mute(ConversationId, UserId),
    Admins(ConversationId),
    Effect(Revision),
    Draft(UserId, ConversationId),
}

/// What is known; `None`: that there is nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) directs: HashMap<(UserId, UserId), Option<ConversationId>>,
    pub(super) logs: HashMap<ConversationId, Option<Log>>,
    pub(super) members: HashMap<(ConversationId, UserId), Option<Member>>,
    pub(super) contacts: HashMap<(UserId, UserId), Option<ContactRow>>,
    pub(super) settings: HashMap<UserId, UserSettings>,
    pub(super) stored: HashMap<(UserId, EntryId), Option<Stored>>,
    pub(super) targets: HashMap<(ConversationId, u64), Option<Target>>,
    /// Whether the member sees it pinned.
    pub(super) pins: HashMap<(ConversationId, u64, UserId), bool>,
    pub(super) bans: HashMap<(ConversationId, UserId), bool>,
    /// Of those who are no members; 0: not muted.
    pub(super) mutes: HashMap<(ConversationId, UserId), i64>,
    pub(super) admins: HashMap<ConversationId, u64>,
    pub(super) effects: HashMap<Revision, bool>,
    /// The entry that told a draft.
    pub(super) drafts: HashMap<(UserId, ConversationId), Option<u64>>,
}

/// Whether rows of logs are locked, as they must be by whoever appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Logs {
    Locked,
    Read,
}

/// What appending this entry will ask for, as far as it can be told beforehand. Too little costs a round trip, too much a
/// row.
pub(super) fn foreseen(entry: &NewEntry, needs: &mut BTreeSet<Need>) {
    let (conversation, sender) = (entry.conversation, entry.sender);
    needs.insert(Need::Log(conversation));
    needs.insert(Need::Member(sender, conversation));
    let stored = Need::Stored(sender, *entry.id.as_bytes());
    match &entry.act {
        Act::Tell | Act::Message { .. } => {}
        Act::Settings(_) => drop(needs.insert(Need::Settings(sender))),
        &Act::Change(Change { target, kind }) => {
            needs.extend([stored, Need::Target(conversation, target)]);
            if matches!(kind, ChangeKind::Pin(_)) {
                needs.insert(Need::Pin(conversation, target, sender));
            }
        }
        Act::Membership(membership) => {
            needs.insert(stored);
            let entering = membership.enter.iter().map(|(user, _)| *user);
            if !membership.create {
                needs.extend(entering.clone().map(|user| Need::Ban(conversation, user)));
                needs.extend(entering.clone().map(|user| Need::Mute(conversation, user)));
            }
            let roles = membership.roles.iter().map(|(user, _)| *user);
            let named = entering.chain(roles).chain(membership.exit.iter().chain(&membership.above).copied());
            needs.extend(named.map(|user| Need::Member(user, conversation)));
            if membership.roles.iter().any(|(_, role)| *role == Role::Admin) {
                needs.insert(Need::Admins(conversation));
            }
        }
        Act::Contact(event) => {
            needs.extend([stored, Need::Contact(sender, event.peer)]);
            needs.extend(entry.settles.map(Need::Effect));
            if matches!(event.what, ContactAct::Block(_)) {
                needs.insert(direct_of(sender, event.peer));
            }
        }
        Act::Conversation(of, act) => {
            needs.insert(Need::Member(sender, *of));
            match act {
                ConversationAct::Settings(_) => {}
                ConversationAct::Draft(draft) => {
                    needs.insert(Need::Draft(sender, *of));
                    if draft.as_ref().is_some_and(|draft| draft.reply_to > 0) {
                        needs.insert(Need::Log(*of));
                    }
                }
                ConversationAct::Delete { .. } => drop(needs.insert(Need::Log(*of))),
            }
        }
    }
}

/// The direct conversation of two users, given in any order.
pub(super) fn direct_of(a: UserId, b: UserId) -> Need {
    Need::Direct(a.min(b), a.max(b))
}

/// Needs by kind, as their statements take them.
#[derive(Default)]
struct Sorted {
    directs: Vec<(UserId, UserId)>,
    logs: BTreeSet<i64>,
    members: Vec<(i64, i64)>,
    contacts: Vec<(i64, i64)>,
    settings: Vec<i64>,
    stored: Vec<(UserId, [u8; 16])>,
    targets: Vec<(i64, i64)>,
    pins: Vec<(ConversationId, u64, UserId)>,
    bans: Vec<(i64, i64)>,
    mutes: Vec<(i64, i64)>,
    admins: Vec<i64>,
    effects: Vec<i64>,
    drafts: Vec<(i64, i64)>,
}

impl Sorted {
    fn new(needs: &BTreeSet<Need>) -> Self {
        let mut sorted = Self::default();
        for need in needs {
            match *need {
                Need::Direct(a, b) => sorted.directs.push((a, b)),
                Need::Log(log) => drop(sorted.logs.insert(column(log.get()))),
                Need::Member(user, log) => sorted.members.push((column(user.get()), column(log.get()))),
                Need::Contact(owner, peer) => sorted.contacts.push((column(owner.get()), column(peer.get()))),
                Need::Settings(user) => sorted.settings.push(column(user.get())),
                Need::Stored(sender, id) => sorted.stored.push((sender, id)),
                Need::Target(log, position) => sorted.targets.push((column(log.get()), column(position))),
                Need::Pin(log, target, reader) => sorted.pins.push((log, target, reader)),
                Need::Ban(log, user) => sorted.bans.push((column(log.get()), column(user.get()))),
                Need::Mute(log, user) => sorted.mutes.push((column(log.get()), column(user.get()))),
                Need::Admins(log) => sorted.admins.push(column(log.get())),
                Need::Effect(effect) => sorted.effects.push(column(effect.0)),
                Need::Draft(user, log) => sorted.drafts.push((column(user.get()), column(log.get()))),
            }
        }
        sorted
    }
}

impl Facts {
    /// Looks up what is needed, and remembers where there is nothing.
    pub(super) async fn learn(
        &mut self,
        connection: &mut MySqlConnection,
        needs: &BTreeSet<Need>,
        logs: Logs,
    ) -> sqlx::Result<()> {
        self.nothing(needs);
        let mut sorted = Sorted::new(needs);
        // They are locked with the others, in the order of all. But only once a user's own log is locked nobody makes one any
        // more, so it is looked again.
        self.learn_directs(connection, &sorted.directs).await?;
        let directs = self.directs.values().flatten().filter(|log| !self.logs.contains_key(log));
        sorted.logs.extend(directs.map(|log| column(log.get())));
        let locked: Vec<i64> = sorted.logs.iter().copied().collect();
        self.learn_logs(connection, &locked, logs).await?;
        self.learn_directs(connection, &sorted.directs).await?;
        self.learn_members(connection, &sorted.members).await?;
        self.learn_contacts(connection, &sorted.contacts).await?;
        self.learn_settings(connection, &sorted.settings).await?;
        self.learn_stored(connection, &sorted.stored).await?;
        self.learn_targets(connection, &sorted.targets).await?;
        self.learn_pins(connection, &sorted.pins).await?;
        self.learn_bans(connection, &sorted.bans).await?;
        self.learn_mutes(connection, &sorted.mutes).await?;
        self.learn_admins(connection, &sorted.admins).await?;
        self.learn_effects(connection, &sorted.effects).await?;
        self.learn_drafts(connection, &sorted.drafts).await
    }

    /// Until something is found.
    fn nothing(&mut self, needs: &BTreeSet<Need>) {
        for need in needs {
            match *need {
                Need::Direct(a, b) => drop(self.directs.insert((a, b), None)),
                Need::Log(log) => drop(self.logs.insert(log, None)),
                Need::Member(user, log) => drop(self.members.insert((log, user), None)),
                Need::Contact(owner, peer) => drop(self.contacts.insert((owner, peer), None)),
                Need::Settings(user) => drop(self.settings.insert(user, UserSettings::default())),
                Need::Stored(sender, id) => drop(self.stored.insert((sender, EntryId::from_bytes(id)), None)),
                Need::Target(log, position) => drop(self.targets.insert((log, position), None)),
                Need::Pin(log, target, reader) => drop(self.pins.insert((log, target, reader), false)),
                Need::Ban(log, user) => drop(self.bans.insert((log, user), false)),
                Need::Mute(log, user) => drop(self.mutes.insert((log, user), 0)),
                Need::Admins(log) => drop(self.admins.insert(log, 0)),
                Need::Effect(effect) => drop(self.effects.insert(effect, false)),
                Need::Draft(user, log) => drop(self.drafts.insert((user, log), None)),
            }
        }
    }

    async fn learn_directs(
        &mut self,
        connection: &mut MySqlConnection,
        users: &[(UserId, UserId)],
    ) -> sqlx::Result<()> {
        for &(a, b) in users {
            let found = direct::find(connection, a, b).await?;
            self.directs.insert((a, b), found);
        }
        Ok(())
    }

    async fn learn_logs(&mut self, connection: &mut MySqlConnection, logs: &[i64], how: Logs) -> sqlx::Result<()> {
        let lock = match how {
            Logs::Locked => " ORDER BY id FOR UPDATE",
            Logs::Read => "",
        };
        for part in parts(logs) {
            let rows = ids(
                "SELECT id, kind, coalesce(user_a, id), coalesce(user_b, id), members, position, messages, muted, dissolved
                 FROM conversations FORCE INDEX (PRIMARY) WHERE id IN ",
                part,
                lock,
            );
            for row in rows.fetch_all(&mut *connection).await? {
                let log = Log {
                    kind: convert::kind(&row, 1)?,
                    users: (convert::user(&row, 2)?, convert::user(&row, 3)?),
                    members: convert::number(&row, 4)?,
                    last_position: convert::number(&row, 5)?,
                    messages: convert::number(&row, 6)?,
                    muted: get(&row, 7)?,
                    dissolved: get(&row, 8)?,
                };
                self.logs.insert(convert::conversation(&row, 0)?, Some(log));
            }
        }
        Ok(())
    }

    async fn learn_members(&mut self, connection: &mut MySqlConnection, members: &[(i64, i64)]) -> sqlx::Result<()> {
        for part in parts(members) {
            let rows = pairs(
                "SELECT conversation, user, role, muted_until_ms, read_position, delivered_position
                 FROM members FORCE INDEX (PRIMARY) WHERE (user, conversation) IN ",
                part,
                " ORDER BY user, conversation FOR UPDATE",
            );
            for row in rows.fetch_all(&mut *connection).await? {
                let member = Member {
                    role: convert::role(&row, 2)?,
                    muted_until_ms: get(&row, 3)?,
                    read_position: convert::number(&row, 4)?,
                    delivered_position: convert::number(&row, 5)?,
                };
                self.members.insert((convert::conversation(&row, 0)?, convert::user(&row, 1)?), Some(member));
            }
        }
        Ok(())
    }

    async fn learn_contacts(&mut self, connection: &mut MySqlConnection, contacts: &[(i64, i64)]) -> sqlx::Result<()> {
        for part in parts(contacts) {
            let rows = pairs(contacts::SELECT_PAIRS, part, "");
            for row in rows.fetch_all(&mut *connection).await? {
                let contact = contacts::from_row(&row)?;
                self.contacts.insert((convert::user(&row, 7)?, contact.peer), Some(contact));
            }
        }
        Ok(())
    }

    async fn learn_settings(&mut self, connection: &mut MySqlConnection, users: &[i64]) -> sqlx::Result<()> {
        for part in parts(users) {
            for row in ids(contacts::SELECT_SETTINGS, part, "").fetch_all(&mut *connection).await? {
                self.settings.insert(convert::user(&row, 2)?, contacts::settings_from(&row)?);
            }
        }
        Ok(())
    }

    async fn learn_stored(
        &mut self,
        connection: &mut MySqlConnection,
        entries: &[(UserId, [u8; 16])],
    ) -> sqlx::Result<()> {
        for part in parts(entries) {
            let mut rows = sqlx::query(sql(
                "SELECT sender, id, conversation, position, time_ms, withheld, kind, content FROM entries
                 WHERE (id, sender) IN (",
                part.len(),
                2,
                ")",
            ));
            for (sender, id) in part {
                rows = rows.bind(id.as_slice()).bind(column(sender.get()));
            }
            for row in rows.fetch_all(&mut *connection).await? {
                let stored = stored_from(&row)?;
                self.stored.insert((convert::user(&row, 0)?, convert::entry_id(&row, 1)?), Some(stored));
            }
        }
        Ok(())
    }

    async fn learn_targets(&mut self, connection: &mut MySqlConnection, targets: &[(i64, i64)]) -> sqlx::Result<()> {
        for part in parts(targets) {
            let rows = pairs(
                "SELECT conversation, position, sender, kind, time_ms, withheld FROM entries
                 WHERE (conversation, position) IN ",
                part,
                "",
            );
            for row in rows.fetch_all(&mut *connection).await? {
                let target = Target {
                    sender: convert::user(&row, 2)?,
                    kind: get::<i32>(&row, 3)?.cast_unsigned(),
                    time_ms: get(&row, 4)?,
                    withheld: get(&row, 5)?,
                };
                self.targets.insert((convert::conversation(&row, 0)?, convert::number(&row, 1)?), Some(target));
            }
        }
        Ok(())
    }

    async fn learn_pins(
        &mut self,
        connection: &mut MySqlConnection,
        pins: &[(ConversationId, u64, UserId)],
    ) -> sqlx::Result<()> {
        for &(log, target, reader) in pins {
            let row = sqlx::query(
                "SELECT content FROM changes JOIN entries
                     ON entries.conversation = changes.conversation AND entries.position = changes.position
                 WHERE changes.conversation = ? AND changes.target = ? AND kind = ? AND (withheld = 0 OR sender = ?)
                 ORDER BY changes.position DESC LIMIT 1",
            )
            .bind(column(log.get()))
            .bind(column(target))
            .bind(kinds::PIN)
            .bind(column(reader.get()))
            .fetch_optional(&mut *connection)
            .await?;
            if let Some(row) = row {
                let content: Vec<u8> = get(&row, 0)?;
                self.pins.insert((log, target, reader), kinds::pins(&content.into()));
            }
        }
        Ok(())
    }

    async fn learn_bans(&mut self, connection: &mut MySqlConnection, bans: &[(i64, i64)]) -> sqlx::Result<()> {
        for part in parts(bans) {
            let rows = pairs("SELECT conversation, user FROM bans WHERE (conversation, user) IN ", part, "");
            for row in rows.fetch_all(&mut *connection).await? {
                self.bans.insert((convert::conversation(&row, 0)?, convert::user(&row, 1)?), true);
            }
        }
        Ok(())
    }

    async fn learn_mutes(&mut self, connection: &mut MySqlConnection, mutes: &[(i64, i64)]) -> sqlx::Result<()> {
        for part in parts(mutes) {
            let rows = pairs("SELECT conversation, user, until_ms FROM mutes WHERE (conversation, user) IN ", part, "");
            for row in rows.fetch_all(&mut *connection).await? {
                self.mutes.insert((convert::conversation(&row, 0)?, convert::user(&row, 1)?), get(&row, 2)?);
            }
        }
        Ok(())
    }

    async fn learn_admins(&mut self, connection: &mut MySqlConnection, logs: &[i64]) -> sqlx::Result<()> {
        for &log in logs {
            let admins: i64 = sqlx::query_scalar("SELECT count(*) FROM members WHERE conversation = ? AND role = ?")
                .bind(log)
                .bind(Role::Admin as i32)
                .fetch_one(&mut *connection)
                .await?;
            self.admins.insert(ConversationId::new(log.cast_unsigned()), admins.cast_unsigned());
        }
        Ok(())
    }

    async fn learn_effects(&mut self, connection: &mut MySqlConnection, effects: &[i64]) -> sqlx::Result<()> {
        for part in parts(effects) {
            for row in ids("SELECT number FROM effects WHERE number IN ", part, "").fetch_all(&mut *connection).await? {
                self.effects.insert(Revision(convert::number(&row, 0)?), true);
            }
        }
        Ok(())
    }

    async fn learn_drafts(&mut self, connection: &mut MySqlConnection, drafts: &[(i64, i64)]) -> sqlx::Result<()> {
        for part in parts(drafts) {
            let rows = pairs(
                "SELECT user, conversation, draft_position FROM own_views WHERE draft_position IS NOT NULL
                     AND (user, conversation) IN ",
                part,
                "",
            );
            for row in rows.fetch_all(&mut *connection).await? {
                let told = convert::number(&row, 2)?;
                self.drafts.insert((convert::user(&row, 0)?, convert::conversation(&row, 1)?), Some(told));
            }
        }
        Ok(())
    }
}

fn stored_from(row: &MySqlRow) -> sqlx::Result<Stored> {
    Ok(Stored {
        conversation: convert::conversation(row, 2)?,
        position: convert::number(row, 3)?,
        time_ms: get(row, 4)?,
        withheld: get(row, 5)?,
        kind: get::<i32>(row, 6)?.cast_unsigned(),
        content: Bytes::from(get::<Vec<u8>>(row, 7)?),
    })
}
