//! Sends messages, by schedule or by window, while the server is being watched.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use client::{Client, EntryId, Target};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use protocol::ConversationId;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use crate::{
    accounts::Route,
    args::CommonArgs,
    load::{Schedule, Texts, Ticks},
    machine,
    measure::{Recorder, Sample, Span},
    progress::Progress,
    report::Report,
    server::{Role, Server},
};

/// How often a server is sampled for the plots.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether the last messages have come.
const DRAIN_EVERY: Duration = Duration::from_millis(10);
/// Longest wait for the last messages.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Someone who sends to a conversation.
#[derive(Clone)]
pub(crate) struct Sender {
    /// Their client.
    pub(crate) client: Client,
    /// Where to.
    pub(crate) conversation: ConversationId,
}

/// Senders who share a window.
pub(crate) struct Flow {
    /// They take turns.
    pub(crate) senders: Vec<Sender>,
    /// Deliveries of each message.
    pub(crate) deliveries: u64,
    /// Closed loop: as many permits as messages may be sent now. A message gives its permit back when it is received.
    pub(crate) window: Option<Arc<Semaphore>>,
}

/// When a measurement begins and ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// The load begins.
    pub(crate) start: Instant,
    /// The warm-up is over.
    pub(crate) from: Instant,
    /// The load and the measurement end.
    pub(crate) until: Instant,
}

impl Times {
    /// From now on, as the arguments say.
    pub(crate) fn new(args: &CommonArgs) -> Self {
        let start = Instant::now();
        let from = start + args.warm_up;
        Self { start, from, until: from + args.seconds }
    }
}

/// What was seen of the server meanwhile.
pub(crate) struct Course {
    /// The measurement.
    pub(crate) span: Span,
    /// For the plots; from the load's start on.
    pub(crate) samples: Vec<Sample>,
}

/// What a scenario that measures needs.
pub(crate) struct Bench {
    /// The command line.
    pub(crate) args: CommonArgs,
    /// The server under load.
    pub(crate) server: Server,
    /// Where a person is told.
    pub(crate) progress: Progress,
    /// What random choices follow from.
    pub(crate) seed: u64,
}

impl Bench {
    /// How clients reach the server.
    ///
    /// # Errors
    ///
    /// The server's URL is none.
    pub(crate) fn route(&self) -> Result<Route> {
        Route::new(&self.server, self.args.transport, self.args.patience)
    }

    /// The report of a measurement of messages.
    pub(crate) fn report(&self, scenario: &'static str, course: Course, recorder: &Recorder) -> Report {
        Report::new(scenario, course.span, recorder.errors() + recorder.missing())
            .with_latencies(recorder.latencies())
            .with_course(recorder.by_second(), course.samples)
            .with("disconnects", recorder.disconnects())
    }

    /// The server's use and the deliveries now.
    pub(crate) async fn sample(&self, recorder: &Recorder) -> Sample {
        let usage = self.server.usage().await;
        let elsewhere = machine::busy_elsewhere();
        Sample { at: recorder.clock().now(), delivered: recorder.delivered_total(), usage, elsewhere }
    }

    /// Requests that the server has answered since its start; nothing if it does not tell.
    pub(crate) async fn requests(&self) -> Option<u64> {
        let requests = self.server.metric("mpim_gateway_requests_total", Role::Gateways).await?;
        Some(requests as u64)
    }

    /// Puts the load on and measures it: an open loop if there is a rate, otherwise by the flows' windows.
    ///
    /// # Errors
    ///
    /// The load cannot be started.
    pub(crate) async fn measure(
        &self,
        flows: Vec<Flow>,
        rate: Option<f64>,
        recorder: &Arc<Recorder>,
    ) -> Result<Course> {
        let texts = Texts::new(self.args.body_bytes as usize);
        let times = Times::new(&self.args);
        recorder.measure(recorder.clock().at(times.from), recorder.clock().at(times.until));
        let load = async {
            match rate {
                Some(rate) => open_loop(flows, rate, times, &texts, recorder).await,
                None => {
                    closed_loops(flows, times, &texts, recorder).await;
                    Ok(())
                }
            }
        };
        let (course, loaded) = tokio::join!(self.watch(times, recorder), load);
        loaded?;
        self.drain(recorder).await;
        Ok(course)
    }

