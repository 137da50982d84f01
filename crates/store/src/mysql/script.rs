//! Several statements in one packet: sent together, executed in their order up to the first that fails, answered together. One
//! round trip instead of one for each.
//!
//! Their values stand in the text, so there are only such as need no care there: numbers, and bytes as hexadecimal digits.

use std::fmt::Write as _;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Either, MySqlConnection, mysql::MySqlRow};

use super::{convert::column, failure};

/// Statements go into another packet when one has so many bytes: less than what any server takes. What has to be in
/// [one packet](Script::keep_together) may be larger.
const PACKET_BYTES: usize = 256 * 1024;
/// Rows in one statement.
const ROWS_MAX: usize = 512;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Script {
    packets: Vec<Packet>,
    /// Whether what is added goes into the last packet, however large it gets.
    together: bool,
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
    /// Keeps whatever is added from now on, and the commit, in one packet: a server that begins with it has all of it, and needs
    /// nobody to come to its end.
    pub(super) fn keep_together(&mut self) {
        self.together = true;
    }

    /// The texts of the packets.
    #[cfg(test)]
    pub(super) fn packets(&self) -> impl Iterator<Item = &str> {
        self.packets.iter().map(|packet| &*packet.text)
    }

    /// Adds a statement.
    pub(super) fn statement(&mut self, sql: &str) {
        match self.packets.last_mut() {
            Some(packet) if self.together || packet.text.len() + sql.len() < PACKET_BYTES => {
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

    /// Executes them all, for what they do.
    pub(super) async fn execute(self, connection: &mut MySqlConnection) -> sqlx::Result<()> {
        self.fetch(connection).await.map(drop)
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
    fn what_is_kept_together_is_in_one_packet_with_the_commit_however_large() {
        let rows = vec![[Value::id(u64::MAX >> 1); 9]; 20 * ROWS_MAX];
        let mut script = Script::default();
        script.rows("BEFORE ", &rows, "");
        let before = script.packets.len();
        script.keep_together();
        script.statement("CLOCK");
        script.rows("AFTER ", &rows, "");
        script.statement("COMMIT");
        assert!(before > 1 && script.packets.len() <= before + 1, "what comes before is in packets of its own");
        let last = script.packets.pop().unwrap();
        assert!(last.text.len() > PACKET_BYTES && last.text.ends_with(";COMMIT"));
        assert!(last.text.contains("CLOCK;AFTER"), "all that comes after the clock");
        assert!(script.packets.iter().all(|packet| !packet.text.contains("CLOCK")));
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
