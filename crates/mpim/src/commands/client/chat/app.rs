//! The state of the screen, and how it changes: [`App::update`] takes one input and gives what is to be done. Pure: no
//! I/O, and time is handed in.

mod acts;
mod answers;
mod called;
mod chat;
mod compose;
mod events;
mod keys;
mod overlay;
mod picks;
mod pointer;

use std::collections::{BTreeMap, HashMap, HashSet};

use client::{ConversationId, EntryId, GroupId, RawContent, SendError, UserId, fold::Affairs, wire};
use ratatui::crossterm::event::{KeyEvent, MouseEvent};
use wire::{client_frame::Body as Request, server_frame::Body as Answer};

use super::{
    language::{Language, Word},
    theme::Theme,
};
pub(super) use called::Called;
pub(super) use chat::{Chat, Unsent};
pub(super) use overlay::{Overlay, Pick, PickKind, Prompt, PromptKind, Question, QuestionKind};

/// How long a notice stays.
const NOTICE_MS: i64 = 6_000;
/// Users asked for in one request.
const USERS_AT_ONCE: usize = 200;
/// After so long without a key the user is away.
const AWAY_AFTER_MS: i64 = 5 * 60_000;

/// Something that happens to the screen.
#[derive(Debug)]
pub(super) enum Input {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    /// Time goes on: milliseconds since 1970.
    Tick(i64),
    Client(client::Event),
    Answer(Then, Result<Box<Answer>, String>),
    /// What became of a message.
    Sent(ConversationId, EntryId, Result<wire::Sent, SendError>),
}

/// Something to be done outside.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// By way of the outbox.
    Send(ConversationId, RawContent, EntryId),
    Request(Box<Request>, Then),
    Quit,
}

/// What an answer is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Then {
    /// Nothing, and a failure does not matter: it is told again.
    Nothing,
    /// To say that it is done, or why not.
    Say,
    /// As [`Then::Say`], and what the overlay shows of a group has changed.
    Regroup(GroupId),
    /// The draft is kept.
    Draft(ConversationId, String),
    Older(ConversationId),
    Users,
    /// The user who was found is to be brought into a group.
    Invite(GroupId),
    Contacts {
        as_of: u64,
        after: u64,
    },
    Presences,
    /// The conversation that was asked for is to be opened.
    Open,
    FoundUsers(String),
    Found(ConversationId),
    Members(GroupId),
    Group(GroupId),
    JoinRequests(GroupId),
    Link(GroupId),
    Receipts(ConversationId, u64),
}

/// The connection, as the screen tells it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Connection {
    Connecting,
    Connected,
    /// Tries again at this time.
    Waiting {
        until_ms: i64,
    },
    /// Over for good, and why.
    Stopped(String),
}

/// What keys go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    Compose,
    Chats,
    History,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct App {
    pub(super) user: UserId,
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) theme: Theme,
    /// A time as text: "2026-11-24 10:02:33".
    pub(super) local_time: fn(i64) -> String,
    pub(super) now_ms: i64,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) connection: Connection,
    pub(super) caught_up: bool,
    pub(super) chats: BTreeMap<ConversationId, Chat>,
    pub(super) open: Option<ConversationId>,
    /// Chosen in the list of chats.
    pub(super) chosen: Option<ConversationId>,
    pub(super) focus: Focus,
    pub(super) overlay: Option<Overlay>,
    pub(super) notice: Option<(String, i64)>,
    pub(super) affairs: Affairs,
    pub(super) users: HashMap<UserId, wire::UserInfo>,
    pub(super) presence: HashMap<UserId, wire::Presence>,
    /// What was sent from here, for the arrow keys; the newest last.
    sent_texts: Vec<String>,
    asked_users: HashSet<UserId>,
    unknown_users: Vec<u64>,
    watched: Vec<u64>,
    /// Arrived here, and the server was not told yet.
    arrived: BTreeMap<ConversationId, u64>,
    last_key_ms: i64,
    away: bool,
    effects: Vec<Effect>,
}

impl App {
    pub(super) fn new(
        user: UserId,
        name: &str,
        language: Language,
        theme: Theme,
        local_time: fn(i64) -> String,
    ) -> Self {
        Self {
            user,
            name: name.into(),
            language,
            theme,
            local_time,
            now_ms: 0,
            width: 80,
            height: 24,
            connection: Connection::Connecting,
            caught_up: false,
            chats: BTreeMap::new(),
            open: None,
            chosen: None,
            focus: Focus::Chats,
            overlay: None,
            notice: None,
            affairs: Affairs::default(),
            users: HashMap::new(),
            presence: HashMap::new(),
            sent_texts: Vec::new(),
            asked_users: HashSet::new(),
            unknown_users: Vec::new(),
            watched: Vec::new(),
            arrived: BTreeMap::new(),
            last_key_ms: 0,
            away: false,
            effects: Vec::new(),
        }
    }

