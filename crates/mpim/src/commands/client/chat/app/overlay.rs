//! What lies over the chats for a while: help, lists to pick from, prompts, questions.

use client::{ConversationId, GroupId, UserId, wire};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use wire::client_frame::Body as Request;

use super::{App, Then, keys::edit};
use crate::commands::client::{
    chat::{editor::Editor, ui},
    target::once,
};

#[derive(Debug)]
pub(in crate::commands::client::chat) enum Overlay {
    Help { scroll: usize },
    Pick(Pick),
    Prompt(Prompt),
    Question(Question),
}

/// A list to pick from.
#[derive(Debug)]
pub(in crate::commands::client::chat) struct Pick {
    pub(in crate::commands::client::chat) kind: PickKind,
    /// What is typed goes here.
    pub(in crate::commands::client::chat) query: Option<Editor>,
    pub(in crate::commands::client::chat) selected: usize,
}

#[derive(Debug)]
pub(in crate::commands::client::chat) enum PickKind {
    NewChat {
        found: Vec<wire::UserInfo>,
    },
    Friends,
    Group {
        group: GroupId,
        info: Option<Box<wire::GroupInfo>>,
        requests: Vec<wire::JoinRequest>,
    },
    React {
        position: u64,
    },
    Forward {
        position: u64,
    },
    Search {
        conversation: ConversationId,
        query: String,
        found: Vec<wire::Entry>,
        /// Where to go on; 0: nowhere.
        more: u64,
    },
    /// One that was made for joining.
    Link(wire::GroupLink),
    Details {
        conversation: ConversationId,
        position: u64,
        receipts: Vec<wire::Receipt>,
    },
}

/// One line to be written.
#[derive(Debug)]
pub(in crate::commands::client::chat) struct Prompt {
    pub(in crate::commands::client::chat) kind: PromptKind,
    pub(in crate::commands::client::chat) editor: Editor,
    /// What is shown again afterwards.
    pub(super) under: Option<Box<Pick>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::client::chat) enum PromptKind {
    Search,
    NewGroup,
    Invite(GroupId),
    Nickname(GroupId),
    Title(GroupId),
    Announcement(GroupId),
    Remark(UserId),
    AddFriend(UserId),
}

/// Something that is not done without asking.
#[derive(Debug)]
pub(in crate::commands::client::chat) struct Question {
    pub(in crate::commands::client::chat) kind: QuestionKind,
    pub(super) under: Option<Box<Pick>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands::client::chat) enum QuestionKind {
    /// And whether the user may recall it.
    Delete {
        position: u64,
        recall: bool,
    },
    Leave(GroupId),
    Dissolve(GroupId),
    RemoveFriend(UserId),
    RemoveMember {
        group: GroupId,
        user: UserId,
        ban: bool,
    },
    Transfer {
        group: GroupId,
        user: UserId,
    },
    /// Who may join.
    Joining(GroupId),
}

impl Pick {
    pub(super) fn new(kind: PickKind) -> Self {
        Self { kind, query: None, selected: 0 }
    }

    pub(super) fn with_query(kind: PickKind) -> Self {
        Self { query: Some(Editor::default()), ..Self::new(kind) }
    }
}

impl App {
    pub(super) fn on_overlay_key(&mut self, key: KeyEvent) {
        match self.overlay.take() {
            None => {}
            Some(Overlay::Help { scroll }) => self.on_help_key(key, scroll),
            Some(Overlay::Prompt(prompt)) => self.on_prompt_key(key, prompt),
            Some(Overlay::Question(question)) => self.on_question_key(key, question),
            Some(Overlay::Pick(pick)) => self.on_pick_key(key, pick),
        }
    }

    fn on_help_key(&mut self, key: KeyEvent, scroll: usize) {
        let page = usize::from(self.height).saturating_sub(6).max(1);
        let scroll = match key.code {
            KeyCode::Up => scroll.saturating_sub(1),
            KeyCode::Down => scroll + 1,
            KeyCode::PageUp => scroll.saturating_sub(page),
            KeyCode::PageDown | KeyCode::Char(' ') => scroll + page,
            _ => return,
        };
        self.overlay = Some(Overlay::Help { scroll: scroll.min(ui::help_scroll_max(self)) });
    }

