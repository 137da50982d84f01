//! A transaction in the making, as the rules of appending see it: they decide on what is known, and what they decide changes
//! that, and is [kept](Pending) until it is written all at once. What they ask for and is not known yet is noted, and looked up for another pass.

use std::collections::BTreeSet;

use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, UserId,
    wire::{ConversationSettings, Draft, GroupChanged, Role},
};
use sqlx::MySqlConnection;

use super::{
    facts::{Facts, Need, direct_of},
    look::{self, Logs},
    pending::{Effect, Pending, Row},
};
use crate::{
    ContactRow, NewEntry, Revision, Telling, UserSettings,
    append::{Ledger, Log, Member, Standing, Stored, Target, Written},
    kinds,
};

/// Passes over the entries of a transaction; each looks up all that the one before found missing.
const PASSES_MAX: usize = 64;

/// Something is not known yet; it is noted.
#[derive(Debug)]
pub(super) struct Missing;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Workbench {
    facts: Facts,
    missing: BTreeSet<Need>,
    pending: Pending,
    /// Whether each id is looked up before it is taken for new.
    careful: bool,
}

/// What is decided on it.
pub(super) struct Decided<T> {
    pub(super) outcomes: Vec<T>,
    pub(super) pending: Pending,
}

/// Has `rule` decide about each item in turn, as often as something is missing.
pub(super) async fn decide<I, T>(
    connection: &mut MySqlConnection,
    items: &[I],
    foreseen: impl Fn(&I, &mut BTreeSet<Need>),
    rule: impl Fn(&mut Workbench, &I) -> Result<T, Missing>,
    logs: Logs,
    careful: bool,
) -> sqlx::Result<Decided<T>> {
    let mut needs = BTreeSet::new();
    items.iter().for_each(|item| foreseen(item, &mut needs));
    let mut facts = Facts::default();
    for _ in 0..PASSES_MAX {
        look::learn(&mut facts, connection, &needs, logs).await?;
        // What a pass decides, it also makes of the facts: the next one begins with them as they are stored.
        let mut bench =
            Workbench { facts: facts.clone(), missing: BTreeSet::new(), pending: Pending::default(), careful };
        let outcomes: Vec<Option<T>> = items.iter().map(|item| rule(&mut bench, item).ok()).collect();
        if bench.missing.is_empty() {
            let outcomes = outcomes.into_iter().flatten().collect();
            return Ok(Decided { outcomes, pending: bench.pending });
        }
        needs = bench.missing;
    }
    Err(sqlx::Error::Protocol(format!("the facts of a transaction were not found in {PASSES_MAX} passes")))
}

impl Workbench {
    /// What is known, or that it is missing.
    fn known<T: Clone>(
        &mut self,
        find: impl FnOnce(&Facts) -> Option<&T>,
        needs: impl IntoIterator<Item = Need>,
    ) -> Result<T, Missing> {
        match find(&self.facts) {
            Some(fact) => Ok(fact.clone()),
            None => {
                self.missing.extend(needs);
                Err(Missing)
            }
        }
    }

    fn update_member(&mut self, conversation: ConversationId, user: UserId, change: impl FnOnce(&mut Member)) {
        if let Some(Some(member)) = self.facts.members.get_mut(&(conversation, user)) {
            change(member);
        }
    }

    /// Keeps the number of admins true, if it is known.
    fn count_admin(&mut self, conversation: ConversationId, before: Option<Role>, after: Option<Role>) {
        if let Some(admins) = self.facts.admins.get_mut(&conversation) {
            *admins += u64::from(after == Some(Role::Admin));
            *admins -= u64::from(before == Some(Role::Admin));
        }
    }

    /// Notes what members see of a pin from now on.
    fn see_pin(&mut self, conversation: ConversationId, target: u64, only: Option<UserId>, pinned: bool) {
        for (&(of, at, reader), is_pinned) in &mut self.facts.pins {
            if (of, at) == (conversation, target) && only.is_none_or(|only| only == reader) {
                *is_pinned = pinned;
            }
        }
    }

