//! What the group service stores.

use async_trait::async_trait;
use protocol::{EntryId, GroupId, UserId, wire::JoinPolicy};
use rusqlite::{OptionalExtension, Row, params, types::Type};

use super::{
    SqliteStore,
    convert::{self, column},
    links,
};
use crate::{Group, GroupLink, Groups, JoinRequestRow, NewGroup, Result, Telling};

#[async_trait]
impl Groups for SqliteStore {
    async fn create(&self, group: NewGroup) -> Result<Group> {
        self.write(move |writer| {
            let creator = column(group.creator.get());
            let found = writer
                .prepared(&format!("{SELECT} WHERE request = ?1 AND creator = ?2"))?
                .query_row(params![group.request.as_bytes(), creator], from_row)
                .optional()?;
            if let Some(found) = found {
                return Ok(found);
            }
            writer
                .prepared(
                    "INSERT INTO groups (id, request, creator, title, join_policy, created_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    column(group.id.get()),
                    group.request.as_bytes(),
                    creator,
                    group.title,
                    group.join_policy as i32,
                    group.created_ms
                ])?;
            Ok(Group {
                id: group.id,
                title: group.title.clone(),
                description: String::new(),
                avatar: String::new(),
                announcement: String::new(),
                join_policy: group.join_policy,
                admins_invite: false,
                muted: false,
                dissolved: false,
                created_ms: group.created_ms,
            })
        })
        .await
    }

    async fn find(&self, ids: Vec<GroupId>) -> Result<Vec<Group>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached(&format!("{SELECT} WHERE groups.id = ?1"))?;
            let mut groups = Vec::with_capacity(ids.len());
            for id in ids {
                groups.extend(find.query_row([column(id.get())], from_row).optional()?);
            }
            Ok(groups)
        })
        .await
    }

    async fn put_join_request(&self, group: GroupId, request: JoinRequestRow, tell: Vec<Telling>) -> Result<bool> {
        self.write(move |writer| writer.put_join_request(group, &request, &tell)).await
    }

    async fn close_join_request(&self, group: GroupId, user: UserId, tell: Vec<Telling>) -> Result<bool> {
        self.write(move |writer| writer.close_join_request(group, user, &tell)).await
    }

    async fn join_requests(&self, group: GroupId, after: UserId, limit: u32) -> Result<Vec<JoinRequestRow>> {
        self.read(move |connection| links::join_requests(connection, group, after, limit)).await
    }

    async fn create_link(
        &self,
        link: GroupLink,
        request: EntryId,
        links_max: usize,
        now_ms: i64,
    ) -> Result<Option<GroupLink>> {
        self.write(move |writer| writer.create_link(&link, request, links_max, now_ms)).await
    }

    async fn made_link(&self, creator: UserId, request: EntryId) -> Result<Option<GroupLink>> {
        self.read(move |connection| links::made(connection, creator, request)).await
    }

    async fn link(&self, code: String) -> Result<Option<GroupLink>> {
        self.read(move |connection| links::find(connection, &code)).await
    }

    async fn links(&self, group: GroupId, now_ms: i64) -> Result<Vec<GroupLink>> {
        self.read(move |connection| links::usable(connection, group, now_ms)).await
    }

    async fn use_link(&self, code: String, user: UserId, now_ms: i64) -> Result<bool> {
        self.write(move |writer| writer.use_link(&code, user, now_ms)).await
    }

    async fn revoke_link(&self, group: GroupId, code: String) -> Result<bool> {
        self.write(move |writer| writer.revoke_link(group, &code)).await
    }
}

const SELECT: &str = "SELECT groups.id, title, join_policy, description, avatar, announcement, admins_invite,
     coalesce(muted, 0), coalesce(dissolved, 0), created_ms
     FROM groups LEFT JOIN conversations ON conversations.id = groups.id";

fn from_row(row: &Row<'_>) -> rusqlite::Result<Group> {
    let policy: i32 = row.get(2)?;
    Ok(Group {
        id: convert::conversation(row, 0)?.group(),
        title: row.get(1)?,
        join_policy: JoinPolicy::try_from(policy)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Integer, error.into()))?,
        description: row.get(3)?,
        avatar: row.get(4)?,
        announcement: row.get(5)?,
        admins_invite: row.get(6)?,
        muted: row.get(7)?,
        dissolved: row.get(8)?,
        created_ms: row.get(9)?,
    })
}
