//! What is done with messages, and with chats in their list.

use client::{ConversationId, EntryId, UserId, wire};
use wire::{client_frame::Body as Request, content::Kind};

use super::{App, Effect, Focus, Overlay, Pick, PickKind, Then, overlay::QuestionKind};
use crate::commands::client::{
    chat::{language::Word, ui},
    target::once,
};

/// Entries of one page of what is older.
const PAGE: u32 = 50;
/// Who has read a message, on one page.
const RECEIPTS: u32 = 200;

impl App {
    /// The positions of what is shown in the open chat, in order.
    fn shown(&self) -> Vec<u64> {
        self.opened().map_or_else(Vec::new, |chat| chat.view.messages().map(|message| message.position()).collect())
    }

    /// Chooses the message before or after.
    pub(super) fn select(&mut self, step: isize) {
        let shown = self.shown();
        let Some(chat) = self.opened() else { return };
        let at = chat.selected.and_then(|selected| shown.iter().position(|&position| position == selected));
        let next = match at {
            Some(at) => at.saturating_add_signed(step).min(shown.len().saturating_sub(1)),
            None => shown.len().saturating_sub(1),
        };
        if let Some(&position) = shown.get(next) {
            self.select_at(position);
        }
    }

    /// Chooses a message, and scrolls to where it can be seen.
    pub(super) fn select_at(&mut self, position: u64) {
        let Some(chat) = self.opened_mut() else { return };
        chat.selected = Some(position);
        let scroll = ui::scroll_to(self, position);
        if let Some(chat) = self.opened_mut() {
            chat.scroll = scroll;
        }
    }

    pub(super) fn leave_history(&mut self) {
        self.focus = Focus::Compose;
        if let Some(chat) = self.opened_mut() {
            chat.selected = None;
        }
    }

    /// Scrolls by lines, up if positive.
    pub(super) fn scroll(&mut self, lines: isize) {
        let max = ui::scroll_max(self);
        if let Some(chat) = self.opened_mut() {
            chat.scroll = chat.scroll.saturating_add_signed(lines).min(max);
        }
    }

    /// Asks for older entries when the first ones that are here come into sight.
    pub(super) fn load_what_is_seen(&mut self) {
        if self.connection != super::Connection::Connected {
            return;
        }
        let Some(chat) = self.opened() else { return };
        if chat.loading || !chat.has_older() {
            return;
        }
        let (id, before) = (chat.id, chat.view.first().unwrap_or(chat.last + 1));
        let wanted = chat.selected.is_some_and(|selected| selected < before);
        if !wanted && !ui::sees_first(self) {
            return;
        }
        let limit = if wanted { protocol::limits::PAGE_ENTRIES_MAX } else { PAGE };
        if let Some(chat) = self.opened_mut() {
            chat.loading = true;
        }
        let from = Some(wire::history::From::Before(before));
        self.request(Request::History(wire::History { conversation: id.get(), from, limit }), Then::Older(id));
    }

    /// Shows a message that was found; what lies between is loaded, so that there is no gap.
    pub(super) fn go_to(&mut self, id: ConversationId, position: u64) {
        self.open_chat(id);
        self.focus = Focus::History;
        self.select_at(position);
    }

    /// A key on the chosen message. False if it has none.
    pub(super) fn on_message_key(&mut self, c: char) -> bool {
        let (me, role) = (self.user, self.opened().map_or(wire::Role::Member, |chat| chat.role));
        let Some(chat) = self.opened() else { return false };
        let id = chat.id;
        let Some(message) = chat.selected.and_then(|position| chat.view.message(position)) else { return false };
        let (position, own, pinned) = (message.position(), message.sender() == me, message.is_pinned());
        let gone = !message.is_message() || message.is_recalled();
        let text = match message.content() {
            Some(Kind::Text(text)) => Some(text.body.clone()),
            _ => None,
        };
        if gone && c != 'i' && c != 'd' {
            return false;
        }
        match c {
            'r' => self.write(|chat| chat.reply_to = Some(position)),
            'e' if !own => self.note(self.say(Word::NotOwn)),
            'e' => match text {
                None => self.note(self.say(Word::NotText)),
                Some(text) => {
                    self.save_drafts(true);
                    self.write(|chat| {
                        if chat.editing.replace(position).is_none() {
                            chat.set_aside = chat.editor.take();
                        }
                        chat.reply_to = None;
                        chat.editor.set(text);
                    });
                }
            },
            'd' => {
                let recall = !gone && (own || role != wire::Role::Member);
                self.ask(QuestionKind::Delete { position, recall }, None);
            }
            '+' | '=' => self.overlay = Some(Overlay::Pick(Pick::new(PickKind::React { position }))),
            'p' => drop(self.send(id, Kind::Pin(wire::Pin { position, removed: pinned }).into())),
            'f' => self.overlay = Some(Overlay::Pick(Pick::with_query(PickKind::Forward { position }))),
            'i' => {
                let kind = PickKind::Details { conversation: id, position, receipts: Vec::new() };
                self.overlay = Some(Overlay::Pick(Pick::new(kind)));
                if own && !gone {
                    let receipts = wire::ListReceipts { conversation: id.get(), position, after: 0, limit: RECEIPTS };
                    self.request(Request::ListReceipts(receipts), Then::Receipts(id, position));
                }
            }
            _ => return false,
        }
        true
    }