    fn on_prompt_key(&mut self, key: KeyEvent, mut prompt: Prompt) {
        match key.code {
            KeyCode::Esc => self.overlay = prompt.under.map(|pick| Overlay::Pick(*pick)),
            KeyCode::Enter => {
                self.overlay = prompt.under.take().map(|pick| Overlay::Pick(*pick));
                self.on_prompted(prompt.kind, prompt.editor.text().trim());
            }
            _ => {
                edit(&mut prompt.editor, key);
                self.overlay = Some(Overlay::Prompt(prompt));
            }
        }
    }

    fn on_prompted(&mut self, kind: PromptKind, text: &str) {
        let id = once().to_string();
        let change = |group: GroupId, change: wire::GroupChanged| {
            Request::UpdateGroup(wire::UpdateGroup { id: once().to_string(), group: group.get(), change: Some(change) })
        };
        match kind {
            PromptKind::Search => self.search(text),
            PromptKind::NewGroup if text.is_empty() => {}
            PromptKind::NewGroup => {
                // Whoever makes a group by hand wants to bring others in, not to find it joined by strangers.
                let join_policy = wire::JoinPolicy::ByInvitation.into();
                let request = wire::CreateGroup { id, title: text.into(), members: Vec::new(), join_policy };
                self.request(Request::CreateGroup(request), Then::Open);
            }
            PromptKind::Invite(group) => self.invite_named(group, text),
            PromptKind::Nickname(group) => {
                let request = wire::SetNickname { id, group: group.get(), nickname: text.into() };
                self.request(Request::SetNickname(request), Then::Regroup(group));
            }
            PromptKind::Title(group) => {
                let changed = wire::GroupChanged { title: Some(text.into()), ..Default::default() };
                self.request(change(group, changed), Then::Regroup(group));
            }
            PromptKind::Announcement(group) => {
                let changed = wire::GroupChanged { announcement: Some(text.into()), ..Default::default() };
                self.request(change(group, changed), Then::Regroup(group));
            }
            PromptKind::Remark(user) => {
                let request = wire::SetRemark { id, user: user.get(), remark: text.into() };
                self.request(Request::SetRemark(request), Then::Say);
            }
            PromptKind::AddFriend(user) => {
                let request = wire::RequestFriend { id, user: user.get(), message: text.into() };
                self.request(Request::RequestFriend(request), Then::Say);
            }
        }
    }

    fn on_question_key(&mut self, key: KeyEvent, question: Question) {
        let under = |question: Question| question.under.map(|pick| Overlay::Pick(*pick));
        let yes = matches!(key.code, KeyCode::Char('y' | 'Y') | KeyCode::Enter);
        let id = once().to_string();
        match (question.kind, key.code) {
            (QuestionKind::Delete { position, recall: true }, KeyCode::Char('r')) => self.recall(position),
            (QuestionKind::Delete { position, .. }, KeyCode::Char('d')) => self.delete_for_me(position),
            (QuestionKind::Delete { .. }, KeyCode::Esc) => {}
            (QuestionKind::Delete { .. }, _) => self.overlay = Some(Overlay::Question(question)),
            (QuestionKind::Leave(group), _) if yes => {
                self.request(Request::LeaveGroup(wire::LeaveGroup { id, group: group.get() }), Then::Say);
            }
            (QuestionKind::Dissolve(group), _) if yes => {
                self.request(Request::DissolveGroup(wire::DissolveGroup { id, group: group.get() }), Then::Say);
            }
            (QuestionKind::RemoveFriend(user), _) if yes => {
                self.request(Request::RemoveFriend(wire::RemoveFriend { id, user: user.get() }), Then::Say);
                self.overlay = under(question);
            }
            (QuestionKind::RemoveMember { group, user, ban }, _) if yes => {
                let remove = wire::RemoveMembers { id, group: group.get(), users: vec![user.get()], ban };
                self.request(Request::RemoveMembers(remove), Then::Regroup(group));
                self.overlay = under(question);
            }
            (QuestionKind::Transfer { group, user }, _) if yes => {
                let transfer = wire::TransferGroup { id, group: group.get(), user: user.get() };
                self.request(Request::TransferGroup(transfer), Then::Regroup(group));
                self.overlay = under(question);
            }
            (QuestionKind::Joining(group), KeyCode::Char(c @ ('o' | 'a' | 'i'))) => {
                let policy = match c {
                    'o' => wire::JoinPolicy::Open,
                    'a' => wire::JoinPolicy::ByApproval,
                    _ => wire::JoinPolicy::ByInvitation,
                };
                let change = Some(wire::GroupChanged { join_policy: Some(policy.into()), ..Default::default() });
                let update = wire::UpdateGroup { id, group: group.get(), change };
                self.request(Request::UpdateGroup(update), Then::Regroup(group));
                self.overlay = under(question);
            }
            (_, KeyCode::Esc | KeyCode::Char('n')) => self.overlay = under(question),
            _ => self.overlay = Some(Overlay::Question(question)),
        }
    }

