//! `send`, and how whatever is written to a conversation is sent.

use std::{
    io::{self, IsTerminal as _, Read as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use client::{Client, Event, Options, RawContent, SendError, Target, wire};
use protocol::{EntryId, GroupId, limits::TEXT_BYTES_MAX};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::client::{
    connection::{Place, log_in_again, start},
    print::{Printer, rfc3339},
    target,
};

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// The user's name (not with --group), and the text; `-` reads the text from standard input, less one newline at its end
    #[arg(required = true, num_args = 1.., value_names = ["NAME", "TEXT"])]
    words: Vec<String>,
    /// Send to a group
    #[arg(long, value_name = "ID")]
    group: Option<GroupId>,
    /// The position of the message that this one answers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    reply_to: Option<u64>,
    /// A user who is addressed; may be given several times
    #[arg(long = "mention", value_name = "NAME")]
    mentions: Vec<String>,
    /// Address everyone in the group; for owner and admins
    #[arg(long, requires = "group")]
    everyone: bool,
    #[command(flatten)]
    how: HowArgs,
}

/// How something is sent.
#[derive(Debug, Args)]
pub(super) struct HowArgs {
    /// The message's id, a UUID; the same in every retry
    #[arg(long, value_name = "UUID")]
    id: Option<EntryId>,
    /// How long to try
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

pub(super) async fn run(place: &Place, printer: Printer, args: SendArgs) -> anyhow::Result<()> {
    let (to, body) = match (args.group, args.words.as_slice()) {
        (Some(group), [body]) => (Target::Conversation(group.conversation()), body.clone()),
        (None, [name, body]) => (Target::Name(name.clone()), body.clone()),
        (Some(_), _) => bail!("with --group ID there is only a TEXT; a text of several words is written in quotes"),
        (None, [] | [_]) => bail!("wanted are NAME and TEXT, or --group ID and TEXT"),
        (None, _) => bail!("wanted are NAME and TEXT; a text of several words is written in quotes"),
    };
    let body = if body == "-" { read_text()? } else { body };
    let (reply_to, names, everyone) = (args.reply_to.unwrap_or_default(), args.mentions, args.everyone);
    write(place, printer, to, args.how, None, async move |client| {
        let users = target::users(client, &names).await?.iter().map(|user| user.get()).collect::<Vec<_>>();
        let mentions = (everyone || !users.is_empty()).then_some(wire::Mentions { users, everyone });
        let kind = Some(wire::content::Kind::Text(wire::Text { body }));
        Ok(wire::Content { kind, reply_to, mentions, forwarded: None }.into())
    })
    .await
}

/// Sends what `content` makes, and prints what was `done`: without it, where a message was stored.
pub(super) async fn write(
    place: &Place,
    printer: Printer,
    target: Target,
    how: HowArgs,
    done: Option<String>,
    content: impl AsyncFnOnce(&Client) -> anyhow::Result<RawContent>,
) -> anyhow::Result<()> {
    let id = how.id.unwrap_or_else(EntryId::generate);
    let send_timeout = Some(Duration::from_secs(how.timeout));
    let (client, mut events) = start(Options { send_timeout, ..place.options()? })?;
    let content = content(&client).await?;
    let mut sending = std::pin::pin!(client.send(target, content, id));
    let mut noted = false;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let sent = loop {
        tokio::select! {
            sent = &mut sending => break sent,
            _ = interrupt.recv() => {
                bail!("interrupted; the message stays in the profile and goes out with its next command");
            }
            event = events.next() => match event {
                Some(Event::Disconnected { error, .. }) if !noted && io::stderr().is_terminal() => {
                    noted = true;
                    printer.note(&format!("{:#}; trying again for {} s", anyhow::Error::new(error), how.timeout));
                }
                Some(Event::SendRefused { id, error }) => {
                    printer.note(&format!("message {id} of an earlier command was refused: {error}"));
                }
                Some(_) => {}
                None => break sending.await,
            },
        }
    };
    client.close().await;
    let sent = sent.map_err(|error| match error {
        SendError::NotStored { error } => log_in_again(error).context("not sent"),
        error @ SendError::OutcomeUnknown { .. } => error.into(),
    })?;
    print_sent(printer, &sent, id, done)
}

/// Tells where something was stored; people, what was `done` if it was no message.
pub(super) fn print_sent(printer: Printer, sent: &wire::Sent, id: EntryId, done: Option<String>) -> anyhow::Result<()> {
    printer.print(
        || {
            json!({
                "conversation": sent.conversation.to_string(),
                "position": sent.position,
                "id": id.to_string(),
                "time": rfc3339(sent.time_ms),
            })
        },
        || done.unwrap_or_else(|| format!("sent at position {}", sent.position)),
    )?;
    Ok(())
}

/// The text on standard input, less one newline at its end.
pub(super) fn read_text() -> anyhow::Result<String> {
    let mut text = String::new();
    // A little more than is allowed, so that too long a text is refused rather than cut.
    io::stdin().take(TEXT_BYTES_MAX as u64 + 3).read_to_string(&mut text).context("cannot read the text")?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
