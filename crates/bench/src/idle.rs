//! `idle`: what a logged-in connection that does nothing takes of the server's memory.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result};

use crate::{
    args::IdleArgs,
    drive::{Bench, Times},
    load::Clock,
    measure::Recorder,
    online::Receivers,
    report::{Report, decimal},
};

/// Runs the scenario.
///
/// A server of our own is started anew once the accounts are made: memory that was needed for that and is free by then
/// would be used for connections, and they would seem cheaper than they are.
///
/// # Errors
///
/// What it needs cannot be set up, or the server does not tell its memory.
pub(crate) async fn run(bench: &mut Bench, args: &IdleArgs) -> Result<Report> {
    let count = args.clients as usize;
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let accounts = bench.route()?.register(count, &bench.progress).await?;
    if bench.server.is_own() {
        bench.server.kill_and_restart(0).await?;
    }
    let route = bench.route()?;
    let settled = || async {
        let usage = bench.server.settled_usage(bench.args.patience).await;
        usage.context("the server does not tell its memory on /metrics")
    };
    let before = settled().await?;

    let begun = Instant::now();
    let mut receivers = Receivers::new(recorder.clone());
    for online in route.connect_all(&accounts, &bench.progress).await? {
        receivers.add(online, None);
    }
    let connected_in = begun.elapsed();
    let after = settled().await?;

    let course = bench.watch(Times::new(&bench.args), &recorder).await;
    let cpu = course.span.cpu_seconds.map(|cpu| cpu / course.span.seconds * 100.0);
    let grown = after.rss_bytes.saturating_sub(before.rss_bytes);
    let report = bench
        .report("idle", course, &recorder)
        .with("connections", count)
        .with("server_rss_bytes_per_connection", decimal(grown as f64 / count as f64, 0))
        .with("server_rss_bytes_before", before.rss_bytes)
        .with("server_rss_bytes_after", after.rss_bytes)
        .with("connects_per_s", decimal(count as f64 / connected_in.as_secs_f64(), 0))
        .with("server_cpu_percent", cpu.map_or(serde_json::Value::Null, |cpu| decimal(cpu, 2)));
    receivers.close().await;
    Ok(report)
}
