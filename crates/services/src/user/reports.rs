//! Reports to those who run the server, and what they do about them.

use api::Call;
use protocol::{
    ConversationId, Error, Result, UserId, limits,
    wire::{self, ReportReason, UserInfo, history::From, report::What},
};
use store::{NewReport, ReportRow};

use super::Service;
use crate::text;

impl Service {
    pub(super) async fn file_report(&self, call: &Call, request: wire::Report) -> Result<()> {
        let reporter = call.caller()?.user;
        let request_id = text::entry_id(&request.id)?;
        let text = text::lines("text", &request.text, limits::REPORT_CHARS_MAX)?;
        let reason = ReportReason::try_from(request.reason)
            .map_err(|_| Error::invalid("reason: allowed are OTHER, SPAM, ABUSE, ILLEGAL and IMPERSONATION"))?;
        let (reported, message) = match request.what {
            Some(What::User(user)) => (self.info(UserId::new(user)).await?.id, None),
            Some(What::Message(message)) => {
                let entry = self.reported_entry(call, message).await?;
                (entry.sender, Some((ConversationId::new(message.conversation), entry)))
            }
            None => return Err(Error::invalid("user, message: name one of them")),
        };
        if reported == reporter.get() {
            return Err(Error::invalid("user, message: nobody reports themselves"));
        }
        let report = NewReport {
            id: self.new_id(),
            request: request_id,
            reporter,
            reported: UserId::new(reported),
            reason,
            text,
            time_ms: self.clock.now_ms(),
            message,
        };
        self.store.report(report).await?;
        Ok(())
    }

    /// The entry as the one who reports it reads it.
    async fn reported_entry(&self, call: &Call, message: wire::ReportedMessage) -> Result<wire::Entry> {
        let wire::ReportedMessage { conversation, position } = message;
        let after = position.checked_sub(1).ok_or_else(|| Error::invalid("message.position: positions begin at 1"))?;
        let history = wire::History { conversation, from: Some(From::After(after)), limit: 1 };
        let entry = self.messages.history(call, history).await?.entries.pop();
        let entry = entry.filter(|entry| entry.position == position);
        entry.ok_or_else(|| Error::not_found(format_args!("position {position} of conversation {conversation}")))
    }

    pub(super) async fn filed_reports(&self, request: wire::ListReports) -> Result<wire::Reports> {
        let limit = text::bounded("limit", request.limit, limits::REPORTS_DEFAULT, limits::REPORTS_MAX)?;
        let before = if request.before == 0 { u64::MAX } else { request.before };
        let rows = self.store.reports(request.closed, before, limit).await?;
        let mut reports: Vec<wire::FiledReport> = rows.into_iter().map(filed).collect();
        let users: Vec<&mut UserInfo> = reports
            .iter_mut()
            .flat_map(|report| [report.reporter.as_mut(), report.reported.as_mut()])
            .flatten()
            .collect();
        self.fill(users).await?;
        Ok(wire::Reports { reports })
    }

    pub(super) async fn finish_report(&self, request: wire::CloseReport) -> Result<()> {
        let note = text::lines("note", &request.note, limits::REPORT_CHARS_MAX)?;
        if self.store.close_report(request.report, note).await? {
            Ok(())
        } else {
            Err(Error::not_found(format_args!("report {}", request.report)))
        }
    }
}

fn filed(row: ReportRow) -> wire::FiledReport {
    let named_by_id = |user: UserId| Some(UserInfo { id: user.get(), ..UserInfo::default() });
    let ReportRow { report, closed, note } = row;
    let (conversation, entry) = report.message.unzip();
    wire::FiledReport {
        id: report.id,
        reporter: named_by_id(report.reporter),
        reported: named_by_id(report.reported),
        reason: report.reason.into(),
        text: report.text,
        time_ms: report.time_ms,
        conversation: conversation.map_or(0, ConversationId::get),
        entry,
        closed,
        note,
    }
}
