//! What the group service stores.

use async_trait::async_trait;
use protocol::{GroupId, wire::JoinPolicy};
use rusqlite::{OptionalExtension, Row, params, types::Type};

use super::{
    SqliteStore,
    convert::{self, column},
};
use crate::{Group, Groups, NewGroup, Result};

#[async_trait]
impl Groups for SqliteStore {
    async fn create(&self, group: NewGroup) -> Result<Group> {
        self.write(move |writer| {
            let creator = column(group.creator.get());
            let found = writer
                .prepared("SELECT id, title, join_policy FROM groups WHERE request = ?1 AND creator = ?2")?
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
            Ok(Group { id: group.id, title: group.title.clone(), join_policy: group.join_policy })
        })
        .await
    }

    async fn find(&self, ids: Vec<GroupId>) -> Result<Vec<Group>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached("SELECT id, title, join_policy FROM groups WHERE id = ?1")?;
            let mut groups = Vec::with_capacity(ids.len());
            for id in ids {
                groups.extend(find.query_row([column(id.get())], from_row).optional()?);
            }
            Ok(groups)
        })
        .await
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Group> {
    let policy: i32 = row.get(2)?;
    Ok(Group {
        id: convert::conversation(row, 0)?.group(),
        title: row.get(1)?,
        join_policy: JoinPolicy::try_from(policy)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Integer, error.into()))?,
    })
}
