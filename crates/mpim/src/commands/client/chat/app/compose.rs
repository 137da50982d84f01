//! Writing: sending, drafts, names that are completed.

use client::{ConversationId, EntryId, RawContent, wire};
use wire::{client_frame::Body as Request, content::Kind};

use super::{App, Chat, Connection, Effect, Then, Unsent};
use crate::commands::client::chat::language::{Language, Word};

/// Texts kept for the arrow keys.
const SENT_KEPT: usize = 100;
/// How long nothing is typed before a draft is saved.
const DRAFT_REST_MS: i64 = 1_500;
/// How often others are told that somebody writes.
const TYPING_EVERY_MS: i64 = 4_000;
/// Drafts that the log may still tell again.
const OWN_DRAFTS_KEPT: usize = 16;

impl App {
    /// Puts something into the outbox. Gives its id.
    pub(super) fn send(&mut self, id: ConversationId, content: RawContent) -> EntryId {
        let entry = EntryId::generate();
        self.effects.push(Effect::Send(id, content, entry));
        entry
    }

    /// Sends what is written, or changes the message that is edited.
    pub(super) fn submit(&mut self) {
        let Some(id) = self.open else { return };
        let Some(chat) = self.chats.get_mut(&id) else { return };
        if chat.editor.text().trim().is_empty() {
            return;
        }
        let body = chat.editor.take();
        (chat.recalling, chat.completing, chat.scroll, chat.selected) = (None, None, 0, None);
        let (reply_to, editing) = (chat.reply_to.take().unwrap_or_default(), chat.editing.take());
        let mentions = self.mentions_in(id, &body);
        let kind = Some(Kind::Text(wire::Text { body: body.clone() }));
        let content = wire::Content { kind, reply_to, mentions, forwarded: None };
        match editing {
            Some(position) => {
                // What a message answers does not change.
                let content = wire::Content { reply_to: 0, ..content };
                let edit = wire::Edit { position, content: Some(Box::new(content.into())) };
                self.send(id, Kind::Edit(edit).into());
                if let Some(chat) = self.chats.get_mut(&id) {
                    chat.editor.set(std::mem::take(&mut chat.set_aside));
                }
            }
            None => {
                let entry = self.send(id, content.into());
                let unsent = Unsent { id: entry, text: body.clone(), failed: false };
                if let Some(chat) = self.chats.get_mut(&id) {
                    chat.unsent.push(unsent);
                    chat.typing_told_ms = 0;
                }
            }
        }
        self.sent_texts.push(body);
        if self.sent_texts.len() > SENT_KEPT {
            self.sent_texts.remove(0);
        }
        self.save_drafts(true);
    }

    /// Whom a text addresses: members of a group after an @.
    fn mentions_in(&self, id: ConversationId, text: &str) -> Option<wire::Mentions> {
        let chat = self.chats.get(&id).filter(|chat| chat.is_group())?;
        let mut mentions = wire::Mentions::default();
        for (at, _) in text.match_indices('@') {
            let after = &text[at + 1..];
            if [Language::En, Language::Zh].iter().any(|language| after.starts_with(language.say(Word::Everyone))) {
                mentions.everyone |= chat.role != wire::Role::Member;
                continue;
            }
            // The longest name, where one begins with another; of two the same the unique one, which is the last.
            let named = self.nameable(chat).into_iter().filter(|(name, _)| after.starts_with(name.as_str()));
            let named = named.max_by_key(|(name, _)| name.len()).map(|(_, user)| user);
            mentions.users.extend(named.filter(|user| !mentions.users.contains(user)));
        }
        (mentions.everyone || !mentions.users.is_empty()).then_some(mentions)
    }

    /// The members of a group under all the names that can be written after an @; the unique ones come last.
    fn nameable(&self, chat: &Chat) -> Vec<(String, u64)> {
        let (mut names, mut unique) = (Vec::new(), Vec::new());
        let told = chat.view.group().members().map(|member| member.user.get());
        let listed = chat.members.iter().filter_map(|member| member.user.as_ref()).map(|user| user.id);
        let mut users: Vec<u64> = told.chain(listed).filter(|&user| user != self.user.get()).collect();
        users.sort_unstable();
        users.dedup();
        for user in users {
            let id = client::UserId::new(user);
            names.push((self.called_in(chat, id).name, user));
            if let Some(info) = self.users.get(&id).filter(|info| !info.name.is_empty()) {
                unique.push((info.name.clone(), user));
            }
        }
        names.append(&mut unique);
        names
    }

