//! What appending does, and what it is refused for: the same for every store.
//!
//! These rules ask a [`Ledger`] for what is stored, and tell it what is to be stored from now on. A ledger is one
//! transaction: what was told it is what it answers.

mod changes;
mod contacts;
mod membership;
mod positions;
mod standing;
mod views;

use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, UserId,
    wire::{self, ConversationKind, GroupChanged, Role, content},
};

pub(crate) use positions::{mark_delivered, mark_read};

use crate::{
    Act, Appended, Audience, Change, ChangeKind, ContactRow, ConversationAct, NewEntry, Refused, Revision, Telling,
    UserSettings, content_kind, kinds,
};

/// What became of an entry.
pub(crate) type Outcome = Result<Appended, Refused>;

/// In the place of a mentioned user: all are.
pub(crate) const EVERYONE: UserId = UserId::new(0);

/// A log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    pub(crate) kind: ConversationKind,
    /// DIRECT: its users, the smaller id first. Others: the log's own id, twice; of a personal log that is the owner's.
    pub(crate) users: (UserId, UserId),
    /// How many members there are.
    pub(crate) members: u64,
    pub(crate) last_position: u64,
    /// How many of its entries are messages that count.
    pub(crate) messages: u64,
    /// GROUP: only owner and admins write.
    pub(crate) muted: bool,
    /// GROUP: nothing is written any more.
    pub(crate) dissolved: bool,
}

/// A member of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) muted_until_ms: i64,
    pub(crate) read_position: u64,
    /// Reading is receiving: what is received is the larger one of both.
    pub(crate) delivered_position: u64,
}

/// What matters of a contact when somebody writes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Standing {
    pub(crate) friend: bool,
    pub(crate) blocked: bool,
}

/// A message that is to be changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) sender: UserId,
    pub(crate) kind: u32,
    pub(crate) time_ms: i64,
    pub(crate) withheld: bool,
}

/// An entry that is there.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) conversation: ConversationId,
    pub(crate) position: u64,
    pub(crate) time_ms: i64,
    pub(crate) withheld: bool,
    pub(crate) kind: u32,
    pub(crate) content: Bytes,
}

/// What is written of an entry, beside what [`NewEntry`] tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'e> {
    pub(crate) content: &'e Bytes,
    pub(crate) kind: u32,
    /// A change: the position of its message.
    pub(crate) target: Option<u64>,
    pub(crate) withheld: bool,
}

impl<'e> Written<'e> {
    /// The entry as it was given.
    fn of(entry: &'e NewEntry) -> Self {
        Self { content: &entry.content, kind: content_kind(&entry.content), target: None, withheld: false }
    }
}

/// One transaction of a store, as the rules see it.
pub(crate) trait Ledger {
    /// Why something could not be read or written; ends the transaction.
    type Error;

    /// The log, if there is one.
    fn log(&mut self, conversation: ConversationId) -> Result<Option<Log>, Self::Error>;
    /// The member, if the user is one.
    fn member(&mut self, conversation: ConversationId, user: UserId) -> Result<Option<Member>, Self::Error>;
    /// What `peer` is to `owner`, when somebody writes.
    fn standing(&mut self, owner: UserId, peer: UserId) -> Result<Standing, Self::Error>;
    /// A user's settings.
    fn settings(&mut self, user: UserId) -> Result<UserSettings, Self::Error>;
    /// What `peer` is to `owner`, all of it.
    fn contact(&mut self, owner: UserId, peer: UserId) -> Result<Option<ContactRow>, Self::Error>;
    /// The direct conversation of two users.
    fn direct(&mut self, a: UserId, b: UserId) -> Result<Option<ConversationId>, Self::Error>;
    /// The entry that this sender appended with this id.
    fn stored(&mut self, sender: UserId, id: EntryId) -> Result<Option<Stored>, Self::Error>;
    /// What is at a position, if anything is.
    fn target(&mut self, conversation: ConversationId, position: u64) -> Result<Option<Target>, Self::Error>;
    /// Whether the message is pinned as a member sees it: the last pin or removal that is shown to the member decides.
    fn is_pinned(&mut self, conversation: ConversationId, target: u64, reader: UserId) -> Result<bool, Self::Error>;
    /// Whether the user was banned.
    fn is_banned(&mut self, conversation: ConversationId, user: UserId) -> Result<bool, Self::Error>;
    /// Until when somebody is muted who is no member; 0: not muted.
    fn kept_mute(&mut self, conversation: ConversationId, user: UserId) -> Result<i64, Self::Error>;
    /// How many members are admins.
    fn admins(&mut self, conversation: ConversationId) -> Result<u64, Self::Error>;
    /// Whether an effect is not settled yet.
    fn is_waiting(&mut self, effect: Revision) -> Result<bool, Self::Error>;

