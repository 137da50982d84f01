//! Entries to be appended, what they do beside being there, and what became of them.

use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, GroupId, UserId,
    wire::{self, ConversationKind, Role, WritePolicy},
};

use crate::Revision;

/// An entry to be appended.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// The log.
    pub conversation: ConversationId,
    /// Whoever sends it; must be a member (of a personal log: the user), or enter by this very entry.
    pub sender: UserId,
    /// With the sender, its key for good.
    pub id: EntryId,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The encoded content. Of [`Act::Contact`] and [`Act::Settings`] it is not looked at: what the entry says follows from
    /// what the contact was, or the settings were.
    pub content: Bytes,
    /// What it does beside being there, in the same transaction.
    pub act: Act,
    /// The effect that this entry carries out: removed in the same transaction, also if nothing had to be appended, or the
    /// user it was for is gone ([`Refused::NotMember`]).
    pub settles: Option<Revision>,
}

/// What an entry does, by kind. Whether it may is checked in the transaction that does it.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "few are under way at a time, and they are moved as vectors of entries")]
pub enum Act {
    /// Nothing: it only tells.
    Tell,
    /// It is a message, which counts as unread. Refused to who is [muted](Refused::Muted), in a dissolved group, and by
    /// those who accept messages from [friends only](Refused::FriendsOnly). Written to somebody who blocked the sender, it is
    /// [withheld](Appended::withheld).
    Message {
        /// The users mentioned. Those who are not members are kept all the same, for when they are.
        mentions: Vec<UserId>,
        /// All are mentioned. In a group, refused to who is neither owner nor admin.
        mentions_everyone: bool,
        /// The position of what it answers; 0: nothing. Refused if the log does not go so far
        /// ([`Refused::AnswersNothing`]): what will be there is not what was answered.
        reply_to: u64,
    },
    /// It changes a message of the same log; withheld as messages are.
    Change(Change),
    /// It changes a group or who is a member of it.
    Membership(Membership),
    /// It changes a contact of the sender, in the sender's personal log.
    Contact(ContactEvent),
    /// It changes the sender's settings, in the sender's personal log, which tells what they are from then on.
    Settings(SettingsChange),
    /// It changes how the sender sees a conversation, in the sender's personal log.
    Conversation(ConversationId, ConversationAct),
}

/// A change of a message. The message must be one, not recalled, and visible to the sender, else
/// [`Refused::NoSuchMessage`]. Refused where a message would be, and withheld where it would
/// be; but whoever may not write a message may still recall one, and a recall is withheld only if the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The position of the message.
    pub target: u64,
    /// What is done to it.
    pub kind: ChangeKind,
}

/// What is done to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Another content, of the same kind (see [`content_kind`]): by its sender, if it was sent at or after this time.
    Edit {
        /// Milliseconds since 1970.
        not_before_ms: i64,
    },
    /// Its content, that of its edits, and its mentions are erased: by its sender, if it was sent at or after this time, or by
    /// those who may remove the sender from the group, whenever.
    Recall {
        /// Milliseconds since 1970.
        not_before_ms: i64,
    },
    /// A reaction, or its removal: by every member.
    React,
    /// A pin (`true`) or its removal: in a group by owner and admins, else by both.
    Pin(bool),
}

/// What an entry does to a group and to who is a member. For everybody who enters or exits, it also notes an [`Effect`](crate::Effect) for
/// that user's personal log.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// Makes the conversation, a group's. Without it the conversation must exist.
    pub create: bool,
    /// Who becomes a member, with the read position at this entry; members stay as they are. Refused if one is banned.
    pub enter: Vec<(UserId, Role)>,
    /// Who ceases to be one; others are passed over, and so is an `enter` of the same user.
    pub exit: Vec<UserId>,
    /// Who may not enter again.
    pub ban: Vec<UserId>,
    /// Whose ban is lifted.
    pub lift: Vec<UserId>,
    /// Members who have another role now; others are passed over, but for an owner to be, who must be a member
    /// ([`Refused::NothingThere`]): no group is left without an owner.
    pub roles: Vec<(UserId, Role)>,
    /// Users who are muted until a time (milliseconds since 1970; 0: no longer), members or not: to leave and to enter again
    /// changes nothing of it.
    pub mute: Vec<(UserId, i64)>,
    /// The sender's name in the group; empty: none.
    pub nickname: Option<String>,
    /// What the group is now.
    pub change: wire::GroupChanged,
    /// Nothing is written after this entry, but that members leave.
    pub dissolve: bool,
    /// The sender's role must be at least this.
    pub at_least: Role,
    /// The sender's role must be above that of each of these who is a member.
    pub above: Vec<UserId>,
}

/// What happens to a contact, as the owner of the personal log sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactEvent {
    /// The other user.
    pub peer: UserId,
    /// What happens.
    pub what: ContactAct,
}

/// What happens to a contact; see [`contacts::step`](crate::contacts::step). Those `…ed` come from the other user, by an
/// [`Effect`](crate::Effect); where they do not fit any more, they are [`Refused::Unchanged`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContactAct {
    /// The user asks, with a message. If the other has asked already, they are friends.
    Request(String),
    /// The user takes the request back.
    Withdraw,
    /// The user accepts (`true`) or refuses.
    Answer(bool),
    /// The user ends the friendship.
    Remove,
    /// The user's own name for the other.
    Remark(String),
    /// The user blocks the other, or no longer.
    Block(bool),
    /// The other asks.
    Requested(String),
    /// The other took the request back.
    Withdrawn,
    /// The other accepted (`true`) or refused.
    Answered(bool),
    /// The other ended the friendship.
    Removed,
}

