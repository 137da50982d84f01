//! What a transaction has to know before it can decide.

use std::collections::{BTreeSet, HashMap};

use protocol::{ConversationId, EntryId, UserId, wire::Role};

use crate::{
    Act, Change, ChangeKind, ContactAct, ContactRow, ConversationAct, NewEntry, Revision, UserSettings,
    append::{Log, Member, Stored, Target},
};

/// A fact that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Need {
    /// The direct conversation of two users, the smaller id first.
    Direct(UserId, UserId),
    Log(ConversationId),
    /// In the order in which their rows are locked.
    Member(UserId, ConversationId),
    Contact(UserId, UserId),
    Settings(UserId),
    /// If the conversation is a direct one: what its users are to each other, and their settings.
    Standings(ConversationId),
    Stored(UserId, [u8; 16]),
    Target(ConversationId, u64),
    /// As a member sees it.
    Pin(ConversationId, u64, UserId),
    Ban(ConversationId, UserId),
    Mute(ConversationId, UserId),
    Admins(ConversationId),
    Effect(Revision),
    Draft(UserId, ConversationId),
}

/// What is known; `None`: that there is nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) directs: HashMap<(UserId, UserId), Option<ConversationId>>,
    pub(super) logs: HashMap<ConversationId, Option<Log>>,
    pub(super) members: HashMap<(ConversationId, UserId), Option<Member>>,
    pub(super) contacts: HashMap<(UserId, UserId), Option<ContactRow>>,
    pub(super) settings: HashMap<UserId, UserSettings>,
    pub(super) stored: HashMap<(UserId, EntryId), Option<Stored>>,
    pub(super) targets: HashMap<(ConversationId, u64), Option<Target>>,
    /// Whether the member sees it pinned.
    pub(super) pins: HashMap<(ConversationId, u64, UserId), bool>,
    pub(super) bans: HashMap<(ConversationId, UserId), bool>,
    /// Of those who are no members; 0: not muted.
    pub(super) mutes: HashMap<(ConversationId, UserId), i64>,
    pub(super) admins: HashMap<ConversationId, u64>,
    pub(super) effects: HashMap<Revision, bool>,
    /// The entry that told a draft.
    pub(super) drafts: HashMap<(UserId, ConversationId), Option<u64>>,
}

/// What appending this entry will ask for, as far as it can be told beforehand. Too little costs a round trip, too much a
/// row.
pub(super) fn foreseen(entry: &NewEntry, needs: &mut BTreeSet<Need>) {
    let (conversation, sender) = (entry.conversation, entry.sender);
    needs.insert(Need::Log(conversation));
    needs.insert(Need::Member(sender, conversation));
    let stored = Need::Stored(sender, *entry.id.as_bytes());
    match &entry.act {
        Act::Tell => {}
        Act::Message { .. } => drop(needs.insert(Need::Standings(conversation))),
        Act::Settings(_) => drop(needs.insert(Need::Settings(sender))),
        &Act::Change(Change { target, kind }) => {
            needs.extend([stored, Need::Target(conversation, target), Need::Standings(conversation)]);
            if matches!(kind, ChangeKind::Pin(_)) {
                needs.insert(Need::Pin(conversation, target, sender));
            }
        }
        Act::Membership(membership) => {
            needs.insert(stored);
            let entering = membership.enter.iter().map(|(user, _)| *user);
            if !membership.create {
                needs.extend(entering.clone().map(|user| Need::Ban(conversation, user)));
                needs.extend(entering.clone().map(|user| Need::Mute(conversation, user)));
            }
            let roles = membership.roles.iter().map(|(user, _)| *user);
            let named = entering.chain(roles).chain(membership.exit.iter().chain(&membership.above).copied());
            needs.extend(named.map(|user| Need::Member(user, conversation)));
            if membership.roles.iter().any(|(_, role)| *role == Role::Admin) {
                needs.insert(Need::Admins(conversation));
            }
        }
        Act::Contact(event) => {
            needs.extend([stored, Need::Contact(sender, event.peer)]);
            needs.extend(entry.settles.map(Need::Effect));
            if matches!(event.what, ContactAct::Block(_)) {
                needs.insert(direct_of(sender, event.peer));
            }
        }
        Act::Conversation(of, act) => {
            needs.insert(Need::Member(sender, *of));
            match act {
                ConversationAct::Settings(_) => {}
                ConversationAct::Draft(draft) => {
                    needs.insert(Need::Draft(sender, *of));
                    if draft.as_ref().is_some_and(|draft| draft.reply_to > 0) {
                        needs.insert(Need::Log(*of));
                    }
                }
                ConversationAct::Delete { .. } => drop(needs.insert(Need::Log(*of))),
            }
        }
    }
}

/// The direct conversation of two users, given in any order.
pub(super) fn direct_of(a: UserId, b: UserId) -> Need {
    Need::Direct(a.min(b), a.max(b))
}

impl Facts {
    /// Takes it that there is nothing of this, until something is found.
    pub(super) fn suppose_nothing(&mut self, needs: &BTreeSet<Need>) {
        for need in needs {
            match *need {
                Need::Direct(a, b) => drop(self.directs.insert((a, b), None)),
                Need::Log(log) => drop(self.logs.insert(log, None)),
                Need::Member(user, log) => drop(self.members.insert((log, user), None)),
                Need::Contact(owner, peer) => drop(self.contacts.insert((owner, peer), None)),
                Need::Settings(user) => drop(self.settings.insert(user, UserSettings::default())),
                // Each of its users is found, with what there is.
                Need::Standings(_) => {}
                Need::Stored(sender, id) => drop(self.stored.insert((sender, EntryId::from_bytes(id)), None)),
                Need::Target(log, position) => drop(self.targets.insert((log, position), None)),
                Need::Pin(log, target, reader) => drop(self.pins.insert((log, target, reader), false)),
                Need::Ban(log, user) => drop(self.bans.insert((log, user), false)),
                Need::Mute(log, user) => drop(self.mutes.insert((log, user), 0)),
                Need::Admins(log) => drop(self.admins.insert(log, 0)),
                Need::Effect(effect) => drop(self.effects.insert(effect, false)),
                Need::Draft(user, log) => drop(self.drafts.insert((user, log), None)),
            }
        }
    }
}
