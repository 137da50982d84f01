//! What is done to messages: edits, recalls, reactions, pins.

use protocol::wire::{ConversationKind, Entry, Role};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    append::{Outcome, Written},
    convert::{self, ENTRY_COLUMNS, bound, column},
    logs::{Log, Member},
    standing::other,
    views::Sight,
    writer::Writer,
};
use crate::{Appended, Change, ChangeKind, NewEntry, Refused, content_kind, kinds};

/// A message that is to be changed.
#[derive(Debug, Clone, Copy)]
struct Target {
    sender: i64,
    kind: u32,
    time_ms: i64,
    withheld: bool,
}

impl Writer<'_> {
    pub(super) fn append_change(&mut self, entry: &NewEntry, change: Change) -> rusqlite::Result<Outcome> {
        if let Some(outcome) = self.duplicate(entry)? {
            return Ok(outcome);
        }
        let Some((log, member)) = self.seat(entry)? else { return Ok(Err(Refused::NotMember)) };
        let recalls = matches!(change.kind, ChangeKind::Recall { .. });
        let withheld = match self.may_write(entry, log, member, column(entry.sender.get()))? {
            Ok(withheld) => withheld,
            // Who may not write may still take back.
            Err(Refused::Muted(_) | Refused::FriendsOnly | Refused::Blocking) if recalls => false,
            Err(refused) => return Ok(Err(refused)),
        };
        let conversation = column(entry.conversation.get());
        let target = match self.may_change(entry, change, log, member)? {
            Ok(target) => target,
            Err(refused) => return Ok(Err(refused)),
        };
        // A recall erases for both, so both are told. But nothing is told of a message that the other never saw: an edit would
        // say, after the block is over, what never was to arrive.
        let withheld = target.withheld || withheld && !recalls;
        let written = Written { target: Some(change.target), withheld, ..Written::of(entry) };
        let outcome = self.place_or_duplicate(entry, log, written)?;
        if let Ok(Appended { duplicate: false, position, .. }) = outcome {
            match change.kind {
                ChangeKind::Recall { .. } => self.erase_message(conversation, change.target)?,
                ChangeKind::Pin(true) => self.pin(conversation, change.target, position, withheld)?,
                ChangeKind::Pin(false) => {
                    self.unpin(conversation, change.target, withheld.then(|| other(log, column(entry.sender.get()))))?;
                }
                ChangeKind::Edit { .. } | ChangeKind::React => {}
            }
        }
        Ok(outcome)
    }

    fn may_change(
        &mut self,
        entry: &NewEntry,
        change: Change,
        log: Log,
        member: Member,
    ) -> rusqlite::Result<Result<Target, Refused>> {
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        let Some(target) = self.target(conversation, change.target, sender)? else {
            return Ok(Err(Refused::NoSuchMessage));
        };
        let administers = log.kind == ConversationKind::Group && member.role >= Role::Admin;
        let is_own = target.sender == sender;
        let refused = match change.kind {
            ChangeKind::React => None,
            ChangeKind::Edit { .. } if !is_own => Some(Refused::NotTheSenders),
            ChangeKind::Edit { not_before_ms } if target.time_ms < not_before_ms => Some(Refused::TooLate),
            ChangeKind::Edit { .. } => {
                let kind = kinds::edited(&entry.content).map(|content| content_kind(content.as_bytes()));
                (kind != Some(target.kind)).then_some(Refused::OtherKind)
            }
            ChangeKind::Recall { not_before_ms } if is_own => {
                (target.time_ms < not_before_ms && !administers).then_some(Refused::TooLate)
            }
            ChangeKind::Recall { .. } if !administers => Some(Refused::NotTheSenders),
            ChangeKind::Recall { .. } => {
                let author = self.member(conversation, target.sender)?;
                author.is_some_and(|author| author.role >= member.role).then_some(Refused::RoleTooLow)
            }
            ChangeKind::Pin(_) if log.kind == ConversationKind::Group && !administers => Some(Refused::RoleTooLow),
            ChangeKind::Pin(true) => None,
            ChangeKind::Pin(false) => {
                let pinned = is_pinned(self.connection, conversation, column(change.target), sender)?;
                (!pinned).then_some(Refused::NothingThere)
            }
        };
        Ok(refused.map_or(Ok(target), Err))
    }

    /// The message at a position, if there is one that this user sees.
    fn target(&mut self, conversation: i64, position: u64, user: i64) -> rusqlite::Result<Option<Target>> {
        let found = self
            .prepared("SELECT sender, kind, time_ms, withheld FROM entries WHERE conversation = ?1 AND position = ?2")?
            .query_row([conversation, column(position)], |row| {
                Ok(Target { sender: row.get(0)?, kind: row.get(1)?, time_ms: row.get(2)?, withheld: row.get(3)? })
            })
            .optional()?;
        Ok(found
            .filter(|target| !target.withheld || target.sender == user)
            .filter(|target| (1..=kinds::MESSAGE_MAX).contains(&target.kind)))
    }

    /// Erases what a message says and said.
    fn erase_message(&mut self, conversation: i64, target: u64) -> rusqlite::Result<()> {
        let position = column(target);
        self.prepared("UPDATE entries SET content = ?3, kind = ?4 WHERE conversation = ?1 AND position = ?2")?
            .execute(params![conversation, position, kinds::recalled().as_ref(), kinds::RECALLED])?;
        self.prepared("UPDATE entries SET content = ?3 WHERE conversation = ?1 AND target = ?2 AND kind = ?4")?
            .execute(params![conversation, position, kinds::erased_edit(target).as_ref(), kinds::EDIT])?;
        self.prepared("DELETE FROM mentions WHERE conversation = ?1 AND position = ?2")?
            .execute([conversation, position])?;
        self.prepared("DELETE FROM pins WHERE conversation = ?1 AND target = ?2")?.execute([conversation, position])?;
        Ok(())
    }

    /// Pins a message. A pin that the other does not see leaves one that the other sees as it is.
    fn pin(&mut self, conversation: i64, target: u64, position: u64, withheld: bool) -> rusqlite::Result<()> {
        self.prepared(if withheld {
            "INSERT INTO pins (conversation, target, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING"
        } else {
            "INSERT INTO pins (conversation, target, position) VALUES (?1, ?2, ?3)
             ON CONFLICT (conversation, target) DO UPDATE SET position = excluded.position"
        })?
        .execute([conversation, column(target), column(position)])?;
        Ok(())
    }

    /// Removes a pin; if somebody does not see that, only once that one sees none.
    fn unpin(&mut self, conversation: i64, target: u64, withheld_from: Option<i64>) -> rusqlite::Result<()> {
        let target = column(target);
        if let Some(user) = withheld_from
            && is_pinned(self.connection, conversation, target, user)?
        {
            return Ok(());
        }
        self.prepared("DELETE FROM pins WHERE conversation = ?1 AND target = ?2")?.execute([conversation, target])?;
        Ok(())
    }
}

