//! `direct`: pairs of users, the first of each writes to the second.

use std::sync::Arc;

use anyhow::Result;
use client::Client;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{ConversationId, UserId};
use tokio::sync::Semaphore;

use crate::{
    accounts::{Route, patiently},
    args::DirectArgs,
    drive::{Bench, Flow, Sender},
    load::Clock,
    measure::Recorder,
    online::Receivers,
    progress::Progress,
    report::Report,
};

/// Messages under way in each pair unless the arguments say otherwise.
const WINDOW: u32 = 16;
/// Conversations being opened at a time.
const OPENING_MAX: usize = 16;

/// Pairs that are connected, and who takes what they receive.
pub(crate) struct Pairs {
    /// One for each pair.
    pub(crate) flows: Vec<Flow>,
    /// All of the pairs' clients.
    pub(crate) receivers: Receivers,
}

impl Pairs {
    /// Makes so many pairs; `window`: as many messages under way in each.
    ///
    /// # Errors
    ///
    /// The accounts, connections or conversations cannot be made.
    pub(crate) async fn new(
        route: &Route,
        count: usize,
        window: Option<u32>,
        recorder: &Arc<Recorder>,
        progress: &Progress,
    ) -> Result<Self> {
        let accounts = route.register(count * 2, progress).await?;
        let mut online = route.connect_all(&accounts, progress).await?.into_iter();
        let mut pairs = Vec::with_capacity(count);
        while let (Some(writer), Some(reader)) = (online.next(), online.next()) {
            pairs.push((writer, reader));
        }
        let conversations: Vec<ConversationId> = stream::iter(&pairs)
            .map(|(writer, reader)| open(route, &writer.client, reader.client.user()))
            .buffered(OPENING_MAX)
            .try_collect()
            .await?;

        let (mut flows, mut receivers) = (Vec::with_capacity(count), Receivers::new(recorder.clone()));
        for ((writer, reader), conversation) in pairs.into_iter().zip(conversations) {
            let window = window.map(|permits| Arc::new(Semaphore::new(permits as usize)));
            let client = receivers.add(writer, None);
            receivers.add(reader, window.clone());
            flows.push(Flow { senders: vec![Sender { client, conversation }], deliveries: 1, window });
        }
        Ok(Self { flows, receivers })
    }
}

async fn open(route: &Route, client: &Client, peer: UserId) -> Result<ConversationId> {
    let conversation = patiently(route.patience, || client.open_direct_with(peer)).await?;
    Ok(ConversationId::new(conversation.id))
}

/// Runs the scenario.
///
/// # Errors
///
/// What it needs cannot be set up.
pub(crate) async fn run(bench: &Bench, args: &DirectArgs) -> Result<Report> {
    let count = args.clients.map_or(args.pairs, |clients| clients / 2) as usize;
    let window = if bench.args.rate.is_some() { None } else { Some(bench.args.window.unwrap_or(WINDOW)) };
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let pairs = Pairs::new(&bench.route()?, count, window, &recorder, &bench.progress).await?;
    let course = bench.measure(pairs.flows, bench.args.rate, &recorder).await?;
    let report = bench.report("direct", course, &recorder).with("pairs", count);
    let report = match (bench.args.rate, window) {
        (Some(rate), _) => report.with("rate", rate),
        (None, window) => report.with("window", window),
    };
    pairs.receivers.close().await;
    Ok(report)
}
