//! What one does with messages: `edit`, `recall`, `react`, `pin`, `pins`, `forward`, `delete`, `search`, `receipts`.

use anyhow::{Context as _, bail};
use clap::Args;
use client::{Client, ConversationId, RawContent, Target, text, wire};
use protocol::{
    GroupId, UserId,
    limits::{MEMBERS_PAGE_MAX, PAGE_ENTRIES_MAX},
};
use serde_json::json;
use wire::content::Kind;

use crate::commands::client::{
    connection::{Place, persist},
    entries, history,
    print::{Printer, harmless, table},
    send::{HowArgs, print_sent, read_text, write},
    target::{self, Words},
};

/// A conversation and one message of it.
#[derive(Debug, Args)]
pub(super) struct MessageArgs {
    /// The user's name (not with --group), and the message's position
    #[arg(required = true, num_args = 1.., value_names = ["NAME", "POSITION"])]
    words: Vec<String>,
    /// A message of a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
}

#[derive(Debug, Args)]
pub(super) struct EditArgs {
    /// The user's name (not with --group), the message's position, and the new text; `-` reads it from standard input
    #[arg(required = true, num_args = 2.., value_names = ["NAME", "POSITION", "TEXT"])]
    words: Vec<String>,
    /// A message of a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct RecallArgs {
    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReactArgs {
    /// The user's name (not with --group), the message's position, and an emoji or some other short text
    #[arg(required = true, num_args = 2.., value_names = ["NAME", "POSITION", "EMOJI"])]
    words: Vec<String>,
    /// A message of a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// Take the reaction back
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    #[command(flatten)]
    message: MessageArgs,
    /// Unpin it
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    how: HowArgs,
}

#[derive(Debug, Args)]
pub(super) struct ForwardArgs {
    #[command(flatten)]
    message: MessageArgs,
    /// To this user
    #[arg(long, value_name = "NAME", required_unless_present = "to_group", conflicts_with = "to_group")]
    to: Option<String>,
    /// To this group
    #[arg(long, value_name = "ID")]
    to_group: Option<GroupId>,
}

#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// The user's name (not with --group), and positions
    #[arg(value_names = ["NAME", "POSITION"])]
    words: Vec<String>,
    /// Messages of a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// Everything up to this position
    #[arg(long, value_name = "N")]
    up_to: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// The user's name (not with --group), and what to look for
    #[arg(required = true, num_args = 1.., value_names = ["NAME", "QUERY"])]
    words: Vec<String>,
    /// In a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// At most so many messages
    #[arg(long, value_name = "N", default_value = "50")]
    limit: usize,
}

#[derive(Debug, Args)]
pub(super) struct PinsArgs {
    /// The user's name
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    name: Option<String>,
    /// Of a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
}

impl MessageArgs {
    fn split(self) -> anyhow::Result<(Target, u64)> {
        let mut words = Words::exactly(self.group, self.words, &["POSITION"])?;
        let position = words.position()?;
        Ok((words.target, position))
    }
}

pub(super) async fn edit(place: &Place, printer: Printer, args: EditArgs) -> anyhow::Result<()> {
    let mut words = Words::exactly(args.group, args.words, &["POSITION", "TEXT"])?;
    let position = words.position()?;
    let body = words.rest.remove(0);
    let body = if body == "-" { read_text()? } else { body };
    let edit = Kind::Edit(wire::Edit { position, content: Some(Box::new(text(body))) });
    let done = format!("edited message {position}");
    write(place, printer, words.target, args.how, Some(done), async move |_| Ok(edit.into())).await
}

pub(super) async fn recall(place: &Place, printer: Printer, args: RecallArgs) -> anyhow::Result<()> {
    let (target, position) = args.message.split()?;
    let recall = RawContent::from(Kind::Recall(wire::Recall { position }));
    let done = format!("recalled message {position}");
    write(place, printer, target, args.how, Some(done), async move |_| Ok(recall)).await
}

pub(super) async fn react(place: &Place, printer: Printer, args: ReactArgs) -> anyhow::Result<()> {
    let mut words = Words::exactly(args.group, args.words, &["POSITION", "EMOJI"])?;
    let position = words.position()?;
    let reaction = wire::Reaction { position, reaction: words.rest.remove(0), removed: args.remove };
    let mark = harmless(&reaction.reaction);
    let done = match args.remove {
        false => format!("marked message {position} with {mark}"),
        true => format!("took {mark} from message {position}"),
    };
    let content = RawContent::from(Kind::Reaction(reaction));
    write(place, printer, words.target, args.how, Some(done), async move |_| Ok(content)).await
}

pub(super) async fn pin(place: &Place, printer: Printer, args: PinArgs) -> anyhow::Result<()> {
    let (target, position) = args.message.split()?;
    let pin = RawContent::from(Kind::Pin(wire::Pin { position, removed: args.remove }));
    let done = format!("{} message {position}", if args.remove { "unpinned" } else { "pinned" });
    write(place, printer, target, args.how, Some(done), async move |_| Ok(pin)).await
}

