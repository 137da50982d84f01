//! What should be, told without a word of the store's or the SDK's code: conversations and what is written in them.

mod contacts;
mod groups;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use client::{
    ConversationId, EntryId, UserId,
    wire::{self, ErrorCode, Role, content::Kind},
};

pub use self::{
    contacts::Contact,
    groups::{Group, Link},
    view::Shown,
};

/// Refused by one of these: where several apply, which one is told is nobody's promise.
pub type Outcome<T = ()> = Result<T, Vec<ErrorCode>>;

pub fn refused<T>(code: ErrorCode) -> Outcome<T> {
    Err(vec![code])
}

#[derive(Debug, Default)]
pub struct Reference {
    pub users: BTreeMap<UserId, Person>,
    pub logs: BTreeMap<ConversationId, Log>,
}

/// What is known of a user beside the conversations.
#[derive(Debug, Default)]
pub struct Person {
    /// Only friends may write to the user and bring the user into groups.
    pub friends_only: bool,
    pub invisible: bool,
    pub contacts: BTreeMap<UserId, Contact>,
    /// Groups entered (true) and exited, in order.
    pub groups: Vec<(ConversationId, bool)>,
}

#[derive(Debug, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    pub members: BTreeMap<UserId, Member>,
    /// Where those who left saw the log end.
    pub left: BTreeMap<UserId, u64>,
    /// What each makes of the conversation, member or not.
    pub own: BTreeMap<UserId, Own>,
    /// `None`: of two users, or one.
    pub group: Option<Group>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub sender: UserId,
    pub id: EntryId,
    pub time_ms: i64,
    pub content: wire::Content,
    /// For its sender only.
    pub withheld: bool,
    pub recalled: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Member {
    pub role: Role,
    pub nickname: String,
    pub muted: bool,
    pub read: u64,
    pub delivered: u64,
    /// The user has blocked the other; how far the log went then.
    pub blocked_at: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub struct Own {
    pub settings: Option<wire::ConversationSettings>,
    /// Text, and what it replies to.
    pub draft: Option<(String, u64)>,
    pub deleted: BTreeSet<u64>,
    pub deleted_up_to: u64,
}

impl Own {
    pub fn has_deleted(&self, position: u64) -> bool {
        position <= self.deleted_up_to || self.deleted.contains(&position)
    }
}

pub fn is_message(kind: &Kind) -> bool {
    matches!(kind, Kind::Text(_) | Kind::Link(_) | Kind::Card(_) | Kind::Custom(_) | Kind::Opaque(_))
}

impl Entry {
    pub fn kind(&self) -> &Kind {
        self.content.kind.as_ref().unwrap()
    }

    pub fn is_message(&self) -> bool {
        is_message(self.kind())
    }

    pub fn is_for(&self, reader: UserId) -> bool {
        !self.withheld || self.sender == reader
    }
}

impl Log {
    pub fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn at(&self, position: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(position.checked_sub(1)?).ok()?)
    }

    pub fn own(&self, user: UserId) -> Own {
        self.own.get(&user).cloned().unwrap_or_default()
    }

    /// The other of two; oneself if there is no other.
    pub fn peer(&self, user: UserId) -> UserId {
        self.members.keys().copied().find(|member| *member != user).unwrap_or(user)
    }

    /// Appends. Whoever writes has read.
    pub fn append(&mut self, sender: UserId, id: EntryId, content: wire::Content, withheld: bool) -> u64 {
        self.entries.push(Entry { sender, id, time_ms: 0, content, withheld, recalled: false });
        let position = self.end();
        if let Some(member) = self.members.get_mut(&sender) {
            member.read = position;
        }
        position
    }

    pub fn read(&mut self, user: UserId, position: u64) {
        let end = self.end();
        if let Some(member) = self.members.get_mut(&user) {
            member.read = member.read.max(position.min(end));
        }
    }

    pub fn deliver(&mut self, user: UserId, position: u64) {
        let end = self.end();
        if let Some(member) = self.members.get_mut(&user) {
            member.delivered = member.delivered.max(position.min(end));
        }
    }
}

impl Reference {
    pub fn conversations_of(&self, user: UserId) -> Vec<ConversationId> {
        self.logs.iter().filter(|(_, log)| log.members.contains_key(&user)).map(|(id, _)| *id).collect()
    }

    pub fn log(&mut self, id: ConversationId) -> &mut Log {
        self.logs.get_mut(&id).unwrap()
    }

    /// The conversation of two users is there now.
    pub fn open_direct(&mut self, id: ConversationId, a: UserId, b: UserId) {
        if self.logs.contains_key(&id) {
            return;
        }
        let mut log = Log::default();
        for (user, other) in [(a, b), (b, a)] {
            let blocked_at = self.contact(user, other).blocked.then_some(0);
            log.members.insert(user, Member { blocked_at, ..Member::default() });
        }
        self.logs.insert(id, log);
    }

