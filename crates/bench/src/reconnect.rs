//! `reconnect`: all clients lose their connections at once and come back with their resume tokens, while others chat.

pub(crate) mod chat;
pub(crate) mod crowd;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::time;

use self::{chat::Chat, crowd::Crowd};
use crate::{
    args::ReconnectArgs,
    drive::{Bench, Course, Times},
    load::{Clock, Texts},
    measure::{Recorder, Span},
    report::{Report, decimal},
    sampler::Sampler,
};

/// Messages a second in the chat unless the arguments say otherwise.
const RATE: f64 = 100.0;
/// Runs the scenario. Its messages are those of the chat while the clients come back.
///
/// # Errors
///
/// What it needs cannot be set up, or not all clients come back in time.
pub(crate) async fn run(bench: &Bench, args: &ReconnectArgs) -> Result<Report> {
    let route = bench.route()?;
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let rate = bench.args.rate.unwrap_or(RATE);
    let texts = Texts::new(bench.args.body_bytes as usize);
    let plan = chat::Plan { route: route.clone(), pairs: args.pairs as usize, rate, texts };
    let chat = Chat::gather(plan, recorder.clone(), bench.progress.clone()).await?;
    let mut crowd = Crowd::gather(bench, &route, args.clients as usize).await?;

    // The chat goes on until the clients are back, whenever that is.
    let (start, patience) = (Instant::now(), bench.args.patience);
    let from = start + bench.args.warm_up;
    chat.talk(Times { start, from, until: from + patience });
    time::sleep_until(from.into()).await;
    let storm = time::timeout(patience, storm(bench, &mut crowd, args.clients, &recorder)).await;
    chat.fall_silent();
    bench.drain(&recorder).await;
    let back = crowd.back();
    crowd.end().await?;
    chat.close().await?;
    let Storm { course, seconds, breaking } =
        storm.with_context(|| format!("only {back} of {} clients came back in time", args.clients))??;

    let cpu = course.span.cpu_seconds.map(|cpu| cpu * 1e6 / f64::from(args.clients));
    // The server's time went into the reconnects, not into the messages.
    let course = Course { span: Span { cpu_seconds: None, system: None, ..course.span }, ..course };
    Ok(bench
        .report("reconnect", course, &recorder)
        .with("reconnects", args.clients)
        .with("reconnect_seconds", decimal(seconds, 3))
        .with("breaking_seconds", decimal(breaking.as_secs_f64(), 3))
        .with("reconnects_per_s", decimal(f64::from(args.clients) / seconds, 0))
        .with("server_cpu_us_per_reconnect", cpu.map_or(serde_json::Value::Null, |us| decimal(us, 1)))
        .with("pairs", args.pairs)
        .with("rate", rate))
}

struct Storm {
    course: Course,
    seconds: f64,
    breaking: Duration,
}

/// Breaks all connections, and measures how everyone comes back.
async fn storm(bench: &Bench, crowd: &mut Crowd, clients: u32, recorder: &Arc<Recorder>) -> Result<Storm> {
    let bar = bench.progress.bar("reconnects", u64::from(clients));
    let sampler = Sampler::start(bench, recorder);
    let before = bench.sample(recorder).await;
    recorder.measure(before.at, u64::MAX);
    let begun = Instant::now();
    let breaking = crowd.break_and_connect().await?;
    crowd.wait(|connected| bar.at(connected)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = bench.sample(recorder).await;
    recorder.measure(before.at, after.at);
    let course = Course { span: Span::between(&before, &after), samples: sampler.stop().await };
    Ok(Storm { course, seconds, breaking })
}
