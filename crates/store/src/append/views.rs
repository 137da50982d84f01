//! What a user makes of a conversation for the user alone.

use protocol::ConversationId;

use super::{Ledger, Outcome, Written, duplicate_or, own_log, place_or_duplicate};
use crate::{Appended, ConversationAct, NewEntry, Refused};

pub(super) fn append<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    of: ConversationId,
    act: &ConversationAct,
) -> Result<Outcome, L::Error> {
    let user = entry.sender;
    let Some(log) = own_log(ledger, entry)? else { return duplicate_or(ledger, entry, Refused::NotMember) };
    if ledger.member(of, user)?.is_none() {
        return duplicate_or(ledger, entry, Refused::NotMember);
    }
    if let ConversationAct::Draft(Some(draft)) = act
        && draft.reply_to > 0
        && ledger.log(of)?.is_none_or(|log| draft.reply_to > log.last_position)
    {
        return duplicate_or(ledger, entry, Refused::AnswersNothing);
    }
    let outcome = place_or_duplicate(ledger, entry, log, Written::of(entry))?;
    if let Ok(Appended { duplicate: false, position, .. }) = outcome {
        match act {
            ConversationAct::Settings(settings) => ledger.store_view(user, of, settings)?,
            ConversationAct::Draft(draft) => ledger.store_draft(user, of, draft.as_ref(), position)?,
            ConversationAct::Delete { positions, up_to } => {
                let end = ledger.log(of)?.map_or(0, |log| log.last_position);
                let up_to = (*up_to).min(end);
                if up_to > 0 {
                    ledger.delete_up_to(user, of, up_to)?;
                }
                let there = up_to + 1..=end;
                let positions: Vec<u64> = positions.iter().copied().filter(|at| there.contains(at)).collect();
                if !positions.is_empty() {
                    ledger.delete_entries(user, of, &positions)?;
                }
            }
        }
    }
    Ok(outcome)
}
