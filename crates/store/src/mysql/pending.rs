//! What a transaction has decided, written in few statements.
//!
//! The clock comes last, in one packet with the commit: nothing after it waits for anybody, not even for this process.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::{
    ConversationId, EntryId, UserId,
    wire::{ConversationKind, Role},
};
use sqlx::MySqlConnection;

use super::{
    convert::column,
    lists::{ids, limited_steps, parts, sql, steps},
    script::{Script, Value},
    statements::Values,
};
use crate::{
    Revision, Telling,
    append::{Log, Member},
};

/// A row of `entries`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) conversation: ConversationId,
    pub(super) position: u64,
    pub(super) messages: u64,
    pub(super) sender: UserId,
    pub(super) id: EntryId,
    pub(super) time_ms: i64,
    pub(super) kind: u32,
    pub(super) withheld: bool,
    pub(super) content: Bytes,
    /// A change: the position of its message.
    pub(super) target: Option<u64>,
}

/// A row of `effects`.
#[derive(Debug)]
pub(super) struct Effect {
    user: UserId,
    id: EntryId,
    time_ms: i64,
    content: Bytes,
    peer: Option<UserId>,
}

impl Effect {
    pub(super) fn new(telling: &Telling, peer: Option<UserId>) -> Self {
        let Telling { user, time_ms, content } = telling.clone();
        Self { user, id: EntryId::generate(), time_ms, content, peer }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) entries: Vec<Row>,
    pub(super) mentions: Vec<(ConversationId, UserId, u64)>,
    pub(super) effects: Vec<Effect>,
    pub(super) settled: Vec<Revision>,
    /// Members whose positions move, in the order of their rows, and whether heads are to show it, though no entry tells it.
    pub(super) members: BTreeMap<(UserId, ConversationId), (Member, bool)>,
    /// Logs that change, in the order of their rows.
    pub(super) logs: BTreeMap<ConversationId, Log>,
    /// Logs in which something is erased.
    pub(super) erased: Vec<ConversationId>,
    /// The rest, in its order, when the entries are inserted.
    pub(super) rest: Vec<Step>,
}

/// See [`statements`](super::statements), which adds them.
#[derive(Debug)]
pub(super) enum Step {
    Statement(&'static str, Values),
    Enter(Vec<NewMember>),
}

/// A row of `members`.
#[derive(Debug)]
pub(super) struct NewMember {
    pub(super) user: UserId,
    pub(super) conversation: ConversationId,
    pub(super) kind: ConversationKind,
    pub(super) peer: Option<UserId>,
    pub(super) role: Role,
    pub(super) read_position: u64,
    pub(super) blocked_at: Option<u64>,
}

impl Pending {
    /// Writes what is large, and tells the rest, which is executed together with the commit.
    pub(super) async fn write(mut self, connection: &mut MySqlConnection) -> sqlx::Result<Script> {
        self.entries.sort_unstable_by_key(|row| (row.conversation, row.position));
        insert_entries(connection, &self.entries).await?;
        insert_mentions(connection, &self.mentions).await?;
        for step in self.rest {
            match step {
                Step::Statement(statement, values) => {
                    values.bind(sqlx::query(statement)).execute(&mut *connection).await?;
                }
                Step::Enter(members) => insert_members(connection, &members).await?,
            }
        }
        insert_effects(connection, &self.effects).await?;
        let settled: Vec<i64> = self.settled.iter().map(|effect| column(effect.0)).collect();
        for part in parts(&settled) {
            ids("DELETE FROM effects WHERE number IN ", part, "").execute(&mut *connection).await?;
        }
        Ok(last(self.members, self.logs, &self.erased))
    }
}

/// What is executed together with the commit: all that bears a revision.
fn last(
    members: BTreeMap<(UserId, ConversationId), (Member, bool)>,
    logs: BTreeMap<ConversationId, Log>,
    erased: &[ConversationId],
) -> Script {
    let mut last = Script::default();
    let (told, moved): (Vec<_>, Vec<_>) = members.into_iter().partition(|(_, (_, told))| *told);
    move_members(&mut last, moved.into_iter().map(|(key, (member, _))| (key, member, Value::Number(0))));
    let mut erasures: BTreeMap<ConversationId, i64> = BTreeMap::new();
    erased.iter().for_each(|log| *erasures.entry(*log).or_default() += 1);
    let mut revisions = tick(&mut last, logs.len() + told.len());
    let logs = logs.into_iter().zip(revisions.by_ref());
    let logs = logs.map(|((id, log), revision)| (id, log, revision, erasures.get(&id).copied().unwrap_or(0)));
    move_logs(&mut last, logs);
    let told = told.into_iter().zip(revisions);
    move_members(&mut last, told.map(|((key, (member, _)), revision)| (key, member, revision)));
    last
}

/// Gives the next revisions, and takes the clock until the commit: nothing may be waited for after it, neither a lock nor the
/// network. So whatever comes after it is in its packet.
pub(super) fn tick(last: &mut Script, count: usize) -> impl Iterator<Item = Value> + use<> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    if count > 0 {
        last.keep_together();
        last.statement(&format!("UPDATE clock SET revision = LAST_INSERT_ID(revision + {count}) WHERE id = 1"));
    }
    (0..count).rev().map(Value::Ago)
}

