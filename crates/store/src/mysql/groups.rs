//! What the group service stores.

use async_trait::async_trait;
use protocol::{EntryId, GroupId, UserId};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    MysqlStore,
    convert::{self, column, get},
    links,
    lists::{ids, parts},
    transaction::{read, write},
};
use crate::{Group, GroupLink, Groups, JoinRequestRow, NewGroup, Result, Telling};

#[async_trait]
impl Groups for MysqlStore {
    async fn create(&self, group: NewGroup) -> Result<Group> {
        write!(self, |connection| create(connection, &group).await)
    }

    async fn find(&self, groups: Vec<GroupId>) -> Result<Vec<Group>> {
        let groups: Vec<i64> = groups.into_iter().map(|group| column(group.get())).collect();
        read!(self, |connection| {
            let mut found = Vec::with_capacity(groups.len());
            for part in parts(&groups) {
                let rows = ids(
                    "SELECT found.id, title, join_policy, description, avatar, announcement, admins_invite,
                         coalesce(muted, 0), coalesce(dissolved, 0), created_ms
                     FROM `groups` AS found LEFT JOIN conversations ON conversations.id = found.id
                     WHERE found.id IN ",
                    part,
                    "",
                );
                for row in rows.fetch_all(&mut *connection).await? {
                    found.push(from_row(&row)?);
                }
            }
            // In the order asked for.
            found.sort_by_key(|group| groups.iter().position(|id| *id == column(group.id.get())));
            Ok(found)
        })
    }

    async fn put_join_request(&self, group: GroupId, request: JoinRequestRow, tell: Vec<Telling>) -> Result<bool> {
        write!(self, |connection| links::put_join_request(connection, group, &request, &tell).await)
    }

    async fn close_join_request(&self, group: GroupId, user: UserId, tell: Vec<Telling>) -> Result<bool> {
        write!(self, |connection| links::close_join_request(connection, group, user, &tell).await)
    }

    async fn join_requests(&self, group: GroupId, after: UserId, limit: u32) -> Result<Vec<JoinRequestRow>> {
        read!(self, |connection| links::join_requests(connection, group, after, limit).await)
    }

    async fn create_link(
        &self,
        link: GroupLink,
        request: EntryId,
        links_max: usize,
        now_ms: i64,
    ) -> Result<Option<GroupLink>> {
        write!(self, |connection| links::create(connection, &link, request, links_max, now_ms).await)
    }

    async fn made_link(&self, creator: UserId, request: EntryId) -> Result<Option<GroupLink>> {
        read!(self, |connection| links::made(connection, creator, request).await)
    }

    async fn link(&self, code: String) -> Result<Option<GroupLink>> {
        read!(self, |connection| links::find(connection, &code).await)
    }

    async fn links(&self, group: GroupId, now_ms: i64) -> Result<Vec<GroupLink>> {
        read!(self, |connection| links::usable(connection, group, now_ms).await)
    }

    async fn use_link(&self, code: String, user: UserId, now_ms: i64) -> Result<bool> {
        write!(self, |connection| links::use_up(connection, &code, user, now_ms).await)
    }

    async fn revoke_link(&self, group: GroupId, code: String) -> Result<bool> {
        write!(self, |connection| links::revoke(connection, group, &code).await)
    }
}

async fn create(connection: &mut MySqlConnection, group: &NewGroup) -> sqlx::Result<Group> {
    let found = sqlx::query(
        "SELECT found.id, title, join_policy, description, avatar, announcement, admins_invite,
             coalesce(muted, 0), coalesce(dissolved, 0), created_ms
         FROM `groups` AS found LEFT JOIN conversations ON conversations.id = found.id
         WHERE request = ? AND creator = ?",
    )
    .bind(group.request.as_bytes().as_slice())
    .bind(column(group.creator.get()))
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(found) = found {
        return from_row(&found);
    }
    sqlx::query(
        "INSERT INTO `groups` (id, request, creator, title, description, avatar, announcement, join_policy, created_ms)
         VALUES (?, ?, ?, ?, '', '', '', ?, ?)",
    )
    .bind(column(group.id.get()))
    .bind(group.request.as_bytes().as_slice())
    .bind(column(group.creator.get()))
    .bind(&group.title)
    .bind(group.join_policy as i32)
    .bind(group.created_ms)
    .execute(connection)
    .await?;
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
}

fn from_row(row: &MySqlRow) -> sqlx::Result<Group> {
    Ok(Group {
        id: convert::conversation(row, 0)?.group(),
        title: get(row, 1)?,
        join_policy: convert::enumerated(row, 2)?,
        description: get(row, 3)?,
        avatar: get(row, 4)?,
        announcement: get(row, 5)?,
        admins_invite: get(row, 6)?,
        muted: get(row, 7)?,
        dissolved: get(row, 8)?,
        created_ms: get(row, 9)?,
    })
}