    fn write(&mut self, change: impl FnOnce(&mut super::Chat)) {
        self.focus = Focus::Compose;
        if let Some(chat) = self.opened_mut() {
            change(chat);
            chat.selected = None;
        }
    }

    /// Gives up the answer or the edit that is being written. False if there is none.
    pub(super) fn stop_writing(&mut self) -> bool {
        let Some(chat) = self.opened_mut() else { return false };
        if chat.editing.take().is_some() {
            chat.editor.set(std::mem::take(&mut chat.set_aside));
            return true;
        }
        chat.reply_to.take().is_some()
    }

    pub(super) fn recall(&mut self, position: u64) {
        if let Some(id) = self.open {
            self.send(id, Kind::Recall(wire::Recall { position }).into());
        }
    }

    pub(super) fn delete_for_me(&mut self, position: u64) {
        let Some(chat) = self.opened_mut() else { return };
        chat.view.delete([position], 0);
        chat.selected = None;
        let (id, conversation) = (once().to_string(), chat.id.get());
        let request = wire::DeleteForMe { id, conversation, positions: vec![position], up_to: 0 };
        self.request(Request::DeleteForMe(request), Then::Say);
    }

    /// Puts a mark on a message, or takes it back.
    pub(super) fn react(&mut self, position: u64, mark: &str) {
        let Some(chat) = self.opened() else { return };
        let id = chat.id;
        let own = chat.view.message(position).is_some_and(|message| {
            message.reactions().get(mark).is_some_and(|users: &Vec<UserId>| users.contains(&self.user))
        });
        let reaction = wire::Reaction { position, reaction: mark.into(), removed: own };
        self.send(id, Kind::Reaction(reaction).into());
    }

    pub(super) fn forward(&mut self, position: u64, target: ConversationId) {
        let Some(chat) = self.opened() else { return };
        let Some(message) = chat.view.message(position) else { return };
        let Some(kind) = message.content().cloned() else { return };
        // One that was forwarded before still comes from where it came first.
        let first = wire::Forwarded { sender: message.sender().get(), time_ms: message.time_ms() };
        let forwarded = message.forwarded().copied().unwrap_or(first);
        let content = wire::Content { kind: Some(kind), forwarded: Some(forwarded), ..wire::Content::default() };
        let request = wire::Send {
            target: Some(wire::send::Target::Conversation(target.get())),
            id: EntryId::generate().to_string(),
            content: Some(content.into()),
            forward_of: Some(wire::ForwardOf { conversation: chat.id.get(), position }),
        };
        self.effects.push(Effect::Request(Box::new(Request::Send(request)), Then::Say));
    }

    /// Chooses the chat before or after in the list.
    pub(super) fn choose(&mut self, step: isize) {
        let listed: Vec<ConversationId> = self.listed().iter().map(|chat| chat.id).collect();
        let at = listed.iter().position(|id| Some(*id) == self.chosen);
        let next = at.map_or(0, |at| at.saturating_add_signed(step).min(listed.len().saturating_sub(1)));
        self.chosen = listed.get(next).copied();
    }

    /// A key on the chosen chat. False if it has none.
    pub(super) fn on_chat_key(&mut self, c: char) -> bool {
        let Some(chat) = self.chosen.and_then(|id| self.chats.get_mut(&id)) else { return false };
        let settings = &mut chat.settings;
        match c {
            'p' => settings.pinned = !settings.pinned,
            'm' => (settings.muted, settings.mentions_notify) = (!settings.muted, true),
            'u' => settings.marked_unread = !settings.marked_unread,
            'x' => settings.hidden = true,
            _ => return false,
        }
        let (id, conversation, settings) = (once().to_string(), chat.id.get(), Some(*settings));
        if c == 'x' && self.open == self.chosen {
            self.open = None;
        }
        self.request(Request::SetConversation(wire::SetConversation { id, conversation, settings }), Then::Say);
        true
    }
}