    /// Whether the user may write, and whether it is withheld from the other.
    fn may_write(&self, id: ConversationId, user: UserId) -> Outcome<bool> {
        let log = &self.logs[&id];
        let Some(member) = log.members.get(&user) else { return refused(ErrorCode::NotMember) };
        let Some(group) = &log.group else {
            let peer = log.peer(user);
            if peer == user {
                return Ok(false);
            }
            let mut codes = Vec::new();
            if self.users[&peer].friends_only && !self.contact(peer, user).friend {
                codes.push(ErrorCode::FriendsOnly);
            }
            if self.contact(user, peer).blocked {
                codes.push(ErrorCode::Forbidden);
            }
            return if codes.is_empty() { Ok(self.contact(peer, user).blocked) } else { Err(codes) };
        };
        if group.dissolved {
            return refused(ErrorCode::Dissolved);
        }
        if member.muted || group.muted && member.role == Role::Member {
            return refused(ErrorCode::Muted);
        }
        Ok(false)
    }

    /// A message, or a change of one; its position.
    pub fn send(&mut self, id: ConversationId, user: UserId, entry: EntryId, content: wire::Content) -> Outcome<u64> {
        let kind = content.kind.clone().unwrap();
        if !is_message(&kind) {
            return self.change(id, user, entry, kind);
        }
        let withheld = self.may_write(id, user)?;
        let log = self.log(id);
        let everyone = content.mentions.as_ref().is_some_and(|mentions| mentions.everyone);
        if everyone && log.group.is_some() && log.members[&user].role == Role::Member {
            return refused(ErrorCode::Forbidden);
        }
        if content.reply_to > log.end() {
            return refused(ErrorCode::Invalid);
        }
        Ok(log.append(user, entry, content, withheld))
    }

    fn change(&mut self, id: ConversationId, user: UserId, entry: EntryId, kind: Kind) -> Outcome<u64> {
        let may = self.may_write(id, user);
        let mut withheld = match (&kind, may) {
            // Who may not write may still take back, as long as there is a place to write to.
            (Kind::Recall(_), Err(codes))
                if !codes.contains(&ErrorCode::NotMember) && !codes.contains(&ErrorCode::Dissolved) =>
            {
                false
            }
            (_, may) => may?,
        };
        let log = self.log(id);
        let position = match &kind {
            Kind::Edit(edit) => edit.position,
            Kind::Recall(recall) => recall.position,
            Kind::Reaction(reaction) => reaction.position,
            Kind::Pin(pin) => pin.position,
            other => panic!("no change: {other:?}"),
        };
        let target = log.at(position).filter(|entry| entry.is_message() && !entry.recalled && entry.is_for(user));
        let Some(target) = target else { return refused(ErrorCode::NotFound) };
        let is_own = target.sender == user;
        let role = log.members[&user].role;
        let administers = log.group.is_some() && role >= Role::Admin;
        match &kind {
            Kind::Edit(_) if !is_own => return refused(ErrorCode::Forbidden),
            Kind::Edit(edit) => {
                let new = edit.content.as_ref().unwrap().view().unwrap().kind.unwrap();
                if std::mem::discriminant(&new) != std::mem::discriminant(target.kind()) {
                    return refused(ErrorCode::Invalid);
                }
            }
            Kind::Recall(_) => {
                let author = log.members.get(&target.sender).map(|author| author.role);
                if !is_own && (!administers || author.is_some_and(|author| author >= role)) {
                    return refused(ErrorCode::Forbidden);
                }
                // What the other has seen is taken back for the other as well.
                withheld = false;
            }
            Kind::Pin(pin) => {
                if log.group.is_some() && !administers {
                    return refused(ErrorCode::Forbidden);
                }
                if pin.removed && !log.is_pinned(position, user) {
                    return refused(ErrorCode::Conflict);
                }
            }
            _ => {}
        }
        // Of what the other never saw nothing is told.
        withheld |= target.withheld;
        if let Kind::Recall(_) = kind {
            log.entries[position as usize - 1].recalled = true;
        }
        Ok(log.append(user, entry, wire::Content { kind: Some(kind), ..Default::default() }, withheld))
    }

    /// Out of the user's own sight.
    pub fn delete(&mut self, id: ConversationId, user: UserId, positions: &[u64], up_to: u64) -> Outcome {
        let log = self.log(id);
        if !log.members.contains_key(&user) {
            return refused(ErrorCode::NotMember);
        }
        let last = positions.iter().copied().max().unwrap_or(0).max(up_to);
        if last == 0 || last > log.end() || positions.contains(&0) {
            return refused(ErrorCode::Invalid);
        }
        log.read(user, last);
        let own = log.own.entry(user).or_default();
        own.deleted.extend(positions);
        own.deleted_up_to = own.deleted_up_to.max(up_to);
        Ok(())
    }
}
