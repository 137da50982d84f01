//! `replay`: plays dialogues between real accounts, and compares every device's history with what was sent.
//!
//! One half of the dialogues is held in direct conversations, the other in groups of eight. Every account has two devices
//! with sessions of their own; half of the second ones come and go meanwhile, and a server of our own, or a gateway and a
//! message service of a cluster, may be killed and started again. A text counts as sent when it is acknowledged; until then it is sent again with the same id, also by the
//! account's other device. In the end each device's events, and the server's history, must hold exactly what was
//! acknowledged: text for text, once, in the order of the positions that the acknowledgements named.

mod cast;
mod check;
mod device;
mod dialogues;
mod plan;
mod play;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, ensure};
use fastrand::Rng;
use serde_json::Value;

use self::{
    cast::Cast,
    dialogues::Dialogue,
    plan::{GROUP_MEMBERS, Plan},
};
use crate::{
    args::ReplayArgs,
    drive::Bench,
    load::Clock,
    measure::{Recorder, Span},
    report::{Report, decimal},
    sampler::Sampler,
    server::Role,
};

/// Runs the scenario; returns the report and the differences that were found.
///
/// # Errors
///
/// What it needs cannot be set up, or the server is away for longer than the patience.
pub(crate) async fn run(bench: &mut Bench, args: &ReplayArgs) -> Result<(Report, Vec<String>)> {
    let mut rng = Rng::with_seed(bench.seed);
    let dialogues = choose(&mut rng, dialogues::read(&args.file)?, args.dialogues);
    let accounts = args.clients as usize;
    ensure!(accounts.is_multiple_of(GROUP_MEMBERS), "--clients must be a multiple of {GROUP_MEMBERS}");
    ensure!(
        args.kills == 0 || bench.server.can_be_killed(),
        "--kills: only with a server of its own, or with --cluster"
    );
    let plan = Arc::new(Plan::new(&mut rng, &dialogues, accounts, args.kills as usize));
    let dialogues: Arc<[Dialogue]> = dialogues.into();

    let recorder = Arc::new(Recorder::new(Clock::start()));
    let mut cast = Cast::gather(bench, &plan, &mut rng, &recorder).await?;
    let sampler = Sampler::start(bench, &recorder);
    let cache_before = CacheCounts::of(bench).await;
    let before = bench.sample(&recorder).await;
    recorder.measure(before.at, u64::MAX);
    let played = play::play(bench, &plan, &dialogues, &cast, &mut rng, &recorder).await;
    let (ledger, resends) = match played {
        Ok(played) => played,
        // A device that failed tells more than those who waited for it.
        Err(error) => return Err(cast.end().await.err().unwrap_or(error)),
    };
    play::settle(bench, &cast, &ledger, &recorder).await;
    let after = bench.sample(&recorder).await;
    let cache_after = CacheCounts::of(bench).await;
    let samples = sampler.stop().await;
    let history = check::history(bench, &cast, &ledger).await;
    cast.end().await?;
    let (mut differences, history_texts) = history?;
    check::devices(&cast, &ledger, &mut differences);

    let reconnects: u64 = cast.devices.iter().map(|device| device.reconnects()).sum();
    let absences: u64 = cast.devices.iter().map(|device| device.absences()).sum();
    let mut span = Span::between(&before, &after);
    if reconnects > absences && span.system.is_none() {
        // The server has gone meanwhile, and with it the count of its time.
        span.cpu_seconds = None;
    }
    let languages: BTreeSet<&str> = dialogues.iter().map(|dialogue| dialogue.language.as_str()).collect();
    let report = Report::new("replay", span, differences.count())
        .with_latencies(recorder.latencies())
        .with_course(recorder.by_second(), samples)
        .with("dialogues", dialogues.len())
        .with("texts", ledger.total())
        .with("languages", languages.len())
        .with("accounts", accounts)
        .with("devices", cast.devices.len())
        .with("conversations", cast.rooms.len())
        .with("deliveries", span.messages)
        .with("history_texts", history_texts)
        .with("absences", absences)
        .with("reconnects", reconnects)
        .with("resends", resends)
        .with("kills", args.kills)
        .with("cache_hit_rate", CacheCounts::hit_rate(cache_before, cache_after))
        .with("cache_lookups", CacheCounts::lookups(cache_before, cache_after))
        .with("seconds", decimal(span.seconds, 2))
        .with("differences", differences.count());
    Ok((report, differences.lines()))
}

/// What the services asked of the cache.
#[derive(Debug, Clone, Copy)]
struct CacheCounts {
    hits: f64,
    misses: f64,
}

impl CacheCounts {
    /// So far; nothing if the server has no cache, or does not tell.
    async fn of(bench: &Bench) -> Option<Self> {
        let count = |name| bench.server.metric(name, Role::Services);
        Some(Self { hits: count("mpim_cache_hits_total").await?, misses: count("mpim_cache_misses_total").await? })
    }

    fn between(before: Option<Self>, after: Option<Self>) -> Option<Self> {
        let (before, after) = before.zip(after)?;
        let counts = Self { hits: after.hits - before.hits, misses: after.misses - before.misses };
        // A process that was killed meanwhile has begun to count anew.
        (counts.hits >= 0.0 && counts.misses >= 0.0).then_some(counts)
    }

    /// Of the keys asked for; null if there were none.
    fn hit_rate(before: Option<Self>, after: Option<Self>) -> Value {
        let rate = Self::between(before, after).map(|counts| counts.hits / (counts.hits + counts.misses));
        rate.map_or(Value::Null, |rate| decimal(rate, 4))
    }

    /// Keys asked for.
    fn lookups(before: Option<Self>, after: Option<Self>) -> Value {
        Self::between(before, after).map_or(Value::Null, |counts| decimal(counts.hits + counts.misses, 0))
    }
}

fn choose(rng: &mut Rng, mut dialogues: Vec<Dialogue>, count: Option<usize>) -> Vec<Dialogue> {
    if let Some(count) = count {
        rng.shuffle(&mut dialogues);
        dialogues.truncate(count);
    }
    dialogues
}
