//! Profiles, and looking for users by what they show.

use protocol::{
    RawContent, UserId,
    wire::{ProfileChanged, UserInfo, content},
};
use sqlx::MySqlConnection;

use super::{
    accounts::{self, note_tellings, user_info},
    convert::{self, bound, column},
};
use crate::{ProfileChange, Telling, users::After};

/// Changes a profile; what is so already is not told.
pub(super) async fn update(
    connection: &mut MySqlConnection,
    user: UserId,
    change: &ProfileChange,
    now_ms: i64,
) -> sqlx::Result<Option<UserInfo>> {
    accounts::lock(connection, user).await?;
    let before = accounts::info(connection, user).await?.filter(|user| !user.deleted);
    let Some(before) = before else { return Ok(None) };
    let (display_name, display_key) = change.display_name.as_ref().map(|(name, key)| (name, key)).unzip();
    sqlx::query(
        "UPDATE users SET display_key = CASE WHEN ? IS NULL THEN display_key ELSE nullif(?, '') END,
             display_name = coalesce(?, display_name), avatar = coalesce(?, avatar),
             status_line = coalesce(?, status_line), language = coalesce(?, language)
         WHERE id = ?",
    )
    .bind(display_name)
    .bind(display_key.map(String::as_bytes))
    .bind(display_name)
    .bind(&change.avatar)
    .bind(&change.status_line)
    .bind(&change.language)
    .bind(column(user.get()))
    .execute(&mut *connection)
    .await?;
    if accounts::info(connection, user).await?.as_ref() == Some(&before) {
        return Ok(Some(before));
    }
    tell(connection, user, now_ms).await
}

/// Has the user's personal log tell how everybody sees the user from now on; the user as the user is now.
pub(super) async fn tell(
    connection: &mut MySqlConnection,
    user: UserId,
    now_ms: i64,
) -> sqlx::Result<Option<UserInfo>> {
    let Some(info) = accounts::info(connection, user).await? else { return Ok(None) };
    let content = content::Kind::ProfileChanged(ProfileChanged { user: Some(info.clone()) });
    let content = RawContent::from(content).as_bytes().clone();
    note_tellings(connection, &[Telling { user, time_ms: now_ms, content }]).await?;
    Ok(Some(info))
}

pub(super) async fn search(
    connection: &mut MySqlConnection,
    prefix: &str,
    after: &str,
    limit: u32,
) -> sqlx::Result<(Vec<UserInfo>, Option<String>)> {
    let Some(mut after) = After::parse(after) else { return Ok((Vec::new(), None)) };
    // One more than asked for tells whether there is another page.
    let wanted = limit as usize + 1;
    let mut found: Vec<(UserInfo, After)> = Vec::new();
    if let After::Name(key) = &after {
        found = by_name(connection, prefix, key, wanted).await?;
        after = After::DisplayName(0, String::new());
    }
    if let (After::DisplayName(id, key), true) = (&after, found.len() < wanted) {
        let more = wanted - found.len();
        found.extend(by_display_name(connection, prefix, (key, *id), more).await?);
    }
    let is_last = found.len() < wanted;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| !is_last).map(|(_, after)| after.to_text());
    Ok((found.into_iter().map(|(user, _)| user).collect(), next))
}

async fn by_name(
    connection: &mut MySqlConnection,
    prefix: &str,
    after: &str,
    limit: usize,
) -> sqlx::Result<Vec<(UserInfo, After)>> {
    let rows = sqlx::query(
        "SELECT id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted, name_key FROM users
         WHERE name_key >= ? AND name_key < ? AND name_key > ? AND deleted = 0 ORDER BY name_key LIMIT ?",
    )
    .bind(prefix.as_bytes())
    .bind(After::last(prefix).into_bytes())
    .bind(after.as_bytes())
    .bind(limit as i64)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((user_info(row)?, After::Name(convert::key(row, 8)?)))).collect()
}

async fn by_display_name(
    connection: &mut MySqlConnection,
    prefix: &str,
    (key, id): (&str, u64),
    limit: usize,
) -> sqlx::Result<Vec<(UserInfo, After)>> {
    let last = After::last(prefix).into_bytes();
    let rows = sqlx::query(
        "SELECT id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted, display_key FROM users
         WHERE display_key >= ? AND display_key < ? AND (display_key > ? OR display_key = ? AND id > ?) AND deleted = 0
             AND NOT (name_key >= ? AND name_key < ?)
         ORDER BY display_key, id LIMIT ?",
    )
    .bind(prefix.as_bytes())
    .bind(&last)
    .bind(key.as_bytes())
    .bind(key.as_bytes())
    .bind(bound(id))
    .bind(prefix.as_bytes())
    .bind(&last)
    .bind(limit as i64)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let user = user_info(row)?;
            let after = After::DisplayName(user.id, convert::key(row, 8)?);
            Ok((user, after))
        })
        .collect()
}
