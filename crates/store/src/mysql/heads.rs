//! Which conversations of a user changed.
//!
//! First all of the user's conversations are looked at; then those of the page are read, in few statements.

use std::collections::HashMap;

use protocol::{
    ConversationId, UserId, limits,
    wire::{ConversationKind, Entry, Role},
};
use sqlx::{AssertSqlSafe, MySqlConnection, mysql::MySqlRow};

use super::{
    convert::{self, bound, column, get},
    lists::{sql, steps},
    pages::{EntryRow, entry_bytes},
    views::{Sight, own_view},
};
use crate::{HeadRow, OwnView, Revision, kinds, messages::HeadsQuestion};

/// Last entries read at a time: where the room ends is only seen then.
const ROWS_MAX: usize = 256;

/// A member's row and its log's, and when the conversation last changed for the member.
#[derive(Debug)]
struct Change {
    conversation: ConversationId,
    kind: ConversationKind,
    peer: Option<UserId>,
    role: Role,
    read_position: u64,
    last_position: u64,
    messages: u64,
    revision: u64,
}

/// What else a head tells.
#[derive(Debug, Default)]
struct Details {
    own: OwnView,
    has_gaps: bool,
    /// Messages up to where everything counts as read.
    messages_read: u64,
    /// How far the other has read and received, as the user is told.
    theirs: (u64, u64),
}

/// Where a member's reading, or deleting, has got to.
const FROM: &str = "GREATEST(mine.read_position, coalesce(own_views.deleted_up_to, 0))";

/// Reads heads, within a snapshot.
pub(super) async fn read(
    connection: &mut MySqlConnection,
    question: HeadsQuestion,
) -> sqlx::Result<(Vec<HeadRow>, Revision)> {
    let newest = sqlx::query("SELECT revision FROM clock WHERE id = 1").fetch_one(&mut *connection).await?;
    let newest = Revision(convert::number(&newest, 0)?);
    let changes = changes(connection, question).await?;
    let logs: Vec<ConversationId> = changes.iter().map(|change| change.conversation).collect();
    let mut details = details(connection, question.user, &logs).await?;
    let mut heads = Vec::with_capacity(changes.len());
    let mut sights = Vec::with_capacity(changes.len());
    for change in changes {
        let Details { own, has_gaps, messages_read, theirs } = details.remove(&change.conversation).unwrap_or_default();
        let sight = Sight {
            reader: question.user,
            conversation: change.conversation,
            deleted_up_to: own.deleted_up_to,
            has_gaps,
            last_position: change.last_position,
            erasures: 0,
        };
        let mut unread = change.messages.saturating_sub(messages_read);
        if unread > 0 && has_gaps {
            let from = change.read_position.max(own.deleted_up_to);
            unread = unread.saturating_sub(deleted_messages(connection, &sight, from).await?);
        }
        sights.push(sight);
        heads.push(HeadRow {
            conversation: change.conversation,
            kind: change.kind,
            peer: change.peer,
            revision: Revision(change.revision),
            last_position: change.last_position,
            read_position: change.read_position,
            unread,
            peer_read_position: theirs.0,
            entries: Vec::new(),
            unread_mentions: 0,
            peer_delivered_position: theirs.1,
            own,
            role: change.role,
        });
    }
    count_mentions(connection, question.user, &mut heads).await?;
    read_last(connection, &sights, &mut heads, question.entries).await?;
    Ok((heads, newest))
}

