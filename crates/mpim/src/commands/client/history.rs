//! `history`.

use anyhow::bail;
use clap::Args;
use client::{Client, ConversationId, wire};
use protocol::{GroupId, limits::PAGE_ENTRIES_MAX};

use crate::commands::client::{
    connection::{Place, persist},
    entries,
    print::{Printer, local_time},
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
    let (conversation, kind) = match (args.group, &args.name) {
        (Some(group), _) => (group.conversation(), "group"),
        (None, Some(name)) => {
            let conversation = persist(|| client.open_direct(name)).await?;
            (ConversationId::new(conversation.id), "direct")
        }
        (None, None) => bail!("wanted is NAME, or --group ID"),
    };
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
        print(printer, &client, conversation, kind, &page).await?;
    }
    client.close().await;
    Ok(())
}

async fn print(
    printer: Printer,
    client: &Client,
    conversation: ConversationId,
    kind: &str,
    page: &wire::HistoryPage,
) -> anyhow::Result<()> {
    let names = entries::names(client, &page.entries).await?;
    let width = page.last_position.to_string().len();
    for entry in &page.entries {
        printer.print(
            || entries::to_json(conversation.get(), kind, entry, &names),
            || {
                let time = local_time(entry.time_ms);
                let before = format!("{:>width$}  {time}  ", entry.position);
                let from = entries::name_of(&names, entry.sender);
                let indent = before.len();
                format!("{before}{}", entries::to_text(entry, &from, &names, indent))
            },
        )?;
    }
    Ok(())
}
