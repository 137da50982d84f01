//! `catchup`: a device that was away while many conversations moved comes back and catches up completely.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use client::{Client, EntryId, Event, Events, Target};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use protocol::{ConversationId, UserId};
use tokio::time;

use crate::{
    accounts::{Account, Route, patiently},
    args::CatchupArgs,
    drive::Bench,
    ledger::{Differences, Ledger, Said},
    load::{Clock, Texts},
    measure::{Recorder, Span},
    online::close_all,
    progress::Bar,
    report::{Report, milliseconds},
};

/// Those who write meanwhile, at a time.
const WRITING_MAX: usize = 32;
/// Messages that each of them keeps under way.
const WINDOW: usize = 64;

/// Runs the scenario. Its messages are the entries caught up with.
///
/// # Errors
///
/// What it needs cannot be set up, or the device does not hold what was sent in the end.
pub(crate) async fn run(bench: &Bench, args: &CatchupArgs) -> Result<Report> {
    let route = bench.route()?;
    let recorder = Recorder::new(Clock::start());
    let mut accounts = route.register(args.conversations as usize + 1, &bench.progress).await?;
    let away = accounts.pop().context("no account was made")?;
    // It was here once, so that it comes back rather than comes for the first time.
    let mut online = route.connect(away.profile.clone()).await?;
    online.client.close().await;
    online.events.save().await;

    let ledger = write(bench, &route, &accounts, away.user, args.entries).await?;

    let expected = ledger.total();
    let bar = bench.progress.bar("catching up", expected as u64);
    let requests = bench.requests().await;
    let before = bench.sample(&recorder).await;
    let begun = Instant::now();
    let (client, mut events) = Client::start(route.options(away.profile.clone()))?;
    let caught_up = time::timeout(route.patience, catch_up(&mut events, begun, &recorder, &bar));
    let caught_up = caught_up.await.context("the device did not catch up in time")??;
    let mut after = bench.sample(&recorder).await;
    after.at = before.at + u64::try_from(caught_up.complete.as_nanos()).unwrap_or(u64::MAX);
    let requests = match (requests, bench.requests().await) {
        (Some(before), Some(after)) => Some(after.saturating_sub(before)),
        _ => None,
    };
    close_all([client]).await;
    drop(bar);

    let mut differences = Differences::default();
    ledger.contradictions(&mut differences);
    for conversation in ledger.conversations() {
        let came = caught_up.said.get(&conversation).map_or(&[][..], Vec::as_slice);
        ledger.compare("the device", conversation, came, &mut differences);
    }
    ensure!(differences.count() == 0, "the device did not catch up completely: {}", differences.lines().join("; "));

    Ok(Report::new("catchup", Span::between(&before, &after), 0)
        .with("conversations", args.conversations)
        .with("entries_per_conversation", args.entries)
        .with("first_screen_ms", milliseconds(caught_up.first_screen))
        .with("first_screen_round_trips", caught_up.first_screen_round_trips)
        .with("first_screen_conversations", caught_up.first_screen_conversations)
        .with("complete_ms", milliseconds(caught_up.complete))
        .with("complete_round_trips", requests))
}

/// Every account writes to the one who is away; returns what was acknowledged.
async fn write(bench: &Bench, route: &Route, accounts: &[Account], to: UserId, entries: u32) -> Result<Ledger> {
    let bar = bench.progress.bar("messages", u64::from(entries) * accounts.len() as u64);
    let ledger = Mutex::new(Ledger::default());
    let texts = Texts::new(bench.args.body_bytes as usize);
    stream::iter(accounts.iter().enumerate())
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(WRITING_MAX, |(number, account)| {
            let (ledger, texts, bar) = (&ledger, &texts, &bar);
            async move {
                let mut options = route.options(account.profile.clone());
                options.catch_up = false;
                let (client, events) = Client::start(options)?;
                drop(events);
                let conversation = patiently(route.patience, || client.open_direct_with(to)).await?;
                let conversation = ConversationId::new(conversation.id);
                let mut sent = stream::iter(0..u64::from(entries))
                    .map(|entry| say(&client, conversation, texts.write(number as u64 * 1_000_000 + entry)))
                    .buffered(WINDOW);
                while let Some(said) = sent.next().await {
                    ledger.lock().acknowledged(conversation, said?);
                    bar.step();
                }
                drop(sent);
                client.close().await;
                Ok(())
            }
        })
        .await?;
    Ok(ledger.into_inner())
}

async fn say(client: &Client, conversation: ConversationId, text: String) -> Result<Said> {
    let id = EntryId::generate();
    let sent = client.send(Target::Conversation(conversation), client::text(text.clone()), id).await?;
    Ok(Said { position: sent.position, id, text })
}

struct CaughtUp {
    first_screen: Duration,
    first_screen_round_trips: u32,
    first_screen_conversations: usize,
    complete: Duration,
    said: HashMap<ConversationId, Vec<Said>>,
}

async fn catch_up(events: &mut Events, begun: Instant, recorder: &Recorder, bar: &Bar) -> Result<CaughtUp> {
    let mut caught_up = CaughtUp {
        first_screen: Duration::ZERO,
        first_screen_round_trips: 0,
        first_screen_conversations: 0,
        complete: Duration::ZERO,
        said: HashMap::new(),
    };
    while let Some(event) = events.next().await {
        match event {
            Event::Connected { round_trips } => caught_up.first_screen_round_trips = round_trips,
            Event::Heads(heads) if caught_up.first_screen.is_zero() => {
                caught_up.first_screen = begun.elapsed();
                caught_up.first_screen_conversations = heads.len();
            }
            Event::Entry { conversation, entry, .. } => {
                if let Some(said) = Said::of(&entry) {
                    caught_up.said.entry(conversation).or_default().push(said);
                    recorder.delivered(0, 0);
                    bar.step();
                }
            }
            Event::CaughtUp => {
                caught_up.complete = begun.elapsed();
                return Ok(caught_up);
            }
            Event::Disconnected { error, .. } | Event::SessionEnded { error } => {
                return Err(anyhow::Error::from(error).context("the connection was lost"));
            }
            _ => {}
        }
    }
    bail!("the client stopped")
}
