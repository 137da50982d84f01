//! What one user sees.

use std::collections::BTreeMap;

use client::{
    EntryId, UserId,
    wire::{self, Role, content::Kind},
};

use super::Log;

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub position: u64,
    pub id: EntryId,
    pub sender: UserId,
    /// `None`: it was taken back.
    pub says: Option<Kind>,
    pub edits: usize,
    pub reactions: BTreeMap<String, Vec<UserId>>,
    pub pinned: bool,
    pub reply_to: u64,
    pub forwarded: Option<wire::Forwarded>,
}

impl Log {
    /// What was done to a message, as the reader knows, in order.
    fn changes(&self, position: u64, reader: UserId) -> impl Iterator<Item = (UserId, &Kind)> {
        let entries = self.entries.iter().filter(move |entry| entry.is_for(reader));
        entries.map(|entry| (entry.sender, entry.kind())).filter(move |(_, kind)| match kind {
            Kind::Edit(edit) => edit.position == position,
            Kind::Reaction(reaction) => reaction.position == position,
            Kind::Pin(pin) => pin.position == position,
            _ => false,
        })
    }

    pub fn is_pinned(&self, position: u64, reader: UserId) -> bool {
        let pins = self.changes(position, reader).filter_map(|(_, kind)| match kind {
            Kind::Pin(pin) => Some(!pin.removed),
            _ => None,
        });
        self.at(position).is_some_and(|entry| !entry.recalled) && pins.last().unwrap_or(false)
    }

    /// The messages that the reader sees.
    pub fn shown(&self, reader: UserId) -> Vec<Shown> {
        let own = self.own(reader);
        let positions = (1..=self.end()).filter(|position| !own.has_deleted(*position));
        positions.filter_map(|position| self.shown_at(position, reader)).collect()
    }

    fn shown_at(&self, position: u64, reader: UserId) -> Option<Shown> {
        let entry = self.at(position).filter(|entry| entry.is_message() && entry.is_for(reader))?;
        let content = &entry.content;
        let mut shown = Shown {
            position,
            id: entry.id,
            sender: entry.sender,
            says: None,
            edits: 0,
            reactions: BTreeMap::new(),
            pinned: false,
            reply_to: 0,
            forwarded: None,
        };
        if entry.recalled {
            return Some(shown);
        }
        (shown.says, shown.reply_to, shown.forwarded) = (content.kind.clone(), content.reply_to, content.forwarded);
        shown.pinned = self.is_pinned(position, reader);
        for (sender, kind) in self.changes(position, reader) {
            match kind {
                Kind::Edit(edit) => {
                    shown.says = edit.content.as_ref().unwrap().view().unwrap().kind;
                    shown.edits += 1;
                }
                Kind::Reaction(reaction) => {
                    let by = shown.reactions.entry(reaction.reaction.clone()).or_default();
                    by.retain(|user| *user != sender);
                    if !reaction.removed {
                        by.push(sender);
                        by.sort_unstable();
                    }
                }
                _ => {}
            }
        }
        shown.reactions.retain(|_, by| !by.is_empty());
        Some(shown)
    }

    /// Messages that the user has not read, and those of them that mention the user.
    pub fn unread(&self, user: UserId) -> (u64, u64) {
        let own = self.own(user);
        let after = self.members[&user].read;
        let unread = (after + 1..=self.end()).filter(|position| !own.has_deleted(*position));
        let unread =
            unread.filter_map(|position| self.at(position)).filter(|entry| entry.is_message() && !entry.withheld);
        let (mut messages, mut mentions) = (0, 0);
        for entry in unread {
            messages += 1;
            let mentioned = entry.content.mentions.as_ref().filter(|_| !entry.recalled);
            mentions += u64::from(mentioned.is_some_and(|by| by.everyone || by.users.contains(&user.get())));
        }
        (messages, mentions)
    }

    /// How far the other of two has received and read, as far as the user is told.
    pub fn peer_positions(&self, user: UserId) -> (u64, u64) {
        let peer = &self.members[&self.peer(user)];
        let end = peer.blocked_at.unwrap_or(u64::MAX);
        (peer.delivered.max(peer.read).min(end), peer.read.min(end))
    }

    /// Who is a member: role, name, and whether muted.
    pub fn roster(&self) -> Vec<(UserId, Role, String, bool)> {
        let members = self.members.iter();
        members.map(|(user, member)| (*user, member.role, member.nickname.clone(), member.muted)).collect()
    }
}