    /// Inserts the entry as the last one of `log`; `false`, and nothing is done, if its sender used its id before.
    fn insert(&mut self, entry: &NewEntry, log: Log, written: Written<'_>) -> Result<bool, Self::Error>;
    /// Whom the message at a position mentions; [`EVERYONE`]: all.
    fn mention(&mut self, conversation: ConversationId, position: u64, users: &[UserId]) -> Result<(), Self::Error>;
    /// Moves a member's positions. If `told`, heads are to show it, though no entry tells it.
    fn move_member(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        to: Member,
        told: bool,
    ) -> Result<(), Self::Error>;
    /// Notes what is to be told in the user's personal log, and which contact it changes there, under an id that nobody
    /// can have used before. One derived from the entry's could be guessed and used up, and the effect never be told.
    fn note_effect(&mut self, telling: &Telling, peer: Option<UserId>) -> Result<(), Self::Error>;
    /// Removes an effect.
    fn settle(&mut self, effect: Revision) -> Result<(), Self::Error>;

    /// Erases what a message says and said: its content, that of its edits, its mentions, its pin.
    fn erase_message(&mut self, conversation: ConversationId, target: u64) -> Result<(), Self::Error>;
    /// A message was pinned by the entry at `position`. If `only` one member sees that, a pin that is there stays.
    fn pin(
        &mut self,
        conversation: ConversationId,
        target: u64,
        position: u64,
        only: Option<UserId>,
    ) -> Result<(), Self::Error>;
    /// A pin was taken back; perhaps `only` one member sees that. What is kept of the pin stays.
    fn unpin(&mut self, conversation: ConversationId, target: u64, only: Option<UserId>) -> Result<(), Self::Error>;
    /// Keeps nothing of a pin any longer: nobody sees one.
    fn forget_pin(&mut self, conversation: ConversationId, target: u64) -> Result<(), Self::Error>;

    /// Makes a group's log.
    fn make_group_log(&mut self, conversation: ConversationId, log: Log) -> Result<(), Self::Error>;
    /// Keeps how many members the log has, and whether it is muted or dissolved.
    fn store_log(&mut self, conversation: ConversationId, log: Log) -> Result<(), Self::Error>;
    /// Inserts members of a group, who are none, with this read position.
    fn enter(
        &mut self,
        conversation: ConversationId,
        users: &[(UserId, Role)],
        read_position: u64,
    ) -> Result<(), Self::Error>;
    /// Deletes members.
    fn exit(&mut self, conversation: ConversationId, users: &[UserId]) -> Result<(), Self::Error>;
    /// Bans a user, or lifts that.
    fn store_ban(&mut self, conversation: ConversationId, user: UserId, banned: bool) -> Result<(), Self::Error>;
    /// Gives a member another role; passed over if the user is none.
    fn store_role(&mut self, conversation: ConversationId, user: UserId, role: Role) -> Result<(), Self::Error>;
    /// Keeps until when somebody is muted who is no member; 0: no longer.
    fn keep_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) -> Result<(), Self::Error>;
    /// Mutes a member until a time.
    fn store_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) -> Result<(), Self::Error>;
    /// A member's name in the group.
    fn store_nickname(&mut self, conversation: ConversationId, user: UserId, nickname: &str)
    -> Result<(), Self::Error>;
    /// What the group is now, but for what its log holds.
    fn store_group(&mut self, group: ConversationId, change: &GroupChanged) -> Result<(), Self::Error>;

    /// Keeps a contact; one who [is nothing](ContactRow::is_nothing) need not be.
    fn store_contact(&mut self, owner: UserId, row: &ContactRow) -> Result<(), Self::Error>;
    /// Keeps a user's settings.
    fn store_settings(&mut self, user: UserId, settings: UserSettings) -> Result<(), Self::Error>;
    /// Where the other's view of a member's reading ends; `None`: nowhere.
    fn store_blocked_at(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        position: Option<u64>,
    ) -> Result<(), Self::Error>;

    /// Keeps how a user has a conversation shown.
    fn store_view(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        settings: &wire::ConversationSettings,
    ) -> Result<(), Self::Error>;
    /// Keeps a draft, told at `position` of the user's personal log; the entry that told the one before is erased.
    fn store_draft(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        draft: Option<&wire::Draft>,
        position: u64,
    ) -> Result<(), Self::Error>;
    /// Hides all up to a position, unless it is so already.
    fn delete_up_to(&mut self, user: UserId, conversation: ConversationId, up_to: u64) -> Result<(), Self::Error>;
    /// Hides what is at these positions.
    fn delete_entries(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        positions: &[u64],
    ) -> Result<(), Self::Error>;
}

