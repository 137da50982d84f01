//! What is done to messages: edits, recalls, reactions, pins.

use protocol::wire::{ConversationKind, Role};

use super::{Ledger, Log, Member, Outcome, Target, Written, duplicate, place_or_duplicate, seat, standing};
use crate::{Appended, Change, ChangeKind, NewEntry, Refused, content_kind, kinds};

pub(super) fn append<L: Ledger>(ledger: &mut L, entry: &NewEntry, change: Change) -> Result<Outcome, L::Error> {
    if let Some(outcome) = duplicate(ledger, entry)? {
        return Ok(outcome);
    }
    let Some((log, member)) = seat(ledger, entry)? else { return Ok(Err(Refused::NotMember)) };
    let recalls = matches!(change.kind, ChangeKind::Recall { .. });
    let withheld = match standing::may_write(ledger, entry, log, member)? {
        Ok(withheld) => withheld,
        // Who may not write may still take back.
        Err(Refused::Muted(_) | Refused::FriendsOnly | Refused::Blocking) if recalls => false,
        Err(refused) => return Ok(Err(refused)),
    };
    let target = match may_change(ledger, entry, change, log, member)? {
        Ok(target) => target,
        Err(refused) => return Ok(Err(refused)),
    };
    // A recall erases for both, so both are told. But nothing is told of a message that the other never saw: an edit would
    // say, after the block is over, what never was to arrive.
    let withheld = target.withheld || withheld && !recalls;
    let written = Written { target: Some(change.target), withheld, ..Written::of(entry) };
    let outcome = place_or_duplicate(ledger, entry, log, written)?;
    if let Ok(Appended { duplicate: false, position, .. }) = outcome {
        match change.kind {
            ChangeKind::Recall { .. } => ledger.erase_message(entry.conversation, change.target)?,
            ChangeKind::Pin(true) => {
                ledger.pin(entry.conversation, change.target, position, withheld.then_some(entry.sender))?;
            }
            ChangeKind::Pin(false) => unpin(ledger, entry, change.target, log, withheld)?,
            ChangeKind::Edit { .. } | ChangeKind::React => {}
        }
    }
    Ok(outcome)
}

/// Where the other of two does not see that a pin is taken back, it stays as long as that one sees a pin.
fn unpin<L: Ledger>(ledger: &mut L, entry: &NewEntry, target: u64, log: Log, withheld: bool) -> Result<(), L::Error> {
    ledger.unpin(entry.conversation, target, withheld.then_some(entry.sender))?;
    let (a, b) = log.users;
    let other = if entry.sender == a { b } else { a };
    if !withheld || !ledger.is_pinned(entry.conversation, target, other)? {
        ledger.forget_pin(entry.conversation, target)?;
    }
    Ok(())
}

fn may_change<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    change: Change,
    log: Log,
    member: Member,
) -> Result<Result<Target, Refused>, L::Error> {
    // One that the sender sees, and that is a message.
    let found = ledger
        .target(entry.conversation, change.target)?
        .filter(|target| !target.withheld || target.sender == entry.sender)
        .filter(|target| (1..=kinds::MESSAGE_MAX).contains(&target.kind));
    let Some(target) = found else { return Ok(Err(Refused::NoSuchMessage)) };
    let administers = log.kind == ConversationKind::Group && member.role >= Role::Admin;
    let is_own = target.sender == entry.sender;
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
            let author = ledger.member(entry.conversation, target.sender)?;
            author.is_some_and(|author| author.role >= member.role).then_some(Refused::RoleTooLow)
        }
        ChangeKind::Pin(_) if log.kind == ConversationKind::Group && !administers => Some(Refused::RoleTooLow),
        ChangeKind::Pin(true) => None,
        ChangeKind::Pin(false) => {
            (!ledger.is_pinned(entry.conversation, change.target, entry.sender)?).then_some(Refused::NothingThere)
        }
    };
    Ok(refused.map_or(Ok(target), Err))
}
