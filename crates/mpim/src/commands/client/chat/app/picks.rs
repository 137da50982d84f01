//! Lists to pick from: what they show, and what their keys do.

use client::{ConversationId, GroupId, UserId, fold::ContactView, wire};
use protocol::limits::MEMBERS_PAGE_DEFAULT;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use wire::client_frame::Body as Request;

use super::{App, Chat, Overlay, Pick, PickKind, PromptKind, Then, overlay::QuestionKind};
use crate::commands::client::{chat::language::Word, chat::ui, target::once};

/// What a message can be marked with, by one key.
pub(super) const REACTIONS: [&str; 8] = ["👍", "👎", "😂", "🎉", "😮", "😢", "🙏", "👀"];
/// How long a member is muted by one key.
const MUTE_MS: i64 = 3_600_000;
/// How long a link made by one key can be used.
const LINK_MS: i64 = 7 * 86_400_000;

impl App {
    /// Requests first, then friends, then the rest, each by name.
    fn listed_contacts(&self) -> Vec<ContactView<'_>> {
        let mut contacts: Vec<_> = self.affairs.contacts().collect();
        contacts.sort_by_cached_key(|contact| {
            let received = contact.request.is_some_and(|request| request.received);
            (!received, !contact.friend, self.name_of(contact.user))
        });
        contacts
    }

    /// The chats among which a forwarded message's is picked.
    fn targets(&self, query: &str) -> Vec<&Chat> {
        let query = query.to_lowercase();
        self.listed()
            .into_iter()
            .filter(|chat| self.title_of(chat).to_string().to_lowercase().contains(&query))
            .collect()
    }

    /// The rows of a list, as text.
    pub(in crate::commands::client::chat) fn pick_rows(&self, pick: &Pick) -> Vec<String> {
        let query = pick.query.as_ref().map_or("", |query| query.text());
        match &pick.kind {
            PickKind::NewChat { found } => found.iter().map(user_row).collect(),
            PickKind::Friends => self.listed_contacts().iter().map(|contact| self.contact_row(contact)).collect(),
            PickKind::Group { group, requests, .. } => {
                let asks = requests.iter().map(|request| {
                    let name = request.user.as_ref().map_or(String::new(), |user| user.name.clone());
                    format!("? {name} · {}{}", self.say(Word::AsksToJoin), in_their_words(&request.message))
                });
                let members = self.chats.get(&group.conversation()).map_or(&[][..], |chat| &chat.members);
                asks.chain(members.iter().map(|member| self.member_row(member))).collect()
            }
            PickKind::React { .. } => REACTIONS.iter().zip(1..).map(|(mark, key)| format!("{key} {mark}")).collect(),
            PickKind::Forward { .. } => {
                self.targets(query).iter().map(|chat| self.title_of(chat).to_string()).collect()
            }
            PickKind::Search { found, .. } => found.iter().map(|entry| self.found_row(entry)).collect(),
            PickKind::Details { conversation, position, receipts } => {
                self.detail_rows(*conversation, *position, receipts)
            }
            PickKind::Link(link) => {
                let until: String = (self.local_time)(link.expires_ms).chars().take(16).collect();
                vec![link.code.clone(), format!("{} {until}", self.say(Word::UsableUntil))]
            }
        }
    }

    fn contact_row(&self, contact: &ContactView<'_>) -> String {
        let mut parts = vec![self.called(contact.user).name];
        if let Some(info) = self.users.get(&contact.user).filter(|info| info.name != parts[0]) {
            parts.push(format!("@{}", info.name));
        }
        match contact.request {
            Some(request) if request.received => {
                parts.push(format!("· {}{}", self.say(Word::AsksYou), in_their_words(&request.message)));
            }
            Some(_) => parts.push(format!("· {}", self.say(Word::AskedByYou))),
            None => {}
        }
        if contact.friend {
            parts.push(format!("· {}", self.say(Word::IsFriend)));
        }
        if contact.blocked {
            parts.push(format!("· {}", self.say(Word::Blocked)));
        }
        let sign = ui::presence_sign(self, contact.user);
        format!("{sign} {}", parts.join(" "))
    }

    fn member_row(&self, member: &wire::Member) -> String {
        let user = member.user.clone().unwrap_or_default();
        let id = UserId::new(user.id);
        let sign = match member.role() {
            wire::Role::Owner => "★",
            wire::Role::Admin => "☆",
            wire::Role::Member => " ",
        };
        let mut row = format!("{sign} {}", self.name_of(id));
        if !member.nickname.is_empty() {
            row.push_str(&format!(" “{}”", member.nickname));
        }
        if member.muted_until_ms > self.now_ms {
            row.push_str(&format!(" · {}", self.say(Word::MutedHere)));
        }
        row
    }

    fn found_row(&self, entry: &wire::Entry) -> String {
        let text = entry.content.as_ref().and_then(client::RawContent::text).unwrap_or_default();
        let name = self.opened().map_or_else(String::new, |chat| self.name_in(chat, UserId::new(entry.sender)));
        let time: String = (self.local_time)(entry.time_ms).chars().take(16).collect();
        format!("{time} {name}: {text}")
    }

    fn detail_rows(&self, id: ConversationId, position: u64, receipts: &[wire::Receipt]) -> Vec<String> {
        let mut rows = Vec::new();
        let Some(chat) = self.chats.get(&id) else { return rows };
        if let Some(message) = chat.view.message(position) {
            rows.push(format!("#{position} {}", (self.local_time)(message.time_ms())));
            for former in message.former() {
                let said = former.content.kind.as_ref().map_or(String::new(), |kind| ui::said(self, kind));
                rows.push(format!("{}: {said}", self.say(Word::Before)));
            }
            for (mark, users) in message.reactions() {
                let names: Vec<_> = users.iter().map(|&user| self.name_in(chat, user)).collect();
                rows.push(format!("{mark} {}", names.join(", ")));
            }
        }
        for receipt in receipts {
            let user = receipt.user.clone().unwrap_or_default();
            let state = match receipt {
                receipt if receipt.read_position >= position => Word::Read,
                receipt if receipt.delivered_position >= position => Word::Delivered,
                _ => Word::Sent,
            };
            rows.push(format!("{} · {}", self.name_in(chat, UserId::new(user.id)), self.say(state)));
        }
        rows
    }

    /// Enter.
    pub(super) fn on_picked(&mut self, pick: Pick) {
        let at = pick.selected;
        match &pick.kind {
            PickKind::NewChat { found } => {
                if let Some(user) = found.get(at) {
                    let user = UserId::new(user.id);
                    self.overlay = Some(Overlay::Pick(pick));
                    self.open_direct(user);
                }
            }
            PickKind::Friends => {
                let user = self.listed_contacts().get(at).map(|contact| contact.user);
                self.overlay = Some(Overlay::Pick(pick));
                if let Some(user) = user {
                    self.open_direct(user);
                }
            }
            PickKind::Group { .. } => {
                let user = self.chosen_member(&pick);
                self.overlay = Some(Overlay::Pick(pick));
                if let Some(user) = user.filter(|&user| user != self.user) {
                    self.open_direct(user);
                }
            }
            PickKind::React { position } => self.react(*position, REACTIONS[at.min(REACTIONS.len() - 1)]),
            PickKind::Forward { position } => {
                let query = pick.query.as_ref().map_or("", |query| query.text());
                let target = self.targets(query).get(at).map(|chat| chat.id);
                if let Some(target) = target {
                    self.forward(*position, target);
                }
            }
            PickKind::Search { conversation, found, .. } => {
                if let Some(entry) = found.get(at) {
                    self.go_to(*conversation, entry.position);
                }
            }
            PickKind::Details { .. } | PickKind::Link(_) => {}
        }
    }

    fn open_direct(&mut self, user: UserId) {
        let peer = Some(wire::open_direct::Peer::User(user.get()));
        self.request(Request::OpenDirect(wire::OpenDirect { peer }), Then::Open);
    }

    /// Keys of a list beside moving. True if the overlay is settled.
    pub(super) fn on_pick_command(&mut self, key: KeyEvent, pick: &mut Pick) -> bool {
        let KeyCode::Char(c) = key.code else { return false };
        match &pick.kind {
            PickKind::NewChat { found } if Self::is_control(key) => match c {
                'a' => {
                    let Some(user) = found.get(pick.selected).map(|user| UserId::new(user.id)) else { return false };
                    let under = take(pick);
                    self.prompt(PromptKind::AddFriend(user), "", Some(under));
                    true
                }
                'g' => {
                    self.prompt(PromptKind::NewGroup, "", None);
                    true
                }
                _ => false,
            },
            PickKind::Friends => self.on_friends_key(c, pick),
            PickKind::Group { group, .. } => {
                let group = *group;
                self.on_group_key(c, group, pick)
            }
            PickKind::React { position } => match REACTIONS.get((c as usize).wrapping_sub('1' as usize)) {
                Some(mark) => {
                    self.react(*position, mark);
                    true
                }
                None => false,
            },
            _ => false,
        }
    }

    fn on_friends_key(&mut self, c: char, pick: &mut Pick) -> bool {
        if c == 'n' {
            self.overlay = Some(Overlay::Pick(Pick::with_query(PickKind::NewChat { found: Vec::new() })));
            return true;
        }
        let Some(contact) = self.listed_contacts().into_iter().nth(pick.selected) else { return false };
        let (id, user, blocked) = (once().to_string(), contact.user, contact.blocked);
        let received = contact.request.is_some_and(|request| request.received);
        let (asked, friend, remark) = (contact.request.is_some(), contact.friend, contact.remark.to_owned());
        match c {
            'a' | 'x' if received => {
                let request = wire::AnswerFriend { id, user: user.get(), accept: c == 'a' };
                self.request(Request::AnswerFriend(request), Then::Say);
            }
            'x' if asked => {
                self.request(Request::WithdrawFriend(wire::WithdrawFriend { id, user: user.get() }), Then::Say);
            }
            'b' => {
                let request = wire::SetBlocked { id, user: user.get(), blocked: !blocked };
                self.request(Request::SetBlocked(request), Then::Say);
            }
            'm' => {
                self.prompt(PromptKind::Remark(user), &remark, Some(take(pick)));
                return true;
            }
            'd' if friend => {
                self.ask(QuestionKind::RemoveFriend(user), Some(take(pick)));
                return true;
            }
            _ => {}
        }
        false
    }

    /// The member that is chosen in a group's list, whose first rows are requests.
    fn chosen_member(&self, pick: &Pick) -> Option<UserId> {
        let PickKind::Group { group, requests, .. } = &pick.kind else { return None };
        let user = match pick.selected.checked_sub(requests.len()) {
            None => requests.get(pick.selected)?.user.as_ref(),
            Some(at) => self.chats.get(&group.conversation())?.members.get(at)?.user.as_ref(),
        };
        user.map(|user| UserId::new(user.id))
    }

    fn on_group_key(&mut self, c: char, group: GroupId, pick: &mut Pick) -> bool {
        let PickKind::Group { requests, info, .. } = &pick.kind else { return false };
        let asks = pick.selected < requests.len();
        let (title, announcement) = match info {
            Some(info) => {
                let title = info.conversation.as_ref().map_or(String::new(), |group| group.title.clone());
                (title, info.announcement.clone())
            }
            None => (String::new(), String::new()),
        };
        let prompt = match c {
            'i' => Some((PromptKind::Invite(group), String::new())),
            'n' => Some((PromptKind::Nickname(group), String::new())),
            'T' => Some((PromptKind::Title(group), title)),
            'A' => Some((PromptKind::Announcement(group), announcement)),
            _ => None,
        };
        if let Some((kind, text)) = prompt {
            self.prompt(kind, &text, Some(take(pick)));
            return true;
        }
        let id = once().to_string();
        match c {
            'l' => self.ask(QuestionKind::Leave(group), Some(take(pick))),
            'D' => self.ask(QuestionKind::Dissolve(group), Some(take(pick))),
            'j' => self.ask(QuestionKind::Joining(group), Some(take(pick))),
            'k' => {
                let expires_ms = self.now_ms + LINK_MS;
                let request = wire::CreateGroupLink { id, group: group.get(), expires_ms, uses_max: 0 };
                self.request(Request::CreateGroupLink(request), Then::Link(group));
                return false;
            }
            _ => {
                let Some(user) = self.chosen_member(pick) else { return false };
                let question = match c {
                    'x' | 'b' if !asks => QuestionKind::RemoveMember { group, user, ban: c == 'b' },
                    't' if !asks => QuestionKind::Transfer { group, user },
                    _ => {
                        self.on_member_key(c, group, user, asks);
                        return false;
                    }
                };
                self.ask(question, Some(take(pick)));
            }
        }
        true
    }

    /// Keys about one member, or about one who asks to be one, that need no question.
    fn on_member_key(&mut self, c: char, group: GroupId, user: UserId, asks: bool) {
        let (id, group_id, users) = (once().to_string(), group.get(), vec![user.get()]);
        let member = self.chats.get(&group.conversation()).and_then(|chat| {
            chat.members.iter().find(|member| member.user.as_ref().is_some_and(|info| info.id == user.get()))
        });
        let admin = member.is_some_and(|member| member.role() == wire::Role::Admin);
        let muted = member.is_some_and(|member| member.muted_until_ms > self.now_ms);
        let user = user.get();
        let request = match c {
            'y' | 'x' if asks => Request::AnswerJoin(wire::AnswerJoin { id, group: group_id, user, admit: c == 'y' }),
            'a' => {
                let role = if admin { wire::Role::Member } else { wire::Role::Admin };
                Request::SetRole(wire::SetRole { id, group: group_id, user, role: role.into() })
            }
            'm' => {
                let until_ms = if muted { 0 } else { self.now_ms + MUTE_MS };
                Request::MuteMembers(wire::MuteMembers { id, group: group_id, users, until_ms })
            }
            _ => return,
        };
        self.request(request, Then::Regroup(group));
    }

    /// Brings in the user of a name, as one is called here or as the server knows one.
    pub(super) fn invite_named(&mut self, group: GroupId, name: &str) {
        let known = self.users.values().find(|user| user.name == name);
        let known = known.or_else(|| self.users.values().find(|user| self.called(UserId::new(user.id)).name == name));
        match known.map(|user| user.id) {
            Some(user) => self.invite(group, user),
            None if name.is_empty() => {}
            None => {
                let request = wire::FindUsers { ids: Vec::new(), names: vec![name.into()] };
                self.request(Request::FindUsers(request), Then::Invite(group));
            }
        }
    }

    pub(super) fn invite(&mut self, group: GroupId, user: u64) {
        let request = wire::Invite { id: once().to_string(), group: group.get(), users: vec![user] };
        self.request(Request::Invite(request), Then::Regroup(group));
    }

    /// Asks anew what the list of a group shows.
    pub(super) fn ask_for_group(&mut self, group: GroupId) {
        let id = group.get();
        self.request(
            Request::GetGroup(wire::GetGroup { by: Some(wire::get_group::By::Group(id)) }),
            Then::Group(group),
        );
        let members = wire::ListMembers { group: id, limit: MEMBERS_PAGE_DEFAULT, ..wire::ListMembers::default() };
        self.request(Request::ListMembers(members), Then::Members(group));
        if self.chats.get(&group.conversation()).is_some_and(|chat| chat.role != wire::Role::Member) {
            let requests = wire::ListJoinRequests { group: id, limit: MEMBERS_PAGE_DEFAULT, after: 0 };
            self.request(Request::ListJoinRequests(requests), Then::JoinRequests(group));
        }
    }

    pub(super) fn show_group(&mut self) {
        let Some(chat) = self.opened().filter(|chat| chat.is_group()) else {
            self.prompt(PromptKind::NewGroup, "", None);
            return;
        };
        let group = GroupId::new(chat.id.get());
        self.overlay = Some(Overlay::Pick(Pick::new(PickKind::Group { group, info: None, requests: Vec::new() })));
        self.ask_for_group(group);
    }
}

/// Takes a list out of the hands of whoever decides what becomes of it.
fn take(pick: &mut Pick) -> Pick {
    std::mem::replace(pick, Pick::new(PickKind::Friends))
}

/// What somebody says to a request, after it; may be nothing.
fn in_their_words(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" · {message}") }
}

fn user_row(user: &wire::UserInfo) -> String {
    let mut row = user.name.clone();
    if !user.display_name.is_empty() {
        row.push_str(&format!(" “{}”", user.display_name));
    }
    if !user.status_line.is_empty() {
        row.push_str(&format!(" · {}", user.status_line));
    }
    row
}