/// Appends an entry.
pub(crate) fn append<L: Ledger>(ledger: &mut L, entry: &NewEntry) -> Result<Outcome, L::Error> {
    let outcome = match &entry.act {
        Act::Tell => append_tell(ledger, entry),
        Act::Message { mentions, mentions_everyone, reply_to } => {
            append_message(ledger, entry, mentions, *mentions_everyone, *reply_to)
        }
        Act::Change(change) => changes::append(ledger, entry, *change),
        Act::Membership(membership) => membership::append(ledger, entry, membership),
        Act::Contact(event) => contacts::append(ledger, entry, event),
        Act::Settings(settings) => contacts::append_settings(ledger, entry, *settings),
        Act::Conversation(conversation, act) => views::append(ledger, entry, *conversation, act),
    }?;
    let is_told = match &outcome {
        Ok(_) | Err(Refused::Unchanged) => true,
        // The user's own log is gone: there is nobody to tell.
        Err(Refused::NotMember) => entry.conversation == entry.sender.personal_log(),
        Err(_) => false,
    };
    if let Some(effect) = entry.settles.filter(|_| is_told) {
        ledger.settle(effect)?;
    }
    Ok(outcome)
}

fn append_tell<L: Ledger>(ledger: &mut L, entry: &NewEntry) -> Result<Outcome, L::Error> {
    let Some((log, _)) = seat(ledger, entry)? else { return duplicate_or(ledger, entry, Refused::NotMember) };
    if log.dissolved {
        return duplicate_or(ledger, entry, Refused::Dissolved);
    }
    place_or_duplicate(ledger, entry, log, Written::of(entry))
}

/// The path of nearly every entry: one insert, which also finds duplicates.
fn append_message<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    mentions: &[UserId],
    everyone: bool,
    reply_to: u64,
) -> Result<Outcome, L::Error> {
    let Some((log, member)) = seat(ledger, entry)? else { return duplicate_or(ledger, entry, Refused::NotMember) };
    let withheld = match standing::may_write(ledger, entry, log, member)? {
        Ok(withheld) => withheld,
        Err(refused) => return duplicate_or(ledger, entry, refused),
    };
    if everyone && log.kind == ConversationKind::Group && member.role == Role::Member {
        return duplicate_or(ledger, entry, Refused::RoleTooLow);
    }
    if reply_to > log.last_position {
        return duplicate_or(ledger, entry, Refused::AnswersNothing);
    }
    let outcome = place_or_duplicate(ledger, entry, log, Written { withheld, ..Written::of(entry) })?;
    if let Ok(Appended { duplicate: false, withheld: false, position, .. }) = outcome
        && (everyone || !mentions.is_empty())
    {
        let users: Vec<UserId> = mentions.iter().copied().chain(everyone.then_some(EVERYONE)).collect();
        ledger.mention(entry.conversation, position, &users)?;
    }
    Ok(outcome)
}

/// The entry's log and its sender as a member of it; `None` if there is no such member.
fn seat<L: Ledger>(ledger: &mut L, entry: &NewEntry) -> Result<Option<(Log, Member)>, L::Error> {
    let Some(log) = ledger.log(entry.conversation)? else { return Ok(None) };
    Ok(ledger.member(entry.conversation, entry.sender)?.map(|member| (log, member)))
}

/// The personal log that the entry is for, if it is its sender's.
fn own_log<L: Ledger>(ledger: &mut L, entry: &NewEntry) -> Result<Option<Log>, L::Error> {
    let seat = seat(ledger, entry)?;
    Ok(seat.map(|(log, _)| log).filter(|log| log.kind == ConversationKind::Personal))
}

