//! `mpim admin`: what those who run a server do about accounts and reports.

mod request;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use protocol::wire::{
    CloseReport, FiledReport, ListReports, ReportReason, Reports, Suspend, UserInfo, admin_request::Body as Request,
};
use serde_json::{Value, json};

use self::request::Server;
use super::client::{Printer, harmless, local_time, rfc3339};
use crate::embedded::ADMIN_KEY;

/// Reports asked for at a time.
const PAGE: u32 = 100;

/// Keep accounts out, and read reports.
///
/// Asks a running server, with its admin key. `mpim up` keeps that in its data directory: so run it where the server runs, as the
/// user that runs it. A gateway of `mpim serve` has the one that admin_key_file names: give it as --key-file. With --json each line of output is one JSON object, as those of `mpim client`.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The server: http://HOST:PORT
    #[arg(long, env = "MPIM_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080", global = true)]
    server: String,
    /// The server's data directory, for its admin key
    #[arg(long, env = "MPIM_SERVER_DATA", value_name = "DIR", default_value = "./mpim-data", global = true)]
    data: PathBuf,
    /// The file with the admin key, such as [server] admin_key_file of a gateway of `mpim serve`; instead of --data
    #[arg(long, value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep an account out: its sessions end, its keys are refused. Nothing of it is deleted.
    ///
    /// JSON: name, suspended.
    Suspend {
        /// The user's name
        name: String,
    },
    /// Let an account in again.
    ///
    /// JSON: name, suspended.
    Unsuspend {
        /// The user's name
        name: String,
    },
    /// List reports, newest first.
    ///
    /// JSON: id, time, reporter, reported, reason, text, conversation, entry, closed, note.
    Reports {
        /// Also those that were closed
        #[arg(long)]
        all: bool,
    },
    /// Close a report.
    ///
    /// JSON: report, note.
    Close {
        /// The report's id, from the list
        report: u64,
        /// What was done about it
        note: String,
    },
}

pub(super) async fn run(args: AdminArgs) -> anyhow::Result<()> {
    let server = Server::new(&args.server, admin_key(&args.data, args.key_file)?)?;
    let printer = Printer::new(args.json);
    match args.command {
        Command::Suspend { name } => suspend(&server, printer, name, true).await,
        Command::Unsuspend { name } => suspend(&server, printer, name, false).await,
        Command::Reports { all } => reports(&server, printer, all).await,
        Command::Close { report, note } => {
            server.ask(Request::CloseReport(CloseReport { report, note: note.clone() })).await?;
            let json = || json!({ "report": report.to_string(), "note": note });
            printer.print(json, || format!("report {report} is closed"))?;
            Ok(())
        }
    }
}

fn admin_key(data: &Path, file: Option<PathBuf>) -> anyhow::Result<String> {
    let path = file.unwrap_or_else(|| data.join(ADMIN_KEY));
    let key = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read the admin key {}; name the server's data directory with --data, or a file with the key with --key-file",
            path.display()
        )
    })?;
    Ok(key.trim().to_owned())
}

async fn suspend(server: &Server, printer: Printer, name: String, suspended: bool) -> anyhow::Result<()> {
    server.ask(Request::Suspend(Suspend { name: name.clone(), suspended })).await?;
    let state = if suspended { "suspended" } else { "no longer suspended" };
    let text = || format!("{} is {state}", harmless(&name));
    printer.print(|| json!({ "name": name, "suspended": suspended }), text)?;
    Ok(())
}

async fn reports(server: &Server, printer: Printer, closed: bool) -> anyhow::Result<()> {
    let (mut before, mut found) = (0, false);
    loop {
        let answer = server.ask(Request::ListReports(ListReports { closed, before, limit: PAGE })).await?;
        let Reports { reports } = serde_json::from_value(answer).context("the server's answer cannot be read")?;
        // Ids fall; one that does not would ask for the same page for ever.
        let last = reports.iter().map(|report| report.id).min().filter(|last| before == 0 || *last < before);
        for report in &reports {
            printer.print(|| json_of(report), || text_of(report))?;
        }
        found |= !reports.is_empty();
        match last {
            Some(last) => before = last,
            None if found => return Ok(()),
            None if closed => return Ok(printer.nothing("no reports")?),
            None => return Ok(printer.nothing("no open reports; --all lists those that were closed as well")?),
        }
    }
}

