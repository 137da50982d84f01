//! Entries that change a group and who is a member of it.

use std::collections::HashSet;

use protocol::{
    UserId, limits,
    wire::{ConversationKind, GroupChanged, GroupEntered, GroupExited, Role, content},
};

use super::{Ledger, Log, Outcome, Written, appended, duplicate, duplicate_or, insert, note_effect, read_own};
use crate::{Appended, Membership, NewEntry, Refused};

/// Who enters and who exits by an entry, for real: members do not enter again, others do not exit.
#[derive(Debug, Default)]
struct Moves {
    entering: Vec<(UserId, Role)>,
    exiting: Vec<UserId>,
    /// Those of them who are muted, and until when.
    exiting_muted: Vec<(UserId, i64)>,
    /// The owner is among those who exit.
    owner_exits: bool,
}

impl Moves {
    fn is_empty(&self) -> bool {
        self.entering.is_empty() && self.exiting.is_empty()
    }
}

pub(super) fn append<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    membership: &Membership,
) -> Result<Outcome, L::Error> {
    if let Some(outcome) = duplicate(ledger, entry)? {
        return Ok(outcome);
    }
    let conversation = entry.conversation;
    let existing = ledger.log(conversation)?;
    let log = match existing {
        Some(log) if log.kind == ConversationKind::Group => log,
        None if membership.create => Log {
            kind: ConversationKind::Group,
            users: (UserId::new(conversation.get()), UserId::new(conversation.get())),
            members: 0,
            last_position: 0,
            messages: 0,
            muted: false,
            dissolved: false,
        },
        _ => return Ok(Err(Refused::NotMember)),
    };
    let moves = moves(ledger, entry, membership)?;
    let was_member = ledger.member(conversation, entry.sender)?.is_some();
    if let Err(refused) = may_move(ledger, entry, membership, log, &moves)? {
        return Ok(Err(refused));
    }
    if moves.is_empty() && is_for_moves(membership) {
        // Somebody else was faster: what members read is not told twice.
        return Ok(Err(Refused::Unchanged));
    }

    if existing.is_none() {
        ledger.make_group_log(conversation, log)?;
    }
    let after = Log {
        members: log.members + moves.entering.len() as u64 - moves.exiting.len() as u64,
        muted: membership.change.muted.unwrap_or(log.muted),
        dissolved: log.dissolved || membership.dissolve || moves.owner_exits,
        ..log
    };
    let Some(after) = insert(ledger, entry, after, Written::of(entry))? else {
        return duplicate_or(ledger, entry, Refused::IdReused);
    };
    carry_out(ledger, entry, &moves, after)?;
    carry_mutes(ledger, entry, &moves, after)?;
    store_standing_of_members(ledger, entry, membership)?;
    if membership.change != (GroupChanged { muted: membership.change.muted, ..GroupChanged::default() }) {
        ledger.store_group(conversation, &membership.change)?;
    }
    if (log.members, log.muted, log.dissolved) != (after.members, after.muted, after.dissolved) {
        ledger.store_log(conversation, after)?;
    }
    if was_member && !moves.exiting.contains(&entry.sender) {
        read_own(ledger, entry, after)?;
    }
    Ok(Ok(Appended {
        entered: moves.entering.iter().map(|(user, _)| *user).collect(),
        exited: moves.exiting,
        ..appended(entry, after)
    }))
}

/// Whether members who enter and exit are all that there is to it.
fn is_for_moves(membership: &Membership) -> bool {
    let Membership { create, enter, exit, ban, lift, roles, mute, nickname, change, dissolve, at_least: _, above: _ } =
        membership;
    let moves = !enter.is_empty() || !exit.is_empty();
    let else_empty = ban.is_empty() && lift.is_empty() && roles.is_empty() && mute.is_empty() && nickname.is_none();
    moves && else_empty && !create && !dissolve && *change == GroupChanged::default()
}

/// What the membership asks for that is not so already. Whoever is to enter and to exit, exits.
fn moves<L: Ledger>(ledger: &mut L, entry: &NewEntry, membership: &Membership) -> Result<Moves, L::Error> {
    let mut moves = Moves::default();
    let mut named = HashSet::new();
    for &user in &membership.exit {
        if named.insert(user)
            && let Some(member) = ledger.member(entry.conversation, user)?
        {
            moves.exiting.push(user);
            moves.exiting_muted.extend((member.muted_until_ms != 0).then_some((user, member.muted_until_ms)));
            moves.owner_exits |= member.role == Role::Owner;
        }
    }
    for &(user, role) in &membership.enter {
        if named.insert(user) && ledger.member(entry.conversation, user)?.is_none() {
            moves.entering.push((user, role));
        }
    }
    Ok(moves)
}

