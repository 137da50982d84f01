//! Reports to those who run the server.

use prost::Message as _;
use protocol::{
    ConversationId,
    wire::{Entry, ReportReason},
};
use sqlx::{MySqlConnection, mysql::MySqlRow};

use super::convert::{self, bound, column, get};
use crate::{NewReport, ReportRow};

/// Files a report, once for each request of a reporter.
pub(super) async fn file(connection: &mut MySqlConnection, report: &NewReport) -> sqlx::Result<()> {
    let filed = sqlx::query("SELECT 1 FROM reports WHERE request = ? AND reporter = ?")
        .bind(report.request.as_bytes().as_slice())
        .bind(column(report.reporter.get()))
        .fetch_optional(&mut *connection)
        .await?;
    if filed.is_some() {
        return Ok(());
    }
    let message = report.message.as_ref();
    let (conversation, entry) =
        message.map(|(conversation, entry)| (column(conversation.get()), entry.encode_to_vec())).unzip();
    sqlx::query(
        "INSERT INTO reports (id, request, reporter, reported, reason, text, time_ms, conversation, entry, note)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '')",
    )
    .bind(column(report.id))
    .bind(report.request.as_bytes().as_slice())
    .bind(column(report.reporter.get()))
    .bind(column(report.reported.get()))
    .bind(report.reason as i32)
    .bind(&report.text)
    .bind(report.time_ms)
    .bind(conversation)
    .bind(entry)
    .execute(connection)
    .await?;
    Ok(())
}

/// Closes a report; `false` if there is none.
pub(super) async fn close(connection: &mut MySqlConnection, id: u64, note: &str) -> sqlx::Result<bool> {
    let there = sqlx::query("SELECT 1 FROM reports WHERE id = ? FOR UPDATE")
        .bind(column(id))
        .fetch_optional(&mut *connection)
        .await?;
    sqlx::query("UPDATE reports SET closed = 1, note = ? WHERE id = ?")
        .bind(note)
        .bind(column(id))
        .execute(connection)
        .await?;
    Ok(there.is_some())
}

pub(super) async fn page(
    connection: &mut MySqlConnection,
    closed: bool,
    before: u64,
    limit: u32,
) -> sqlx::Result<Vec<ReportRow>> {
    let rows = sqlx::query(
        "SELECT id, request, reporter, reported, reason, text, time_ms, conversation, entry, closed, note
         FROM reports WHERE id < ? AND (? OR closed = 0) ORDER BY id DESC LIMIT ?",
    )
    .bind(bound(before))
    .bind(closed)
    .bind(i64::from(limit))
    .fetch_all(connection)
    .await?;
    rows.iter().map(from_row).collect()
}

fn from_row(row: &MySqlRow) -> sqlx::Result<ReportRow> {
    let conversation: Option<i64> = get(row, 7)?;
    let entry: Option<&[u8]> = get(row, 8)?;
    let message = match conversation.zip(entry) {
        Some((conversation, entry)) => {
            let entry = Entry::decode(entry).map_err(|error| convert::undecodable(8, error))?;
            Some((ConversationId::new(conversation.cast_unsigned()), entry))
        }
        None => None,
    };
    let report = NewReport {
        id: convert::number(row, 0)?,
        request: convert::entry_id(row, 1)?,
        reporter: convert::user(row, 2)?,
        reported: convert::user(row, 3)?,
        // A reason that a newer program knows.
        reason: ReportReason::try_from(get::<i32>(row, 4)?).unwrap_or_default(),
        text: get(row, 5)?,
        time_ms: get(row, 6)?,
        message,
    };
    Ok(ReportRow { report, closed: get(row, 9)?, note: get(row, 10)? })
}