    fn on_pick_key(&mut self, key: KeyEvent, mut pick: Pick) {
        let rows = self.pick_rows(&pick).len();
        let page = usize::from(self.height).saturating_sub(8).max(1);
        let last = rows.saturating_sub(1);
        pick.selected = pick.selected.min(last);
        match key.code {
            KeyCode::Esc => return,
            KeyCode::Up => pick.selected = pick.selected.saturating_sub(1),
            KeyCode::Down => pick.selected = (pick.selected + 1).min(last),
            KeyCode::PageUp => pick.selected = pick.selected.saturating_sub(page),
            KeyCode::PageDown => pick.selected = (pick.selected + page).min(last),
            KeyCode::Enter => return self.on_picked(pick),
            _ if self.on_pick_command(key, &mut pick) => return,
            _ => {
                let asks = matches!(pick.kind, PickKind::NewChat { .. });
                if let Some(query) = &mut pick.query {
                    let before = query.text().to_owned();
                    edit(query, key);
                    let now = query.text().to_owned();
                    if asks && now != before {
                        self.ask_for_users_named(&now);
                    }
                    if now != before {
                        pick.selected = 0;
                    }
                }
            }
        }
        self.more_found(&mut pick, last);
        self.overlay = Some(Overlay::Pick(pick));
    }

    fn ask_for_users_named(&mut self, query: &str) {
        if !query.trim().is_empty() {
            let request = wire::SearchUsers { query: query.into(), limit: 20, ..wire::SearchUsers::default() };
            self.request(Request::SearchUsers(request), Then::FoundUsers(query.into()));
        }
    }

    /// Goes on with a search when its last row is chosen.
    fn more_found(&mut self, pick: &mut Pick, last: usize) {
        if let PickKind::Search { conversation, query, more, .. } = &mut pick.kind
            && *more > 0
            && pick.selected >= last
        {
            let before = std::mem::take(more);
            let search = wire::Search { conversation: conversation.get(), query: query.clone(), before, limit: 30 };
            self.request(Request::Search(search), Then::Found(*conversation));
        }
    }

    fn search(&mut self, query: &str) {
        let Some(conversation) = self.open else { return };
        if query.is_empty() {
            return;
        }
        let search = wire::Search { conversation: conversation.get(), query: query.into(), before: 0, limit: 30 };
        self.request(Request::Search(search), Then::Found(conversation));
        let kind = PickKind::Search { conversation, query: query.into(), found: Vec::new(), more: 0 };
        self.overlay = Some(Overlay::Pick(Pick::new(kind)));
    }

    pub(super) fn prompt(&mut self, kind: PromptKind, text: &str, under: Option<Pick>) {
        let under = under.map(Box::new);
        self.overlay = Some(Overlay::Prompt(Prompt { kind, editor: Editor::new(text), under }));
    }

    pub(super) fn ask(&mut self, kind: QuestionKind, under: Option<Pick>) {
        self.overlay = Some(Overlay::Question(Question { kind, under: under.map(Box::new) }));
    }

    pub(super) fn is_control(key: KeyEvent) -> bool {
        key.modifiers.contains(KeyModifiers::CONTROL)
    }
}
