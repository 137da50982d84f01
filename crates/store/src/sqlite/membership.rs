//! Entries that change a group and who is a member of it.

use std::collections::HashSet;

use protocol::{
    UserId, limits,
    wire::{ConversationKind, GroupChanged, GroupEntered, GroupExited, Role, content},
};
use rusqlite::params;

use super::{
    append::{Outcome, Written, appended},
    convert::{column, number},
    logs::{Log, NewMember},
    writer::Writer,
};
use crate::{Appended, Membership, NewEntry, Refused};

/// Who enters and who exits by an entry, for real: members do not enter again, others do not exit.
#[derive(Debug, Default)]
struct Moves {
    entering: Vec<(UserId, Role)>,
    exiting: Vec<UserId>,
    /// The owner is among those who exit.
    owner_exits: bool,
}

impl Writer<'_> {
    pub(super) fn append_membership(&mut self, entry: &NewEntry, membership: &Membership) -> rusqlite::Result<Outcome> {
        if let Some(outcome) = self.duplicate(entry)? {
            return Ok(outcome);
        }
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        let existing = self.log(conversation)?;
        let log = match existing {
            Some(log) if log.kind == ConversationKind::Group => log,
            None if membership.create => Log {
                kind: ConversationKind::Group,
                users: (conversation, conversation),
                members: 0,
                last_position: 0,
                messages: 0,
                muted: false,
                dissolved: false,
            },
            _ => return Ok(Err(Refused::NotMember)),
        };
        let moves = self.moves(conversation, membership)?;
        let was_member = self.member(conversation, sender)?.is_some();
        if let Err(refused) = self.may_move(entry, membership, log, &moves)? {
            return Ok(Err(refused));
        }

        if existing.is_none() {
            self.prepared("INSERT INTO conversations (id, kind, members) VALUES (?1, ?2, 0)")?
                .execute(params![conversation, ConversationKind::Group as i32])?;
        }
        let after = Log {
            members: log.members + moves.entering.len() as u64 - moves.exiting.len() as u64,
            muted: membership.change.muted.unwrap_or(log.muted),
            dissolved: log.dissolved || membership.dissolve || moves.owner_exits,
            ..log
        };
        let Some((after, revision)) = self.insert(entry, after, Written::of(entry))? else {
            return self.duplicate_or(entry, Refused::IdReused);
        };
        self.carry_out(entry, &moves, after, revision)?;
        self.store_bans(conversation, membership)?;
        self.store_standing_of_members(conversation, sender, membership)?;
        self.store_group(conversation, &membership.change)?;
        if (log.members, log.muted, log.dissolved) != (after.members, after.muted, after.dissolved) {
            self.prepared("UPDATE conversations SET members = ?2, muted = ?3, dissolved = ?4 WHERE id = ?1")?
                .execute(params![conversation, column(after.members), after.muted, after.dissolved])?;
        }
        if was_member && !moves.exiting.contains(&entry.sender) {
            self.move_read_position(conversation, sender, after.last_position, revision);
        }
        Ok(Ok(Appended {
            entered: moves.entering.iter().map(|(user, _)| *user).collect(),
            exited: moves.exiting,
            ..appended(entry, after)
        }))
    }

    /// What the membership asks for that is not so already. Whoever is to enter and to exit, exits.
    fn moves(&mut self, conversation: i64, membership: &Membership) -> rusqlite::Result<Moves> {
        let mut moves = Moves::default();
        let mut named = HashSet::new();
        for &user in &membership.exit {
            if named.insert(user)
                && let Some(member) = self.member(conversation, column(user.get()))?
            {
                moves.exiting.push(user);
                moves.owner_exits |= member.role == Role::Owner;
            }
        }
        for &(user, role) in &membership.enter {
            if named.insert(user) && self.member(conversation, column(user.get()))?.is_none() {
                moves.entering.push((user, role));
            }
        }
        Ok(moves)
    }

    fn may_move(
        &mut self,
        entry: &NewEntry,
        membership: &Membership,
        log: Log,
        moves: &Moves,
    ) -> rusqlite::Result<Result<(), Refused>> {
        let (conversation, sender) = (column(entry.conversation.get()), column(entry.sender.get()));
        let member = self.member(conversation, sender)?;
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
        for user in &membership.above {
            if let Some(other) = self.member(conversation, column(user.get()))?
                && role.is_none_or(|role| role <= other.role)
            {
                return Ok(Err(Refused::RoleTooLow));
            }
        }
        for &(user, role) in &membership.roles {
            if role == Role::Owner && self.member(conversation, column(user.get()))?.is_none() {
                return Ok(Err(Refused::NothingThere));
            }
        }
        if self.admins_after(conversation, membership)? > limits::ADMINS_MAX {
            return Ok(Err(Refused::TooManyAdmins));
        }
        // A group that is only made now has no bans.
        if log.last_position > 0 {
            let mut ban = self.prepared("SELECT 1 FROM bans WHERE conversation = ?1 AND user = ?2")?;
            for &(user, _) in &moves.entering {
                if ban.exists([conversation, column(user.get())])? && !membership.lift.contains(&user) {
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
    fn admins_after(&mut self, conversation: i64, membership: &Membership) -> rusqlite::Result<u64> {
        if !membership.roles.iter().any(|(_, role)| *role == Role::Admin) {
            return Ok(0);
        }
        let mut admins: u64 = self
            .prepared("SELECT count(*) FROM members WHERE conversation = ?1 AND role = ?2")?
            .query_row([conversation, Role::Admin as i64], |row| number(row, 0))?;
        for &(user, role) in &membership.roles {
            if let Some(member) = self.member(conversation, column(user.get()))? {
                admins += u64::from(role == Role::Admin);
                admins -= u64::from(member.role == Role::Admin);
            }
        }
        Ok(admins)
    }

    /// Writes the members' rows, and an effect for each of them.
    fn carry_out(&mut self, entry: &NewEntry, moves: &Moves, log: Log, revision: i64) -> rusqlite::Result<()> {
        let (conversation, group) = (column(entry.conversation.get()), entry.conversation.get());
        for &(user, role) in &moves.entering {
            self.insert_member(NewMember {
                user: column(user.get()),
                conversation,
                kind: log.kind,
                peer: None,
                role: role.into(),
                read_position: log.last_position,
                revision,
            })?;
            self.insert_effect(entry, user, content::Kind::GroupEntered(GroupEntered { group }))?;
        }
        for &user in &moves.exiting {
            self.delete_member(conversation, column(user.get()))?;
            let removed = user != entry.sender;
            self.insert_effect(entry, user, content::Kind::GroupExited(GroupExited { group, removed }))?;
        }
        Ok(())
    }

    fn store_bans(&mut self, conversation: i64, membership: &Membership) -> rusqlite::Result<()> {
        for user in &membership.lift {
            self.prepared("DELETE FROM bans WHERE conversation = ?1 AND user = ?2")?
                .execute([conversation, column(user.get())])?;
        }
        for user in &membership.ban {
            self.prepared("INSERT INTO bans (conversation, user) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
                .execute([conversation, column(user.get())])?;
        }
        Ok(())
    }

    /// Roles and the sender's name, where those who are no members are passed over, and mutes.
    fn store_standing_of_members(
        &mut self,
        conversation: i64,
        sender: i64,
        membership: &Membership,
    ) -> rusqlite::Result<()> {
        for &(user, role) in &membership.roles {
            self.store_role(conversation, column(user.get()), role)?;
        }
        for &(user, until_ms) in &membership.mute {
            self.store_mute(conversation, column(user.get()), until_ms)?;
        }
        if let Some(nickname) = &membership.nickname {
            self.prepared("UPDATE members SET nickname = ?3 WHERE user = ?1 AND conversation = ?2")?
                .execute(params![sender, conversation, nickname])?;
        }
        Ok(())
    }

    /// What the group is now, but for what the conversation's row holds.
    fn store_group(&mut self, group: i64, change: &GroupChanged) -> rusqlite::Result<()> {
        if *change == (GroupChanged { muted: change.muted, ..GroupChanged::default() }) {
            return Ok(());
        }
        self.prepared(
            "UPDATE groups SET title = coalesce(?2, title), description = coalesce(?3, description),
                 avatar = coalesce(?4, avatar), announcement = coalesce(?5, announcement),
                 join_policy = coalesce(?6, join_policy), admins_invite = coalesce(?7, admins_invite)
             WHERE id = ?1",
        )?
        .execute(params![
            group,
            change.title,
            change.description,
            change.avatar,
            change.announcement,
            change.join_policy,
            change.admins_invite
        ])?;
        Ok(())
    }
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