async fn insert_entries(connection: &mut MySqlConnection, entries: &[Row]) -> sqlx::Result<()> {
    for part in limited_steps(entries, |row| row.content.len()) {
        let mut insert = sqlx::query(sql(
            "INSERT INTO entries (conversation, position, messages, sender, id, time_ms, kind, withheld, content) VALUES ",
            part.len(),
            9,
            "",
        ));
        for row in part {
            insert = insert
                .bind(column(row.conversation.get()))
                .bind(column(row.position))
                .bind(column(row.messages))
                .bind(column(row.sender.get()))
                .bind(row.id.as_bytes().as_slice())
                .bind(row.time_ms)
                .bind(row.kind.cast_signed())
                .bind(row.withheld)
                .bind(row.content.as_ref());
        }
        insert.execute(&mut *connection).await?;
    }
    let changes: Vec<(&Row, u64)> = entries.iter().filter_map(|row| Some((row, row.target?))).collect();
    for part in steps(&changes) {
        let mut insert =
            sqlx::query(sql("INSERT INTO changes (conversation, target, position) VALUES ", part.len(), 3, ""));
        for (row, target) in part {
            insert = insert.bind(column(row.conversation.get())).bind(column(*target)).bind(column(row.position));
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_mentions(
    connection: &mut MySqlConnection,
    mentions: &[(ConversationId, UserId, u64)],
) -> sqlx::Result<()> {
    for part in steps(mentions) {
        let mut insert =
            sqlx::query(sql("INSERT IGNORE INTO mentions (conversation, user, position) VALUES ", part.len(), 3, ""));
        for (conversation, user, position) in part {
            insert = insert.bind(column(conversation.get())).bind(column(user.get())).bind(column(*position));
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Notes what is to be told in personal logs.
pub(super) async fn insert_effects(connection: &mut MySqlConnection, effects: &[Effect]) -> sqlx::Result<()> {
    for part in limited_steps(effects, |effect| effect.content.len()) {
        let mut insert =
            sqlx::query(sql("INSERT INTO effects (user, id, time_ms, content, peer) VALUES ", part.len(), 5, ""));
        for effect in part {
            insert = insert
                .bind(column(effect.user.get()))
                .bind(effect.id.as_bytes().as_slice())
                .bind(effect.time_ms)
                .bind(effect.content.as_ref())
                .bind(effect.peer.map(|peer| column(peer.get())));
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Inserts members.
pub(super) async fn insert_members(connection: &mut MySqlConnection, members: &[NewMember]) -> sqlx::Result<()> {
    for part in steps(members) {
        let mut insert = sqlx::query(sql(
            "INSERT INTO members (user, conversation, kind, peer, role, read_position, blocked_at) VALUES ",
            part.len(),
            7,
            "",
        ));
        for member in part {
            insert = insert
                .bind(column(member.user.get()))
                .bind(column(member.conversation.get()))
                .bind(member.kind as i32)
                .bind(member.peer.map(|peer| column(peer.get())))
                .bind(member.role as i32)
                .bind(column(member.read_position))
                .bind(member.blocked_at.map(column));
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Moves members, with a revision if heads are to show it. The rows are there: they were locked.
fn move_members(last: &mut Script, members: impl Iterator<Item = ((UserId, ConversationId), Member, Value)>) {
    let row = |((user, conversation), member, revision): ((UserId, ConversationId), Member, Value)| {
        [
            Value::id(user.get()),
            Value::id(conversation.get()),
            Value::id(member.read_position),
            Value::id(member.delivered_position),
            revision,
        ]
    };
    last.rows(
        "INSERT INTO members (user, conversation, read_position, delivered_position, revision) VALUES ",
        &members.map(row).collect::<Vec<_>>(),
        " ON DUPLICATE KEY UPDATE read_position = GREATEST(read_position, VALUES(read_position)),
             delivered_position = GREATEST(delivered_position, VALUES(delivered_position)),
             revision = GREATEST(revision, VALUES(revision))",
    );
}

/// Moves logs whose rows are locked, or makes them, with their revisions and how much is erased in each.
fn move_logs(last: &mut Script, logs: impl Iterator<Item = (ConversationId, Log, Value, i64)>) {
    let row = |(id, log, revision, erasures): (ConversationId, Log, Value, i64)| {
        [
            Value::id(id.get()),
            Value::Number((log.kind as i32).into()),
            Value::id(log.members),
            Value::Number(log.muted.into()),
            Value::Number(log.dissolved.into()),
            Value::id(log.last_position),
            Value::id(log.messages),
            revision,
            Value::Number(erasures),
        ]
    };
    last.rows(
        "INSERT INTO conversations (id, kind, members, muted, dissolved, position, messages, revision, erasures) VALUES ",
        &logs.map(row).collect::<Vec<_>>(),
        " ON DUPLICATE KEY UPDATE members = VALUES(members), muted = VALUES(muted), dissolved = VALUES(dissolved),
             position = VALUES(position), messages = VALUES(messages), revision = VALUES(revision),
             erasures = erasures + VALUES(erasures)",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the smallest servers take in a packet.
    const SERVERS_TAKE: usize = 4 * 1024 * 1024;

    /// Of more than what [`append`](crate::Messages::append) and a turn of marks may hold, with the longest numbers.
    #[test]
    fn whatever_bears_a_revision_is_in_one_packet_with_the_clock_and_none_is_too_large() {
        const COUNT: u64 = 10_000;
        let longest = |n: u64| (u64::MAX >> 1) - n;
        let member =
            Member { role: Role::Member, muted_until_ms: 0, read_position: longest(0), delivered_position: longest(0) };
        let log = Log {
            kind: ConversationKind::Group,
            users: (UserId::new(1), UserId::new(1)),
            members: longest(0),
            last_position: longest(0),
            messages: longest(0),
            muted: false,
            dissolved: false,
        };
        let logs = || (0..COUNT).map(|n| ConversationId::new(longest(n)));
        let members = |told| logs().map(|log| ((UserId::new(longest(0)), log), (member, told))).collect();
        let erased: Vec<ConversationId> = logs().flat_map(|log| [log, log]).collect();
        for script in [
            last(members(false), logs().map(|id| (id, log)).collect(), &erased),
            last(members(true), BTreeMap::new(), &[]),
        ] {
            let packets: Vec<&str> = script.packets().collect();
            let (together, before) = packets.split_last().unwrap();
            assert!(together.contains("UPDATE clock") && together.len() < SERVERS_TAKE, "{} bytes", together.len());
            assert!(before.iter().all(|packet| !packet.contains("LAST_INSERT_ID")));
            assert_eq!(together.matches("LAST_INSERT_ID()-").count() as u64, COUNT);
        }
    }
}
