//! Appending entries: what all of them have in common, duplicates, effects.

use bytes::Bytes;
use protocol::{
    EntryId, UserId,
    wire::{ConversationKind, Role, content},
};
use rusqlite::{OptionalExtension, params};

use super::{
    convert::{bound, column},
    logs::{Log, Member},
    writer::Writer,
};
use crate::{
    Act, Appended, Audience, Change, ChangeKind, ConversationAct, NewEntry, Refused, Revision, Telling, contacts,
    content_kind, kinds,
};

pub(super) type Outcome = Result<Appended, Refused>;

/// What is written of an entry, beside what [`NewEntry`] tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'e> {
    pub(super) content: &'e Bytes,
    pub(super) kind: u32,
    /// A change: the position of its message.
    pub(super) target: Option<u64>,
    pub(super) withheld: bool,
}

impl<'e> Written<'e> {
    /// The entry as it was given.
    pub(super) fn of(entry: &'e NewEntry) -> Self {
        Self { content: &entry.content, kind: content_kind(&entry.content), target: None, withheld: false }
    }
}

impl Writer<'_> {
    /// Appends in the order given.
    pub(super) fn append(&mut self, entries: &[NewEntry]) -> rusqlite::Result<Vec<Outcome>> {
        entries
            .iter()
            .map(|entry| {
                let outcome = match &entry.act {
                    Act::Tell => self.append_tell(entry),
                    Act::Message { mentions, mentions_everyone, reply_to } => {
                        self.append_message(entry, mentions, *mentions_everyone, *reply_to)
                    }
                    Act::Change(change) => self.append_change(entry, *change),
                    Act::Membership(membership) => self.append_membership(entry, membership),
                    Act::Contact(event) => self.append_contact(entry, event),
                    Act::Settings(settings) => self.append_settings(entry, *settings),
                    Act::Conversation(conversation, act) => self.append_view(entry, *conversation, act),
                }?;
                let is_told = match &outcome {
                    Ok(_) | Err(Refused::Unchanged) => true,
                    // The user's own log is gone: there is nobody to tell.
                    Err(Refused::NotMember) => entry.conversation == entry.sender.personal_log(),
                    Err(_) => false,
                };
                if let Some(effect) = entry.settles.filter(|_| is_told) {
                    self.settle(effect)?;
                }
                Ok(outcome)
            })
            .collect()
    }

    fn append_tell(&mut self, entry: &NewEntry) -> rusqlite::Result<Outcome> {
        let Some((log, _)) = self.seat(entry)? else { return self.duplicate_or(entry, Refused::NotMember) };
        if log.dissolved {
            return self.duplicate_or(entry, Refused::Dissolved);
        }
        self.place_or_duplicate(entry, log, Written::of(entry))
    }

    /// The path of nearly every entry: one insert, which also finds duplicates.
    fn append_message(
        &mut self,
        entry: &NewEntry,
        mentions: &[UserId],
        everyone: bool,
        reply_to: u64,
    ) -> rusqlite::Result<Outcome> {
        let Some((log, member)) = self.seat(entry)? else { return self.duplicate_or(entry, Refused::NotMember) };
        let withheld = match self.may_write(entry, log, member, column(entry.sender.get()))? {
            Ok(withheld) => withheld,
            Err(refused) => return self.duplicate_or(entry, refused),
        };
        if everyone && log.kind == ConversationKind::Group && member.role == Role::Member {
            return self.duplicate_or(entry, Refused::RoleTooLow);
        }
        if bound(reply_to) > log.last_position {
            return self.duplicate_or(entry, Refused::AnswersNothing);
        }
        let outcome = self.place_or_duplicate(entry, log, Written { withheld, ..Written::of(entry) })?;
        if let Ok(Appended { duplicate: false, withheld: false, position, .. }) = outcome
            && (everyone || !mentions.is_empty())
        {
            let mut mention = self.prepared(
                "INSERT INTO mentions (conversation, user, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?;
            let users = mentions.iter().map(|user| user.get()).chain(everyone.then_some(EVERYONE));
            for user in users {
                mention.execute([column(entry.conversation.get()), column(user), column(position)])?;
            }
        }
        Ok(outcome)
    }

    /// The entry's log and its sender as a member of it; `None` if there is no such member.
    pub(super) fn seat(&mut self, entry: &NewEntry) -> rusqlite::Result<Option<(Log, Member)>> {
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        let Some(log) = self.log(conversation)? else { return Ok(None) };
        Ok(self.member(conversation, sender)?.map(|member| (log, member)))
    }

    /// The personal log that the entry is for, if it is its sender's.
    pub(super) fn own_log(&mut self, entry: &NewEntry) -> rusqlite::Result<Option<Log>> {
        let seat = self.seat(entry)?;
        Ok(seat.map(|(log, _)| log).filter(|log| log.kind == ConversationKind::Personal))
    }

    /// Inserts a member's entry at the log's end and moves the member's read position to it; a duplicate is answered.
    pub(super) fn place_or_duplicate(
        &mut self,
        entry: &NewEntry,
        log: Log,
        written: Written<'_>,
    ) -> rusqlite::Result<Outcome> {
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        match self.insert(entry, log, written)? {
            Some((log, revision)) => {
                self.move_read_position(conversation, sender, log.last_position, revision);
                Ok(Ok(Appended { withheld: written.withheld, ..appended(entry, log) }))
            }
            // It was in the index a moment ago.
            None => self.duplicate_or(entry, Refused::IdReused),
        }
    }

    /// Inserts the entry at the log's end, and returns the log after it with the entry's revision; `None` if the id
    /// was used before.
    pub(super) fn insert(
        &mut self,
        entry: &NewEntry,
        log: Log,
        written: Written<'_>,
    ) -> rusqlite::Result<Option<(Log, i64)>> {
        let conversation = column(entry.conversation.get());
        let counts = matches!(entry.act, Act::Message { .. }) && !written.withheld;
        let log = Log { last_position: log.last_position + 1, messages: log.messages + i64::from(counts), ..log };
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
            written.content.as_ref(),
            written.kind,
            written.target.map(column),
            written.withheld
        ])?;
        if inserted == 0 {
            self.take_back(given);
            return Ok(None);
        }
        self.remember_log(conversation, log);
        Ok(Some((log, revision)))
    }

    /// The outcome of an entry whose id its sender used before, or this refusal.
    pub(super) fn duplicate_or(&mut self, entry: &NewEntry, refused: Refused) -> rusqlite::Result<Outcome> {
        Ok(self.duplicate(entry)?.unwrap_or(Err(refused)))
    }

    /// The outcome of an entry whose id its sender used before; `None` if it was not.
    pub(super) fn duplicate(&mut self, entry: &NewEntry) -> rusqlite::Result<Option<Outcome>> {
        let stored = self
            .prepared(
                "SELECT conversation, position, time_ms, withheld, kind, content FROM entries
                 WHERE id = ?1 AND sender = ?2",
            )?
            .query_row(params![entry.id.as_bytes(), column(entry.sender.get())], |row| {
                let content = Bytes::copy_from_slice(row.get_ref(5)?.as_blob()?);
                let place: (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((place, row.get::<_, bool>(3)?, row.get::<_, u32>(4)?, content))
            })
            .optional()?;
        let Some(((conversation, position, time_ms), withheld, kind, content)) = stored else { return Ok(None) };
        let same = content == entry.content || may_have_become(&entry.act, kind, &content);
        if conversation != column(entry.conversation.get()) || !same {
            return Ok(Some(Err(Refused::IdReused)));
        }
        let Some(log) = self.log(conversation)? else { return Ok(Some(Err(Refused::NotMember))) };
        Ok(Some(Ok(Appended {
            position: position.cast_unsigned(),
            time_ms,
            duplicate: true,
            // What was erased is not told again.
            content: (content != entry.content).then_some(content),
            withheld,
            ..appended(entry, log)
        })))
    }

    /// Notes what an entry has to tell in somebody's personal log.
    pub(super) fn insert_effect(
        &mut self,
        entry: &NewEntry,
        user: UserId,
        kind: content::Kind,
    ) -> rusqlite::Result<()> {
        self.note_effect(&Telling { user, time_ms: entry.time_ms, content: kinds::encoded(kind) }, None)
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

    fn settle(&mut self, effect: Revision) -> rusqlite::Result<()> {
        self.prepared("DELETE FROM effects WHERE revision = ?1")?.execute([column(effect.0)])?;
        Ok(())
    }
}

/// In the place of a mentioned user: all are.
pub(super) const EVERYONE: u64 = 0;

/// Whether this may be stored of an entry that was appended with another content: part of it was erased since, or what
/// it says follows from what the contact was.
fn may_have_become(act: &Act, kind: u32, content: &Bytes) -> bool {
    match act {
        Act::Message { .. } => kind == kinds::RECALLED,
        &Act::Change(Change { target, kind: ChangeKind::Edit { .. } }) => *content == kinds::erased_edit(target),
        Act::Contact(event) => kinds::kind(content).is_some_and(|content| contacts::may_tell(event, &content)),
        Act::Conversation(conversation, ConversationAct::Draft(_)) => {
            *content == kinds::erased_draft(conversation.get())
        }
        _ => false,
    }
}

/// The outcome of an entry that is the log's last.
pub(super) fn appended(entry: &NewEntry, log: Log) -> Appended {
    Appended {
        position: log.last_position.cast_unsigned(),
        time_ms: entry.time_ms,
        duplicate: false,
        kind: log.kind,
        audience: match log.kind {
            ConversationKind::Group => Audience::Group(entry.conversation.group()),
            _ => Audience::Users(users(log.users)),
        },
        entered: Vec::new(),
        exited: Vec::new(),
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
