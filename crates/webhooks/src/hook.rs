//! The life of one webhook.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use client::{Client, ConversationId, Error, Event, Events, Options, UserId, wire};
use futures_util::FutureExt as _;
use protocol::Advice;
use store::{DeadLetterRow, WebhookRow};
use tokio_util::sync::CancellationToken;

use crate::{Bell, baseline::baseline, delivery::Delivery, post::Receiver, profile::HookProfile, supervisor::Shared};

/// Between attempts to write a dead letter; nothing is posted meanwhile, as nothing may be skipped.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Follows a bot's conversations and posts what happens until it is told to stop, or the bot may not go on.
pub(crate) async fn run(shared: Arc<Shared>, row: WebhookRow, bell: Bell, stop: CancellationToken) {
    let id = row.id;
    let receiver = Receiver::new(&row.url, row.secret.clone(), &shared.poster);
    let last_error = row.last_error.clone();
    let mut hook = Hook { shared, row, receiver, last_error };
    let opened = tokio::select! {
        opened = hook.open() => opened,
        () = stop.cancelled() => return,
    };
    let (client, mut events) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, webhook = id, "a webhook cannot begin");
            return;
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = hook.follow(&client, &mut events, &bell) => {}
    }
    // What was being posted was not accepted yet.
    events.save_but_last().await;
    client.close().await;
}

struct Hook {
    shared: Arc<Shared>,
    row: WebhookRow,
    receiver: Receiver,
    /// As it is stored.
    last_error: String,
}

/// An entry was given up.
struct GivenUp {
    attempts: u32,
    error: String,
}

impl Hook {
    async fn open(&mut self) -> Result<(Client, Events), Error> {
        let parts = &self.shared.parts;
        let profile =
            HookProfile::new(self.row.id, self.row.bot, Arc::clone(&parts.store), Arc::clone(&parts.credentials));
        let options = Options::new(parts.server.clone(), Arc::new(profile));
        let state = parts.store.webhook_state(self.row.id).await.map_err(unreadable)?;
        if state.positions.is_empty() {
            let (client, _events) = start(Options { catch_up: false, ..options.clone() }).await?;
            let state = baseline(&client, &self.row).await?;
            client.close().await;
            parts.store.put_webhook_state(self.row.id, state).await.map_err(unreadable)?;
        }
        start(options).await
    }

