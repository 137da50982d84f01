//! What the server answers.

use client::{ConversationId, UserId, wire};
use wire::server_frame::Body as Answer;

use super::{App, Overlay, Pick, PickKind, Then};
use crate::commands::client::{chat::language::Word, entries::users_of};

impl App {
    pub(super) fn on_answer(&mut self, then: Then, answer: Result<Answer, String>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return self.on_refusal(&then, error),
        };
        match (then, answer) {
            (Then::Say, _) => self.note(self.say(Word::Done)),
            (Then::Regroup(group), _) => {
                self.note(self.say(Word::Done));
                self.ask_for_group(group);
            }
            (Then::Draft(id, text), _) => self.on_draft_saved(id, &text, true),
            (Then::Older(id), Answer::History(page)) => self.on_older(id, &page),
            (Then::Users, Answer::Users(users)) => users.users.iter().for_each(|user| self.learn_user(user)),
            (Then::Invite(group), Answer::Users(users)) => match users.users.first() {
                Some(user) => {
                    self.learn_user(user);
                    self.invite(group, user.id);
                }
                None => self.note(self.say(Word::NothingFound)),
            },
            (Then::Contacts { as_of, .. }, Answer::Contacts(answer)) => {
                for user in answer.contacts.iter().filter_map(|contact| contact.user.as_ref()) {
                    self.learn_user(user);
                }
                self.affairs.learn_contacts(&answer.contacts, as_of);
                if let Some(last) = answer.contacts.last().and_then(|contact| contact.user.as_ref()) {
                    self.ask_for_contacts(last.id);
                }
            }
            (Then::Presences, Answer::Presences(answer)) => {
                self.presence.extend(answer.presences.into_iter().map(|one| (UserId::new(one.user), one)));
            }
            (Then::Open, Answer::Conversation(conversation)) => {
                let id = self.on_conversation(&conversation);
                self.overlay = None;
                if let Some(chat) = self.chats.get_mut(&id) {
                    chat.moved_ms = chat.moved_ms.max(1);
                }
                self.open_chat(id);
            }
            (Then::FoundUsers(query), Answer::Users(users)) => self.on_found_users(&query, users.users),
            (Then::Found(id), Answer::Found(found)) => self.on_found(id, found),
            (Then::Members(group), Answer::Members(members)) => {
                for user in members.members.iter().filter_map(|member| member.user.as_ref()) {
                    self.learn_user(user);
                }
                if let Some(chat) = self.chats.get_mut(&group.conversation()) {
                    chat.members = members.members;
                }
            }
            (Then::Group(group), Answer::Group(info)) => {
                if let Some(chat) = self.chats.get_mut(&group.conversation())
                    && let Some(me) = &info.me
                {
                    chat.role = me.role();
                }
                if let Some(Pick { kind: PickKind::Group { group: shown, info: place, .. }, .. }) = self.pick_mut()
                    && *shown == group
                {
                    *place = Some(Box::new(info));
                }
            }
            (Then::JoinRequests(group), Answer::JoinRequests(answer)) => {
                for user in answer.requests.iter().filter_map(|request| request.user.as_ref()) {
                    self.learn_user(user);
                }
                if let Some(Pick { kind: PickKind::Group { group: shown, requests, .. }, .. }) = self.pick_mut()
                    && *shown == group
                {
                    *requests = answer.requests;
                }
            }
            (Then::Link(_), Answer::GroupLink(link)) => {
                self.overlay = Some(Overlay::Pick(Pick::new(PickKind::Link(link))));
            }
            (Then::Receipts(id, position), Answer::Receipts(receipts)) => {
                for user in receipts.receipts.iter().filter_map(|receipt| receipt.user.as_ref()) {
                    self.learn_user(user);
                }
                if let Some(Pick { kind: PickKind::Details { conversation, position: at, receipts: place }, .. }) =
                    self.pick_mut()
                    && (*conversation, *at) == (id, position)
                {
                    *place = receipts.receipts;
                }
            }
            // Nothing, or what does not belong to the question.
            _ => {}
        }
    }

    fn on_refusal(&mut self, then: &Then, error: String) {
        match then {
            Then::Nothing | Then::Users | Then::Presences | Then::JoinRequests(_) | Then::Receipts(..) => {}
            Then::Contacts { .. } | Then::Members(_) => {}
            Then::Draft(id, text) => self.on_draft_saved(*id, text, false),
            Then::Older(id) => {
                if let Some(chat) = self.chats.get_mut(id) {
                    // Asked again when somebody scrolls, or after the next connection.
                    (chat.loading, chat.complete) = (false, true);
                }
            }
            _ => self.note(error),
        }
    }

    fn on_older(&mut self, id: ConversationId, page: &wire::HistoryPage) {
        for entry in &page.entries {
            self.meet(users_of(entry));
        }
        let Some(chat) = self.chats.get_mut(&id) else { return };
        chat.loading = false;
        chat.last = chat.last.max(page.last_position);
        chat.complete = page.entries.first().is_none_or(|first| first.position <= 1);
        for entry in &page.entries {
            chat.view.apply(entry);
            chat.moved_ms = chat.moved_ms.max(entry.time_ms);
        }
        if let Some(deleted) = self.affairs.deleted(id) {
            chat.view.delete(deleted.positions.iter().copied(), deleted.up_to);
        }
    }

    fn on_found_users(&mut self, query: &str, users: Vec<wire::UserInfo>) {
        users.iter().for_each(|user| self.learn_user(user));
        if let Some(pick) = self.pick_mut()
            && pick.query.as_ref().is_some_and(|asked| asked.text() == query)
            && let PickKind::NewChat { found } = &mut pick.kind
        {
            *found = users;
            pick.selected = 0;
        }
    }

    fn on_found(&mut self, id: ConversationId, page: wire::Found) {
        for entry in &page.entries {
            self.meet(users_of(entry));
        }
        if let Some(Pick { kind: PickKind::Search { conversation, found, more, .. }, .. }) = self.pick_mut()
            && *conversation == id
        {
            found.extend(page.entries);
            *more = page.next_before;
        }
    }

    pub(super) fn pick_mut(&mut self) -> Option<&mut Pick> {
        match &mut self.overlay {
            Some(Overlay::Pick(pick)) => Some(pick),
            // What a prompt or a question came from is shown again after it.
            Some(Overlay::Prompt(prompt)) => prompt.under.as_deref_mut(),
            Some(Overlay::Question(question)) => question.under.as_deref_mut(),
            _ => None,
        }
    }
}
