//! Several statements in one packet: sent together, executed in their order up to the first that fails, answered together. One
//! round trip instead of one for each.
//!
//! Their values stand in the text, so there are only such as need no care there: numbers, and bytes as hexadecimal digits.

use std::fmt::Write as _;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Either, MySqlConnection, mysql::MySqlRow};

use super::{convert::column, failure};

/// Statements go into another packet when one has so many bytes: less than what any server takes.
const PACKET_BYTES: usize = 256 * 1024;
/// Rows in one statement.
const ROWS_MAX: usize = 512;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Script {
    packets: Vec<Packet>,
}

#[derive(Debug)]
struct Packet {
    text: String,
    statements: usize,
}

/// Why a commit failed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The server says what went wrong before it committed: nothing is stored.
    Before(sqlx::Error),
    /// Perhaps it is stored.
    Unknown(sqlx::Error),
}

impl Script {
    /// Adds a statement.
    pub(super) fn statement(&mut self, sql: &str) {
        match self.packets.last_mut() {
            Some(packet) if packet.text.len() + sql.len() < PACKET_BYTES => {
                packet.text.push(';');
                packet.text.push_str(sql);
                packet.statements += 1;
            }
            _ => self.packets.push(Packet { text: sql.to_owned(), statements: 1 }),
        }
    }

    /// Adds statements about these rows of values: `before`, the rows in parentheses with commas between them, `after`.
    /// Returns how many statements they are.
    pub(super) fn rows<const N: usize>(&mut self, before: &str, rows: &[[Value; N]], after: &str) -> usize {
        for part in rows.chunks(ROWS_MAX) {
            let mut sql = before.to_owned();
            for (number, row) in part.iter().enumerate() {
                sql.push_str(if number == 0 { "(" } else { ",(" });
                for (number, value) in row.iter().enumerate() {
                    sql.push_str(if number == 0 { "" } else { "," });
                    value.write(&mut sql);
                }
                sql.push(')');
            }
            sql.push_str(after);
            self.statement(&sql);
        }
        rows.len().div_ceil(ROWS_MAX)
    }

    /// Executes them all; what each of them finds.
    pub(super) async fn fetch(self, connection: &mut MySqlConnection) -> sqlx::Result<Vec<Vec<MySqlRow>>> {
        let mut found = Vec::new();
        for packet in self.packets {
            let mut answers = sqlx::raw_sql(AssertSqlSafe(packet.text)).fetch_many(&mut *connection);
            let mut rows = Vec::new();
            while let Some(answer) = answers.try_next().await? {
                match answer {
                    Either::Right(row) => rows.push(row),
                    Either::Left(_) => found.push(std::mem::take(&mut rows)),
                }
            }
        }
        Ok(found)
    }

    /// Executes them all and commits.
    pub(super) async fn commit(mut self, connection: &mut MySqlConnection) -> Result<(), CommitError> {
        self.statement("COMMIT");
        let last = self.packets.len() - 1;
        for (number, packet) in self.packets.into_iter().enumerate() {
            let mut answers = sqlx::raw_sql(AssertSqlSafe(packet.text)).fetch_many(&mut *connection);
            let mut answered = 0;
            loop {
                match answers.try_next().await {
                    Ok(Some(Either::Left(_))) => answered += 1,
                    Ok(Some(Either::Right(_))) => {}
                    Ok(None) => break,
                    Err(error) => {
                        let before = number < last || is_answer(&error) && answered + 1 < packet.statements;
                        return Err(if before || failure::is_conflict_at_commit(&error) {
                            CommitError::Before(error)
                        } else {
                            CommitError::Unknown(error)
                        });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Whether the server itself says what is wrong: then it has executed nothing after it.
fn is_answer(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(_))
}

/// What may stand in a script.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Number(i64),
    Id([u8; 16]),
    /// `LAST_INSERT_ID()` less this.
    Ago(i64),
}

impl Value {
    /// An id or a position.
    pub(super) fn id(id: u64) -> Self {
        Self::Number(column(id))
    }

    fn write(self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Number(number) => write!(text, "{number}"),
            Self::Id(bytes) => write!(text, "x'{:032x}'", u128::from_be_bytes(bytes)),
            Self::Ago(count) => write!(text, "LAST_INSERT_ID()-{count}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_text() {
        let mut script = Script::default();
        script.statement("UPDATE a");
        let rows = [[Value::Number(-7), Value::Id([0xab; 16])], [Value::id(8), Value::Ago(2)]];
        assert_eq!(script.rows("INSERT INTO b VALUES ", &rows, " ON c"), 1);
        let [Packet { text, statements: 2 }] = &*script.packets else { panic!("{script:?}") };
        let id = "ab".repeat(16);
        assert_eq!(*text, format!("UPDATE a;INSERT INTO b VALUES (-7,x'{id}'),(8,LAST_INSERT_ID()-2) ON c"));
    }

    #[test]
    fn many_rows_are_several_statements_in_packets_within_the_bound() {
        let rows = vec![[Value::id(u64::MAX >> 1); 9]; 5 * ROWS_MAX + 1];
        let mut script = Script::default();
        assert_eq!(script.rows("INSERT ", &rows, ""), 6);
        assert_eq!(script.packets.iter().map(|packet| packet.statements).sum::<usize>(), 6);
        assert!(script.packets.len() > 1 && script.packets.iter().all(|packet| packet.text.len() <= PACKET_BYTES));
        assert_eq!(Script::default().rows::<1>("INSERT ", &[], ""), 0);
    }
}
