//! `login`: log-ins with the password, hashed as the server's operator has it.

use std::sync::Arc;

use anyhow::Result;
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    accounts::{Account, PASSWORD, Route},
    args::LoginArgs,
    drive::{Bench, Times},
    load::{Clock, Schedule, Ticks},
    measure::Recorder,
    report::Report,
};

/// Log-ins for which one account is used: fewer than the sessions that a user may have, since making room for a further
/// one is another thing than logging in.
const LOG_INS_PER_ACCOUNT: f64 = 40.0;
/// Log-ins a second that are reckoned with when accounts are made, unless there is a rate.
const RATE_EXPECTED: f64 = 150.0;
/// Accounts that are made at most.
const ACCOUNTS_MAX: usize = 2_000;

/// Runs the scenario. Its messages are log-ins.
///
/// # Errors
///
/// What it needs cannot be set up.
pub(crate) async fn run(bench: &Bench, args: &LoginArgs) -> Result<Report> {
    let route = bench.route()?;
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let length = (bench.args.warm_up + bench.args.seconds).as_secs_f64();
    let log_ins = length * bench.args.rate.unwrap_or(RATE_EXPECTED);
    let accounts = ((log_ins / LOG_INS_PER_ACCOUNT) as usize).clamp(args.clients as usize, ACCOUNTS_MAX);
    let accounts: Arc<[Account]> = route.register(accounts, &bench.progress).await?.into();

    let times = Times::new(&bench.args);
    recorder.measure(recorder.clock().at(times.from), recorder.clock().at(times.until));
    let source = match bench.args.rate {
        Some(rate) => Source::Rate(Mutex::new(Ticks::start(Schedule::new(times.start, rate), times.until)?)),
        None => Source::AsFastAsTheyCome(std::sync::atomic::AtomicU64::new(0)),
    };
    let source = Arc::new(source);
    let mut workers = JoinSet::new();
    for worker in 0..args.clients as usize {
        let (route, accounts) = (route.clone(), accounts.clone());
        let (source, recorder) = (source.clone(), recorder.clone());
        workers.spawn(async move { work(worker, &route, &accounts, times, &source, &recorder).await });
    }
    let course = bench.watch(times, &recorder).await;
    while workers.join_next().await.is_some() {}
    Ok(bench.report("login", course, &recorder).with("clients", args.clients).with("accounts", accounts.len()))
}

/// Where the next log-in comes from.
enum Source {
    /// When it is due; a log-in for which no worker is free waits, and that counts.
    Rate(Mutex<Ticks>),
    /// As soon as a worker is free.
    AsFastAsTheyCome(std::sync::atomic::AtomicU64),
}

impl Source {
    /// The next log-in's number and intended time.
    async fn next(&self, times: Times, recorder: &Recorder) -> Option<(u64, u64)> {
        match self {
            Self::Rate(ticks) => {
                let tick = ticks.lock().await.next().await?;
                Some((tick.number, recorder.clock().at(tick.due)))
            }
            Self::AsFastAsTheyCome(count) => {
                let now = recorder.clock().now();
                let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                (now < recorder.clock().at(times.until)).then_some((number, now))
            }
        }
    }
}

async fn work(worker: usize, route: &Route, accounts: &[Account], times: Times, source: &Source, recorder: &Recorder) {
    while let Some((number, stamp)) = source.next(times, recorder).await {
        recorder.expect(stamp, 1);
        let account = &accounts[(number % accounts.len() as u64) as usize];
        match client::log_in(&route.server, &account.name, PASSWORD, "bench").await {
            Ok(_) => recorder.delivered(worker, stamp),
            Err(_) => recorder.failed(stamp, 1),
        }
    }
}