fn may_move<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    membership: &Membership,
    log: Log,
    moves: &Moves,
) -> Result<Result<(), Refused>, L::Error> {
    let conversation = entry.conversation;
    let member = ledger.member(conversation, entry.sender)?;
    if member.is_none() && !moves.entering.iter().any(|(user, _)| *user == entry.sender) {
        return Ok(Err(Refused::NotMember));
    }
    if log.dissolved && !is_leaving(membership, entry.sender) {
        return Ok(Err(Refused::Dissolved));
    }
    let role = member.map(|member| member.role);
    if membership.at_least > role.unwrap_or(Role::Member) {
        return Ok(Err(Refused::RoleTooLow));
    }
    for &user in &membership.above {
        if let Some(other) = ledger.member(conversation, user)?
            && role.is_none_or(|role| role <= other.role)
        {
            return Ok(Err(Refused::RoleTooLow));
        }
    }
    for &(user, role) in &membership.roles {
        if role == Role::Owner && ledger.member(conversation, user)?.is_none() {
            return Ok(Err(Refused::NothingThere));
        }
    }
    if admins_after(ledger, entry, membership)? > limits::ADMINS_MAX {
        return Ok(Err(Refused::TooManyAdmins));
    }
    // A group that is only made now has no bans.
    if log.last_position > 0 {
        for &(user, _) in &moves.entering {
            if ledger.is_banned(conversation, user)? && !membership.lift.contains(&user) {
                return Ok(Err(Refused::Banned(user)));
            }
        }
    }
    // A group that was dissolved is left by its owner as by all.
    if moves.owner_exits && !log.dissolved && (log.members > 1 || !moves.entering.is_empty()) {
        return Ok(Err(Refused::IsOwner));
    }
    let members = log.members + moves.entering.len() as u64 - moves.exiting.len() as u64;
    if !moves.entering.is_empty() && members > limits::MEMBERS_MAX {
        return Ok(Err(Refused::TooManyMembers));
    }
    Ok(Ok(()))
}

/// How many admins there are once roles have changed; 0 if none is made one.
fn admins_after<L: Ledger>(ledger: &mut L, entry: &NewEntry, membership: &Membership) -> Result<u64, L::Error> {
    if !membership.roles.iter().any(|(_, role)| *role == Role::Admin) {
        return Ok(0);
    }
    let mut admins = ledger.admins(entry.conversation)?;
    for &(user, role) in &membership.roles {
        if let Some(member) = ledger.member(entry.conversation, user)? {
            admins += u64::from(role == Role::Admin);
            admins -= u64::from(member.role == Role::Admin);
        }
    }
    Ok(admins)
}

/// Moves the members, and notes an effect for each of them.
fn carry_out<L: Ledger>(ledger: &mut L, entry: &NewEntry, moves: &Moves, log: Log) -> Result<(), L::Error> {
    let (conversation, group) = (entry.conversation, entry.conversation.get());
    ledger.enter(conversation, &moves.entering, log.last_position)?;
    for &(user, _) in &moves.entering {
        note_effect(ledger, entry, user, content::Kind::GroupEntered(GroupEntered { group }))?;
    }
    ledger.exit(conversation, &moves.exiting)?;
    for &user in &moves.exiting {
        let removed = user != entry.sender;
        note_effect(ledger, entry, user, content::Kind::GroupExited(GroupExited { group, removed }))?;
    }
    Ok(())
}

/// To leave and to enter again changes nothing of a mute: whoever leaves leaves it here, and finds it again.
fn carry_mutes<L: Ledger>(ledger: &mut L, entry: &NewEntry, moves: &Moves, log: Log) -> Result<(), L::Error> {
    // A group that is only made now has none.
    if log.last_position == 1 {
        return Ok(());
    }
    for &(user, _) in &moves.entering {
        let until_ms = ledger.kept_mute(entry.conversation, user)?;
        if until_ms != 0 {
            ledger.keep_mute(entry.conversation, user, 0)?;
            ledger.store_mute(entry.conversation, user, until_ms)?;
        }
    }
    for &(user, until_ms) in &moves.exiting_muted {
        ledger.keep_mute(entry.conversation, user, until_ms)?;
    }
    Ok(())
}

/// Bans, roles, mutes, and the sender's name.
fn store_standing_of_members<L: Ledger>(
    ledger: &mut L,
    entry: &NewEntry,
    membership: &Membership,
) -> Result<(), L::Error> {
    let conversation = entry.conversation;
    for &user in &membership.lift {
        ledger.store_ban(conversation, user, false)?;
    }
    for &user in &membership.ban {
        ledger.store_ban(conversation, user, true)?;
    }
    for &(user, role) in &membership.roles {
        ledger.store_role(conversation, user, role)?;
    }
    for &(user, until_ms) in &membership.mute {
        match ledger.member(conversation, user)? {
            Some(_) => ledger.store_mute(conversation, user, until_ms)?,
            None => ledger.keep_mute(conversation, user, until_ms)?,
        }
    }
    if let Some(nickname) = &membership.nickname {
        ledger.store_nickname(conversation, entry.sender, nickname)?;
    }
    Ok(())
}

/// Whether nothing is asked for but that the sender leaves.
fn is_leaving(membership: &Membership, sender: UserId) -> bool {
    let Membership {
        create: _,
        enter,
        exit,
        ban,
        lift,
        roles,
        mute,
        nickname,
        change,
        dissolve,
        at_least: _,
        above: _,
    } = membership;
    *exit == [sender]
        && enter.is_empty()
        && ban.is_empty()
        && lift.is_empty()
        && roles.is_empty()
        && mute.is_empty()
        && nickname.is_none()
        && *change == GroupChanged::default()
        && !dissolve
}
