//! The logs: entries, members, read positions.

use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, GroupId, UserId,
    wire::{self, ConversationKind, Entry, FriendRequest, Role},
};

use crate::{Appended, Audience, ContactEvent, NewEntry, Refused, Result, UserSettings};

/// Where a store stands: grows with every change. A reader that has seen revision r has seen every change up to r, or
/// sees it when it asks for what came after r; a store that cannot tell exactly names an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

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
    /// At most 10,000 at a time: with more of them, MySQL may not take what has to be in one packet.
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

    /// Those of `users` whose presence `user` may see: friends, as long as neither has ended it, and those who have written
    /// or read in a direct conversation with `user` (to be spoken to makes nobody a peer), but not those who are invisible or have blocked `user`.
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

    /// The entry that the sender appended with this id, and its log.
    async fn find_entry(&self, sender: UserId, id: EntryId) -> Result<Option<(ConversationId, Entry)>>;

    /// The user's contacts, by ascending id after `after`.
    async fn contacts(&self, user: UserId, after: UserId, limit: u32) -> Result<Vec<ContactRow>>;

    /// What each of these users has `user` as a contact, and their settings; in the users' order.
    async fn standings(&self, user: UserId, of: Vec<UserId>) -> Result<Vec<(Option<ContactRow>, UserSettings)>>;

    /// A user's settings.
    async fn settings(&self, user: UserId) -> Result<UserSettings>;

    /// Effects not yet settled, oldest first.
    async fn effects(&self, limit: u32) -> Result<Vec<Effect>>;
}

/// What is asked for by [`Messages::heads`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadsQuestion {
    pub(crate) user: UserId,
    pub(crate) since: Revision,
    pub(crate) until: Option<Revision>,
    pub(crate) limit: u32,
    pub(crate) entries: u32,
}
