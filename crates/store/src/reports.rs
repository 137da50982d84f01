//! Reports to those who run the server.

use protocol::{
    ConversationId, EntryId, UserId,
    wire::{Entry, ReportReason},
};

/// A report to be filed.
#[derive(Debug, Clone, PartialEq)]
pub struct NewReport {
    /// Its id, growing.
    pub id: u64,
    /// The request's id: with the reporter its key for good.
    pub request: EntryId,
    /// Who reports.
    pub reporter: UserId,
    /// Who is reported.
    pub reported: UserId,
    /// Why.
    pub reason: ReportReason,
    /// In the reporter's words.
    pub text: String,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// The message, as it was.
    pub message: Option<(ConversationId, Entry)>,
}

/// A report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRow {
    /// As it was filed.
    pub report: NewReport,
    /// It was dealt with …
    pub closed: bool,
    /// … like this.
    pub note: String,
}