/// Settings of a user that others' entries depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserSettings {
    /// Who may write.
    pub write_policy: WritePolicy,
    /// Nobody sees when the user is online.
    pub invisible: bool,
}

/// What of a user's settings changes; `None`: stays as it is. Two changes at once are both made, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SettingsChange {
    /// Who may write.
    pub write_policy: Option<WritePolicy>,
    /// Whether nobody sees when the user is online.
    pub invisible: Option<bool>,
}

impl SettingsChange {
    /// What the settings become.
    pub fn apply(self, to: UserSettings) -> UserSettings {
        UserSettings {
            write_policy: self.write_policy.unwrap_or(to.write_policy),
            invisible: self.invisible.unwrap_or(to.invisible),
        }
    }
}

/// How a user sees a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum ConversationAct {
    /// These settings.
    Settings(wire::ConversationSettings),
    /// This draft, `None`: no draft. The entry that told the one before is erased. Refused if it answers what is not there
    /// ([`Refused::AnswersNothing`]), as the message would be.
    Draft(Option<wire::Draft>),
    /// Without these messages, and those up to a position.
    Delete {
        /// One by one.
        positions: Vec<u64>,
        /// All up to this; 0: none.
        up_to: u64,
    },
}

/// Who should hear of an appended entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// The members of a direct conversation, or the owner of a personal log.
    Users(Vec<UserId>),
    /// The members of a group.
    Group(GroupId),
}

/// An entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub position: u64,
    /// Its time: that of the first append.
    pub time_ms: i64,
    /// Whether it was there before this append.
    pub duplicate: bool,
    /// The kind of log.
    pub kind: ConversationKind,
    /// Who should hear of it.
    pub audience: Audience,
    /// Those who became members by it (not those who were).
    pub entered: Vec<UserId>,
    /// Those who ceased to be members by it.
    pub exited: Vec<UserId>,
    /// What it says, if that is not what it was appended with (see [`NewEntry::content`]).
    pub content: Option<Bytes>,
    /// The other user has blocked the sender: to the other, the entry reads as hidden, for ever, and does not count.
    pub withheld: bool,
}

/// An entry was not appended; nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The sender is not a member, or there is no such conversation.
    #[error("the sender is not a member of the conversation")]
    NotMember,
    /// The sender used the id before for an entry of another conversation or with another content.
    #[error("the id was used before for something else")]
    IdReused,
    /// The group would have more than `limits::MEMBERS_MAX` members.
    #[error("the group would have too many members")]
    TooManyMembers,
    /// The group would have more than `limits::ADMINS_MAX` admins.
    #[error("the group would have too many admins")]
    TooManyAdmins,
    /// The sender's role does not allow it.
    #[error("the sender's role does not allow it")]
    RoleTooLow,
    /// The sender, or the group, is muted until this time (milliseconds since 1970; 0: until somebody lifts it).
    #[error("muted")]
    Muted(i64),
    /// The group was dissolved.
    #[error("the group was dissolved")]
    Dissolved,
    /// The other accepts messages from friends only.
    #[error("the other accepts messages from friends only")]
    FriendsOnly,
    /// The sender has blocked the other.
    #[error("the sender has blocked the other")]
    Blocking,
    /// This user was banned from the group.
    #[error("user {0} was banned from the group")]
    Banned(UserId),
    /// There is no message at that position, or it was recalled.
    #[error("there is no such message")]
    NoSuchMessage,
    /// It answers what the log does not hold yet.
    #[error("it answers what is not there yet")]
    AnswersNothing,
    /// The message is not the sender's.
    #[error("the message is not the sender's")]
    NotTheSenders,
    /// The message is too old for it.
    #[error("the message is too old")]
    TooLate,
    /// An edit is of another kind than the message.
    #[error("an edit does not change a message's kind")]
    OtherKind,
    /// The owner cannot leave, or be removed.
    #[error("the owner cannot leave")]
    IsOwner,
    /// They are friends already.
    #[error("they are friends already")]
    AlreadyFriends,
    /// They are no friends, or there is no request to answer or to take back.
    #[error("there is nothing of the kind to change")]
    NothingThere,
    /// It is so already, such as that all who are to enter a group are members: there is nothing to tell, and nothing was
    /// appended. Not a failure.
    #[error("it is so already")]
    Unchanged,
}

/// The number of a content's kind, its field in `Content`; 0 if it has none that can be told.
pub fn content_kind(content: &[u8]) -> u32 {
    // The kind is one of the fields below 50 or from 90 on; what belongs to all kinds is between.
    let mut rest = content;
    let mut kind = 0;
    while let Ok((tag, wire_type)) = prost::encoding::decode_key(&mut rest) {
        if !(50..90).contains(&tag) {
            kind = tag;
        }
        if prost::encoding::skip_field(wire_type, tag, &mut rest, prost::encoding::DecodeContext::default()).is_err() {
            return 0;
        }
    }
    kind
}
