//! Who may write.

use protocol::{
    UserId,
    wire::{ConversationKind, Role, WritePolicy},
};

use super::{Ledger, Log, Member};
use crate::{NewEntry, Refused};

/// Whether the sender may write a message or a change of one, and if so, whether it is withheld from the other.
pub(super) fn may_write<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    log: Log,
    member: Member,
) -> Result<Result<bool, Refused>, L::Error> {
    if log.dissolved {
        return Ok(Err(Refused::Dissolved));
    }
    match log.kind {
        ConversationKind::Group if log.muted && member.role == Role::Member => Ok(Err(Refused::Muted(0))),
        ConversationKind::Group if member.muted_until_ms > entry.time_ms => {
            Ok(Err(Refused::Muted(member.muted_until_ms)))
        }
        ConversationKind::Direct if log.users.0 != log.users.1 => {
            let peer = other(log, entry.sender);
            let theirs = ledger.standing(peer, entry.sender)?;
            if ledger.settings(peer)?.write_policy == WritePolicy::Friends && !theirs.friend {
                return Ok(Err(Refused::FriendsOnly));
            }
            if ledger.standing(entry.sender, peer)?.blocked {
                return Ok(Err(Refused::Blocking));
            }
            Ok(Ok(theirs.blocked))
        }
        _ => Ok(Ok(false)),
    }
}

/// The other user of a direct conversation, or the user if there is no other.
pub(super) fn other(log: Log, user: UserId) -> UserId {
    if log.users.0 == user { log.users.1 } else { log.users.0 }
}
