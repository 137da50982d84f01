//! Appending entries: duplicates, membership, positions, effects.

use std::collections::HashSet;

use protocol::{
    ConversationId, EntryId, RawContent, UserId, limits,
    wire::{ConversationKind, GroupEntered, GroupExited, Role, content},
};
use rusqlite::{OptionalExtension, params};

use super::{
    convert::{self, column},
    logs::{Log, NewMember},
    writer::Writer,
};
use crate::{Act, Appended, Audience, Membership, NewEntry, Refused, Telling};

type Outcome = Result<Appended, Refused>;

/// Who enters and who exits by an entry, for real: members do not enter again, others do not exit.
#[derive(Debug, Default)]
struct Change {
    entering: Vec<(UserId, Role)>,
    exiting: Vec<UserId>,
}

impl Writer<'_> {
    /// Appends in the order given.
    pub(super) fn append(&mut self, entries: &[NewEntry]) -> rusqlite::Result<Vec<Outcome>> {
        entries
            .iter()
            .map(|entry| {
                let outcome = match &entry.act {
                    Act::Membership(membership) => self.append_change(entry, membership)?,
                    _ => self.append_plain(entry)?,
                };
                if let (Some(effect), Ok(_)) = (entry.settles, &outcome) {
                    self.prepared("DELETE FROM effects WHERE revision = ?1")?.execute([column(effect.0)])?;
                }
                Ok(outcome)
            })
            .collect()
    }

    /// The path of nearly every entry: one insert, which also finds duplicates.
    fn append_plain(&mut self, entry: &NewEntry) -> rusqlite::Result<Outcome> {
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        let Some(log) = self.log(conversation)? else { return self.duplicate_or(entry, Refused::NotMember) };
        if self.read_position(conversation, sender)?.is_none() {
            return self.duplicate_or(entry, Refused::NotMember);
        }
        match self.insert(entry, log)? {
            Some((log, revision)) => {
                self.move_read_position(conversation, sender, log.last_position, revision);
                Ok(Ok(appended(entry, log, &Change::default())))
            }
            // It was in the index a moment ago.
            None => self.duplicate_or(entry, Refused::IdReused),
        }
    }

    fn append_change(&mut self, entry: &NewEntry, membership: &Membership) -> rusqlite::Result<Outcome> {
        if let Some(outcome) = self.duplicate(entry)? {
            return Ok(outcome);
        }
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        let existing = self.log(conversation)?;
        let log = match existing {
            Some(log) if log.kind == ConversationKind::Group => log,
            None if membership.create => Log {
                kind: ConversationKind::Group,
                users: (conversation, conversation),
                members: 0,
                last_position: 0,
                messages: 0,
            },
            _ => return Ok(Err(Refused::NotMember)),
        };
        let change = self.change(conversation, membership)?;
        let was_member = self.read_position(conversation, sender)?.is_some();
        if !was_member && !change.entering.iter().any(|(user, _)| *user == entry.sender) {
            return Ok(Err(Refused::NotMember));
        }
        let members = log.members + change.entering.len() as u64 - change.exiting.len() as u64;
        if !change.entering.is_empty() && members > limits::MEMBERS_MAX {
            return Ok(Err(Refused::TooManyMembers));
        }

        if existing.is_none() {
            self.prepared("INSERT INTO conversations (id, kind, members) VALUES (?1, ?2, 0)")?
                .execute(params![conversation, ConversationKind::Group as i32])?;
        }
        let Some((log, revision)) = self.insert(entry, Log { members, ..log })? else {
            return self.duplicate_or(entry, Refused::IdReused);
        };
        self.carry_out(entry, &change, log, revision)?;
        if was_member && !change.exiting.contains(&entry.sender) {
            self.move_read_position(conversation, sender, log.last_position, revision);
        }
        Ok(Ok(appended(entry, log, &change)))
    }

    /// What the membership asks for that is not so already. Whoever is to enter and to exit, exits.
    fn change(&mut self, conversation: i64, membership: &Membership) -> rusqlite::Result<Change> {
        let mut change = Change::default();
        let mut named = HashSet::new();
        for &user in &membership.exit {
            if named.insert(user) && self.read_position(conversation, column(user.get()))?.is_some() {
                change.exiting.push(user);
            }
        }
        for &(user, role) in &membership.enter {
            if named.insert(user) && self.read_position(conversation, column(user.get()))?.is_none() {
                change.entering.push((user, role));
            }
        }
        Ok(change)
    }

    /// Writes the members' rows, and an effect for each of them.
    fn carry_out(&mut self, entry: &NewEntry, change: &Change, log: Log, revision: i64) -> rusqlite::Result<()> {
        let (conversation, group) = (column(entry.conversation.get()), entry.conversation.get());
        for &(user, role) in &change.entering {
            self.insert_member(NewMember {
                user: column(user.get()),
                conversation,
                kind: log.kind,
                peer: None,
                role: role.into(),
                read_position: log.last_position,
                revision,
            })?;
            self.insert_effect(entry, user, content::Kind::GroupEntered(GroupEntered { group }))?;
        }
        for &user in &change.exiting {
            self.delete_member(conversation, column(user.get()))?;
            self.insert_effect(
                entry,
                user,
                content::Kind::GroupExited(GroupExited { group, removed: user != entry.sender }),
            )?;
        }
        if !change.entering.is_empty() || !change.exiting.is_empty() {
            self.prepared("UPDATE conversations SET members = ?2 WHERE id = ?1")?
                .execute([conversation, column(log.members)])?;
        }
        Ok(())
    }

    fn insert_effect(&mut self, entry: &NewEntry, user: UserId, kind: content::Kind) -> rusqlite::Result<()> {
        let content = RawContent::from(kind).as_bytes().clone();
        self.note_effect(&Telling { user, time_ms: entry.time_ms, content }, None)
    }

    /// Notes what is to be told in the user's personal log, and which contact it changes there. The id is a new one rather
    /// than derived from the entry's: one that can be guessed could be used up before, and the effect never be told.
    pub(super) fn note_effect(&mut self, telling: &Telling, peer: Option<UserId>) -> rusqlite::Result<()> {
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

    /// Inserts the entry at the log's end, and returns the log after it with the entry's revision; `None` if the id
    /// was used before.
    fn insert(&mut self, entry: &NewEntry, log: Log) -> rusqlite::Result<Option<(Log, i64)>> {
        let conversation = column(entry.conversation.get());
        let log = Log {
            last_position: log.last_position + 1,
            messages: log.messages + i64::from(matches!(entry.act, Act::Message { .. })),
            ..log
        };
        let given = self.next_entry_revision();
        let revision = given.revision;
        let inserted = self.insert_entry.execute(params![
            revision,
            conversation,
            log.last_position,
            log.messages,
            column(entry.sender.get()),
            entry.id.as_bytes(),
            entry.time_ms,
            entry.content.as_ref()
        ])?;
        if inserted == 0 {
            self.take_back(given);
            return Ok(None);
        }
        self.remember_log(conversation, log);
        Ok(Some((log, revision)))
    }

    /// The outcome of an entry whose id its sender used before, or this refusal.
    fn duplicate_or(&mut self, entry: &NewEntry, refused: Refused) -> rusqlite::Result<Outcome> {
        Ok(self.duplicate(entry)?.unwrap_or(Err(refused)))
    }

    /// The outcome of an entry whose id its sender used before; `None` if it was not.
    fn duplicate(&mut self, entry: &NewEntry) -> rusqlite::Result<Option<Outcome>> {
        let stored = self
            .prepared("SELECT conversation, position, time_ms, content FROM entries WHERE id = ?1 AND sender = ?2")?
            .query_row(params![entry.id.as_bytes(), column(entry.sender.get())], |row| {
                let same_content = row.get_ref(3)?.as_blob()? == entry.content.as_ref();
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, same_content))
            })
            .optional()?;
        let Some((conversation, position, time_ms, same_content)) = stored else { return Ok(None) };
        if conversation != column(entry.conversation.get()) || !same_content {
            return Ok(Some(Err(Refused::IdReused)));
        }
        let Some(log) = self.log(conversation)? else { return Ok(Some(Err(Refused::NotMember))) };
        let appended = appended(entry, log, &Change::default());
        Ok(Some(Ok(Appended { position: position.cast_unsigned(), time_ms, duplicate: true, ..appended })))
    }
}

/// The outcome of an entry that is the log's last.
fn appended(entry: &NewEntry, log: Log, change: &Change) -> Appended {
    Appended {
        position: log.last_position.cast_unsigned(),
        time_ms: entry.time_ms,
        duplicate: false,
        kind: log.kind,
        audience: match log.kind {
            ConversationKind::Group => Audience::Group(entry.conversation.group()),
            _ => Audience::Users(users(log.users)),
        },
        entered: change.entering.iter().map(|(user, _)| *user).collect(),
        exited: change.exiting.clone(),
        content: None,
        withheld: false,
    }
}

/// The users of a direct conversation or personal log, each once.
pub(super) fn users((a, b): (i64, i64)) -> Vec<UserId> {
    let mut users = vec![UserId::new(a.cast_unsigned()), UserId::new(b.cast_unsigned())];
    users.dedup();
    users
}

/// The direct conversation of two users, if there is one.
pub(super) const FIND_DIRECT: &str = "SELECT id FROM conversations WHERE user_a = ?1 AND user_b = ?2";

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
        let found = self.prepared(FIND_DIRECT)?.query_row([a, b], |row| convert::conversation(row, 0)).optional()?;
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
        }
        Ok(new)
    }
}
