//! The user's own affairs.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    ConversationId, GroupId, SessionId, UserId,
    wire::{self, content::Kind},
};

use super::Latest;

/// What the personal log tells. See the [module](super) for what it needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Affairs {
    last: u64,
    contacts: BTreeMap<UserId, Contact>,
    conversations: BTreeMap<ConversationId, Settings>,
    deleted: BTreeMap<ConversationId, Deleted>,
    groups: BTreeMap<GroupId, Latest<bool>>,
    sessions: BTreeMap<SessionId, Latest<Option<String>>>,
    profile: Latest<Option<wire::UserInfo>>,
    settings: Latest<Option<wire::SettingsChanged>>,
    join_requests: BTreeMap<(GroupId, UserId), Latest<Option<String>>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Contact {
    friend: Latest<bool>,
    request: Latest<Option<RequestView>>,
    remark: Latest<String>,
    blocked: Latest<bool>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Settings {
    settings: Latest<Option<wire::ConversationSettings>>,
    draft: Latest<Option<wire::Draft>>,
}

/// A request to be friends that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView {
    /// By the other user, for this one to answer.
    pub received: bool,
    /// What was written along.
    pub message: String,
}

/// What another user is to this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactView<'a> {
    /// Who.
    pub user: UserId,
    /// They are friends.
    pub friend: bool,
    /// One asked the other.
    pub request: Option<&'a RequestView>,
    /// This user's name for the other; empty: none.
    pub remark: &'a str,
    /// What the other writes does not arrive.
    pub blocked: bool,
}

/// What the user removed from the user's own sight in one conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// These messages.
    pub positions: BTreeSet<u64>,
    /// Everything up to here.
    pub up_to: u64,
}

/// Somebody asks to be let into a group: the user, or, where the user may decide, another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequestView<'a> {
    /// Into which group.
    pub group: GroupId,
    /// Who asks.
    pub user: UserId,
    /// What was written along.
    pub message: &'a str,
}

impl Affairs {
    /// Takes an entry of the personal log in.
    pub fn apply(&mut self, entry: &wire::Entry) {
        let at = entry.position;
        self.last = self.last.max(at);
        let Some(kind) = entry.content.as_ref().and_then(|content| content.view().ok()).and_then(|view| view.kind)
        else {
            return;
        };
        match kind {
            Kind::FriendRequested(_)
            | Kind::FriendAdded(_)
            | Kind::FriendRequestClosed(_)
            | Kind::FriendRemoved(_)
            | Kind::RemarkChanged(_)
            | Kind::BlockChanged(_) => self.apply_contact(at, kind),
            Kind::GroupEntered(entered) => {
                self.groups.entry(GroupId::new(entered.group)).or_default().tell(at, true);
            }
            Kind::GroupExited(exited) => {
                self.groups.entry(GroupId::new(exited.group)).or_default().tell(at, false);
            }
            Kind::SessionStarted(started) => {
                self.sessions.entry(SessionId::new(started.session)).or_default().tell(at, Some(started.device));
            }
            Kind::SessionEnded(ended) => {
                self.sessions.entry(SessionId::new(ended.session)).or_default().tell(at, None);
            }
            Kind::ProfileChanged(changed) => self.profile.tell(at, changed.user),
            Kind::SettingsChanged(changed) => self.settings.tell(at, Some(changed)),
            Kind::ConversationChanged(changed) => {
                let conversation = self.conversations.entry(ConversationId::new(changed.conversation)).or_default();
                conversation.settings.tell(at, changed.settings);
            }
            Kind::DraftChanged(changed) => {
                let conversation = self.conversations.entry(ConversationId::new(changed.conversation)).or_default();
                conversation.draft.tell(at, changed.draft);
            }
            Kind::MessagesDeleted(messages) => {
                let deleted = self.deleted.entry(ConversationId::new(messages.conversation)).or_default();
                deleted.positions.extend(messages.positions);
                deleted.up_to = deleted.up_to.max(messages.up_to);
            }
            Kind::JoinRequested(asked) => {
                let key = (GroupId::new(asked.group), UserId::new(asked.user));
                self.join_requests.entry(key).or_default().tell(at, Some(asked.message));
            }
            Kind::JoinRequestClosed(closed) => {
                let key = (GroupId::new(closed.group), UserId::new(closed.user));
                self.join_requests.entry(key).or_default().tell(at, None);
            }
            _ => {}
        }
    }

