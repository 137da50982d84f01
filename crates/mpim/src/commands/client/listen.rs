//! `listen`.

use std::{collections::HashMap, pin::pin, time::Duration};

use anyhow::bail;
use client::{Client, ConversationId, Event, Options, wire};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{interval, timeout},
};
use wire::ConversationKind;

use crate::commands::client::{
    connection::{Place, log_in_again, start},
    entries,
    print::{Printer, column, local_time, reader_gone},
};

/// How often the server is told what was read.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How long telling it may take.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// Columns for whom or what a conversation is with.
const LABEL_WIDTH: usize = 16;

pub(super) async fn run(place: &Place, printer: Printer) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (client, mut events) = start(Options { catch_up: true, ..place.options()? })?;
    let mut listener =
        Listener { client: client.clone(), printer, labels: HashMap::new(), shown: HashMap::new(), connected: true };
    let mut every_moment = interval(READ_EVERY);
    let mut reader_gone = pin!(reader_gone());
    let result = loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = terminate.recv() => break Ok(true),
            _ = interrupt.recv() => break Ok(true),
            () = &mut reader_gone => break Ok(true),
            _ = every_moment.tick(), if !listener.shown.is_empty() => {
                listener.mark_read().await;
                continue;
            }
        };
        let Some(event) = event else { break Ok(true) };
        // It may have to wait for a name.
        let handled = tokio::select! {
            handled = listener.on_event(event) => handled,
            _ = terminate.recv() => break Ok(false),
            _ = interrupt.recv() => break Ok(false),
        };
        if let Err(error) = handled {
            break Err(error);
        }
    };
    match result {
        Ok(true) => events.save().await,
        // What was not printed comes again the next time.
        Ok(false) | Err(_) => events.save_but_last().await,
    }
    listener.mark_read().await;
    client.close().await;
    result.map(drop)
}

struct Listener {
    client: Client,
    printer: Printer,
    /// What conversations are called.
    labels: HashMap<ConversationId, String>,
    /// How far a person was shown conversations, and the server was not told yet that they are read.
    shown: HashMap<ConversationId, u64>,
    connected: bool,
}

impl Listener {
    async fn on_event(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Heads(heads) => self.learn(&heads),
            Event::Entry { conversation, kind, entry } => self.on_entry(conversation, kind, entry).await?,
            Event::Disconnected { error, retry_in } => {
                if self.connected {
                    let wait = retry_in.as_secs_f32();
                    self.printer.note(&format!("{:#}; trying again in {wait:.1} s", anyhow::Error::new(error)));
                }
                self.connected = false;
            }
            Event::Connected { .. } => {
                if !self.connected {
                    self.printer.note("connected again");
                }
                self.connected = true;
            }
            Event::SendRefused { id, error } => {
                self.printer.note(&format!("message {id} of an earlier command was refused: {error}"));
            }
            Event::SessionEnded { error } => return Err(log_in_again(error)),
            Event::ReadMoved { .. }
            | Event::DeliveredMoved { .. }
            | Event::Typing { .. }
            | Event::UserChanged(_)
            | Event::Presence(_)
            | Event::CaughtUp => {}
        }
        Ok(())
    }

    async fn on_entry(
        &mut self,
        conversation: ConversationId,
        kind: ConversationKind,
        entry: wire::Entry,
    ) -> anyhow::Result<()> {
        let kind_name = match kind {
            ConversationKind::Direct => "direct",
            ConversationKind::Group => "group",
            ConversationKind::Personal if self.printer.is_json() => return Ok(()),
            ConversationKind::Personal | ConversationKind::Unspecified => "personal",
        };
        let entry = [entry];
        let names = self.patiently(async |client| entries::names(client, &entry).await).await?;
        let [entry] = &entry;
        if self.printer.is_json() {
            self.printer.print(|| entries::to_json(conversation.get(), kind_name, entry, &names), String::new)?;
            return Ok(());
        }
        let own = entry.sender == self.client.user().get();
        let from = if own { "you".into() } else { entries::called(&names, entry.sender) };
        let label = match kind {
            ConversationKind::Personal => "this account".into(),
            ConversationKind::Direct if !own => from.clone(),
            _ => self.label(conversation).await?,
        };
        let before = format!("{}  {}  ", local_time(entry.time_ms), column(&label, LABEL_WIDTH));
        let indent = local_time(entry.time_ms).len() + LABEL_WIDTH + 4;
        let Some(text) = entries::to_text(entry, &from, &names, indent) else { return Ok(()) };
        self.printer.print(|| serde_json::Value::Null, || format!("{before}{text}"))?;
        if !own && kind != ConversationKind::Personal {
            self.shown.insert(conversation, entry.position);
        }
        Ok(())
    }

    /// Tells how far a person was shown what others wrote. If it fails, the next time tells it as well.
    async fn mark_read(&mut self) {
        for (conversation, position) in std::mem::take(&mut self.shown) {
            let told = timeout(READ_WITHIN, self.client.read(conversation, position)).await;
            if !matches!(told, Ok(Ok(()))) {
                return;
            }
        }
    }

    fn learn(&mut self, heads: &[wire::Head]) {
        if self.printer.is_json() {
            return;
        }
        for conversation in heads.iter().filter_map(|head| head.conversation.as_ref()) {
            let label = match &conversation.peer {
                Some(peer) => peer.name.clone(),
                None => format!("#{}", conversation.title),
            };
            self.labels.insert(ConversationId::new(conversation.id), label);
        }
    }

    /// What a conversation is called. One that has not moved since the last run is not in the heads that came by
    /// themselves.
    async fn label(&mut self, conversation: ConversationId) -> anyhow::Result<String> {
        if !self.labels.contains_key(&conversation) {
            let heads = self
                .patiently(async |client| {
                    let (mut pages, mut all) = (client.heads(), Vec::new());
                    while let Some(heads) = pages.next().await? {
                        all.extend(heads);
                    }
                    Ok(all)
                })
                .await?;
            self.learn(&heads);
        }
        Ok(self.labels.get(&conversation).cloned().unwrap_or_else(|| format!("#{conversation}")))
    }

    /// Looks something up, over as many connections as it takes: without it an entry cannot be printed as it should be.
    async fn patiently<T>(&self, look: impl AsyncFn(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        loop {
            match look(&self.client).await {
                Ok(found) => return Ok(found),
                Err(error) => match self.client.state() {
                    client::State::Stopped { error: Some(error) } => return Err(log_in_again((*error).clone())),
                    client::State::Stopped { error: None } => bail!(error),
                    client::State::Connecting { .. } => {}
                    // Not the connection's fault.
                    client::State::Connected if !is_transient(&error) => return Err(error),
                    client::State::Connected => {}
                },
            }
        }
    }
}

fn is_transient(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(client::Error::Broken(_) | client::Error::Goodbye { .. } | client::Error::TimedOut { .. })
    )
}
