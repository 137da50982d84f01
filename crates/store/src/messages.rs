//! The logs: entries, members, read positions.

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, GroupId, UserId,
    wire::{self, ConversationKind, Entry, FriendRequest, Role, WritePolicy},
};

use crate::Result;

/// Where a store stands: grows with every change. A reader that has seen revision r has seen every change up to r, or
/// sees it when it asks for what came after r; a store that cannot tell exactly names an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

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
    /// The encoded content. Of [`Act::Contact`] it is not looked at: what the entry says follows from what the contact was.
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
    },
    /// It changes a message of the same log; withheld as messages are.
    Change(Change),
    /// It changes a group or who is a member of it.
    Membership(Membership),
    /// It changes a contact of the sender, in the sender's personal log.
    Contact(ContactEvent),
    /// It changes the sender's settings, in the sender's personal log.
    Settings(UserSettings),
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

/// What an entry does to a group and to who is a member. For everybody who enters or exits, it also notes an [`Effect`] for
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
    /// Members who are muted until a time (milliseconds since 1970; 0: no longer).
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
/// [`Effect`]; where they do not fit any more, they are [`Refused::Unchanged`].
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

/// How a user sees a conversation.
#[derive(Debug, Clone, PartialEq)]
pub enum ConversationAct {
    /// These settings.
    Settings(wire::ConversationSettings),
    /// This draft, `None`: no draft. The entry that told the one before is erased.
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
    /// What it says, if that is not what it was appended with (see [`Act::Contact`]).
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
    /// It is so already: there is nothing to tell, and nothing was appended. Not a failure.
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

/// Something that a committed transaction still has to tell in a user's personal log, for example that the user entered a
/// group. Kept until an entry [settles](NewEntry::settles) it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Its key; effects are told in this order.
    pub revision: Revision,
    /// Whose personal log.
    pub user: UserId,
    /// The id of the entry to append there; nobody can have used it before.
    pub id: EntryId,
    /// Milliseconds since 1970, of the entry that caused it.
    pub time_ms: i64,
    /// Its encoded content.
    pub content: Bytes,
    /// What it does there, if it concerns a contact.
    pub contact: Option<ContactEvent>,
}

/// Something to be told in a user's personal log, noted by whoever stores what it tells of, in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Whose personal log.
    pub user: UserId,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The encoded content.
    pub content: Bytes,
}

/// A user's read position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadMark {
    /// The log.
    pub conversation: ConversationId,
    /// The reader.
    pub user: UserId,
    /// Everything up to here is read.
    pub position: u64,
}

/// A position moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// To here.
    pub position: u64,
    /// Who should hear of it: the user, and in a direct conversation the other; all members of a small group.
    pub audience: Audience,
}

/// Which entries to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// The log.
    pub conversation: ConversationId,
    /// Entries after this position, or those before it.
    pub from: Headed,
    /// At most so many entries.
    pub limit: u32,
}

/// From a position in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Headed {
    /// The first ones after this position.
    After(u64),
    /// The last ones before this position.
    Before(u64),
}

/// What an entry counts in a page beside its content, in bytes: about what it takes in an answer.
pub const ENTRY_BYTES: usize = 100;

/// Entries of a log, ascending.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The log's last position.
    pub last_position: u64,
}

/// A conversation as one of its members sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadRow {
    /// The log.
    pub conversation: ConversationId,
    /// Its kind.
    pub kind: ConversationKind,
    /// DIRECT: the other user, or the user if there is no other.
    pub peer: Option<UserId>,
    /// When it last changed for this member.
    pub revision: Revision,
    /// The log's last position; 0: no entry yet.
    pub last_position: u64,
    /// The member's read position.
    pub read_position: u64,
    /// Messages after the read position; those that the member deleted count as read.
    pub unread: u64,
    /// DIRECT: the other's read position.
    pub peer_read_position: u64,
    /// The last entries, ascending.
    pub entries: Vec<Entry>,
    /// Messages after the read position that mention the member or everyone, and were not recalled.
    pub unread_mentions: u64,
    /// DIRECT: how far the other has received.
    pub peer_delivered_position: u64,
    /// The member's own settings, draft, and up to where the member has deleted everything.
    pub own: OwnView,
    /// The member's role.
    pub role: Role,
}

/// What a user has made of a conversation for the user alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnView {
    /// How it is shown.
    pub settings: Option<wire::ConversationSettings>,
    /// What is not sent yet.
    pub draft: Option<wire::Draft>,
    /// Everything up to here is deleted.
    pub deleted_up_to: u64,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// The member's name in the group; empty: none.
    pub nickname: String,
    /// Milliseconds since 1970; 0: not muted.
    pub muted_until_ms: i64,
    /// Received up to here.
    pub delivered_position: u64,
    /// Read up to here.
    pub read_position: u64,
}

/// A page of a conversation's members, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberPage {
    /// By ascending user id.
    pub members: Vec<MemberRow>,
    /// All members, of those asked for.
    pub total: u64,
}

/// What a user is to the owner of a contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactRow {
    /// The other user.
    pub peer: UserId,
    /// They are friends.
    pub friend: bool,
    /// A request that is not answered.
    pub request: FriendRequest,
    /// The request's message.
    pub message: String,
    /// The owner's name for the other.
    pub remark: String,
    /// The owner has blocked the other.
    pub blocked: bool,
    /// When friendship or request last changed, milliseconds since 1970.
    pub changed_ms: i64,
}

/// How many have received and read an entry, of the members other than its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiptCounts {
    /// The other members.
    pub members: u64,
    /// Of them, those who received it (reading is receiving).
    pub delivered: u64,
    /// Of them, those who read it.
    pub read: u64,
}