    /// Completes the name that is begun after an @, or puts the next one that fits in its place. False if none is begun.
    pub(super) fn complete_name(&mut self) -> bool {
        let Some(chat) = self.opened() else { return false };
        if let Some((from, fitting, at)) = chat.completing.clone() {
            let next = (at + 1) % fitting.len();
            let text = format!("{} ", fitting[next]);
            let Some(chat) = self.opened_mut() else { return false };
            chat.editor.replace_before(from, &text);
            chat.completing = Some((from, fitting, next));
            return true;
        }
        let before = chat.editor.before();
        let Some(from) = before.rfind('@').map(|at| at + 1) else { return false };
        let begun = &before[from..];
        if begun.contains(char::is_whitespace) {
            return false;
        }
        let begun = begun.to_lowercase();
        let mut names: Vec<String> = self.nameable(chat).into_iter().map(|(name, _)| name).collect();
        if chat.is_group() && chat.role != wire::Role::Member {
            names.push(self.say(Word::Everyone).into());
        }
        names.retain(|name| name.to_lowercase().starts_with(&begun));
        names.sort();
        names.dedup();
        let Some(first) = names.first() else { return false };
        let text = format!("{first} ");
        let Some(chat) = self.opened_mut() else { return false };
        chat.editor.replace_before(from, &text);
        chat.completing = Some((from, names, 0));
        true
    }

    /// Something was typed.
    pub(super) fn typed(&mut self) {
        let now_ms = self.now_ms;
        let Some(chat) = self.opened_mut() else { return };
        (chat.typed_ms, chat.completing, chat.recalling) = (now_ms, None, None);
        let id = chat.id;
        let due = now_ms - chat.typing_told_ms >= TYPING_EVERY_MS;
        if due && !chat.editor.is_empty() && chat.editing.is_none() {
            chat.typing_told_ms = now_ms;
            self.request(Request::Typing(wire::Typing { conversation: id.get() }), Then::Nothing);
        }
    }

    /// What was sent before, or after, in place of what is written.
    pub(super) fn recall_sent(&mut self, step: isize) {
        let count = self.sent_texts.len();
        let Some(chat) = self.chats.get(&self.open.unwrap_or(ConversationId::new(0))) else { return };
        if chat.recalling.is_none() && (!chat.editor.is_empty() || step > 0) {
            return;
        }
        let at = chat.recalling.unwrap_or(count).saturating_add_signed(step);
        let text = self.sent_texts.get(at).cloned();
        let Some(chat) = self.opened_mut() else { return };
        chat.recalling = Some(at).filter(|&at| at < count);
        chat.editor.set(text.unwrap_or_default());
    }

    /// Saves what is written and not sent, if it has rested for a while, or now. What cannot be saved is saved later.
    pub(super) fn save_drafts(&mut self, now: bool) {
        if self.connection != Connection::Connected {
            return;
        }
        let now_ms = self.now_ms;
        let mut saves = Vec::new();
        for chat in self.chats.values_mut().filter(|chat| chat.editing.is_none()) {
            // One after the other, so that the last one is what remains.
            let rested = now_ms - chat.typed_ms >= DRAFT_REST_MS && chat.saving_draft.is_none();
            if chat.editor.text() == chat.kept_draft() || !(now || rested) {
                continue;
            }
            let text = chat.editor.text().to_owned();
            chat.saving_draft = Some(text.clone());
            chat.own_drafts.push(text.clone());
            if chat.own_drafts.len() > OWN_DRAFTS_KEPT {
                chat.own_drafts.remove(0);
            }
            let draft = Some(wire::Draft { text, reply_to: chat.reply_to.unwrap_or_default(), time_ms: 0 });
            let id = EntryId::generate().to_string();
            saves.push(wire::SaveDraft { id, conversation: chat.id.get(), draft });
        }
        for save in saves {
            let text = save.draft.as_ref().map_or(String::new(), |draft| draft.text.clone());
            let then = Then::Draft(ConversationId::new(save.conversation), text);
            self.request(Request::SaveDraft(save), then);
        }
    }

    /// The server answered. What it did not keep differs from what it has, and so is saved again when it can be.
    pub(super) fn on_draft_saved(&mut self, id: ConversationId, text: &str, kept: bool) {
        let Some(chat) = self.chats.get_mut(&id) else { return };
        if chat.saving_draft.as_deref() == Some(text) {
            chat.saving_draft = None;
        }
        if kept {
            chat.saved_draft = text.into();
        }
    }

    /// A draft of another device, or an echo of this one's.
    pub(super) fn on_draft(&mut self, id: ConversationId, draft: &wire::Draft) {
        let Some(chat) = self.chats.get_mut(&id) else { return };
        if let Some(at) = chat.own_drafts.iter().position(|own| *own == draft.text) {
            chat.own_drafts.drain(..=at);
            if chat.saving_draft.as_ref() == Some(&draft.text) {
                self.on_draft_saved(id, &draft.text, true);
            }
            return;
        }
        // The server tells again what it had: what became of it here is newer. So is what is being written.
        let is_news = draft.text != chat.saved_draft;
        if is_news && chat.editor.text() == chat.kept_draft() && chat.editing.is_none() {
            chat.editor.set(draft.text.clone());
            chat.reply_to = Some(draft.reply_to).filter(|&position| position > 0);
        }
        chat.saved_draft.clone_from(&draft.text);
    }
}
