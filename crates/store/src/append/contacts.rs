//! Contacts and settings.

use protocol::UserId;

use super::{Ledger, Outcome, Written, duplicate, duplicate_or, own_log, place_or_duplicate};
use crate::{
    Appended, ContactAct, ContactEvent, NewEntry, Refused, SettingsChange, Telling, contacts, content_kind, kinds,
};

pub(super) fn append<L: Ledger>(ledger: &mut L, entry: &NewEntry, event: &ContactEvent) -> Result<Outcome, L::Error> {
    if let Some(outcome) = duplicate(ledger, entry)? {
        return Ok(outcome);
    }
    let Some(log) = own_log(ledger, entry)? else { return Ok(Err(Refused::NotMember)) };
    if let Some(effect) = entry.settles
        && !ledger.is_waiting(effect)?
    {
        // It was carried out before, and found nothing to do then: what is now is none of its business.
        return Ok(Err(Refused::Unchanged));
    }
    let row = ledger.contact(entry.sender, event.peer)?;
    let step = match contacts::step(entry.sender, row, event, entry.time_ms) {
        Ok(step) => step,
        Err(refused) => return Ok(Err(refused)),
    };
    let content = kinds::encoded(step.content);
    let kind = content_kind(&content);
    let outcome = place_or_duplicate(ledger, entry, log, Written { content: &content, kind, ..Written::of(entry) })?;
    ledger.store_contact(entry.sender, &step.row)?;
    if let ContactAct::Block(blocked) = event.what {
        note_blocked(ledger, entry.sender, event.peer, blocked)?;
    }
    if let Some(tell) = step.tell {
        let telling = Telling { user: event.peer, time_ms: entry.time_ms, content: kinds::encoded(tell) };
        ledger.note_effect(&telling, Some(entry.sender))?;
    }
    Ok(outcome.map(|appended| Appended { content: Some(content), ..appended }))
}

/// Notes in the direct conversation, if there is one, that `user` has blocked `peer`, or no longer.
fn note_blocked<L: Ledger>(ledger: &mut L, user: UserId, peer: UserId, blocked: bool) -> Result<(), L::Error> {
    let Some(conversation) = ledger.direct(user, peer)? else { return Ok(()) };
    let Some(log) = ledger.log(conversation)? else { return Ok(()) };
    ledger.store_blocked_at(conversation, user, blocked.then_some(log.last_position))?;
    // As long as it lasts, what the user does is no change for the other; what was before and comes after is.
    let shown = if blocked { peer } else { user };
    match ledger.member(conversation, shown)? {
        Some(member) => ledger.move_member(conversation, shown, member, true),
        None => Ok(()),
    }
}

pub(super) fn append_settings<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    change: SettingsChange,
) -> Result<Outcome, L::Error> {
    let Some(log) = own_log(ledger, entry)? else { return duplicate_or(ledger, entry, Refused::NotMember) };
    // Told also if it is so already: its id has to be known, or a late retry would undo what came between.
    let settings = change.apply(ledger.settings(entry.sender)?);
    let content = kinds::settings_changed(settings);
    let kind = content_kind(&content);
    let outcome = place_or_duplicate(ledger, entry, log, Written { content: &content, kind, ..Written::of(entry) })?;
    if let Ok(Appended { duplicate: false, .. }) = outcome {
        ledger.store_settings(entry.sender, settings)?;
    }
    Ok(outcome.map(|appended| Appended { content: appended.content.or(Some(content)), ..appended }))
}