    /// Notes that the content of an entry which may be asked for is erased.
    fn erase_stored(&mut self, is_it: impl Fn(&Stored) -> bool, content: &Bytes, kind: u32) {
        for stored in self.facts.stored.values_mut().flatten().filter(|stored| is_it(stored)) {
            stored.content = content.clone();
            stored.kind = kind;
        }
    }
}

impl Ledger for Workbench {
    type Error = Missing;

    fn log(&mut self, conversation: ConversationId) -> Result<Option<Log>, Missing> {
        self.known(|facts| facts.logs.get(&conversation), [Need::Log(conversation)])
    }

    fn member(&mut self, conversation: ConversationId, user: UserId) -> Result<Option<Member>, Missing> {
        self.known(|facts| facts.members.get(&(conversation, user)), [Need::Member(user, conversation)])
    }

    fn standing(&mut self, owner: UserId, peer: UserId) -> Result<Standing, Missing> {
        // Whoever asks for one asks for all of them.
        let needs = [Need::Contact(owner, peer), Need::Contact(peer, owner), Need::Settings(owner)];
        let contact = self.known(|facts| facts.contacts.get(&(owner, peer)), needs)?;
        Ok(contact.map_or_else(Standing::default, |row| Standing { friend: row.friend, blocked: row.blocked }))
    }

    fn settings(&mut self, user: UserId) -> Result<UserSettings, Missing> {
        self.known(|facts| facts.settings.get(&user), [Need::Settings(user)])
    }

    fn contact(&mut self, owner: UserId, peer: UserId) -> Result<Option<ContactRow>, Missing> {
        self.known(|facts| facts.contacts.get(&(owner, peer)), [Need::Contact(owner, peer)])
    }

    fn direct(&mut self, a: UserId, b: UserId) -> Result<Option<ConversationId>, Missing> {
        self.known(|facts| facts.directs.get(&(a.min(b), a.max(b))), [direct_of(a, b)])
    }

    fn stored(&mut self, sender: UserId, id: EntryId) -> Result<Option<Stored>, Missing> {
        self.known(|facts| facts.stored.get(&(sender, id)), [Need::Stored(sender, *id.as_bytes())])
    }

    fn target(&mut self, conversation: ConversationId, position: u64) -> Result<Option<Target>, Missing> {
        self.known(|facts| facts.targets.get(&(conversation, position)), [Need::Target(conversation, position)])
    }

    fn is_pinned(&mut self, conversation: ConversationId, target: u64, reader: UserId) -> Result<bool, Missing> {
        let key = (conversation, target, reader);
        self.known(|facts| facts.pins.get(&key), [Need::Pin(conversation, target, reader)])
    }

    fn is_banned(&mut self, conversation: ConversationId, user: UserId) -> Result<bool, Missing> {
        self.known(|facts| facts.bans.get(&(conversation, user)), [Need::Ban(conversation, user)])
    }

    fn admins(&mut self, conversation: ConversationId) -> Result<u64, Missing> {
        self.known(|facts| facts.admins.get(&conversation), [Need::Admins(conversation)])
    }

    fn is_waiting(&mut self, effect: Revision) -> Result<bool, Missing> {
        self.known(|facts| facts.effects.get(&effect), [Need::Effect(effect)])
    }

    fn insert(&mut self, entry: &NewEntry, log: Log, written: Written<'_>) -> Result<bool, Missing> {
        let key = (entry.sender, entry.id);
        let is_new = match self.facts.stored.get(&key) {
            Some(stored) => stored.is_none(),
            None if self.careful => self.stored(entry.sender, entry.id)?.is_none(),
            // Nearly all ids are new. If this one is not, the index says so, and the transaction is run again with care.
            None => true,
        };
        if !is_new {
            return Ok(false);
        }
        let stored = Stored {
            conversation: entry.conversation,
            position: log.last_position,
            time_ms: entry.time_ms,
            withheld: written.withheld,
            kind: written.kind,
            content: written.content.clone(),
        };
        let target =
            Target { sender: entry.sender, kind: written.kind, time_ms: entry.time_ms, withheld: written.withheld };
        self.pending.entries.push(Row {
            conversation: entry.conversation,
            position: log.last_position,
            messages: log.messages,
            sender: entry.sender,
            id: entry.id,
            time_ms: entry.time_ms,
            kind: written.kind,
            withheld: written.withheld,
            content: written.content.clone(),
            target: written.target,
        });
        self.facts.stored.insert(key, Some(stored));
        self.facts.targets.insert((entry.conversation, log.last_position), Some(target));
        self.store_log(entry.conversation, log)?;
        Ok(true)
    }

