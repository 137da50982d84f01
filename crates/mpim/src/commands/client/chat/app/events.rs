//! What the client tells.

use client::{ConversationId, EntryId, Event, SendError, UserId, fold::Unread, wire};
use wire::{ConversationKind, client_frame::Body as Request, content::Kind};

use super::{App, Chat, Connection, Then};
use crate::commands::client::{
    chat::{language::Word, ui},
    connection::why_over,
    entries::{kind, users_of},
};

/// How long somebody is taken to write after a notice.
const TYPING_MS: i64 = 6_000;

impl App {
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected { .. } => {
                self.connection = Connection::Connected;
                self.caught_up = false;
                self.watched.clear();
                self.away = false;
                // What was refused before may be had now.
                self.chats.values_mut().for_each(|chat| chat.complete = false);
                self.ask_for_contacts(0);
            }
            Event::CaughtUp => {
                self.caught_up = true;
                if self.chosen.is_none() {
                    self.chosen = self.listed().first().map(|chat| chat.id);
                }
            }
            Event::Heads(heads) => heads.iter().for_each(|head| self.on_head(head)),
            Event::Entry { conversation, kind: ConversationKind::Personal, entry } => {
                let _ = conversation;
                self.on_personal(&entry);
            }
            Event::Entry { conversation, kind, entry } => self.on_entry(conversation, kind, &entry),
            Event::ReadMoved { conversation, user, position } => {
                if let Some(chat) = self.chats.get_mut(&conversation) {
                    if user == self.user {
                        chat.read = chat.read.max(position);
                    } else {
                        let read = chat.read_by.entry(user).or_default();
                        *read = position.max(*read);
                    }
                }
            }
            Event::DeliveredMoved { conversation, user, position } => {
                if user != self.user
                    && let Some(chat) = self.chats.get_mut(&conversation)
                {
                    let delivered = chat.delivered_to.entry(user).or_default();
                    *delivered = position.max(*delivered);
                }
            }
            Event::Typing { conversation, user } => {
                self.meet([user.get()]);
                let until = self.now_ms + TYPING_MS;
                if user != self.user
                    && let Some(chat) = self.chats.get_mut(&conversation)
                {
                    chat.typing.insert(user, until);
                }
            }
            Event::UserChanged(user) => self.learn_user(&user),
            Event::Presence(presence) => drop(self.presence.insert(UserId::new(presence.user), presence)),
            Event::Disconnected { retry_in, .. } => {
                let until_ms = self.now_ms + retry_in.as_millis() as i64;
                self.connection = Connection::Waiting { until_ms };
                self.presence.clear();
                for chat in self.chats.values_mut() {
                    (chat.loading, chat.members_asked) = (false, !chat.members.is_empty());
                    chat.typing.clear();
                }
            }
            Event::SendRefused { error, .. } => {
                let text = format!("{}: {error}", self.say(Word::Failed));
                self.note(text);
            }
            Event::SessionEnded { error } => {
                let told = match why_over(&error) {
                    Some((why, true)) => format!("{why}: {}", self.say(Word::LogInAgain)),
                    Some((why, false)) => why,
                    None => format!("{:#}", anyhow::Error::new(error)),
                };
                self.connection = Connection::Stopped(told);
            }
        }
    }

    pub(super) fn ask_for_contacts(&mut self, after: u64) {
        let limit = protocol::limits::MEMBERS_PAGE_DEFAULT;
        let then = Then::Contacts { as_of: self.affairs.last(), after };
        self.request(Request::ListContacts(wire::ListContacts { after, limit }), then);
    }

    fn chat(&mut self, id: ConversationId, kind: ConversationKind) -> &mut Chat {
        let user = self.user;
        self.chats.entry(id).or_insert_with(|| Chat::new(user, id, kind))
    }

    pub(super) fn on_conversation(&mut self, conversation: &wire::Conversation) -> ConversationId {
        let id = ConversationId::new(conversation.id);
        if let Some(peer) = &conversation.peer {
            self.learn_user(peer);
        }
        let chat = self.chat(id, conversation.kind());
        chat.title.clone_from(&conversation.title);
        chat.peer = conversation.peer.as_ref().map(|peer| UserId::new(peer.id));
        id
    }

    fn on_head(&mut self, head: &wire::Head) {
        let Some(conversation) = &head.conversation else { return };
        if conversation.kind() == ConversationKind::Personal {
            return;
        }
        let id = self.on_conversation(conversation);
        let chat = self.chat(id, conversation.kind());
        chat.last = chat.last.max(head.last_position);
        chat.role = head.role();
        chat.read = chat.read.max(head.read_position);
        chat.settings = head.settings.unwrap_or_default();
        chat.counted = Unread { messages: head.unread, mentions: head.unread_mentions, complete: false };
        chat.counted_at = head.last_position;
        if let Some(peer) = chat.peer {
            let read = chat.read_by.entry(peer).or_default();
            *read = head.peer_read_position.max(*read);
            let delivered = chat.delivered_to.entry(peer).or_default();
            *delivered = head.peer_delivered_position.max(*delivered);
        }
        chat.view.delete([], head.deleted_up_to);
        let draft = head.draft.clone().unwrap_or_default();
        self.on_draft(id, &draft);
    }

    fn on_entry(&mut self, id: ConversationId, kind_of: ConversationKind, entry: &wire::Entry) {
        self.meet(users_of(entry));
        let (me, own, open) = (self.user, entry.sender == self.user.get(), self.open == Some(id));
        let chat = self.chat(id, kind_of);
        chat.unsent.retain(|unsent| unsent.id.to_string() != entry.id);
        chat.view.apply(entry);
        chat.last = chat.last.max(entry.position);
        chat.typing.remove(&UserId::new(entry.sender));
        if own {
            chat.read = chat.read.max(entry.position);
        } else {
            // Whoever says something has received and read what was said before.
            let read = chat.read_by.entry(UserId::new(entry.sender)).or_default();
            *read = entry.position.max(*read);
        }
        let told = chat.view.message(entry.position);
        let is_message = told.is_some_and(|message| message.is_message());
        let mentions = told.is_some_and(|message| message.mentions(me));
        if is_message || chat.moved_ms == 0 {
            chat.moved_ms = chat.moved_ms.max(entry.time_ms);
        }
        if let Some(Kind::RoleChanged(_) | Kind::OwnerChanged(_)) = kind(entry)
            && let Some(member) = chat.view.group().members().find(|member| member.user == me)
        {
            chat.role = member.role;
        }
        let muted = chat.settings.muted && !(mentions && chat.settings.mentions_notify);
        if !own {
            let arrived = self.arrived.entry(id).or_default();
            *arrived = entry.position.max(*arrived);
        }
        self.keep_in_sight(id, entry.position);
        if is_message && !own && !open && !muted && self.caught_up {
            let chat = &self.chats[&id];
            let title = self.title_of(chat);
            self.note(format!("{title}: {}", ui::preview(self, chat)));
        }
        if let Some(chat) = self.chats.get_mut(&id) {
            chat.trim();
        }
    }

    /// What somebody scrolled to stays where it is when something new comes below.
    fn keep_in_sight(&mut self, id: ConversationId, position: u64) {
        if self.open != Some(id) || self.chats.get(&id).is_none_or(|chat| chat.scroll == 0) {
            return;
        }
        let lines = ui::lines_of(self, position);
        if let Some(chat) = self.chats.get_mut(&id) {
            chat.scroll += lines;
        }
    }

    fn on_personal(&mut self, entry: &wire::Entry) {
        self.meet(users_of(entry));
        self.affairs.apply(entry);
        match kind(entry) {
            Some(Kind::ConversationChanged(changed)) => {
                if let Some(chat) = self.chats.get_mut(&ConversationId::new(changed.conversation)) {
                    chat.settings = changed.settings.unwrap_or_default();
                }
            }
            Some(Kind::DraftChanged(changed)) if self.caught_up => {
                let draft = changed.draft.unwrap_or_default();
                self.on_draft(ConversationId::new(changed.conversation), &draft);
            }
            Some(Kind::MessagesDeleted(deleted)) => {
                if let Some(chat) = self.chats.get_mut(&ConversationId::new(deleted.conversation)) {
                    chat.view.delete(deleted.positions, deleted.up_to);
                }
            }
            Some(Kind::GroupExited(exited)) if self.caught_up => {
                let id = ConversationId::new(exited.group);
                self.chats.remove(&id);
                if self.open == Some(id) {
                    (self.open, self.focus) = (None, super::Focus::Chats);
                }
                if self.chosen == Some(id) {
                    self.chosen = None;
                }
            }
            Some(Kind::FriendRequested(asked)) if asked.received && self.caught_up => {
                let text = format!("{} {} · Ctrl-F", self.name_of(UserId::new(asked.user)), self.say(Word::AsksYou));
                self.note(text);
            }
            Some(Kind::ProfileChanged(changed)) => {
                if let Some(user) = changed.user {
                    self.learn_user(&user);
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_sent(&mut self, id: ConversationId, entry: EntryId, result: Result<wire::Sent, SendError>) {
        let Err(error) = result else { return };
        if matches!(&error, SendError::OutcomeUnknown { error: client::Error::Closed, .. }) {
            return;
        }
        let why = format!("{:#}", anyhow::Error::new(error));
        if let Some(chat) = self.chats.get_mut(&id)
            && let Some(at) = chat.unsent.iter().position(|unsent| unsent.id == entry)
        {
            if chat.editor.is_empty() {
                // It can be changed and sent again.
                let unsent = chat.unsent.remove(at);
                chat.editor.set(unsent.text);
            } else {
                chat.unsent[at].failed = true;
            }
        }
        self.note(why);
    }
}
