//! How far members have read and received.

use protocol::{UserId, limits, wire::ConversationKind};

use super::{Ledger, Log, Member, standing, users};
use crate::{Audience, Moved, ReadMark};

/// Moves a read position forward; `None` if it did not move.
pub(crate) fn mark_read<L: Ledger>(ledger: &mut L, mark: &ReadMark) -> Result<Option<Moved>, L::Error> {
    let Some((log, member)) = seat(ledger, mark)? else { return Ok(None) };
    let position = mark.position.min(log.last_position);
    if position <= member.read_position {
        return Ok(None);
    }
    ledger.move_member(mark.conversation, mark.user, Member { read_position: position, ..member }, true)?;
    moved(ledger, mark, log, position).map(Some)
}

/// Moves a delivered position forward; `None` if it did not move.
pub(crate) fn mark_delivered<L: Ledger>(ledger: &mut L, mark: &ReadMark) -> Result<Option<Moved>, L::Error> {
    let Some((log, member)) = seat(ledger, mark)? else { return Ok(None) };
    let position = mark.position.min(log.last_position);
    if position <= member.delivered_position.max(member.read_position) {
        return Ok(None);
    }
    // It shows in the other's head, and nowhere else.
    let told = log.kind == ConversationKind::Direct;
    ledger.move_member(mark.conversation, mark.user, Member { delivered_position: position, ..member }, told)?;
    moved(ledger, mark, log, position).map(Some)
}

fn seat<L: Ledger>(ledger: &mut L, mark: &ReadMark) -> Result<Option<(Log, Member)>, L::Error> {
    let Some(log) = ledger.log(mark.conversation)? else { return Ok(None) };
    Ok(ledger.member(mark.conversation, mark.user)?.map(|member| (log, member)))
}

fn moved<L: Ledger>(ledger: &mut L, mark: &ReadMark, log: Log, position: u64) -> Result<Moved, L::Error> {
    let audience = match log.kind {
        ConversationKind::Direct if !blocks(ledger, mark.user, log)? => Audience::Users(users(log)),
        ConversationKind::Group if log.members <= limits::LIVE_RECEIPTS_MEMBERS_MAX => {
            Audience::Group(mark.conversation.group())
        }
        _ => Audience::Users(vec![mark.user]),
    };
    Ok(Moved { position, audience })
}

/// Whether a user of a direct conversation has blocked the other.
fn blocks<L: Ledger>(ledger: &mut L, user: UserId, log: Log) -> Result<bool, L::Error> {
    Ok(ledger.standing(user, standing::other(log, user))?.blocked)
}