/// Whether a message is pinned as a user sees it: the last pin or removal that is shown to that user decides.
fn is_pinned(connection: &Connection, conversation: i64, target: i64, user: i64) -> rusqlite::Result<bool> {
    let content: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT content FROM entries INDEXED BY entries_by_target
             WHERE conversation = ?1 AND target = ?2 AND kind = ?3 AND (NOT withheld OR sender = ?4)
             ORDER BY revision DESC LIMIT 1",
        )?
        .query_row(params![conversation, target, kinds::PIN, user], |row| row.get(0))
        .optional()?;
    Ok(content.is_some_and(|content| kinds::pins(&content.into())))
}

/// The changes of these messages, ascending after a position.
pub(super) fn read(
    connection: &Connection,
    sight: &Sight<'_>,
    targets: &[u64],
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<Entry>> {
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    targets.dedup();
    let mut find = connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM entries INDEXED BY entries_by_target
         WHERE conversation = ?1 AND target = ?2 AND position > ?3 ORDER BY revision LIMIT ?4"
    ))?;
    let mut entries = Vec::new();
    for target in targets {
        let mut rows = find.query(params![sight.conversation(), column(target), bound(after), limit])?;
        while let Some(row) = rows.next()? {
            entries.push(sight.entry(row)?);
        }
    }
    entries.sort_unstable_by_key(|entry| entry.position);
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(entries)
}

/// The messages that are pinned, those pinned last first.
pub(super) fn pins(connection: &Connection, sight: &Sight<'_>, limit: u32) -> rusqlite::Result<Vec<Entry>> {
    // What somebody has pinned; where something was withheld, the two of a direct conversation differ.
    let mut pinned =
        connection.prepare_cached("SELECT target FROM pins WHERE conversation = ?1 ORDER BY position DESC")?;
    let mut message = connection
        .prepare_cached(&format!("SELECT {ENTRY_COLUMNS} FROM entries WHERE conversation = ?1 AND position = ?2"))?;
    let (mut rows, mut targets) = (pinned.query([sight.conversation()])?, Vec::new());
    while targets.len() < limit as usize
        && let Some(row) = rows.next()?
    {
        let target = row.get(0)?;
        if is_pinned(connection, sight.conversation(), target, sight.reader())? {
            targets.push(target);
        }
    }
    targets
        .into_iter()
        .map(|target| message.query_row([sight.conversation(), target], |row| sight.entry(row)))
        .collect()
}

/// What the message at a position says now for the reader, if it was edited.
pub(super) fn last_edit(
    connection: &Connection,
    sight: &Sight<'_>,
    position: u64,
) -> rusqlite::Result<Option<protocol::RawContent>> {
    let content: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT content FROM entries INDEXED BY entries_by_target
             WHERE conversation = ?1 AND target = ?2 AND kind = ?3 AND (NOT withheld OR sender = ?4)
             ORDER BY revision DESC LIMIT 1",
        )?
        .query_row(params![sight.conversation(), column(position), kinds::EDIT, sight.reader()], |row| row.get(0))
        .optional()?;
    Ok(content.and_then(|content| kinds::edited(&content.into())))
}

/// What a scan looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// Before this position; 0: from the end.
    pub(super) before: u64,
    /// At most so many entries.
    pub(super) entries: u32,
}

/// The messages among some entries, as they say now; see [`Messages::scan`](crate::Messages::scan).
pub(super) fn scan(connection: &Connection, sight: &Sight<'_>, range: Range) -> rusqlite::Result<crate::Scan> {
    let before = if range.before == 0 { i64::MAX } else { bound(range.before) };
    let mut scan = crate::Scan::default();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {ENTRY_COLUMNS} FROM entries WHERE conversation = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3"
    ))?;
    let mut rows = statement.query(params![sight.conversation(), before, range.entries])?;
    let (mut looked_at, mut last) = (0, 0);
    while let Some(row) = rows.next()? {
        looked_at += 1;
        last = convert::number(row, 0)?;
        if !convert::is_message(row)? || sight.is_hidden(row)? {
            continue;
        }
        let mut entry = sight.entry(row)?;
        if let Some(content) = last_edit(connection, sight, entry.position)? {
            entry.content = Some(content);
        }
        scan.messages.push(entry);
    }
    if looked_at == range.entries && last > 1 {
        scan.next_before = last;
    }
    Ok(scan)
}
