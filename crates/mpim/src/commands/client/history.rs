//! `history`.

use clap::Args;
use client::{Client, ConversationId, wire};
use protocol::{GroupId, limits::PAGE_ENTRIES_MAX};

use crate::commands::client::{
    connection::{Place, persist},
    entries,
    print::{Printer, local_time},
    target::{self, Words},
};

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// The user's name
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    name: Option<String>,
    /// A group's history
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// The entries after this position; without it, the last ones
    #[arg(long, value_name = "N")]
    after: Option<u64>,
    /// At most so many entries
    #[arg(long, value_name = "N", default_value = "50")]
    limit: u64,
}

pub(super) async fn run(place: &Place, printer: Printer, args: HistoryArgs) -> anyhow::Result<()> {
    let client = place.connect().await?;
    let words = Words::split(args.group, args.name.into_iter().collect(), &[])?;
    let (conversation, kind) = target::conversation(&client, &words.target).await?;
    let mut after = match args.after {
        Some(after) => after,
        None => {
            // An empty page tells where the end is.
            let page = persist(|| client.history_after(conversation, i64::MAX as u64, 1)).await?;
            page.last_position.saturating_sub(args.limit)
        }
    };
    let mut left = args.limit;
    while left > 0 {
        let limit = left.min(PAGE_ENTRIES_MAX.into()) as u32;
        let page = persist(|| client.history_after(conversation, after, limit)).await?;
        let Some(last) = page.entries.last() else { break };
        after = last.position;
        left = left.saturating_sub(page.entries.len() as u64);
        print(printer, &client, conversation, kind, &page.entries).await?;
    }
    client.close().await;
    Ok(())
}

/// Prints entries of one conversation.
pub(super) async fn print(
    printer: Printer,
    client: &Client,
    conversation: ConversationId,
    kind: &str,
    entries: &[wire::Entry],
) -> anyhow::Result<()> {
    let names = entries::names(client, entries).await?;
    let last = entries.iter().map(|entry| entry.position).max().unwrap_or_default();
    let width = last.to_string().len();
    for entry in entries {
        let before = format!("{:>width$}  {}  ", entry.position, local_time(entry.time_ms));
        let from = entries::called(&names, entry.sender);
        let text = entries::to_text(entry, &from, &names, before.len());
        if text.is_none() && !printer.is_json() {
            continue;
        }
        let text = text.unwrap_or_default();
        printer.print(|| entries::to_json(conversation.get(), kind, entry, &names), || format!("{before}{text}"))?;
    }
    Ok(())
}
