//! Accounts: what is stored of a user.

use protocol::{
    UserId,
    wire::{ConversationKind, Role, UserInfo},
};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::{
    convert::{self, column, get},
    lists::{ids, parts, sql, steps},
    names,
    pending::{Effect, NewMember, insert_effects, insert_members, tick},
    script::{Script, Value},
    sessions,
};
use crate::{Account, NewAccount, Telling, users::kept_since};

/// Makes an account with its personal log and its first session; `false` if another account has the name, or had it of
/// late.
pub(super) async fn create(
    connection: &mut MySqlConnection,
    account: &NewAccount,
    tell: &[Telling],
    last: &mut Script,
) -> sqlx::Result<bool> {
    let known = sqlx::query("SELECT id FROM users WHERE name_key = ?")
        .bind(account.name_key.as_bytes())
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(known) = known {
        // The same id: the call is made again, since its outcome was unknown.
        return Ok(convert::user(&known, 0)? == account.id);
    }
    if names::is_kept(connection, &account.name_key, account.id, kept_since(account.created_ms)).await? {
        return Ok(false);
    }
    sqlx::query("INSERT INTO users (id, name, name_key, password_hash, created_ms) VALUES (?, ?, ?, ?, ?)")
        .bind(column(account.id.get()))
        .bind(&account.name)
        .bind(account.name_key.as_bytes())
        .bind(&account.password_hash)
        .bind(account.created_ms)
        .execute(&mut *connection)
        .await?;
    sessions::insert(connection, account.id, &account.session).await?;
    note_tellings(connection, tell).await?;
    make_personal_log(connection, account.id, last).await?;
    Ok(true)
}

/// Makes a new account's personal log.
pub(super) async fn make_personal_log(
    connection: &mut MySqlConnection,
    user: UserId,
    last: &mut Script,
) -> sqlx::Result<()> {
    let conversation = user.personal_log();
    let member = NewMember {
        user,
        conversation,
        kind: ConversationKind::Personal,
        peer: None,
        role: Role::Member,
        read_position: 0,
        blocked_at: None,
    };
    insert_members(connection, &[member]).await?;
    let kind = Value::Number((ConversationKind::Personal as i32).into());
    for revision in tick(last, 1) {
        let row = [Value::id(conversation.get()), kind, Value::Number(1), revision];
        last.rows("INSERT INTO conversations (id, kind, members, revision) VALUES ", &[row], "");
    }
    Ok(())
}

/// Notes what is to be told in personal logs.
pub(super) async fn note_tellings(connection: &mut MySqlConnection, tell: &[Telling]) -> sqlx::Result<()> {
    let effects: Vec<Effect> = tell.iter().map(|telling| Effect::new(telling, None)).collect();
    insert_effects(connection, &effects).await
}

/// Has others who change the same account, or count what it has, wait until the commit.
pub(super) async fn lock(connection: &mut MySqlConnection, user: UserId) -> sqlx::Result<()> {
    let locking = sqlx::query("SELECT id FROM users WHERE id = ? FOR UPDATE").bind(column(user.get()));
    locking.fetch_optional(connection).await.map(drop)
}

pub(super) async fn by_name(connection: &mut MySqlConnection, name_key: &str) -> sqlx::Result<Option<Account>> {
    let select = sql(&format!("{SELECT} WHERE users.name_key = "), 1, 1, "");
    sqlx::query(select).bind(name_key.as_bytes()).fetch_optional(connection).await?.as_ref().map(from_row).transpose()
}

pub(super) async fn by_id(connection: &mut MySqlConnection, id: UserId) -> sqlx::Result<Option<Account>> {
    let rows = ids(&format!("{SELECT} WHERE users.id IN "), &[column(id.get())], "").fetch_optional(connection).await?;
    rows.as_ref().map(from_row).transpose()
}

/// An account, kept out by itself or as a bot with its owner; to be read by [`from_row`].
const SELECT: &str = "SELECT users.id, users.name, users.display_name, users.avatar, users.status_line, users.language,
     users.owner IS NOT NULL, users.deleted, users.password_hash, users.created_ms,
     users.suspended OR coalesce(owners.suspended, 0), users.owner
     FROM users LEFT JOIN users AS owners ON owners.id = users.owner";

/// A user as everybody sees the user, also one that is deleted.
pub(super) async fn info(connection: &mut MySqlConnection, id: UserId) -> sqlx::Result<Option<UserInfo>> {
    Ok(by_id(connection, id).await?.map(|account| account.user))
}

pub(super) async fn find(
    connection: &mut MySqlConnection,
    users: &[UserId],
    name_keys: &[String],
) -> sqlx::Result<Vec<UserInfo>> {
    let users: Vec<i64> = users.iter().map(|user| column(user.get())).collect();
    let mut found = Vec::with_capacity(users.len() + name_keys.len());
    let select = "SELECT id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted FROM users
         WHERE ";
    for part in parts(&users) {
        for row in ids(&format!("{select} id IN "), part, "").fetch_all(&mut *connection).await? {
            found.push(user_info(&row)?);
        }
    }
    for part in steps(name_keys) {
        let mut query = sqlx::query(sql(&format!("{select} name_key IN "), 1, part.len(), ""));
        for key in part {
            query = query.bind(key.as_bytes());
        }
        for row in query.fetch_all(&mut *connection).await? {
            found.push(user_info(&row)?);
        }
    }
    found.sort_unstable_by_key(|user| user.id);
    found.dedup_by_key(|user| user.id);
    Ok(found)
}

/// A user from the columns `id`, `name`, `display_name`, `avatar`, `status_line`, `language`, whether there is an owner,
/// `deleted`.
pub(super) fn user_info(row: &MySqlRow) -> sqlx::Result<UserInfo> {
    Ok(UserInfo {
        id: convert::number(row, 0)?,
        name: get(row, 1)?,
        display_name: get(row, 2)?,
        avatar: get(row, 3)?,
        status_line: get(row, 4)?,
        language: get(row, 5)?,
        bot: get(row, 6)?,
        deleted: get(row, 7)?,
    })
}

fn from_row(row: &MySqlRow) -> sqlx::Result<Account> {
    Ok(Account {
        user: user_info(row)?,
        password_hash: get(row, 8)?,
        created_ms: get(row, 9)?,
        suspended: get(row, 10)?,
        owner: get::<Option<i64>>(row, 11)?.map(|owner| UserId::new(owner.cast_unsigned())),
    })
}
