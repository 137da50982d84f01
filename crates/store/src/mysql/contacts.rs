//! Contacts, settings, effects.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use protocol::UserId;
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    convert::{self, bound, column, get},
    lists::{ids, pairs, parts, sql, steps},
};
use crate::{ContactRow, Effect, Revision, UserSettings, contacts, kinds};

/// Finds contacts by owner and peer; [`from_row`] reads them.
pub(super) const SELECT_PAIRS: &str =
    "SELECT peer, friend, request, message, remark, blocked, changed_ms, user FROM contacts WHERE (user, peer) IN ";
/// Finds settings by users; [`settings_from`] reads them.
pub(super) const SELECT_SETTINGS: &str = "SELECT write_policy, invisible, user FROM user_settings WHERE user IN ";

pub(super) fn from_row(row: &MySqlRow) -> sqlx::Result<ContactRow> {
    Ok(ContactRow {
        peer: convert::user(row, 0)?,
        friend: get(row, 1)?,
        request: convert::enumerated(row, 2)?,
        message: get(row, 3)?,
        remark: get(row, 4)?,
        blocked: get(row, 5)?,
        changed_ms: get(row, 6)?,
    })
}

pub(super) fn settings_from(row: &MySqlRow) -> sqlx::Result<UserSettings> {
    Ok(UserSettings { write_policy: convert::enumerated(row, 0)?, invisible: get(row, 1)? })
}

/// What `peer` is to `owner`.
pub(super) async fn find(
    connection: &mut MySqlConnection,
    owner: UserId,
    peer: UserId,
) -> sqlx::Result<Option<ContactRow>> {
    Ok(all(connection, &[(owner, peer)]).await?.remove(&(owner, peer)))
}

/// What peers are to owners, of these owners and peers.
async fn all(
    connection: &mut MySqlConnection,
    of: &[(UserId, UserId)],
) -> sqlx::Result<HashMap<(UserId, UserId), ContactRow>> {
    let of: Vec<(i64, i64)> = of.iter().map(|(owner, peer)| (column(owner.get()), column(peer.get()))).collect();
    let mut found = HashMap::new();
    for part in parts(&of) {
        for row in pairs(SELECT_PAIRS, part, "").fetch_all(&mut *connection).await? {
            let contact = from_row(&row)?;
            found.insert((convert::user(&row, 7)?, contact.peer), contact);
        }
    }
    Ok(found)
}

/// The settings of those who have some.
pub(super) async fn settings(
    connection: &mut MySqlConnection,
    users: &[UserId],
) -> sqlx::Result<HashMap<UserId, UserSettings>> {
    let users: Vec<i64> = users.iter().map(|user| column(user.get())).collect();
    let mut found = HashMap::new();
    for part in parts(&users) {
        for row in ids(SELECT_SETTINGS, part, "").fetch_all(&mut *connection).await? {
            found.insert(convert::user(&row, 2)?, settings_from(&row)?);
        }
    }
    Ok(found)
}

/// A user's contacts, by ascending id.
pub(super) async fn page(
    connection: &mut MySqlConnection,
    user: UserId,
    after: UserId,
    limit: u32,
) -> sqlx::Result<Vec<ContactRow>> {
    let rows = sqlx::query(
        "SELECT peer, friend, request, message, remark, blocked, changed_ms FROM contacts
         WHERE user = ? AND peer > ? ORDER BY peer LIMIT ?",
    )
    .bind(column(user.get()))
    .bind(bound(after.get()))
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(from_row).collect()
}

/// What `user` is to each of these, and their settings.
pub(super) async fn standings(
    connection: &mut MySqlConnection,
    user: UserId,
    of: &[UserId],
) -> sqlx::Result<Vec<(Option<ContactRow>, UserSettings)>> {
    let owners: Vec<(UserId, UserId)> = of.iter().map(|owner| (*owner, user)).collect();
    let contacts = all(connection, &owners).await?;
    let settings = settings(connection, of).await?;
    let standing =
        |owner: &UserId| (contacts.get(&(*owner, user)).cloned(), settings.get(owner).copied().unwrap_or_default());
    Ok(of.iter().map(standing).collect())
}

