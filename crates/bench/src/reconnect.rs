//! `reconnect`: all clients lose their connections at once and come back with their resume tokens, while others chat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Result, ensure};
use client::{Client, Event, MemoryProfile};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time,
};

use crate::{
    accounts::Route,
    args::ReconnectArgs,
    direct::Pairs,
    drive::{Bench, Course, Times, open_loop},
    load::{Clock, Texts},
    measure::{Recorder, Span},
    report::{Report, decimal},
};

/// Messages a second in the chat unless the arguments say otherwise.
const RATE: f64 = 100.0;
/// Clients that knock at a time; more would find the listener's backlog full and wait for the kernel's second try, which
/// says nothing about the server.
const KNOCKING_MAX: usize = 512;

/// Runs the scenario. Its messages are those of the chat while the clients come back.
///
/// # Errors
///
/// What it needs cannot be set up, or not all clients come back in time.
pub(crate) async fn run(bench: &Bench, args: &ReconnectArgs) -> Result<Report> {
    let route = bench.route()?;
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let pairs = Pairs::new(&route, args.pairs as usize, None, &recorder, &bench.progress).await?;
    let mut crowd = Crowd::gather(bench, &route, args.clients as usize).await?;

    // The chat goes on until the clients are back, whenever that is.
    let start = Instant::now();
    let times =
        Times { start, from: start + bench.args.warm_up, until: start + bench.args.warm_up + bench.args.patience };
    let texts = Texts::new(bench.args.body_bytes as usize);
    let rate = bench.args.rate.unwrap_or(RATE);
    let flows = pairs.flows;
    let storm = async {
        time::sleep_until(times.from.into()).await;
        crowd.storm(bench, &route, &recorder).await
    };
    // When the storm is over, so is the chat: what it has under way still arrives.
    let storm = tokio::select! {
        storm = storm => storm?,
        chat = open_loop(flows, rate, times, &texts, &recorder) => {
            chat?;
            anyhow::bail!("only {} of {} clients came back in time", crowd.back(), args.clients);
        }
    };
    bench.drain(&recorder).await;

    let Storm { course, seconds } = storm;
    let cpu = course.span.cpu_seconds.map(|cpu| cpu * 1e6 / f64::from(args.clients));
    // The server's time went into the reconnects, not into the messages.
    let course = Course { span: Span { cpu_seconds: None, ..course.span }, ..course };
    let report = bench
        .report("reconnect", course, &recorder)
        .with("reconnects", args.clients)
        .with("reconnect_seconds", decimal(seconds, 3))
        .with("reconnects_per_s", decimal(f64::from(args.clients) / seconds, 0))
        .with("server_cpu_us_per_reconnect", cpu.map_or(serde_json::Value::Null, |us| decimal(us, 1)))
        .with("pairs", args.pairs)
        .with("rate", rate);
    crowd.close().await;
    pairs.receivers.close().await;
    Ok(report)
}

struct Storm {
    course: Course,
    seconds: f64,
}

/// Those who lose their connections.
struct Crowd {
    profiles: Vec<Arc<MemoryProfile>>,
    connected: Arc<AtomicU64>,
    over: watch::Sender<bool>,
    tasks: JoinSet<Result<()>>,
}

impl Crowd {
    /// Makes so many accounts and connects them.
    async fn gather(bench: &Bench, route: &Route, count: usize) -> Result<Self> {
        let accounts = route.register(count, &bench.progress).await?;
        let profiles = accounts.into_iter().map(|account| account.profile).collect();
        let mut crowd =
            Self { profiles, connected: Arc::default(), over: watch::channel(false).0, tasks: JoinSet::new() };
        crowd.connect(route);
        let bar = bench.progress.bar("connections", count as u64);
        time::timeout(bench.args.patience * 2, crowd.wait(|connected| bar.at(connected))).await??;
        Ok(crowd)
    }

    fn back(&self) -> u64 {
        self.connected.load(Ordering::Relaxed)
    }

    /// Starts everyone's client; some knock at a time.
    fn connect(&mut self, route: &Route) {
        self.connected.store(0, Ordering::Relaxed);
        self.over.send_replace(false);
        let knocking = Arc::new(Semaphore::new(KNOCKING_MAX));
        for profile in &self.profiles {
            let (route, profile) = (route.clone(), profile.clone());
            let (knocking, connected, over) = (knocking.clone(), self.connected.clone(), self.over.subscribe());
            self.tasks.spawn(async move { stay(&route, profile, &knocking, &connected, over).await });
        }
    }

    /// Until everyone is connected, or one never will be.
    async fn wait(&mut self, seen: impl Fn(u64)) -> Result<()> {
        let mut every = time::interval(std::time::Duration::from_millis(2));
        while self.back() < self.profiles.len() as u64 {
            every.tick().await;
            seen(self.back());
            if let Some(ended) = self.tasks.try_join_next() {
                ended??;
                anyhow::bail!("a client stopped");
            }
        }
        Ok(())
    }

    /// Breaks all connections, and measures how everyone comes back.
    async fn storm(&mut self, bench: &Bench, route: &Route, recorder: &Recorder) -> Result<Storm> {
        let bar = bench.progress.bar("reconnects", self.profiles.len() as u64);
        let before = bench.sample(recorder).await;
        recorder.measure(before.at, u64::MAX);
        let begun = Instant::now();
        self.over.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        self.connect(route);
        self.wait(|connected| bar.at(connected)).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let after = bench.sample(recorder).await;
        recorder.measure(before.at, after.at);
        ensure!(seconds > 0.0, "the clock stands still");
        Ok(Storm { course: Course { span: Span::between(&before, &after), samples: vec![before, after] }, seconds })
    }

    async fn close(mut self) {
        self.over.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Connects, and stays until it is over; then the connection is dropped without a word.
async fn stay(
    route: &Route,
    profile: Arc<MemoryProfile>,
    knocking: &Semaphore,
    connected: &AtomicU64,
    mut over: watch::Receiver<bool>,
) -> Result<()> {
    let permit = knocking.acquire().await?;
    let (client, mut events) = Client::start(route.options(profile))?;
    let mut permit = Some(permit);
    loop {
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => break,
            event = events.next() => match event {
                Some(Event::Connected { .. }) => {
                    if permit.take().is_some() {
                        connected.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Some(Event::SessionEnded { error }) => return Err(error.into()),
                None => anyhow::bail!("a client stopped"),
                Some(_) => {}
            }
        }
    }
    events.save().await;
    drop((client, events));
    Ok(())
}