pub(super) async fn pins(place: &Place, printer: Printer, args: PinsArgs) -> anyhow::Result<()> {
    let words = Words::split(args.group, args.name.into_iter().collect(), &[])?;
    let client = place.connect().await?;
    let (conversation, kind) = target::conversation(&client, &words.target).await?;
    let pins = persist(|| client.pins(conversation)).await?;
    history::print(printer, &client, conversation, kind, &pins).await?;
    client.close().await;
    Ok(())
}

pub(super) async fn forward(place: &Place, printer: Printer, args: ForwardArgs) -> anyhow::Result<()> {
    let (from, position) = args.message.split()?;
    let to = match (args.to, args.to_group) {
        (Some(name), _) => Target::Name(name),
        (None, Some(group)) => Target::Conversation(group.conversation()),
        (None, None) => bail!("wanted is --to NAME, or --to-group ID"),
    };
    let client = place.connect().await?;
    let (conversation, _) = target::conversation(&client, &from).await?;
    let message = one(&client, conversation, position).await?;
    let id = target::once();
    let sent = persist(|| client.forward(conversation, &message, to.clone(), id)).await?;
    client.close().await;
    print_sent(printer, &sent, id, None)
}

/// One message, as it says now.
async fn one(client: &Client, conversation: ConversationId, position: u64) -> anyhow::Result<wire::Entry> {
    let page = persist(|| client.history_after(conversation, position - 1, 1)).await?;
    let mut entry =
        page.entries.into_iter().next().with_context(|| format!("there is no message at position {position}"))?;
    let mut after = 0;
    loop {
        let changes = persist(|| client.changes(conversation, vec![position], after, PAGE_ENTRIES_MAX)).await?;
        let Some(last) = changes.last() else { return Ok(entry) };
        after = last.position;
        for change in &changes {
            if let Some(Kind::Edit(edit)) = entries::kind(change) {
                entry.content = edit.content.map(|content| *content);
            }
        }
    }
}

pub(super) async fn delete(place: &Place, printer: Printer, args: DeleteArgs) -> anyhow::Result<()> {
    let words = Words::split(args.group, args.words, if args.up_to.is_some() { &[] } else { &["POSITION"] })?;
    let positions = words.rest.iter().map(|word| target::position(word)).collect::<anyhow::Result<Vec<_>>>()?;
    let client = place.connect().await?;
    let (conversation, _) = target::conversation(&client, &words.target).await?;
    let (id, up_to) = (target::once(), args.up_to.unwrap_or_default());
    persist(|| client.delete_for_me(conversation, positions.clone(), up_to, id)).await?;
    client.close().await;
    printer.print(
        || json!({ "conversation": conversation.to_string(), "positions": positions, "up_to": up_to }),
        || "deleted for you, on all your devices".into(),
    )?;
    Ok(())
}

pub(super) async fn search(place: &Place, printer: Printer, args: SearchArgs) -> anyhow::Result<()> {
    let words = Words::exactly(args.group, args.words, &["QUERY"])?;
    let client = place.connect().await?;
    let (conversation, kind) = target::conversation(&client, &words.target).await?;
    let (mut before, mut left) = (0, args.limit);
    while left > 0 {
        let limit = left.min(PAGE_ENTRIES_MAX as usize) as u32;
        let mut found = persist(|| client.search(conversation, &words.rest[0], before, limit)).await?;
        found.entries.truncate(left);
        left -= found.entries.len();
        history::print(printer, &client, conversation, kind, &found.entries).await?;
        before = found.next_before;
        if before == 0 {
            break;
        }
    }
    client.close().await;
    Ok(())
}

pub(super) async fn receipts(place: &Place, printer: Printer, args: MessageArgs) -> anyhow::Result<()> {
    let (target, position) = args.split()?;
    let client = place.connect().await?;
    let (conversation, _) = target::conversation(&client, &target).await?;
    let mut after = None;
    loop {
        let page = persist(|| client.receipts(conversation, position, after, MEMBERS_PAGE_MAX)).await?;
        let Some(last) = page.receipts.last() else { break };
        after = last.user.as_ref().map(|user| UserId::new(user.id));
        let state = |receipt: &wire::Receipt| match receipt {
            receipt if receipt.read_position >= position => "read",
            receipt if receipt.delivered_position >= position => "delivered",
            _ => "sent",
        };
        let name = |receipt: &wire::Receipt| receipt.user.as_ref().map_or(String::new(), |user| user.name.clone());
        let rows: Vec<_> = page.receipts.iter().map(|one| vec![name(one), state(one).into()]).collect();
        for (receipt, line) in page.receipts.iter().zip(table(&rows)) {
            printer.print(|| json!({ "name": name(receipt), "state": state(receipt) }), || line)?;
        }
        if after.is_none() {
            break;
        }
    }
    client.close().await;
    Ok(())
}