async fn changes(connection: &mut MySqlConnection, question: HeadsQuestion) -> sqlx::Result<Vec<Change>> {
    // One that was opened, but in which nobody has said anything, is not shown.
    let rows = sqlx::query(
        "SELECT conversation, kind, peer, role, read_position, position, messages, changed FROM (
             SELECT mine.conversation, mine.kind, mine.peer, mine.role, mine.read_position, conversations.position,
                 conversations.messages,
                 GREATEST(mine.revision, conversations.revision, coalesce(theirs.revision, 0)) AS changed
             FROM members AS mine JOIN conversations ON conversations.id = mine.conversation
             LEFT JOIN members AS theirs ON theirs.user = mine.peer AND theirs.conversation = mine.conversation
                 AND theirs.blocked_at IS NULL
             WHERE mine.user = ?
         ) AS heads
         WHERE changed > ? AND changed <= ? AND (kind <> ? OR position > 0) ORDER BY changed DESC LIMIT ?",
    )
    .bind(column(question.user.get()))
    .bind(bound(question.since.0))
    .bind(question.until.map_or(i64::MAX, |until| bound(until.0)))
    .bind(ConversationKind::Direct as i32)
    .bind(i64::from(question.limit))
    .fetch_all(connection)
    .await?;
    let change = |row: &MySqlRow| {
        Ok(Change {
            conversation: convert::conversation(row, 0)?,
            kind: convert::kind(row, 1)?,
            peer: get::<Option<i64>>(row, 2)?.map(|peer| UserId::new(peer.cast_unsigned())),
            role: convert::role(row, 3)?,
            read_position: convert::number(row, 4)?,
            last_position: convert::number(row, 5)?,
            messages: convert::number(row, 6)?,
            revision: convert::number(row, 7)?,
        })
    };
    rows.iter().map(change).collect()
}

async fn details(
    connection: &mut MySqlConnection,
    user: UserId,
    logs: &[ConversationId],
) -> sqlx::Result<HashMap<ConversationId, Details>> {
    let mut details = HashMap::with_capacity(logs.len());
    for part in steps(logs) {
        let before = format!(
            "SELECT mine.conversation, settings, draft, coalesce(own_views.deleted_up_to, 0),
                 EXISTS (SELECT 1 FROM deleted_entries
                     WHERE deleted_entries.user = mine.user AND deleted_entries.conversation = mine.conversation),
                 coalesce(entries.messages, 0), coalesce(theirs.read_position, 0),
                 coalesce(GREATEST(theirs.read_position, theirs.delivered_position), 0), theirs.blocked_at
             FROM members AS mine
             LEFT JOIN own_views ON own_views.user = mine.user AND own_views.conversation = mine.conversation
             LEFT JOIN entries ON entries.conversation = mine.conversation AND entries.position = {FROM}
             LEFT JOIN members AS theirs ON theirs.user = mine.peer AND theirs.conversation = mine.conversation
             WHERE mine.user = ? AND mine.conversation IN "
        );
        let mut query = sqlx::query(sql(&before, 1, part.len(), "")).bind(column(user.get()));
        for log in part {
            query = query.bind(column(log.get()));
        }
        for row in query.fetch_all(&mut *connection).await? {
            // What the other is told of one's reading ends where one has blocked the other.
            let end = get::<Option<i64>>(&row, 8)?.map_or(u64::MAX, i64::cast_unsigned);
            let theirs = (convert::number(&row, 6)?.min(end), convert::number(&row, 7)?.min(end));
            let detail = Details {
                own: own_view(&row, 1)?,
                has_gaps: get(&row, 4)?,
                messages_read: convert::number(&row, 5)?,
                theirs,
            };
            details.insert(convert::conversation(&row, 0)?, detail);
        }
    }
    Ok(details)
}

/// How many of the messages that count as unread after a position the user has deleted one by one.
async fn deleted_messages(connection: &mut MySqlConnection, sight: &Sight, from: u64) -> sqlx::Result<u64> {
    let row = sqlx::query(
        "SELECT count(*) FROM deleted_entries JOIN entries ON entries.conversation = deleted_entries.conversation
             AND entries.position = deleted_entries.position
         WHERE deleted_entries.user = ? AND deleted_entries.conversation = ? AND deleted_entries.position > ?
             AND kind BETWEEN 1 AND ? AND withheld = 0",
    )
    .bind(column(sight.reader.get()))
    .bind(column(sight.conversation.get()))
    .bind(column(from))
    .bind(kinds::RECALLED.cast_signed())
    .fetch_one(connection)
    .await?;
    convert::number(&row, 0)
}