fn json_of(report: &FiledReport) -> Value {
    let conversation = (report.conversation != 0).then(|| report.conversation.to_string());
    json!({
        "id": report.id.to_string(),
        "time": rfc3339(report.time_ms),
        "reporter": name(report.reporter.as_ref()),
        "reported": name(report.reported.as_ref()),
        "reason": report.reason().as_str_name(),
        "text": report.text,
        "conversation": conversation,
        "entry": report.entry,
        "closed": report.closed,
        "note": report.note,
    })
}

fn text_of(report: &FiledReport) -> String {
    let reason = match report.reason() {
        ReportReason::Other => "other",
        ReportReason::Spam => "spam",
        ReportReason::Abuse => "abuse",
        ReportReason::Illegal => "illegal",
        ReportReason::Impersonation => "impersonation",
    };
    let (reporter, reported) = (name(report.reporter.as_ref()), name(report.reported.as_ref()));
    let mut line = format!(
        "{}  {}  {} about {}: {reason}",
        report.id,
        local_time(report.time_ms),
        harmless(&reporter),
        harmless(&reported)
    );
    let quoted = report.entry.as_ref().and_then(|entry| entry.content.as_ref()?.text());
    for (title, text) in
        [("said", quoted.unwrap_or_default()), ("report", report.text.clone()), ("closed", closed(report))]
    {
        if !text.is_empty() {
            line.push_str(&format!("\n    {title}: {}", harmless(&text)));
        }
    }
    line
}

fn closed(report: &FiledReport) -> String {
    match (report.closed, report.note.as_str()) {
        (false, _) => String::new(),
        (true, "") => "yes".to_owned(),
        (true, note) => note.to_owned(),
    }
}

/// A user's name; of an account that is gone, the id.
fn name(user: Option<&UserInfo>) -> String {
    match user {
        Some(user) if !user.name.is_empty() => user.name.clone(),
        Some(user) => user.id.to_string(),
        None => "somebody".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::wire::{Entry, Text, content};

    use super::*;

    #[test]
    fn the_admin_key_is_that_of_the_data_directory_or_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        std::fs::write(dir.path().join(ADMIN_KEY), "12\n").unwrap();
        std::fs::write(&own, "34\n").unwrap();
        assert_eq!(admin_key(dir.path(), None).unwrap(), "12");
        assert_eq!(admin_key(dir.path(), Some(own)).unwrap(), "34");
        let error = format!("{:#}", admin_key(&dir.path().join("none"), None).unwrap_err());
        assert!(error.contains("--data") && error.contains("--key-file"), "{error}");
    }

    #[test]
    fn a_report_is_shown_with_what_was_said_and_cannot_move_the_cursor() {
        let said = content::Kind::Text(Text { body: "buy\u{1b}[2J this\nnow".into() });
        let report = FiledReport {
            id: 5,
            reporter: Some(UserInfo { id: 1, name: "alice".into(), ..UserInfo::default() }),
            reported: Some(UserInfo { id: 2, ..UserInfo::default() }),
            reason: ReportReason::Spam.into(),
            entry: Some(Entry { content: Some(said.into()), ..Entry::default() }),
            closed: true,
            note: "warned".into(),
            ..FiledReport::default()
        };
        let text = text_of(&report);
        assert!(text.contains("alice about 2: spam") && text.contains("said: buy") && text.contains("closed: warned"));
        assert!(!text.contains('\u{1b}') && text.lines().count() == 3, "{text}");
        assert_eq!(json_of(&report)["reason"], "SPAM");
    }
}
