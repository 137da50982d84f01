//! The logs: entries, members, read positions.

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, GroupId, UserId,
    wire::{ConversationKind, Entry, Role},
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
    /// The encoded content.
    pub content: Bytes,
    /// Whether it is a message, which counts as unread, or tells of something that happened.
    pub is_message: bool,
    /// What it does to who is a member.
    pub membership: Option<Membership>,
    /// The effect that this entry carries out: removed in the same transaction.
    pub settles: Option<Revision>,
}

/// What an entry does to who is a member, in its own transaction. For everybody who enters or exits, it also notes an
/// [`Effect`] for that user's personal log.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// Makes the conversation, a group's. Without it the conversation must exist.
    pub create: bool,
    /// Who becomes a member, with the read position at this entry; members stay as they are.
    pub enter: Vec<(UserId, Role)>,
    /// Who ceases to be one; others are passed over, and so is an `enter` of the same user.
    pub exit: Vec<UserId>,
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
}

/// Something that a committed entry of one log still has to tell in another: that a user entered or exited a group, in
/// the user's personal log. Kept until an entry [settles](NewEntry::settles) it.
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
    /// Messages after the read position.
    pub unread: u64,
    /// DIRECT: the other's read position.
    pub peer_read_position: u64,
    /// The last entries, ascending.
    pub entries: Vec<Entry>,
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

    /// Moves read positions forward, never back and never past the log's end; tells for each whom it concerns (the reader,
    /// in a direct conversation the other as well) and where it now stands, or `None` where nothing moved or the user is no
    /// member.
    async fn mark_read(&self, marks: Vec<ReadMark>) -> Result<Vec<Option<(Vec<UserId>, u64)>>>;

    /// The groups that a user is a member of.
    async fn groups_of(&self, user: UserId) -> Result<Vec<GroupId>>;

    /// A page of a group's members, by ascending user id after `after`, with their number in all; `None` if `reader` is not one.
    async fn members(
        &self,
        reader: UserId,
        conversation: ConversationId,
        after: UserId,
        limit: u32,
    ) -> Result<Option<(Vec<(UserId, Role)>, u64)>>;

    /// Those of `users` who are members.
    async fn filter_members(&self, conversation: ConversationId, users: Vec<UserId>) -> Result<Vec<UserId>>;

    /// Those of `users` who have written or read in a direct conversation with `user`: to be spoken to makes nobody a peer.
    async fn filter_peers(&self, user: UserId, users: Vec<UserId>) -> Result<Vec<UserId>>;

    /// Effects not yet settled, oldest first.
    async fn effects(&self, limit: u32) -> Result<Vec<Effect>>;
}
