//! `replay`: plays dialogues between real accounts, and compares every device's history with what was sent.
//!
//! One half of the dialogues is held in direct conversations, the other in groups of eight. Every account has two devices
//! with sessions of their own; half of the second ones come and go meanwhile, and a server of our own may be killed and
//! started again. A text counts as sent when it is acknowledged; until then it is sent again with the same id, also by the
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
    let plan = Arc::new(Plan::new(&mut rng, &dialogues, accounts, args.kills as usize));
    let dialogues: Arc<[Dialogue]> = dialogues.into();

    let recorder = Arc::new(Recorder::new(Clock::start()));
    let mut cast = Cast::gather(bench, &plan, &mut rng, &recorder).await?;
    let sampler = Sampler::start(bench, &recorder);
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
    let samples = sampler.stop().await;
    let history = check::history(bench, &cast, &ledger).await;
    cast.end().await?;
    let (mut differences, history_texts) = history?;
    check::devices(&cast, &ledger, &mut differences);

    let reconnects: u64 = cast.devices.iter().map(|device| device.reconnects()).sum();
    let absences: u64 = cast.devices.iter().map(|device| device.absences()).sum();
    let mut span = Span::between(&before, &after);
    if reconnects > absences {
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
        .with("seconds", decimal(span.seconds, 2))
        .with("differences", differences.count());
    Ok((report, differences.lines()))
}

fn choose(rng: &mut Rng, mut dialogues: Vec<Dialogue>, count: Option<usize>) -> Vec<Dialogue> {
    if let Some(count) = count {
        rng.shuffle(&mut dialogues);
        dialogues.truncate(count);
    }
    dialogues
}
