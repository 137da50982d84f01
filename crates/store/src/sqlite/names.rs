//! Names: who bears one, and who bore it of late.

use protocol::{UserId, name_key, wire::UserInfo};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    accounts,
    convert::{self, column},
    writer::Writer,
};
use crate::users::kept_since;

impl Writer<'_> {
    /// Gives the account another name; `None` if that is taken or kept, or there is no such account.
    pub(super) fn rename(
        &mut self,
        user: UserId,
        name: &str,
        key: &str,
        now_ms: i64,
        kept_since_ms: i64,
    ) -> rusqlite::Result<Option<UserInfo>> {
        let id = column(user.get());
        let now: Option<(String, String)> = self
            .prepared("SELECT name, name_key FROM users WHERE id = ?1 AND NOT deleted")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((old_name, old_key)) = now else { return Ok(None) };
        if old_name == name {
            return accounts::info(self.connection, user);
        }
        if old_key != key {
            let taken = self.prepared("SELECT 1 FROM users WHERE name_key = ?1")?.exists([key])?;
            if taken || self.is_kept(key, user, kept_since_ms)? {
                return Ok(None);
            }
            self.prepared("DELETE FROM former_names WHERE name_key = ?1")?.execute([key])?;
            self.keep_name(&old_key, id, now_ms)?;
        }
        self.prepared("UPDATE users SET name = ?2, name_key = ?3, renamed_ms = ?4 WHERE id = ?1")?
            .execute(params![id, name, key, now_ms])?;
        self.tell_profile(user, now_ms)
    }

    /// Keeps a name that is given up now from all but this user, and forgets those that were kept long enough.
    pub(super) fn keep_name(&mut self, key: &str, user: i64, now_ms: i64) -> rusqlite::Result<()> {
        self.prepared("DELETE FROM former_names WHERE given_up_ms <= ?1")?.execute([kept_since(now_ms)])?;
        self.prepared(
            "INSERT INTO former_names (name_key, user, given_up_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (name_key) DO UPDATE SET user = ?2, given_up_ms = ?3",
        )?
        .execute(params![key, user, now_ms])?;
        Ok(())
    }

    /// Whether a name was given up by somebody else after this time.
    pub(super) fn is_kept(&mut self, key: &str, user: UserId, kept_since_ms: i64) -> rusqlite::Result<bool> {
        self.prepared("SELECT 1 FROM former_names WHERE name_key = ?1 AND user <> ?2 AND given_up_ms > ?3")?
            .exists(params![key, column(user.get()), kept_since_ms])
    }
}

pub(super) fn renamed_since(connection: &Connection, since_ms: i64) -> rusqlite::Result<Vec<(UserId, String)>> {
    connection
        .prepare_cached("SELECT id, name FROM users WHERE renamed_ms > ?1 AND NOT deleted")?
        .query_map([since_ms], |row| Ok((convert::user(row, 0)?, row.get(1)?)))?
        .collect()
}

/// Computes all keys of names anew, as accounts from before look-alikes were one name have others. Where two come to have
/// one, it is that of the account which has it already, else of the older one.
pub(super) fn compute_keys(connection: &Connection) -> rusqlite::Result<()> {
    let mut read = connection.prepare("SELECT id, name, name_key FROM users ORDER BY id")?;
    let users: Vec<(i64, String, String)> =
        read.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut update = connection.prepare("UPDATE OR IGNORE users SET name_key = ?2 WHERE id = ?1")?;
    for (id, name, old) in users {
        let key = name_key(&name);
        if key != old && update.execute(params![id, key])? == 0 {
            tracing::warn!(user = id, %name, "looks like another account's name; nobody finds this account by its name");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_old_names_that_look_alike_one_gets_the_key() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, name_key TEXT NOT NULL UNIQUE);
                 INSERT INTO users VALUES (1, 'Алиса', 'алиса'), (2, 'аре', 'аре'), (3, 'ape', 'ape'), (4, 'Bob', 'bob'),
                     (5, 'ТОМ', 'том'), (6, 'Том', 'Том');",
            )
            .unwrap();
        compute_keys(&connection).unwrap();
        let mut read = connection.prepare("SELECT name_key FROM users ORDER BY id").unwrap();
        let keys: Vec<String> = read.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(keys[0], name_key("Алиса"));
        // A key that is taken stays where it is; the other account keeps what it had.
        assert_eq!(keys[1..], ["аре", "ape", "bob", "tom", "Том"]);
    }
}