    /// Watches the server from the load's start to the end of the measurement.
    pub(crate) async fn watch(&self, times: Times, recorder: &Recorder) -> Course {
        let bar = self.progress.time("load", times.until - times.start);
        let mut samples = Vec::new();
        let (mut from, mut at) = (None, time::interval(SAMPLE_EVERY));
        at.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let measured = if from.is_none() { times.from } else { times.until };
            tokio::select! {
                biased;
                () = time::sleep_until(measured.into()) => {
                    let sample = self.sample(recorder).await;
                    samples.push(sample);
                    match from {
                        None => from = Some(sample),
                        Some(from) => return Course { span: Span::between(&from, &sample), samples },
                    }
                }
                // Asking costs the server something, so it is asked for plots alone.
                _ = at.tick() => {
                    bar.at(times.start.elapsed().as_secs());
                    if self.args.html.is_some() {
                        samples.push(self.sample(recorder).await);
                    }
                }
            }
        }
    }

    /// Waits until all that was measured has come, within a bound.
    pub(crate) async fn drain(&self, recorder: &Recorder) {
        let deadline = Instant::now() + DRAIN_WITHIN.min(self.args.patience);
        while recorder.missing() > 0 && Instant::now() < deadline {
            time::sleep(DRAIN_EVERY).await;
        }
    }
}

/// Sends when it is time to, whatever the server does; the flows and in them the senders take turns.
///
/// # Errors
///
/// The thread that keeps the time cannot be started.
pub(crate) async fn open_loop(
    flows: Vec<Flow>,
    rate: f64,
    times: Times,
    texts: &Texts,
    recorder: &Recorder,
) -> Result<()> {
    let mut ticks = Ticks::start(Schedule::new(times.start, rate), times.until)?;
    let mut under_way = FuturesUnordered::new();
    let count = flows.len() as u64;
    loop {
        tokio::select! {
            biased;
            tick = ticks.next() => {
                let Some(tick) = tick else { break };
                let flow = &flows[(tick.number % count) as usize];
                let sender = &flow.senders[(tick.number / count % flow.senders.len() as u64) as usize];
                let message = Message { stamp: recorder.clock().at(tick.due), deliveries: flow.deliveries };
                under_way.extend(message.submit(sender, texts, recorder).await);
            }
            Some(_) = under_way.next(), if !under_way.is_empty() => {}
        }
    }
    let _ = time::timeout(DRAIN_WITHIN, async { while under_way.next().await.is_some() {} }).await;
    Ok(())
}

async fn closed_loops(flows: Vec<Flow>, times: Times, texts: &Texts, recorder: &Arc<Recorder>) {
    let mut tasks = JoinSet::new();
    for flow in flows {
        let (texts, recorder) = (texts.clone(), recorder.clone());
        tasks.spawn(async move { closed_loop(&flow, times, &texts, &recorder).await });
    }
    while tasks.join_next().await.is_some() {}
}

async fn closed_loop(flow: &Flow, times: Times, texts: &Texts, recorder: &Recorder) {
    let Some(window) = &flow.window else { return };
    let mut under_way = FuturesUnordered::new();
    let mut end = std::pin::pin!(time::sleep_until(times.until.into()));
    for sender in flow.senders.iter().cycle() {
        loop {
            tokio::select! {
                biased;
                () = &mut end => {
                    let _ = time::timeout(DRAIN_WITHIN, async { while under_way.next().await.is_some() {} }).await;
                    return;
                }
                Some(stored) = under_way.next(), if !under_way.is_empty() => {
                    let stored: bool = stored;
                    if !stored {
                        window.add_permits(1);
                    }
                }
                permit = window.acquire() => {
                    // It comes back when the message is received.
                    if let Ok(permit) = permit {
                        permit.forget();
                    }
                    break;
                }
            }
        }
        let message = Message { stamp: recorder.clock().now(), deliveries: flow.deliveries };
        match message.submit(sender, texts, recorder).await {
            Some(settled) => under_way.push(settled),
            None => window.add_permits(1),
        }
    }
}

/// One message of the load.
#[derive(Clone, Copy)]
struct Message {
    /// When it is intended.
    stamp: u64,
    /// How often it should be received.
    deliveries: u64,
}

impl Message {
    /// Hands it to the client, and returns what tells whether it was stored; nothing if the client does not take it.
    async fn submit<'a>(
        self,
        sender: &Sender,
        texts: &Texts,
        recorder: &'a Recorder,
    ) -> Option<impl Future<Output = bool> + use<'a>> {
        recorder.expect(self.stamp, self.deliveries);
        let target = Target::Conversation(sender.conversation);
        let content = client::text(texts.write(self.stamp));
        let Ok(submitted) = sender.client.submit(target, content, EntryId::generate()).await else {
            recorder.failed(self.stamp, self.deliveries);
            return None;
        };
        Some(async move {
            let stored = submitted.await.is_ok();
            if !stored {
                recorder.failed(self.stamp, self.deliveries);
            }
            stored
        })
    }
}
