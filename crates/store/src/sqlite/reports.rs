//! Reports to those who run the server.

use prost::Message as _;
use protocol::{
    ConversationId,
    wire::{Entry, ReportReason},
};
use rusqlite::{Connection, Error, Row, params, types::Type};

use super::{
    convert::{self, bound, column},
    writer::Writer,
};
use crate::{NewReport, ReportRow};

impl Writer<'_> {
    /// Files a report, once for each request of a reporter.
    pub(super) fn file_report(&mut self, report: &NewReport) -> rusqlite::Result<()> {
        let (conversation, entry) = report
            .message
            .as_ref()
            .map(|(conversation, entry)| (column(conversation.get()), entry.encode_to_vec()))
            .unzip();
        self.prepared(
            "INSERT INTO reports (id, request, reporter, reported, reason, text, time_ms, conversation, entry)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (request, reporter) DO NOTHING",
        )?
        .execute(params![
            column(report.id),
            report.request.as_bytes(),
            column(report.reporter.get()),
            column(report.reported.get()),
            report.reason as i32,
            report.text,
            report.time_ms,
            conversation,
            entry
        ])?;
        Ok(())
    }

    /// Closes a report; `false` if there is none.
    pub(super) fn close_report(&mut self, id: u64, note: &str) -> rusqlite::Result<bool> {
        let closed = self
            .prepared("UPDATE reports SET closed = 1, note = ?2 WHERE id = ?1")?
            .execute(params![column(id), note])?;
        Ok(closed > 0)
    }
}

pub(super) fn page(connection: &Connection, closed: bool, before: u64, limit: u32) -> rusqlite::Result<Vec<ReportRow>> {
    connection
        .prepare_cached(
            "SELECT id, request, reporter, reported, reason, text, time_ms, conversation, entry, closed, note
             FROM reports WHERE id < ?1 AND (?2 OR NOT closed) ORDER BY id DESC LIMIT ?3",
        )?
        .query_map(params![bound(before), closed, limit], from_row)?
        .collect()
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ReportRow> {
    let conversation: Option<i64> = row.get(7)?;
    let entry: Option<Vec<u8>> = row.get(8)?;
    let message = match conversation.zip(entry) {
        Some((conversation, entry)) => {
            let entry = Entry::decode(entry.as_slice())
                .map_err(|error| Error::FromSqlConversionFailure(8, Type::Blob, error.into()))?;
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
        reason: ReportReason::try_from(row.get::<_, i32>(4)?).unwrap_or_default(),
        text: row.get(5)?,
        time_ms: row.get(6)?,
        message,
    };
    Ok(ReportRow { report, closed: row.get(9)?, note: row.get(10)? })
}
