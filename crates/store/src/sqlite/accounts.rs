//! Accounts: what is stored of a user.

use protocol::{
    UserId,
    wire::{ConversationKind, Role, UserInfo},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    convert::{self, column},
    logs::NewMember,
    writer::Writer,
};
use crate::{Account, NewAccount, Telling, append::Ledger as _, users::kept_since};

/// The columns that [`user_info`] reads, in its order.
pub(super) const USER_COLUMNS: &str =
    "id, name, display_name, avatar, status_line, language, owner IS NOT NULL, deleted";
/// Whether the account `users` is kept out, by itself or as a bot with its owner.
pub(super) const IS_KEPT_OUT: &str =
    "(users.suspended OR EXISTS (SELECT 1 FROM users AS owners WHERE owners.id = users.owner AND owners.suspended))";
/// The columns that [`from_row`] reads, in its order, after [`USER_COLUMNS`].
const MORE_COLUMNS: &str = "password_hash, created_ms, owner";

impl Writer<'_> {
    /// Makes an account with its personal log and its first session; `false` if another account has the name, or had it of
    /// late.
    pub(super) fn create_account(&mut self, account: &NewAccount) -> rusqlite::Result<bool> {
        let user = column(account.id.get());
        let known: Option<i64> = self
            .prepared("SELECT id FROM users WHERE name_key = ?1")?
            .query_row([&account.name_key], |row| row.get(0))
            .optional()?;
        if let Some(known) = known {
            // The same id: the call is made again, since its outcome was unknown.
            return Ok(known == user);
        }
        if self.is_kept(&account.name_key, account.id, kept_since(account.created_ms))? {
            return Ok(false);
        }
        self.prepared("INSERT INTO users (id, name, name_key, password_hash, created_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![user, account.name, account.name_key, account.password_hash, account.created_ms])?;
        self.make_personal_log(account.id)?;
        self.insert_session(account.id, &account.session)?;
        Ok(true)
    }

    /// Makes a new account's personal log.
    pub(super) fn make_personal_log(&mut self, user: UserId) -> rusqlite::Result<()> {
        let conversation = column(user.personal_log().get());
        self.prepared("INSERT INTO conversations (id, kind, members) VALUES (?1, ?2, 1)")?
            .execute(params![conversation, ConversationKind::Personal as i32])?;
        let revision = self.next_revision();
        self.insert_member(NewMember {
            user: column(user.get()),
            conversation,
            kind: ConversationKind::Personal,
            peer: None,
            role: Role::Member.into(),
            read_position: 0,
            revision,
        })
    }

    /// Notes what is to be told in personal logs.
    pub(super) fn note_tellings(&mut self, tell: &[Telling]) -> rusqlite::Result<()> {
        for telling in tell {
            self.note_effect(telling, None)?;
        }
        Ok(())
    }
}

pub(super) fn by_name(connection: &Connection, name_key: &str) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached(&format!(
            "SELECT {USER_COLUMNS}, {MORE_COLUMNS}, {IS_KEPT_OUT} FROM users WHERE name_key = ?1"
        ))?
        .query_row([name_key], from_row)
        .optional()
}

pub(super) fn by_id(connection: &Connection, id: UserId) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached(&format!("SELECT {USER_COLUMNS}, {MORE_COLUMNS}, {IS_KEPT_OUT} FROM users WHERE id = ?1"))?
        .query_row([column(id.get())], from_row)
        .optional()
}

/// A user as everybody sees the user, also one that is deleted.
pub(super) fn info(connection: &Connection, id: UserId) -> rusqlite::Result<Option<UserInfo>> {
    connection
        .prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1"))?
        .query_row([column(id.get())], user_info)
        .optional()
}

pub(super) fn find(connection: &Connection, ids: &[UserId], name_keys: &[String]) -> rusqlite::Result<Vec<UserInfo>> {
    let mut by_id = connection.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE id = ?1"))?;
    let mut by_name = connection.prepare_cached(&format!("SELECT {USER_COLUMNS} FROM users WHERE name_key = ?1"))?;
    let mut users = Vec::with_capacity(ids.len() + name_keys.len());
    for id in ids {
        users.extend(by_id.query_row([column(id.get())], user_info).optional()?);
    }
    for name_key in name_keys {
        users.extend(by_name.query_row([name_key], user_info).optional()?);
    }
    users.sort_unstable_by_key(|user| user.id);
    users.dedup_by_key(|user| user.id);
    Ok(users)
}

pub(super) fn user_info(row: &Row<'_>) -> rusqlite::Result<UserInfo> {
    Ok(UserInfo {
        id: convert::number(row, 0)?,
        name: row.get(1)?,
        display_name: row.get(2)?,
        avatar: row.get(3)?,
        status_line: row.get(4)?,
        language: row.get(5)?,
        bot: row.get(6)?,
        deleted: row.get(7)?,
    })
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        user: user_info(row)?,
        password_hash: row.get(8)?,
        created_ms: row.get(9)?,
        suspended: row.get(11)?,
        owner: row.get::<_, Option<i64>>(10)?.map(|owner| UserId::new(owner.cast_unsigned())),
    })
}
