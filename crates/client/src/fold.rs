//! What entries amount to: the state of a conversation, and of the user's own affairs, computed from their logs.
//!
//! Pure, and the same whatever the order in which entries are applied, and however often: each part of the state is told
//! by the entry with the largest position that speaks of it. So a view may begin with the last entries, grow backwards as
//! somebody scrolls, and forwards as entries come. What it tells is complete for the messages between the first and the last
//! entry as long as there is no gap between these.

mod affairs;
mod conversation;
mod group;
#[cfg(test)]
mod tests;

pub use affairs::{Affairs, ContactView, Deleted, JoinRequestView, RequestView};
pub use conversation::{ConversationView, Former, MessageView, Unread};
pub use group::{GroupView, MemberView};

use protocol::wire::content::Kind;

/// Something that the entry with the largest position tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Latest<T> {
    position: u64,
    value: T,
}

impl<T> Latest<T> {
    fn tell(&mut self, position: u64, value: T) {
        if position >= self.position {
            *self = Self { position, value };
        }
    }
}

/// Whether entries of this kind are messages, which can be unread. A message that was recalled still counts as one; one
/// that is hidden from the reader does not.
pub fn is_message(kind: &Kind) -> bool {
    use Kind::{
        BansLifted, BlockChanged, Card, ConversationChanged, Custom, DraftChanged, Edit, FriendAdded, FriendRemoved,
        FriendRequestClosed, FriendRequested, GroupChanged, GroupCreated, GroupDissolved, GroupEntered, GroupExited,
        Hidden, JoinRequestClosed, JoinRequested, Link, MemberJoined, MemberLeft, MembersAdded, MembersMuted,
        MembersRemoved, MessagesDeleted, NicknameChanged, Opaque, OwnerChanged, PasswordChanged, Pin, ProfileChanged,
        Reaction, Recall, Recalled, RemarkChanged, RoleChanged, SessionEnded, SessionStarted, SettingsChanged, Text,
    };
    match kind {
        Text(_) | Link(_) | Card(_) | Custom(_) | Opaque(_) | Recalled(_) => true,
        Hidden(_)
        | GroupCreated(_)
        | MembersAdded(_)
        | MemberJoined(_)
        | MemberLeft(_)
        | MembersRemoved(_)
        | BansLifted(_)
        | RoleChanged(_)
        | OwnerChanged(_)
        | MembersMuted(_)
        | GroupChanged(_)
        | NicknameChanged(_)
        | GroupDissolved(_)
        | Edit(_)
        | Recall(_)
        | Reaction(_)
        | Pin(_)
        | GroupEntered(_)
        | GroupExited(_)
        | SessionStarted(_)
        | SessionEnded(_)
        | PasswordChanged(_)
        | ProfileChanged(_)
        | SettingsChanged(_)
        | FriendRequested(_)
        | FriendAdded(_)
        | FriendRequestClosed(_)
        | FriendRemoved(_)
        | RemarkChanged(_)
        | BlockChanged(_)
        | ConversationChanged(_)
        | DraftChanged(_)
        | MessagesDeleted(_)
        | JoinRequested(_)
        | JoinRequestClosed(_) => false,
    }
}
