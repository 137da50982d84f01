//! Ways into a group: requests to be let in, and links.

use protocol::{EntryId, GroupId, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    convert::{self, bound, column},
    writer::Writer,
};
use crate::{GroupLink, JoinRequestRow, Telling};

impl Writer<'_> {
    pub(super) fn put_join_request(
        &mut self,
        group: GroupId,
        request: &JoinRequestRow,
        tell: &[Telling],
    ) -> rusqlite::Result<bool> {
        let (group, user) = (column(group.get()), column(request.user.get()));
        let inserted = self
            .prepared(
                "INSERT INTO join_requests (\"group\", user, message, time_ms) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![group, user, request.message, request.time_ms])?;
        if inserted == 0 {
            self.prepared("UPDATE join_requests SET message = ?3 WHERE \"group\" = ?1 AND user = ?2")?
                .execute(params![group, user, request.message])?;
            return Ok(false);
        }
        self.note_tellings(tell)?;
        Ok(true)
    }

    pub(super) fn close_join_request(
        &mut self,
        group: GroupId,
        user: UserId,
        tell: &[Telling],
    ) -> rusqlite::Result<bool> {
        let deleted = self
            .prepared("DELETE FROM join_requests WHERE \"group\" = ?1 AND user = ?2")?
            .execute([column(group.get()), column(user.get())])?;
        if deleted > 0 {
            self.note_tellings(tell)?;
        }
        Ok(deleted > 0)
    }

    pub(super) fn create_link(
        &mut self,
        link: &GroupLink,
        request: EntryId,
        links_max: usize,
        now_ms: i64,
    ) -> rusqlite::Result<Option<GroupLink>> {
        if let Some(made) = made(self.connection, link.creator, request)? {
            return Ok(Some(made));
        }
        let usable: u64 = self
            .prepared(&format!("SELECT count(*) FROM group_links WHERE \"group\" = ?1 AND {USABLE}"))?
            .query_row([column(link.group.get()), now_ms], |row| convert::number(row, 0))?;
        if usable >= links_max as u64 {
            return Ok(None);
        }
        self.prepared(
            "INSERT INTO group_links (code, \"group\", creator, request, created_ms, expires_ms, uses_max, uses)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            link.code,
            column(link.group.get()),
            column(link.creator.get()),
            request.as_bytes(),
            link.created_ms,
            link.expires_ms,
            link.uses_max,
            link.uses
        ])?;
        Ok(Some(link.clone()))
    }

    pub(super) fn use_link(&mut self, code: &str, user: UserId, now_ms: i64) -> rusqlite::Result<bool> {
        let used: Option<bool> = self
            .prepared(
                "SELECT EXISTS (SELECT 1 FROM link_uses WHERE link_uses.code = group_links.code AND user = ?2)
                 FROM group_links WHERE code = ?1 AND (expires_ms = 0 OR expires_ms > ?3)",
            )?
            .query_row(params![code, column(user.get()), now_ms], |row| row.get(0))
            .optional()?;
        match used {
            None => return Ok(false),
            Some(true) => return Ok(true),
            Some(false) => {}
        }
        let counted = self
            .prepared(&format!("UPDATE group_links SET uses = uses + 1 WHERE code = ?1 AND {USABLE}"))?
            .execute(params![code, now_ms])?;
        if counted > 0 {
            self.prepared("INSERT INTO link_uses (code, user) VALUES (?1, ?2)")?
                .execute(params![code, column(user.get())])?;
        }
        Ok(counted > 0)
    }

    pub(super) fn revoke_link(&mut self, group: GroupId, code: &str) -> rusqlite::Result<bool> {
        self.prepared(&format!(
            "INSERT INTO revoked_links ({COLUMNS}, request) SELECT {COLUMNS}, request FROM group_links
             WHERE code = ?1 AND \"group\" = ?2"
        ))?
        .execute(params![code, column(group.get())])?;
        let deleted = self
            .prepared("DELETE FROM group_links WHERE code = ?1 AND \"group\" = ?2")?
            .execute(params![code, column(group.get())])?;
        if deleted > 0 {
            self.prepared("DELETE FROM link_uses WHERE code = ?1")?.execute([code])?;
        }
        Ok(deleted > 0)
    }

    /// Forgets revoked links that were made before this time.
    pub(super) fn forget_revoked_links(&mut self, before_ms: i64) -> rusqlite::Result<()> {
        self.prepared("DELETE FROM revoked_links WHERE created_ms < ?1")?.execute([before_ms]).map(drop)
    }
}

/// Who asks to be let in, by ascending id.
pub(super) fn join_requests(
    connection: &Connection,
    group: GroupId,
    after: UserId,
    limit: u32,
) -> rusqlite::Result<Vec<JoinRequestRow>> {
    connection
        .prepare_cached(
            "SELECT user, message, time_ms FROM join_requests WHERE \"group\" = ?1 AND user > ?2
             ORDER BY user LIMIT ?3",
        )?
        .query_map(params![column(group.get()), bound(after.get()), limit], |row| {
            Ok(JoinRequestRow { user: convert::user(row, 0)?, message: row.get(1)?, time_ms: row.get(2)? })
        })?
        .collect()
}

/// Whether a link can be used at the time that is the second parameter.
const USABLE: &str = "(expires_ms = 0 OR expires_ms > ?2) AND (uses_max = 0 OR uses < uses_max)";
/// The columns that [`from_row`] reads, in its order.
const COLUMNS: &str = "code, \"group\", creator, created_ms, expires_ms, uses_max, uses";

fn from_row(row: &Row<'_>) -> rusqlite::Result<GroupLink> {
    Ok(GroupLink {
        code: row.get(0)?,
        group: convert::conversation(row, 1)?.group(),
        creator: convert::user(row, 2)?,
        created_ms: row.get(3)?,
        expires_ms: row.get(4)?,
        uses_max: row.get(5)?,
        uses: row.get(6)?,
    })
}

/// The link that a request made, also if it was revoked.
pub(super) fn made(connection: &Connection, creator: UserId, request: EntryId) -> rusqlite::Result<Option<GroupLink>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM group_links WHERE creator = ?1 AND request = ?2
             UNION ALL SELECT {COLUMNS} FROM revoked_links WHERE creator = ?1 AND request = ?2"
        ))?
        .query_row(params![column(creator.get()), request.as_bytes()], from_row)
        .optional()
}

/// The link with this code.
pub(super) fn find(connection: &Connection, code: &str) -> rusqlite::Result<Option<GroupLink>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM group_links WHERE code = ?1"))?
        .query_row([code], from_row)
        .optional()
}

/// The group's links that can be used, oldest first.
pub(super) fn usable(connection: &Connection, group: GroupId, now_ms: i64) -> rusqlite::Result<Vec<GroupLink>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM group_links WHERE \"group\" = ?1 AND {USABLE} ORDER BY created_ms, code"
        ))?
        .query_map([column(group.get()), now_ms], from_row)?
        .collect()
}