    fn mention(&mut self, conversation: ConversationId, position: u64, users: &[UserId]) -> Result<(), Missing> {
        self.pending.mentions.extend(users.iter().map(|user| (conversation, *user, position)));
        Ok(())
    }

    fn move_member(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        to: Member,
        told: bool,
    ) -> Result<(), Missing> {
        self.update_member(conversation, user, |member| *member = to);
        let moved = self.pending.members.entry((user, conversation)).or_insert((to, told));
        *moved = (to, moved.1 || told);
        Ok(())
    }

    fn note_effect(&mut self, telling: &Telling, peer: Option<UserId>) -> Result<(), Missing> {
        self.pending.effects.push(Effect::new(telling, peer));
        Ok(())
    }

    fn settle(&mut self, effect: Revision) -> Result<(), Missing> {
        self.facts.effects.insert(effect, false);
        self.pending.settled.push(effect);
        Ok(())
    }

    fn erase_message(&mut self, conversation: ConversationId, target: u64) -> Result<(), Missing> {
        if let Some(Some(message)) = self.facts.targets.get_mut(&(conversation, target)) {
            message.kind = kinds::RECALLED;
        }
        self.see_pin(conversation, target, None, false);
        let (recalled, erased) = (kinds::recalled(), kinds::erased_edit(target));
        let here = |stored: &Stored| stored.conversation == conversation;
        self.erase_stored(|stored| here(stored) && stored.position == target, &recalled, kinds::RECALLED);
        let is_edit =
            |stored: &Stored| stored.kind == kinds::EDIT && kinds::edit_target(&stored.content) == Some(target);
        self.erase_stored(|stored| here(stored) && is_edit(stored), &erased, kinds::EDIT);
        self.pending.erase_message(conversation, target, recalled, erased);
        Ok(())
    }

    fn pin(
        &mut self,
        conversation: ConversationId,
        target: u64,
        position: u64,
        only: Option<UserId>,
    ) -> Result<(), Missing> {
        self.see_pin(conversation, target, only, true);
        self.pending.pin(conversation, target, position, only.is_some());
        Ok(())
    }

    fn unpin(&mut self, conversation: ConversationId, target: u64, only: Option<UserId>) -> Result<(), Missing> {
        self.see_pin(conversation, target, only, false);
        Ok(())
    }

    fn forget_pin(&mut self, conversation: ConversationId, target: u64) -> Result<(), Missing> {
        self.pending.forget_pin(conversation, target);
        Ok(())
    }

    fn make_group_log(&mut self, conversation: ConversationId, log: Log) -> Result<(), Missing> {
        self.store_log(conversation, log)
    }

    fn store_log(&mut self, conversation: ConversationId, log: Log) -> Result<(), Missing> {
        self.facts.logs.insert(conversation, Some(log));
        self.pending.logs.insert(conversation, log);
        Ok(())
    }

    fn enter(
        &mut self,
        conversation: ConversationId,
        users: &[(UserId, Role)],
        read_position: u64,
    ) -> Result<(), Missing> {
        for &(user, role) in users {
            let member = Member { role, muted_until_ms: 0, read_position, delivered_position: 0 };
            self.count_admin(conversation, None, Some(role));
            self.facts.members.insert((conversation, user), Some(member));
        }
        if !users.is_empty() {
            self.pending.enter(conversation, users, read_position);
        }
        Ok(())
    }

    fn exit(&mut self, conversation: ConversationId, users: &[UserId]) -> Result<(), Missing> {
        for &user in users {
            let was = self.member(conversation, user)?.map(|member| member.role);
            self.count_admin(conversation, was, None);
            self.facts.members.insert((conversation, user), None);
            self.pending.exit(conversation, user);
        }
        Ok(())
    }