/// A step backwards through a log, looking for entries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scan {
    /// The messages as they say now (an edit's content in the place of the first), descending; not those that were recalled, or
    /// are hidden from the reader.
    pub messages: Vec<Entry>,
    /// Go on before this position; 0: this was all.
    pub next_before: u64,
}

/// What the message service stores.
#[async_trait]
pub trait Messages: Send + Sync + 'static {
    /// Appends entries in the order given, in one transaction; those refused do not stop the others. An entry by a
    /// member (of a conversation, or into it by its own membership) moves the sender's read position to itself.
    async fn append(&self, entries: Vec<NewEntry>) -> Result<Vec<std::result::Result<Appended, Refused>>>;

    /// The direct conversation of two users (perhaps the same), made with the id `new` if there is none. Two who call at
    /// once get the same one.
    async fn open_direct(&self, a: UserId, b: UserId, new: ConversationId) -> Result<ConversationId>;

    /// Reads pages of logs that `reader` is a member of (an owner, if personal); for others `None`. Together they hold
    /// at most `bytes_max` of content and [`ENTRY_BYTES`] each, and at least one entry if there is any; the first page without room is cut there,
    /// those after it hold no entries.
    async fn read_pages(&self, reader: UserId, pages: Vec<PageRequest>, bytes_max: usize) -> Result<Vec<Option<Page>>>;

    /// The conversations of `user` that changed after `since`, and not after `until` (if given), last changed first, at
    /// most `limit`, with up to `entries` last entries each; and the revision to ask from next time. The personal
    /// log is among them; direct conversations without an entry are not.
    ///
    /// No two heads have the same revision, so that the next page is asked for with `until` just before the last one's;
    /// what changes meanwhile is found from the first page's revision. The entries together hold at most
    /// `limits::PAGE_BYTES_MAX` of content: where that is used up, later heads bear fewer or none.
    async fn heads(
        &self,
        user: UserId,
        since: Revision,
        until: Option<Revision>,
        limit: u32,
        entries: u32,
    ) -> Result<(Vec<HeadRow>, Revision)>;

    /// Moves read positions forward, never back and never past the log's end; tells for each where it now stands and whom it
    /// concerns, or `None` where nothing moved or the user is no member. To a user whom the reader has blocked it does not
    /// move: what `heads` and `receipts` tell that user stays at the log's end of the time of the block.
    /// Reading is receiving: the delivered position moves along.
    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>>;

    /// The same for delivered positions.
    async fn mark_delivered(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<Moved>>>;

    /// The groups that a user is a member of.
    async fn groups_of(&self, user: UserId) -> Result<Vec<GroupId>>;

    /// A page of a conversation's members, by ascending user id after `after`; only owner and admins if `admins`. `None` if
    /// `reader` is not a member.
    async fn members(
        &self,
        reader: UserId,
        conversation: ConversationId,
        after: UserId,
        limit: u32,
        admins: bool,
    ) -> Result<Option<MemberPage>>;

    /// One member.
    async fn member(&self, conversation: ConversationId, user: UserId) -> Result<Option<MemberRow>>;

    /// How many members there are.
    async fn member_count(&self, conversation: ConversationId) -> Result<u64>;

    /// A group's owner and admins, by ascending id, at most `limit`.
    async fn administrators(&self, conversation: ConversationId, limit: u32) -> Result<Vec<UserId>>;

    /// Who is banned, by ascending id after `after`.
    async fn bans(&self, conversation: ConversationId, after: UserId, limit: u32) -> Result<Vec<UserId>>;

    /// Those of `users` who are members.
    async fn filter_members(&self, conversation: ConversationId, users: Vec<UserId>) -> Result<Vec<UserId>>;

    /// Those of `users` whose presence `user` may see: friends, and those who have written or read in a direct conversation with
    /// `user` (to be spoken to makes nobody a peer), but not those who are invisible or have blocked `user`.
    async fn filter_visible(&self, user: UserId, users: Vec<UserId>) -> Result<Vec<UserId>>;

    /// How many have received and read an entry; `None` if `reader` is not its sender, or no member.
    async fn receipts(
        &self,
        reader: UserId,
        conversation: ConversationId,
        position: u64,
    ) -> Result<Option<ReceiptCounts>>;

    /// The changes of these messages, ascending after a position; `None` if `reader` is not a member.
    async fn changes(
        &self,
        reader: UserId,
        conversation: ConversationId,
        targets: Vec<u64>,
        after: u64,
        limit: u32,
    ) -> Result<Option<Vec<Entry>>>;

    /// The messages that are pinned, those pinned last first, as they were sent; `None` if `reader` is not a member.
    async fn pins(&self, reader: UserId, conversation: ConversationId, limit: u32) -> Result<Option<Vec<Entry>>>;

    /// Looks at up to `entries` entries before a position (0: from the end); `None` if `reader` is not a member.
    async fn scan(
        &self,
        reader: UserId,
        conversation: ConversationId,
        before: u64,
        entries: u32,
    ) -> Result<Option<Scan>>;

    /// Whether the sender has used this id already.
    async fn is_used(&self, sender: UserId, id: EntryId) -> Result<bool>;

    /// The user's contacts, by ascending id after `after`.
    async fn contacts(&self, user: UserId, after: UserId, limit: u32) -> Result<Vec<ContactRow>>;

    /// What each of these users has `user` as a contact, and their settings; in the users' order.
    async fn standings(&self, user: UserId, of: Vec<UserId>) -> Result<Vec<(Option<ContactRow>, UserSettings)>>;

    /// A user's settings.
    async fn settings(&self, user: UserId) -> Result<UserSettings>;

    /// Effects not yet settled, oldest first.
    async fn effects(&self, limit: u32) -> Result<Vec<Effect>>;
}
