//! Profiles, and looking for users by what they show.

use protocol::{
    RawContent, UserId,
    wire::{ProfileChanged, UserInfo, content},
};
use rusqlite::{Connection, params};

use super::{
    accounts::{self, USER_COLUMNS, user_info},
    convert::{bound, column},
    writer::Writer,
};
use crate::{ProfileChange, Telling, users::After};

impl Writer<'_> {
    /// Changes a profile; what is so already is not told.
    pub(super) fn update_profile(
        &mut self,
        user: UserId,
        change: &ProfileChange,
        now_ms: i64,
    ) -> rusqlite::Result<Option<UserInfo>> {
        let before = accounts::info(self.connection, user)?.filter(|user| !user.deleted);
        let Some(before) = before else { return Ok(None) };
        let (display_name, display_key) = change.display_name.as_ref().map(|(name, key)| (name, key)).unzip();
        self.prepared(
            "UPDATE users SET display_name = coalesce(?2, display_name),
                 display_key = CASE WHEN ?2 IS NULL THEN display_key ELSE nullif(?3, '') END,
                 avatar = coalesce(?4, avatar), status_line = coalesce(?5, status_line), language = coalesce(?6, language)
             WHERE id = ?1",
        )?
        .execute(params![
            column(user.get()),
            display_name,
            display_key,
            change.avatar,
            change.status_line,
            change.language
        ])?;
        if accounts::info(self.connection, user)?.as_ref() == Some(&before) {
            return Ok(Some(before));
        }
        self.tell_profile(user, now_ms)
    }

    /// Has the user's personal log tell how everybody sees the user from now on; the user as the user is now.
    pub(super) fn tell_profile(&mut self, user: UserId, now_ms: i64) -> rusqlite::Result<Option<UserInfo>> {
        let Some(info) = accounts::info(self.connection, user)? else { return Ok(None) };
        let content = content::Kind::ProfileChanged(ProfileChanged { user: Some(info.clone()) });
        let content = RawContent::from(content).as_bytes().clone();
        self.note_tellings(&[Telling { user, time_ms: now_ms, content }])?;
        Ok(Some(info))
    }
}

pub(super) fn search(
    connection: &Connection,
    prefix: &str,
    after: &str,
    limit: u32,
) -> rusqlite::Result<(Vec<UserInfo>, Option<String>)> {
    let Some(mut after) = After::parse(after) else { return Ok((Vec::new(), None)) };
    let last = After::last(prefix);
    // One more than asked for tells whether there is another page.
    let wanted = limit as usize + 1;
    let mut found: Vec<(UserInfo, After)> = Vec::new();
    if let After::Name(key) = &after {
        found = connection
            .prepare_cached(&format!(
                "SELECT {USER_COLUMNS}, name_key FROM users
                 WHERE name_key >= ?1 AND name_key < ?2 AND name_key > ?3 AND NOT deleted ORDER BY name_key LIMIT ?4"
            ))?
            .query_map(params![prefix, last, key, wanted as i64], |row| {
                Ok((user_info(row)?, After::Name(row.get(8)?)))
            })?
            .collect::<rusqlite::Result<_>>()?;
        after = After::DisplayName(0, String::new());
    }
    if let (After::DisplayName(id, key), true) = (&after, found.len() < wanted) {
        let rest = connection
            .prepare_cached(&format!(
                "SELECT {USER_COLUMNS}, display_key FROM users
                 WHERE display_key >= ?1 AND display_key < ?2 AND (display_key, id) > (?3, ?4) AND NOT deleted
                     AND NOT (name_key >= ?1 AND name_key < ?2)
                 ORDER BY display_key, id LIMIT ?5"
            ))?
            .query_map(params![prefix, last, key, bound(*id), (wanted - found.len()) as i64], |row| {
                let user = user_info(row)?;
                let after = After::DisplayName(user.id, row.get(8)?);
                Ok((user, after))
            })?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        found.extend(rest);
    }
    let is_last = found.len() < wanted;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| !is_last).map(|(_, after)| after.to_text());
    Ok((found.into_iter().map(|(user, _)| user).collect(), next))
}