    fn apply_contact(&mut self, at: u64, kind: Kind) {
        let contacts = &mut self.contacts;
        match kind {
            Kind::FriendRequested(asked) => {
                let request = RequestView { received: asked.received, message: asked.message };
                contacts.entry(UserId::new(asked.user)).or_default().request.tell(at, Some(request));
            }
            Kind::FriendAdded(added) => {
                let contact = contacts.entry(UserId::new(added.user)).or_default();
                contact.friend.tell(at, true);
                contact.request.tell(at, None);
            }
            Kind::FriendRequestClosed(closed) => {
                contacts.entry(UserId::new(closed.user)).or_default().request.tell(at, None);
            }
            Kind::FriendRemoved(removed) => {
                contacts.entry(UserId::new(removed.user)).or_default().friend.tell(at, false);
            }
            Kind::RemarkChanged(changed) => {
                contacts.entry(UserId::new(changed.user)).or_default().remark.tell(at, changed.remark);
            }
            Kind::BlockChanged(changed) => {
                contacts.entry(UserId::new(changed.user)).or_default().blocked.tell(at, changed.blocked);
            }
            _ => {}
        }
    }

    /// Takes in contacts as a request told them. `as_of` is [`last`](Self::last) at the time when it was asked: what
    /// later entries tell is newer.
    pub fn learn_contacts(&mut self, contacts: &[wire::Contact], as_of: u64) {
        for told in contacts {
            let Some(user) = &told.user else { continue };
            let contact = self.contacts.entry(UserId::new(user.id)).or_default();
            contact.friend.tell(as_of, told.friend);
            contact.remark.tell(as_of, told.remark.clone());
            contact.blocked.tell(as_of, told.blocked);
            let received = told.request() == wire::FriendRequest::Received;
            let request = RequestView { received, message: told.message.clone() };
            contact.request.tell(as_of, Some(request).filter(|_| told.request() != wire::FriendRequest::NoRequest));
        }
    }

    /// The position of the last entry taken in; 0: none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Users that are something to this one, in the order of their ids.
    pub fn contacts(&self) -> impl Iterator<Item = ContactView<'_>> {
        let contacts = self.contacts.keys().filter_map(|&user| self.contact(user));
        contacts.filter(|c| c.friend || c.request.is_some() || !c.remark.is_empty() || c.blocked)
    }

    /// What a user is to this one, if anything was ever told.
    pub fn contact(&self, user: UserId) -> Option<ContactView<'_>> {
        let contact = self.contacts.get(&user)?;
        Some(ContactView {
            user,
            friend: contact.friend.value,
            request: contact.request.value.as_ref(),
            remark: &contact.remark.value,
            blocked: contact.blocked.value,
        })
    }

    /// How the user's clients show a conversation, if it was told.
    pub fn settings_of(&self, conversation: ConversationId) -> Option<&wire::ConversationSettings> {
        self.conversations.get(&conversation)?.settings.value.as_ref()
    }

    /// What the user has not sent yet to a conversation.
    pub fn draft_of(&self, conversation: ConversationId) -> Option<&wire::Draft> {
        self.conversations.get(&conversation)?.draft.value.as_ref().filter(|draft| !draft.text.is_empty())
    }

    /// What the user deleted in a conversation.
    pub fn deleted(&self, conversation: ConversationId) -> Option<&Deleted> {
        self.deleted.get(&conversation)
    }

    /// The groups that the user is a member of.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> {
        self.groups.iter().filter(|(_, entered)| entered.value).map(|(&group, _)| group)
    }

    /// The sessions that have not ended, and their devices.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &str)> {
        self.sessions.iter().filter_map(|(&session, device)| Some((session, device.value.as_deref()?)))
    }

    /// The user as everybody sees the user, if it was changed.
    pub fn profile(&self) -> Option<&wire::UserInfo> {
        self.profile.value.as_ref()
    }

    /// The account's settings, if they were changed.
    pub fn settings(&self) -> Option<&wire::SettingsChanged> {
        self.settings.value.as_ref()
    }

    /// Who asks to be let into groups: the user, and those about whom the user decides.
    pub fn join_requests(&self) -> impl Iterator<Item = JoinRequestView<'_>> {
        // What was asked before the user came or went is settled: by that, the user's own request is answered, and of
        // those of others a newcomer is told anew.
        let settled = |group| self.groups.get(&group).map_or(0, |told: &Latest<bool>| told.position);
        let open = self.join_requests.iter().filter(move |((group, _), message)| message.position > settled(*group));
        open.filter_map(|(&(group, user), message)| {
            Some(JoinRequestView { group, user, message: message.value.as_deref()? })
        })
    }
}
