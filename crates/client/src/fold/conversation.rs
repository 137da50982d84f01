//! The state of one conversation.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    UserId,
    wire::{self, content::Kind},
};

use super::{GroupView, Latest, is_message};

/// A conversation as its entries tell it. See the [module](super) for what it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationView {
    user: UserId,
    entries: BTreeMap<u64, Told>,
    /// By the position of the message, which may not be here (yet).
    marks: BTreeMap<u64, Marks>,
    /// What the user deleted on another device, after it had been applied here.
    deleted: BTreeSet<u64>,
    deleted_up_to: u64,
    group: GroupView,
}

/// An entry that is not about another entry.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    id: String,
    sender: UserId,
    time_ms: i64,
    content: wire::Content,
}

/// What happened to one message.
#[derive(Debug, Clone, Default, PartialEq)]
struct Marks {
    /// By the positions of the edits.
    edits: BTreeMap<u64, Edited>,
    recalled_by: Option<UserId>,
    /// Whether the mark stands, by what it is and by whom.
    reactions: BTreeMap<(String, UserId), Latest<bool>>,
    pinned: Latest<bool>,
}

#[derive(Debug, Clone, PartialEq)]
struct Edited {
    time_ms: i64,
    content: wire::Content,
}

/// How much is unread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unread {
    /// Messages by others.
    pub messages: u64,
    /// Of these, the ones that mention the user or everyone, and were not recalled.
    pub mentions: u64,
    /// The view begins early enough to know of all of them.
    pub complete: bool,
}

/// What a message said before it was edited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Former<'a> {
    /// From when on it said so, in milliseconds since 1970.
    pub time_ms: i64,
    /// What it said.
    pub content: &'a wire::Content,
}

/// One entry that is shown on a line of its own: a message, or something that happened to the conversation.
#[derive(Debug, Clone, Copy)]
pub struct MessageView<'a> {
    position: u64,
    told: &'a Told,
    marks: Option<&'a Marks>,
    hidden: bool,
}

impl ConversationView {
    /// A view for this user, without entries.
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            entries: BTreeMap::new(),
            marks: BTreeMap::new(),
            deleted: BTreeSet::new(),
            deleted_up_to: 0,
            group: GroupView::default(),
        }
    }

    /// Takes an entry in. One that is here already changes nothing, unless its content is gone now.
    pub fn apply(&mut self, entry: &wire::Entry) {
        let position = entry.position;
        let sender = UserId::new(entry.sender);
        let content = entry.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
        match &content.kind {
            Some(Kind::Edit(edit)) => {
                let text = edit.content.as_ref().and_then(|content| content.view().ok()).unwrap_or_default();
                let edited = Edited { time_ms: entry.time_ms, content: text };
                self.marks.entry(edit.position).or_default().edits.insert(position, edited);
            }
            Some(Kind::Recall(recall)) => {
                let marks = self.marks.entry(recall.position).or_default();
                marks.recalled_by = Some(sender);
            }
            Some(Kind::Reaction(reaction)) => {
                let marks = self.marks.entry(reaction.position).or_default();
                let key = (reaction.reaction.clone(), sender);
                marks.reactions.entry(key).or_default().tell(position, !reaction.removed);
            }
            Some(Kind::Pin(pin)) => {
                self.marks.entry(pin.position).or_default().pinned.tell(position, !pin.removed);
            }
            Some(kind) => self.group.apply(position, sender, kind),
            None => {}
        }
        let told = Told { id: entry.id.clone(), sender, time_ms: entry.time_ms, content };
        match self.entries.get(&position) {
            // What is gone does not come back with an answer that was under way.
            Some(known) if matches!(known.content.kind, Some(Kind::Recalled(_) | Kind::Hidden(_))) => {}
            _ => drop(self.entries.insert(position, told)),
        }
    }

    /// Takes messages out of sight: these, and everything up to a position (0: only these). What the user deletes is told in
    /// the personal log: see [`Affairs::deleted`](super::Affairs::deleted).
    pub fn delete(&mut self, positions: impl IntoIterator<Item = u64>, up_to: u64) {
        self.deleted.extend(positions);
        self.deleted_up_to = self.deleted_up_to.max(up_to);
    }

    /// How many entries are here.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There is no entry here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the entries before a position, for who has seen enough of them. What they told of the group stays.
    pub fn forget_before(&mut self, position: u64) {
        self.entries = self.entries.split_off(&position);
        self.marks = self.marks.split_off(&position);
        self.deleted = self.deleted.split_off(&position);
    }

    /// The position of the first entry here; `None` if there is none.
    pub fn first(&self) -> Option<u64> {
        self.entries.keys().next().copied()
    }

    /// The position of the last entry here; `None` if there is none.
    pub fn last(&self) -> Option<u64> {
        self.entries.keys().next_back().copied()
    }

    /// What is shown, in order: messages and what happened to the conversation. Not edits, recalls, reactions and pins, which
    /// belong to their messages, and not what is hidden.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = MessageView<'_>> {
        self.entries.keys().filter_map(|&position| self.message(position)).filter(MessageView::is_shown)
    }

    /// The entry at a position, if it is here.
    pub fn message(&self, position: u64) -> Option<MessageView<'_>> {
        let told = self.entries.get(&position)?;
        let hidden = position <= self.deleted_up_to
            || self.deleted.contains(&position)
            || matches!(told.content.kind, Some(Kind::Hidden(_)));
        Some(MessageView { position, told, marks: self.marks.get(&position), hidden })
    }

    /// The pinned messages as far as they are here, those pinned last first.
    pub fn pins(&self) -> Vec<MessageView<'_>> {
        let pinned = self.marks.iter().filter(|(_, marks)| marks.pinned.value);
        let mut pinned: Vec<_> = pinned.map(|(&position, marks)| (marks.pinned.position, position)).collect();
        pinned.sort_unstable_by(|a, b| b.cmp(a));
        let messages = pinned.into_iter().filter_map(|(_, position)| self.message(position));
        messages.filter(|message| message.is_shown() && !message.is_recalled()).collect()
    }

    /// What is unread if the user has read up to a position.
    pub fn unread(&self, read: u64) -> Unread {
        let complete = self.first().is_some_and(|first| first <= read + 1);
        let mut unread = Unread { complete, ..Unread::default() };
        for (&position, told) in self.entries.range(read + 1..) {
            let Some(message) = self.message(position) else { continue };
            if told.sender == self.user || message.hidden || !message.is_message() {
                continue;
            }
            unread.messages += 1;
            unread.mentions += u64::from(!message.is_recalled() && message.mentions(self.user));
        }
        unread
    }

    /// The group's members and what it is, as far as the entries here tell.
    pub fn group(&self) -> &GroupView {
        &self.group
    }
}