/// Counts the unread messages that mention the user or everyone, which the user has not deleted.
async fn count_mentions(connection: &mut MySqlConnection, user: UserId, heads: &mut [HeadRow]) -> sqlx::Result<()> {
    let unread: Vec<ConversationId> =
        heads.iter().filter(|head| head.unread > 0).map(|head| head.conversation).collect();
    let mut counts = HashMap::new();
    for part in steps(&unread) {
        let before = format!(
            "SELECT mine.conversation, count(DISTINCT mentions.position) FROM members AS mine
             LEFT JOIN own_views ON own_views.user = mine.user AND own_views.conversation = mine.conversation
             JOIN mentions ON mentions.conversation = mine.conversation AND mentions.user IN (mine.user, 0)
                 AND mentions.position > {FROM}
             WHERE NOT EXISTS (SELECT 1 FROM deleted_entries WHERE deleted_entries.user = mine.user
                     AND deleted_entries.conversation = mine.conversation
                     AND deleted_entries.position = mentions.position)
                 AND mine.user = ? AND mine.conversation IN "
        );
        let mut query =
            sqlx::query(sql(&before, 1, part.len(), " GROUP BY mine.conversation")).bind(column(user.get()));
        for log in part {
            query = query.bind(column(log.get()));
        }
        for row in query.fetch_all(&mut *connection).await? {
            counts.insert(convert::conversation(&row, 0)?, convert::number(&row, 1)?);
        }
    }
    for head in heads {
        head.unread_mentions = counts.remove(&head.conversation).unwrap_or(0);
    }
    Ok(())
}

/// Reads the last entries of each, as far as an answer's room reaches.
async fn read_last(
    connection: &mut MySqlConnection,
    sights: &[Sight],
    heads: &mut [HeadRow],
    entries: u32,
) -> sqlx::Result<()> {
    if entries == 0 {
        return Ok(());
    }
    let mut room = limits::PAGE_BYTES_MAX;
    let at_a_time = (ROWS_MAX / usize::try_from(entries).unwrap_or(usize::MAX)).max(1);
    for (sights, heads) in sights.chunks(at_a_time).zip(heads.chunks_mut(at_a_time)) {
        let mut rows = last_rows(connection, sights, entries).await?;
        for (sight, head) in sights.iter().zip(heads) {
            let rows = rows.remove(&sight.conversation).unwrap_or_default();
            head.entries = fitting(sight.show(connection, rows).await?, &mut room);
        }
        if room == 0 {
            break;
        }
    }
    Ok(())
}

/// The last entries of logs, descending.
async fn last_rows(
    connection: &mut MySqlConnection,
    sights: &[Sight],
    entries: u32,
) -> sqlx::Result<HashMap<ConversationId, Vec<EntryRow>>> {
    let ranges = vec!["conversation = ? AND position > ? AND position <= ?"; sights.len()].join(" OR ");
    let select = format!(
        "SELECT position, id, sender, time_ms, content, kind, withheld, conversation FROM entries
         WHERE {ranges} ORDER BY conversation, position DESC"
    );
    // Only parameters are added to what the store's own source says.
    let mut query = sqlx::query(AssertSqlSafe(select));
    for sight in sights {
        let last = sight.last_position;
        query = query
            .bind(column(sight.conversation.get()))
            .bind(column(last.saturating_sub(entries.into())))
            .bind(column(last));
    }
    let mut rows: HashMap<ConversationId, Vec<EntryRow>> = HashMap::new();
    for row in query.fetch_all(connection).await? {
        rows.entry(convert::conversation(&row, 7)?).or_default().push(EntryRow::new(&row)?);
    }
    Ok(rows)
}

/// The last of these entries, which are descending, as far as the room reaches; ascending. Where it ends, none is left.
fn fitting(descending: Vec<(Entry, bool)>, room: &mut usize) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (entry, _) in descending {
        let Some(left) = room.checked_sub(entry_bytes(&entry)) else {
            *room = 0;
            break;
        };
        *room = left;
        entries.push(entry);
    }
    entries.reverse();
    entries
}