    fn store_ban(&mut self, conversation: ConversationId, user: UserId, banned: bool) -> Result<(), Missing> {
        self.facts.bans.insert((conversation, user), banned);
        self.pending.store_ban(conversation, user, banned);
        Ok(())
    }

    fn store_role(&mut self, conversation: ConversationId, user: UserId, role: Role) -> Result<(), Missing> {
        let Some(member) = self.member(conversation, user)? else { return Ok(()) };
        self.count_admin(conversation, Some(member.role), Some(role));
        self.update_member(conversation, user, |member| member.role = role);
        self.pending.store_role(conversation, user, role);
        Ok(())
    }

    fn kept_mute(&mut self, conversation: ConversationId, user: UserId) -> Result<i64, Missing> {
        self.known(|facts| facts.mutes.get(&(conversation, user)), [Need::Mute(conversation, user)])
    }

    fn keep_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) -> Result<(), Missing> {
        self.facts.mutes.insert((conversation, user), until_ms);
        self.pending.keep_mute(conversation, user, until_ms);
        Ok(())
    }

    fn store_mute(&mut self, conversation: ConversationId, user: UserId, until_ms: i64) -> Result<(), Missing> {
        self.update_member(conversation, user, |member| member.muted_until_ms = until_ms);
        self.pending.store_mute(conversation, user, until_ms);
        Ok(())
    }

    fn store_nickname(&mut self, conversation: ConversationId, user: UserId, nickname: &str) -> Result<(), Missing> {
        self.pending.store_nickname(conversation, user, nickname);
        Ok(())
    }

    fn store_group(&mut self, group: ConversationId, change: &GroupChanged) -> Result<(), Missing> {
        self.pending.store_group(group, change);
        Ok(())
    }

    fn store_contact(&mut self, owner: UserId, row: &ContactRow) -> Result<(), Missing> {
        self.facts.contacts.insert((owner, row.peer), Some(row.clone()).filter(|row| !row.is_nothing()));
        self.pending.store_contact(owner, row);
        Ok(())
    }

    fn store_settings(&mut self, user: UserId, settings: UserSettings) -> Result<(), Missing> {
        self.facts.settings.insert(user, settings);
        self.pending.store_settings(user, settings);
        Ok(())
    }

    fn store_blocked_at(
        &mut self,
        conversation: ConversationId,
        user: UserId,
        position: Option<u64>,
    ) -> Result<(), Missing> {
        self.pending.store_blocked_at(conversation, user, position);
        Ok(())
    }

    fn store_view(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        settings: &ConversationSettings,
    ) -> Result<(), Missing> {
        self.pending.store_view(user, conversation, settings);
        Ok(())
    }

    fn store_draft(
        &mut self,
        user: UserId,
        conversation: ConversationId,
        draft: Option<&Draft>,
        position: u64,
    ) -> Result<(), Missing> {
        let told = self.known(|facts| facts.drafts.get(&(user, conversation)), [Need::Draft(user, conversation)])?;
        if let Some(told) = told {
            let (log, erased) = (user.personal_log(), kinds::erased_draft(conversation.get()));
            let is_it = |stored: &Stored| stored.conversation == log && stored.position == told;
            let kind = crate::content_kind(&erased);
            self.erase_stored(is_it, &erased, kind);
            self.pending.erase_draft(log, told, erased);
        }
        self.facts.drafts.insert((user, conversation), draft.map(|_| position));
        self.pending.store_draft(user, conversation, draft, position);
        Ok(())
    }

    fn delete_up_to(&mut self, user: UserId, conversation: ConversationId, up_to: u64) -> Result<(), Missing> {
        self.pending.delete_up_to(user, conversation, up_to);
        Ok(())
    }

    fn delete_entries(&mut self, user: UserId, conversation: ConversationId, positions: &[u64]) -> Result<(), Missing> {
        self.pending.delete_entries(user, conversation, positions);
        Ok(())
    }
}
