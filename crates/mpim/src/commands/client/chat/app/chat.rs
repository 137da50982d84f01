//! One chat on the screen.

use std::collections::HashMap;

use client::{
    ConversationId, EntryId, UserId,
    fold::{ConversationView, Unread},
    wire,
};

use crate::commands::client::chat::editor::Editor;

/// Entries kept of a chat that nobody looks at, and of one that is looked at from its end.
const ENTRIES_KEPT: usize = 500;
/// When there are so many, they are cut down.
const ENTRIES_MAX: usize = 1_000;

/// A message on its way.
#[derive(Debug, Clone)]
pub(in crate::commands::client::chat) struct Unsent {
    pub(in crate::commands::client::chat) id: EntryId,
    pub(in crate::commands::client::chat) text: String,
    /// It was refused for good.
    pub(in crate::commands::client::chat) failed: bool,
}

#[derive(Debug)]
pub(in crate::commands::client::chat) struct Chat {
    pub(in crate::commands::client::chat) id: ConversationId,
    pub(in crate::commands::client::chat) kind: wire::ConversationKind,
    pub(in crate::commands::client::chat) title: String,
    pub(in crate::commands::client::chat) peer: Option<UserId>,
    pub(in crate::commands::client::chat) view: ConversationView,
    pub(in crate::commands::client::chat) role: wire::Role,
    /// As the server told them.
    pub(in crate::commands::client::chat) members: Vec<wire::Member>,
    pub(super) members_asked: bool,
    pub(in crate::commands::client::chat) settings: wire::ConversationSettings,
    pub(in crate::commands::client::chat) read: u64,
    /// How far others have read and received.
    pub(in crate::commands::client::chat) read_by: HashMap<UserId, u64>,
    pub(in crate::commands::client::chat) delivered_to: HashMap<UserId, u64>,
    /// What the server counted, and where the log ended then.
    pub(super) counted: Unread,
    pub(super) counted_at: u64,
    pub(super) last: u64,
    /// When something was said last.
    pub(in crate::commands::client::chat) moved_ms: i64,
    pub(in crate::commands::client::chat) unsent: Vec<Unsent>,
    pub(in crate::commands::client::chat) typing: HashMap<UserId, i64>,
    pub(in crate::commands::client::chat) loading: bool,
    pub(super) complete: bool,
    /// Lines between the end of the history and the end of what is shown.
    pub(in crate::commands::client::chat) scroll: usize,
    pub(in crate::commands::client::chat) selected: Option<u64>,
    pub(in crate::commands::client::chat) editor: Editor,
    pub(in crate::commands::client::chat) reply_to: Option<u64>,
    pub(in crate::commands::client::chat) editing: Option<u64>,
    /// What was written when an edit began, for afterwards.
    pub(super) set_aside: String,
    /// The draft that the server has, as far as is known.
    pub(super) saved_draft: String,
    /// The one that it was asked to keep, until it answers.
    pub(super) saving_draft: Option<String>,
    /// What was saved from here lately: the log tells it again.
    pub(super) own_drafts: Vec<String>,
    pub(super) typed_ms: i64,
    pub(super) typing_told_ms: i64,
    /// Where the arrow keys are in what was sent before.
    pub(super) recalling: Option<usize>,
    /// The names that fit, and which one stands there.
    pub(super) completing: Option<(usize, Vec<String>, usize)>,
}

impl Chat {
    pub(super) fn new(user: UserId, id: ConversationId, kind: wire::ConversationKind) -> Self {
        Self {
            id,
            kind,
            title: String::new(),
            peer: None,
            view: ConversationView::new(user),
            role: wire::Role::Member,
            members: Vec::new(),
            members_asked: false,
            settings: wire::ConversationSettings::default(),
            read: 0,
            read_by: HashMap::new(),
            delivered_to: HashMap::new(),
            counted: Unread::default(),
            counted_at: 0,
            last: 0,
            moved_ms: 0,
            unsent: Vec::new(),
            typing: HashMap::new(),
            loading: false,
            complete: false,
            scroll: 0,
            selected: None,
            editor: Editor::default(),
            reply_to: None,
            editing: None,
            set_aside: String::new(),
            saved_draft: String::new(),
            saving_draft: None,
            own_drafts: Vec::new(),
            typed_ms: 0,
            typing_told_ms: 0,
            recalling: None,
            completing: None,
        }
    }

    pub(in crate::commands::client::chat) fn is_group(&self) -> bool {
        self.kind == wire::ConversationKind::Group
    }

    pub(super) fn is_listed(&self, open: Option<ConversationId>) -> bool {
        !self.settings.hidden || Some(self.id) == open || self.unread().messages > 0
    }

    /// What is unread: counted here if enough of the log is here, else by the server.
    pub(in crate::commands::client::chat) fn unread(&self) -> Unread {
        let here = self.view.unread(self.read);
        if here.complete || self.read >= self.last {
            return here;
        }
        let since = self.view.unread(self.read.max(self.counted_at));
        Unread {
            messages: (self.counted.messages + since.messages).max(here.messages),
            mentions: (self.counted.mentions + since.mentions).max(here.mentions),
            complete: false,
        }
    }

    pub(in crate::commands::client::chat) fn nickname(&self, user: UserId) -> Option<&str> {
        let told = self.view.group().nickname(user);
        told.or_else(|| {
            let member = self.members.iter().find(|member| member.user.as_ref().is_some_and(|u| u.id == user.get()))?;
            Some(member.nickname.as_str()).filter(|nickname| !nickname.is_empty())
        })
    }

    /// Of the others, how many have received and read up to a position.
    pub(in crate::commands::client::chat) fn reached(&self, position: u64) -> (usize, usize) {
        let read = self.read_by.values().filter(|&&read| read >= position).count();
        let delivered = self
            .delivered_to
            .iter()
            .filter(|&(user, &at)| at >= position && self.read_by.get(user).is_none_or(|&read| read < position));
        (delivered.count() + read, read)
    }

    /// The draft that the server has, or will have when it has done what it was asked.
    pub(super) fn kept_draft(&self) -> &str {
        self.saving_draft.as_deref().unwrap_or(&self.saved_draft)
    }

    /// There may be older entries than those here.
    pub(super) fn has_older(&self) -> bool {
        !self.complete && self.view.first().map_or(self.last > 0, |first| first > 1)
    }

    pub(super) fn trim(&mut self) {
        if self.scroll == 0 && self.selected.is_none() && self.view.len() > ENTRIES_MAX {
            let last = self.view.last().unwrap_or_default();
            self.view.forget_before(last.saturating_sub(ENTRIES_KEPT as u64));
            self.complete = false;
        }
    }
}