/// Inserts a member's entry at the log's end and moves the member's read position to it; a duplicate is answered.
fn place_or_duplicate<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    log: Log,
    written: Written<'_>,
) -> Result<Outcome, L::Error> {
    match insert(ledger, entry, log, written)? {
        Some(log) => {
            read_own(ledger, entry, log)?;
            Ok(Ok(Appended { withheld: written.withheld, ..appended(entry, log) }))
        }
        // It was in the index a moment ago.
        None => duplicate_or(ledger, entry, Refused::IdReused),
    }
}

/// Moves the read position of an entry's sender to it.
fn read_own<L: Ledger>(ledger: &mut L, entry: &NewEntry, log: Log) -> Result<(), L::Error> {
    let Some(member) = ledger.member(entry.conversation, entry.sender)? else { return Ok(()) };
    let to = Member { read_position: log.last_position, ..member };
    ledger.move_member(entry.conversation, entry.sender, to, false)
}

/// Inserts the entry at the log's end, and returns the log after it; `None` if the id was used before.
fn insert<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    log: Log,
    written: Written<'_>,
) -> Result<Option<Log>, L::Error> {
    let counts = matches!(entry.act, Act::Message { .. }) && !written.withheld;
    let log = Log { last_position: log.last_position + 1, messages: log.messages + u64::from(counts), ..log };
    Ok(ledger.insert(entry, log, written)?.then_some(log))
}

/// The outcome of an entry whose id its sender used before, or this refusal.
fn duplicate_or<L: Ledger>(ledger: &mut L, entry: &NewEntry, refused: Refused) -> Result<Outcome, L::Error> {
    Ok(duplicate(ledger, entry)?.unwrap_or(Err(refused)))
}

/// The outcome of an entry whose id its sender used before; `None` if it was not.
fn duplicate<L: Ledger>(ledger: &mut L, entry: &NewEntry) -> Result<Option<Outcome>, L::Error> {
    let Some(stored) = ledger.stored(entry.sender, entry.id)? else { return Ok(None) };
    let same = stored.content == entry.content || may_have_become(&entry.act, stored.kind, &stored.content);
    if stored.conversation != entry.conversation || !same {
        return Ok(Some(Err(Refused::IdReused)));
    }
    let Some(log) = ledger.log(stored.conversation)? else { return Ok(Some(Err(Refused::NotMember))) };
    Ok(Some(Ok(Appended {
        position: stored.position,
        time_ms: stored.time_ms,
        duplicate: true,
        // What was erased is not told again.
        content: (stored.content != entry.content).then_some(stored.content),
        withheld: stored.withheld,
        ..appended(entry, log)
    })))
}

/// Notes what an entry has to tell in somebody's personal log.
fn note_effect<L: Ledger>(ledger: &mut L, entry: &NewEntry, user: UserId, kind: content::Kind) -> Result<(), L::Error> {
    ledger.note_effect(&Telling { user, time_ms: entry.time_ms, content: kinds::encoded(kind) }, None)
}

/// Whether this may be stored of an entry that was appended with another content: part of it was erased since, or what
/// it says follows from what the contact was, or the settings were.
fn may_have_become(act: &Act, kind: u32, content: &Bytes) -> bool {
    match act {
        Act::Message { .. } => kind == kinds::RECALLED,
        &Act::Change(Change { target, kind: ChangeKind::Edit { .. } }) => *content == kinds::erased_edit(target),
        Act::Contact(event) => kinds::kind(content).is_some_and(|content| crate::contacts::may_tell(event, &content)),
        Act::Settings(change) => kinds::settings(content).is_some_and(|settings| change.apply(settings) == settings),
        Act::Conversation(conversation, ConversationAct::Draft(_)) => {
            *content == kinds::erased_draft(conversation.get())
        }
        _ => false,
    }
}

/// The outcome of an entry that is the log's last.
fn appended(entry: &NewEntry, log: Log) -> Appended {
    Appended {
        position: log.last_position,
        time_ms: entry.time_ms,
        duplicate: false,
        kind: log.kind,
        audience: match log.kind {
            ConversationKind::Group => Audience::Group(entry.conversation.group()),
            _ => Audience::Users(users(log)),
        },
        entered: Vec::new(),
        exited: Vec::new(),
        content: None,
        withheld: false,
    }
}

/// The users of a direct conversation or personal log, each once.
fn users(log: Log) -> Vec<UserId> {
    let mut users = vec![log.users.0, log.users.1];
    users.dedup();
    users
}