/// Effects not yet settled, oldest first.
pub(super) async fn effects(connection: &mut MySqlConnection, limit: u32) -> sqlx::Result<Vec<Effect>> {
    let rows = sqlx::query("SELECT number, user, id, time_ms, content, peer FROM effects ORDER BY number LIMIT ?")
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await?;
    let effect = |row: &MySqlRow| {
        let content = Bytes::from(get::<Vec<u8>>(row, 4)?);
        let peer = get::<Option<i64>>(row, 5)?.map(|peer| UserId::new(peer.cast_unsigned()));
        let contact = peer.and_then(|peer| contacts::told(peer, kinds::kind(&content)?));
        Ok(Effect {
            revision: Revision(convert::number(row, 0)?),
            user: convert::user(row, 1)?,
            id: convert::entry_id(row, 2)?,
            time_ms: get(row, 3)?,
            content,
            contact,
        })
    };
    rows.iter().map(effect).collect()
}

/// Those whose presence a user may see; see [`Messages::filter_visible`](crate::Messages::filter_visible).
pub(super) async fn filter_visible(
    connection: &mut MySqlConnection,
    user: UserId,
    users: &[UserId],
) -> sqlx::Result<Vec<UserId>> {
    let standings = standings(connection, user, users).await?;
    let peers = peers_heard_of(connection, user, users).await?;
    let friends = friends_among(connection, user, users).await?;
    let visible = |other: &UserId, (contact, settings): &(Option<ContactRow>, UserSettings)| {
        let blocked = contact.as_ref().is_some_and(|contact| contact.blocked);
        // What one does is told to the other a moment later: until then the two differ.
        let friend = contact.as_ref().is_some_and(|contact| contact.friend) && friends.contains(other);
        !blocked && !settings.invisible && (friend || peers.contains(other))
    };
    let both = users.iter().zip(&standings);
    Ok(both.filter(|(other, standing)| visible(other, standing)).map(|(other, _)| *other).collect())
}

/// Those of these users whom the user has as friends.
async fn friends_among(
    connection: &mut MySqlConnection,
    user: UserId,
    users: &[UserId],
) -> sqlx::Result<HashSet<UserId>> {
    let pairs_of: Vec<(i64, i64)> = users.iter().map(|peer| (column(user.get()), column(peer.get()))).collect();
    let mut friends = HashSet::new();
    for part in parts(&pairs_of) {
        let rows = pairs("SELECT peer FROM contacts WHERE friend = 1 AND (user, peer) IN ", part, "");
        for row in rows.fetch_all(&mut *connection).await? {
            friends.insert(convert::user(&row, 0)?);
        }
    }
    Ok(friends)
}

/// Those who have written or read in a direct conversation with the user. Writing moves one's read position, and so does
/// reading.
async fn peers_heard_of(
    connection: &mut MySqlConnection,
    user: UserId,
    users: &[UserId],
) -> sqlx::Result<HashSet<UserId>> {
    let me = column(user.get());
    let mut heard = HashSet::new();
    for part in steps(users) {
        let mut query = sqlx::query(sql(
            "SELECT theirs.user FROM conversations JOIN members AS theirs ON theirs.conversation = conversations.id
                 AND theirs.user = CASE user_a WHEN ? THEN user_b ELSE user_a END
             WHERE (read_position > 0 OR user_a = user_b) AND (user_a, user_b) IN (",
            part.len(),
            2,
            ")",
        ))
        .bind(me);
        for other in part {
            query = query.bind(column(user.min(*other).get())).bind(column(user.max(*other).get()));
        }
        for row in query.fetch_all(&mut *connection).await? {
            heard.insert(convert::user(&row, 0)?);
        }
    }
    Ok(heard)
}