impl<'a> MessageView<'a> {
    /// Where it stands.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The id that its sender gave it.
    pub fn id(&self) -> &'a str {
        &self.told.id
    }

    /// By whom.
    pub fn sender(&self) -> UserId {
        self.told.sender
    }

    /// When, in milliseconds since 1970.
    pub fn time_ms(&self) -> i64 {
        self.told.time_ms
    }

    /// What it says now. `None`: it was recalled or is hidden, or this version does not know its kind.
    pub fn content(&self) -> Option<&'a Kind> {
        if self.hidden || self.is_recalled() {
            return None;
        }
        let edited = self.marks.and_then(|marks| marks.edits.values().next_back());
        edited.map_or(&self.told.content, |edited| &edited.content).kind.as_ref()
    }

    /// What it said before, oldest first; empty if it was not edited, or was recalled.
    pub fn former(&self) -> Vec<Former<'a>> {
        let edits = self.marks.map_or(0, |marks| marks.edits.len());
        if edits == 0 || self.hidden || self.is_recalled() {
            return Vec::new();
        }
        let first = Former { time_ms: self.told.time_ms, content: &self.told.content };
        let later = self.marks.into_iter().flat_map(|marks| marks.edits.values());
        let later = later.map(|edited| Former { time_ms: edited.time_ms, content: &edited.content });
        std::iter::once(first).chain(later).take(edits).collect()
    }

    /// It says something else than at first.
    pub fn is_edited(&self) -> bool {
        !self.former().is_empty()
    }

    /// Its content was taken back.
    pub fn is_recalled(&self) -> bool {
        matches!(self.told.content.kind, Some(Kind::Recalled(_)))
            || self.marks.is_some_and(|marks| marks.recalled_by.is_some())
    }

    /// Who took it back, if the entry that tells is here.
    pub fn recalled_by(&self) -> Option<UserId> {
        self.marks.and_then(|marks| marks.recalled_by)
    }

    /// A message by a person, rather than something that happened to the conversation.
    pub fn is_message(&self) -> bool {
        self.told.content.kind.as_ref().is_some_and(is_message)
    }

    /// It stands on a line of its own.
    fn is_shown(&self) -> bool {
        let of_another =
            matches!(self.told.content.kind, Some(Kind::Edit(_) | Kind::Recall(_) | Kind::Reaction(_) | Kind::Pin(_)));
        !self.hidden && !of_another
    }

    /// The message that this one answers.
    pub fn reply_to(&self) -> Option<u64> {
        Some(self.told.content.reply_to).filter(|&position| position > 0)
    }

    /// Where it was forwarded from.
    pub fn forwarded(&self) -> Option<&'a wire::Forwarded> {
        self.told.content.forwarded.as_ref()
    }

    /// Whether it addresses this user, by name or as one of all.
    pub fn mentions(&self, user: UserId) -> bool {
        let mentions = self.told.content.mentions.as_ref();
        mentions.is_some_and(|mentions| mentions.everyone || mentions.users.contains(&user.get()))
    }

    /// The marks on it that stand, and by whom, in the order of ids; none on what was recalled.
    pub fn reactions(&self) -> BTreeMap<&'a str, Vec<UserId>> {
        let mut standing = BTreeMap::<_, Vec<_>>::new();
        if self.is_recalled() {
            return standing;
        }
        let reactions = self.marks.into_iter().flat_map(|marks| &marks.reactions);
        for ((reaction, user), _) in reactions.filter(|(_, stands)| stands.value) {
            standing.entry(reaction.as_str()).or_default().push(*user);
        }
        standing
    }

    /// It is pinned, as far as the entries here tell.
    pub fn is_pinned(&self) -> bool {
        !self.is_recalled() && self.marks.is_some_and(|marks| marks.pinned.value)
    }
}
