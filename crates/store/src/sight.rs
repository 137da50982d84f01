//! What of a log a reader is shown: the same for every store.

use bytes::Bytes;
use protocol::UserId;

use crate::kinds;

/// An entry, as far as it matters whether it is shown.
pub(crate) struct Shown<'r> {
    pub(crate) position: u64,
    pub(crate) sender: UserId,
    pub(crate) kind: u32,
    /// It is for its sender alone.
    pub(crate) withheld: bool,
    pub(crate) content: &'r [u8],
}

/// Whether an entry is not for the reader, who has deleted all up to a position, and of what comes after it what
/// `is_deleted` tells.
pub(crate) fn is_hidden<E>(
    entry: &Shown<'_>,
    reader: UserId,
    deleted_up_to: u64,
    is_deleted: impl Fn(u64) -> Result<bool, E>,
) -> Result<bool, E> {
    if entry.withheld && entry.sender != reader {
        return Ok(true);
    }
    // Only messages are deleted, and what was done to them. What happened to the group stays: devices that come later
    // have to learn of it as those did that were there. So does what was done to a message that was not deleted.
    let is_message = (1..=kinds::RECALLED).contains(&entry.kind);
    if entry.position <= deleted_up_to {
        return Ok(is_message || kinds::is_change(entry.kind));
    }
    if is_message {
        return is_deleted(entry.position);
    }
    // It tells what its message says.
    let edited =
        (entry.kind == kinds::EDIT).then(|| kinds::edit_target(&Bytes::copy_from_slice(entry.content))).flatten();
    edited.map_or(Ok(false), |target| if target <= deleted_up_to { Ok(true) } else { is_deleted(target) })
}