    /// Takes turns between what happens and what is to be redelivered.
    async fn follow(&mut self, client: &Client, events: &mut Events, bell: &Bell) {
        let mut letters_due = true;
        loop {
            let event = if letters_due {
                letters_due = self.redeliver_one(client).await;
                match events.next().now_or_never() {
                    Some(event) => event,
                    None => continue,
                }
            } else {
                tokio::select! {
                    event = events.next() => event,
                    () = bell.rung() => {
                        letters_due = true;
                        continue;
                    }
                }
            };
            match event {
                Some(Event::Entry { conversation, kind, entry }) if self.is_wanted(kind, &entry) => {
                    self.deliver(client, conversation, kind, &entry).await;
                    events.save().await;
                }
                Some(Event::SessionEnded { error }) => {
                    let webhook = self.row.id;
                    tracing::warn!(error = &error as &dyn std::error::Error, webhook, "a webhook was interrupted");
                    return;
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Of others, in a conversation with others, not older than the webhook, and not hidden from the bot.
    fn is_wanted(&self, kind: wire::ConversationKind, entry: &wire::Entry) -> bool {
        let is_hidden = || {
            let content = entry.content.as_ref().and_then(|content| content.view().ok());
            matches!(content.and_then(|content| content.kind), Some(wire::content::Kind::Hidden(_)))
        };
        matches!(kind, wire::ConversationKind::Direct | wire::ConversationKind::Group)
            && entry.sender != self.row.bot.get()
            && entry.time_ms >= self.row.created_ms
            && !is_hidden()
    }

    /// Posts an entry, or makes a dead letter of it.
    async fn deliver(
        &mut self,
        client: &Client,
        conversation: ConversationId,
        kind: wire::ConversationKind,
        entry: &wire::Entry,
    ) {
        if let Err(given_up) = self.post(client, conversation, kind, entry).await {
            self.bury(conversation, entry.position, given_up).await;
        }
    }

    async fn post(
        &mut self,
        client: &Client,
        conversation: ConversationId,
        kind: wire::ConversationKind,
        entry: &wire::Entry,
    ) -> Result<(), GivenUp> {
        let from = sender(client, UserId::new(entry.sender)).await;
        let mut delivery = written(&self.row, conversation, kind, entry, &from)?;
        let shared = Arc::clone(&self.shared);
        let mut attempts = 0;
        loop {
            if attempts > 0
                && let Some(now) = read(client, conversation, entry.position).await
            {
                delivery = written(&self.row, conversation, kind, &now, &from)?;
            }
            attempts += 1;
            let posted = {
                let _permit = shared.requests.acquire().await;
                self.receiver.post(&shared.poster, &delivery).await
            };
            let Err(failure) = posted else {
                shared.parts.metrics.delivered.inc();
                self.note_error(String::new()).await;
                return Ok(());
            };
            shared.parts.metrics.failed.inc();
            let error = failure.to_string();
            self.note_error(error.clone()).await;
            if failure.is_for_good() || attempts >= shared.config.attempts_max {
                return Err(GivenUp { attempts, error });
            }
            let backoff = &shared.config.backoff;
            tokio::time::sleep(backoff.wait(attempts).max(failure.wait_min().min(backoff.max))).await;
        }
    }

    /// Stores a dead letter, however long that takes: what is neither delivered nor stored would be lost.
    async fn bury(&mut self, conversation: ConversationId, position: u64, given_up: GivenUp) {
        let Shared { parts, config, .. } = &*self.shared;
        parts.metrics.dead.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let letter = DeadLetterRow {
            id: parts.ids.generate(now).get(),
            conversation,
            position,
            time_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            attempts: given_up.attempts,
            error: given_up.error,
            redeliver: false,
        };
        while let Err(error) = parts.store.add_dead_letter(self.row.id, letter.clone(), config.letters_max).await {
            let webhook = self.row.id;
            tracing::warn!(error = &error as &dyn std::error::Error, webhook, "a dead letter cannot be stored yet");
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }

    /// Tries one of the letters that are to be tried again; `false` if there is none, or it has to wait for the next ring.
    async fn redeliver_one(&mut self, client: &Client) -> bool {
        let store = Arc::clone(&self.shared.parts.store);
        let webhook = self.row.id;
        let letter = match store.dead_letters(webhook, 0, 1, true).await {
            Ok(letters) => letters.into_iter().next(),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, webhook, "dead letters cannot be read");
                None
            }
        };
        let Some(letter) = letter else { return false };
        let posted = match find(client, &letter).await {
            Ok(Some((kind, entry))) => self.post(client, letter.conversation, kind, &entry).await,
            Ok(None) => Err(GivenUp { attempts: 0, error: "the entry cannot be read any more".into() }),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, webhook, "a dead letter cannot be read");
                return false;
            }
        };
        if let Err(given_up) = posted {
            // A new letter in its place, not marked. Should the old one stay, it is tried once more.
            self.bury(letter.conversation, letter.position, given_up).await;
        }
        if let Err(error) = store.remove_dead_letter(webhook, letter.id).await {
            tracing::warn!(error = &error as &dyn std::error::Error, webhook, "a dead letter cannot be removed");
            return false;
        }
        true
    }

    /// For the bot's owner to see; written when it changes.
    async fn note_error(&mut self, error: String) {
        if self.last_error == error {
            return;
        }
        match self.shared.parts.store.put_webhook_error(self.row.id, error.clone()).await {
            Ok(()) => self.last_error = error,
            Err(error) => {
                let webhook = self.row.id;
                tracing::warn!(error = &error as &dyn std::error::Error, webhook, "a webhook's error cannot be stored");
            }
        }
    }
}

/// Starts a client on a thread where the profile may block.
async fn start(options: Options) -> Result<(Client, Events), Error> {
    let started = tokio::task::spawn_blocking(move || Client::start(options)).await;
    started.unwrap_or_else(|failure| Err(client::ProfileError::new("the start failed").with_source(failure).into()))
}

fn unreadable(error: store::Error) -> Error {
    client::ProfileError::new("the webhook's state cannot be read or written").with_source(error).into()
}

/// Who sent an entry; if that cannot be told, only the id.
async fn sender(client: &Client, user: UserId) -> wire::UserInfo {
    let request = wire::FindUsers { ids: vec![user.get()], names: Vec::new() };
    let answer = client.request(wire::client_frame::Body::FindUsers(request)).await;
    let found = match answer {
        Ok(wire::server_frame::Body::Users(users)) => users.users.into_iter().next(),
        _ => None,
    };
    found.unwrap_or_else(|| wire::UserInfo { id: user.get(), ..wire::UserInfo::default() })
}

fn written(
    hook: &WebhookRow,
    conversation: ConversationId,
    kind: wire::ConversationKind,
    entry: &wire::Entry,
    from: &wire::UserInfo,
) -> Result<Delivery, GivenUp> {
    Delivery::new(hook, conversation, kind, entry, from)
        .map_err(|error| GivenUp { attempts: 0, error: format!("the entry cannot be written as JSON: {error}") })
}

/// An entry as it is now: it may have been recalled since it came. `None` if it cannot be told; then it is as it came.
async fn read(client: &Client, conversation: ConversationId, position: u64) -> Option<wire::Entry> {
    let page = client.history_after(conversation, position.saturating_sub(1), 1).await.ok()?;
    page.entries.into_iter().next().filter(|entry| entry.position == position)
}

/// A letter's entry; `None` if the bot cannot read it any more.
async fn find(client: &Client, letter: &DeadLetterRow) -> Result<Option<(wire::ConversationKind, wire::Entry)>, Error> {
    let gone = |error: &Error| matches!(error, Error::Refused(error) if error.advice() == Advice::GiveUp);
    let page = match client.history_after(letter.conversation, letter.position.saturating_sub(1), 1).await {
        Ok(page) => page,
        Err(error) if gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(entry) = page.entries.into_iter().next().filter(|entry| entry.position == letter.position) else {
        return Ok(None);
    };
    let by = wire::get_group::By::Group(letter.conversation.get());
    let group = client.request(wire::client_frame::Body::GetGroup(wire::GetGroup { by: Some(by) })).await;
    match group {
        Ok(_) => Ok(Some((wire::ConversationKind::Group, entry))),
        Err(error) if gone(&error) => Ok(Some((wire::ConversationKind::Direct, entry))),
        Err(error) => Err(error),
    }
}
