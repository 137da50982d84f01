//! Contacts and settings.

use protocol::{
    UserId,
    wire::{FriendRequest, WritePolicy},
};
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};

use super::convert::{self, bound, column};
use crate::{ContactRow, Effect, Revision, UserSettings, contacts, kinds};

/// The columns that [`from_row`] reads, after the peer's.
const COLUMNS: &str = "friend, request, message, remark, blocked, changed_ms";

fn from_row(row: &Row<'_>) -> rusqlite::Result<ContactRow> {
    Ok(ContactRow {
        peer: convert::user(row, 0)?,
        friend: row.get(1)?,
        request: FriendRequest::try_from(row.get::<_, i32>(2)?)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Integer, error.into()))?,
        message: row.get(3)?,
        remark: row.get(4)?,
        blocked: row.get(5)?,
        changed_ms: row.get(6)?,
    })
}

/// What `peer` is to `owner`.
pub(super) fn contact(connection: &Connection, owner: i64, peer: i64) -> rusqlite::Result<Option<ContactRow>> {
    connection
        .prepare_cached(&format!("SELECT peer, {COLUMNS} FROM contacts WHERE user = ?1 AND peer = ?2"))?
        .query_row([owner, peer], from_row)
        .optional()
}

/// A user's contacts, by ascending id.
pub(super) fn page(
    connection: &Connection,
    user: UserId,
    after: UserId,
    limit: u32,
) -> rusqlite::Result<Vec<ContactRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT peer, {COLUMNS} FROM contacts WHERE user = ?1 AND peer > ?2 ORDER BY peer LIMIT ?3"
        ))?
        .query_map(params![column(user.get()), bound(after.get()), limit], from_row)?
        .collect()
}

/// What `user` is to each of these, and their settings.
pub(super) fn standings(
    connection: &Connection,
    user: UserId,
    of: &[UserId],
) -> rusqlite::Result<Vec<(Option<ContactRow>, UserSettings)>> {
    of.iter()
        .map(|owner| {
            let owner = column(owner.get());
            Ok((contact(connection, owner, column(user.get()))?, settings(connection, owner)?))
        })
        .collect()
}

/// A user's settings.
pub(super) fn settings(connection: &Connection, user: i64) -> rusqlite::Result<UserSettings> {
    let settings = connection
        .prepare_cached("SELECT write_policy, invisible FROM user_settings WHERE user = ?1")?
        .query_row([user], |row| {
            Ok(UserSettings {
                write_policy: WritePolicy::try_from(row.get::<_, i32>(0)?)
                    .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, error.into()))?,
                invisible: row.get(1)?,
            })
        })
        .optional()?;
    Ok(settings.unwrap_or_default())
}

/// Effects not yet settled, oldest first.
pub(super) fn effects(connection: &Connection, limit: u32) -> rusqlite::Result<Vec<Effect>> {
    connection
        .prepare_cached("SELECT revision, user, id, time_ms, content, peer FROM effects ORDER BY revision LIMIT ?1")?
        .query_map([limit], |row| {
            let content = row.get::<_, Vec<u8>>(4)?.into();
            let peer = row.get::<_, Option<i64>>(5)?.map(|peer| UserId::new(peer.cast_unsigned()));
            let contact = peer.and_then(|peer| contacts::told(peer, kinds::kind(&content)?));
            Ok(Effect {
                revision: Revision(convert::number(row, 0)?),
                user: convert::user(row, 1)?,
                id: convert::entry_id(row, 2)?,
                time_ms: row.get(3)?,
                content,
                contact,
            })
        })?
        .collect()
}

/// Those whose presence a user may see; see [`Messages::filter_visible`](crate::Messages::filter_visible).
pub(super) fn filter_visible(
    connection: &Connection,
    user: UserId,
    users: Vec<UserId>,
) -> rusqlite::Result<Vec<UserId>> {
    // Writing moves one's read position, and so does reading.
    let mut find = connection.prepare_cached(
        "SELECT 1 FROM conversations JOIN members ON conversation = id AND user = ?3
         WHERE user_a = ?1 AND user_b = ?2 AND (read_position > 0 OR user_a = user_b)",
    )?;
    let mut visible = Vec::new();
    for other in users {
        let owner = column(other.get());
        let contact = contact(connection, owner, column(user.get()))?;
        if contact.as_ref().is_some_and(|contact| contact.blocked) {
            continue;
        }
        let [a, b] = super::direct::pair(user, other);
        // What one does is told to the other a moment later: until then the two differ.
        let are_friends = contact.is_some_and(|contact| contact.friend)
            && self::contact(connection, column(user.get()), owner)?.is_some_and(|contact| contact.friend);
        let knows = are_friends || find.exists([a, b, owner])?;
        if knows && !settings(connection, owner)?.invisible {
            visible.push(other);
        }
    }
    Ok(visible)
}