    /// Takes an input; gives what is to be done, in order.
    pub(super) fn update(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Key(key) => {
                self.is_here();
                self.on_key(key);
            }
            Input::Mouse(mouse) => {
                self.is_here();
                self.on_mouse(mouse);
            }
            Input::Paste(text) => {
                self.is_here();
                self.on_paste(&text);
            }
            Input::Resize(width, height) => (self.width, self.height) = (width, height),
            Input::Tick(now_ms) => self.on_tick(now_ms),
            Input::Client(event) => self.on_event(event),
            Input::Answer(then, answer) => self.on_answer(then, answer.map(|answer| *answer)),
            Input::Sent(conversation, id, result) => self.on_sent(conversation, id, result),
        }
        self.load_what_is_seen();
        std::mem::take(&mut self.effects)
    }

    fn on_tick(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
        if self.last_key_ms == 0 {
            self.last_key_ms = now_ms;
        }
        if self.notice.as_ref().is_some_and(|&(_, until)| until <= now_ms) {
            self.notice = None;
        }
        for chat in self.chats.values_mut() {
            chat.typing.retain(|_, until| *until > now_ms);
        }
        self.save_drafts(false);
        if self.connection != Connection::Connected {
            return;
        }
        self.ask_for_users();
        self.watch();
        self.tell_reading();
        if !self.away && now_ms - self.last_key_ms >= AWAY_AFTER_MS {
            self.away = true;
            self.request(Request::SetAway(wire::SetAway { away: true }), Then::Nothing);
        }
    }

    /// A key was pressed.
    fn is_here(&mut self) {
        self.last_key_ms = self.now_ms;
        if self.away {
            self.away = false;
            self.request(Request::SetAway(wire::SetAway { away: false }), Then::Nothing);
        }
    }

    /// Asks who those are whose names are not known.
    fn ask_for_users(&mut self) {
        if self.unknown_users.is_empty() {
            return;
        }
        let rest = self.unknown_users.split_off(self.unknown_users.len().min(USERS_AT_ONCE));
        let ids = std::mem::replace(&mut self.unknown_users, rest);
        self.request(Request::FindUsers(wire::FindUsers { ids, names: Vec::new() }), Then::Users);
    }

    /// Wants to know who is there, of those with whom there is a chat.
    fn watch(&mut self) {
        let mut users: Vec<u64> = self.chats.values().filter_map(|chat| chat.peer).map(UserId::get).collect();
        users.extend(self.affairs.contacts().filter(|contact| contact.friend).map(|contact| contact.user.get()));
        users.sort_unstable();
        users.dedup();
        users.retain(|&user| user != self.user.get());
        users.truncate(protocol::limits::WATCH_USERS_MAX);
        if users != self.watched {
            self.watched.clone_from(&users);
            self.request(Request::WatchPresence(wire::WatchPresence { users }), Then::Presences);
        }
    }

    /// Tells what arrived, and what was shown.
    fn tell_reading(&mut self) {
        if !self.arrived.is_empty() {
            let arrived = std::mem::take(&mut self.arrived).into_iter();
            let marks = arrived.map(|(id, position)| wire::Mark { conversation: id.get(), position }).collect();
            self.request(Request::Deliver(wire::Deliver { marks }), Then::Nothing);
        }
        let Some(id) = self.open else { return };
        let Some(chat) = self.chats.get_mut(&id) else { return };
        let last = chat.view.last().unwrap_or_default();
        if chat.scroll == 0 && !self.away && last > chat.read {
            chat.read = last;
            self.request(Request::Read(wire::Read { conversation: id.get(), position: last }), Then::Nothing);
        }
    }

    fn request(&mut self, request: Request, then: Then) {
        self.effects.push(Effect::Request(Box::new(request), then));
    }

    pub(super) fn say(&self, word: Word) -> &'static str {
        self.language.say(word)
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notice = Some((text.into(), self.now_ms + NOTICE_MS));
    }

    pub(super) fn opened(&self) -> Option<&Chat> {
        self.chats.get(&self.open?)
    }

    fn opened_mut(&mut self) -> Option<&mut Chat> {
        self.chats.get_mut(&self.open?)
    }

    /// What to call a user: as this user does, else as the user wants to be called.
    pub(super) fn called(&self, user: UserId) -> Called {
        if let Some(contact) = self.affairs.contact(user)
            && !contact.remark.is_empty()
        {
            return Called::plainly(contact.remark);
        }
        match self.users.get(&user) {
            Some(info) if info.deleted => Called::plainly(self.say(Word::Gone)),
            Some(info) if !info.display_name.is_empty() => Called::by_choice(&info.display_name, &info.name),
            Some(info) if !info.name.is_empty() => Called::plainly(&info.name),
            _ => Called::plainly(user.to_string()),
        }
    }

    /// What to call a user in a conversation.
    pub(super) fn called_in(&self, chat: &Chat, user: UserId) -> Called {
        if user == self.user {
            return Called::plainly(self.say(Word::You));
        }
        match chat.nickname(user) {
            Some(nickname) if self.affairs.contact(user).is_none_or(|contact| contact.remark.is_empty()) => {
                Called::by_choice(nickname, self.users.get(&user).map_or("", |info| &info.name))
            }
            _ => self.called(user),
        }
    }

    /// As [`called`](Self::called), as a text.
    pub(super) fn name_of(&self, user: UserId) -> String {
        self.called(user).to_string()
    }

    /// As [`called_in`](Self::called_in), as a text.
    pub(super) fn name_in(&self, chat: &Chat, user: UserId) -> String {
        self.called_in(chat, user).to_string()
    }

    /// What a chat is called.
    pub(super) fn title_of(&self, chat: &Chat) -> Called {
        match chat.peer {
            Some(peer) if peer == self.user => Called::plainly(&self.name),
            Some(peer) => self.called(peer),
            None => Called::plainly(chat.view.group().title().unwrap_or(&chat.title)),
        }
    }

    /// The chats in the order in which they are listed.
    pub(super) fn listed(&self) -> Vec<&Chat> {
        let mut listed: Vec<&Chat> = self.chats.values().filter(|chat| chat.is_listed(self.open)).collect();
        listed.sort_by_key(|chat| (!chat.settings.pinned, std::cmp::Reverse(chat.moved_ms), chat.id));
        listed
    }

    /// Requests that wait for this user's answer.
    pub(super) fn open_requests(&self) -> usize {
        let asked = self.affairs.contacts().filter(|contact| contact.request.is_some_and(|request| request.received));
        asked.count() + self.affairs.join_requests().filter(|request| request.user != self.user).count()
    }

    /// Notes users whose names will be needed.
    fn meet(&mut self, users: impl IntoIterator<Item = u64>) {
        for user in users {
            let id = UserId::new(user);
            if user != 0 && !self.users.contains_key(&id) && self.asked_users.insert(id) {
                self.unknown_users.push(user);
            }
        }
    }

    fn learn_user(&mut self, info: &wire::UserInfo) {
        if info.id == self.user.get() && !info.name.is_empty() {
            self.name.clone_from(&info.name);
        }
        self.asked_users.insert(UserId::new(info.id));
        self.users.insert(UserId::new(info.id), info.clone());
    }

    /// Opens a chat.
    fn open_chat(&mut self, id: ConversationId) {
        if self.open != Some(id) {
            self.save_drafts(true);
        }
        let Some(chat) = self.chats.get_mut(&id) else { return };
        (chat.scroll, chat.selected) = (0, None);
        let (group, asked) = (chat.is_group(), std::mem::replace(&mut chat.members_asked, true));
        (self.open, self.chosen, self.focus) = (Some(id), Some(id), Focus::Compose);
        if group && !asked {
            let limit = protocol::limits::MEMBERS_PAGE_DEFAULT;
            let request = wire::ListMembers { group: id.get(), limit, ..wire::ListMembers::default() };
            self.request(Request::ListMembers(request), Then::Members(GroupId::new(id.get())));
        }
    }

    /// The chat before or after the open one in the list.
    fn open_neighbour(&mut self, step: isize) {
        let listed: Vec<ConversationId> = self.listed().iter().map(|chat| chat.id).collect();
        let at = listed.iter().position(|id| Some(*id) == self.open);
        let next = at.map_or(0, |at| at.saturating_add_signed(step).min(listed.len().saturating_sub(1)));
        if let Some(&id) = listed.get(next) {
            self.open_chat(id);
        }
    }
}
