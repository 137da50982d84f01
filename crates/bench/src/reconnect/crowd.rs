//! Those who lose their connections, on a runtime of their own that is ended under them.
//!
//! A client that is dropped says goodbye, and the server answers: that is not how connections break. When a runtime ends,
//! its sockets are closed as they are when a process dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use client::{Client, Event, MemoryProfile};
use protocol::UserId;
use tokio::{
    runtime::{self, Runtime},
    sync::{Semaphore, mpsc},
    task, time,
};

use crate::{accounts::Route, drive::Bench, load::Texts};

/// Clients that knock at a time; more would find the listener's backlog full and wait for the kernel's second try, which
/// says nothing about the server.
const KNOCKING_MAX: usize = 512;
/// How often it is looked who is back.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// A runtime takes less than this to end.
const BREAK_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct Crowd {
    route: Route,
    users: Vec<UserId>,
    profiles: Vec<Arc<MemoryProfile>>,
    counts: Arc<Counts>,
    failures: mpsc::Receiver<anyhow::Error>,
    // Always there, but while the clients are being broken.
    runtime: Option<Runtime>,
}

/// What the clients have seen since they were started.
#[derive(Debug, Default)]
struct Counts {
    /// Clients that were connected.
    connected: AtomicU64,
    /// Connections that broke.
    broken: AtomicU64,
    /// Messages of the load.
    heard: AtomicU64,
}

impl Crowd {
    /// Makes so many accounts and connects them.
    ///
    /// # Errors
    ///
    /// One cannot be made or connected.
    pub(crate) async fn gather(bench: &Bench, route: &Route, count: usize) -> Result<Self> {
        let accounts = route.register(count, &bench.progress).await?;
        let (users, profiles): (Vec<_>, Vec<_>) =
            accounts.into_iter().map(|account| (account.user, account.profile)).unzip();
        let (counts, failures, runtime) = start(route, &profiles)?;
        let mut crowd = Self { route: route.clone(), users, profiles, counts, failures, runtime: Some(runtime) };
        let bar = bench.progress.bar("connections", count as u64);
        let connected = time::timeout(bench.args.patience, crowd.wait(|connected| bar.at(connected))).await;
        let failure = match connected {
            Ok(Ok(())) => return Ok(crowd),
            Ok(Err(failure)) => failure,
            Err(_) => anyhow!("only {} of {count} clients were connected in time", crowd.back()),
        };
        crowd.end().await?;
        Err(failure)
    }

    /// How many are connected.
    pub(crate) fn back(&self) -> u64 {
        self.counts.connected.load(Ordering::Relaxed)
    }

    /// Who they are.
    pub(crate) fn users(&self) -> &[UserId] {
        &self.users
    }

    /// Connections that broke by themselves.
    pub(crate) fn broken(&self) -> u64 {
        self.counts.broken.load(Ordering::Relaxed)
    }

    /// Messages of the load that they have received, all together.
    pub(crate) fn heard(&self) -> u64 {
        self.counts.heard.load(Ordering::Relaxed)
    }

    /// Breaks all connections, and has everyone connect again at once; tells how long the breaking took.
    ///
    /// # Errors
    ///
    /// There can be no other runtime.
    pub(crate) async fn break_and_connect(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        end(self.runtime.take()).await?;
        let took = begun.elapsed();
        let (counts, failures, runtime) = start(&self.route, &self.profiles)?;
        (self.counts, self.failures, self.runtime) = (counts, failures, Some(runtime));
        Ok(took)
    }

    /// Waits until everyone is connected.
    ///
    /// # Errors
    ///
    /// One never will be.
    pub(crate) async fn wait(&mut self, seen: impl Fn(u64)) -> Result<()> {
        self.wait_for(Self::back, seen).await
    }

    /// Waits until a count of theirs is as large as the number of clients.
    ///
    /// # Errors
    ///
    /// A client has ended.
    pub(crate) async fn wait_for(&mut self, count: impl Fn(&Self) -> u64, seen: impl Fn(u64)) -> Result<()> {
        let mut every = time::interval(LOOK_EVERY);
        while count(self) < self.profiles.len() as u64 {
            every.tick().await;
            seen(count(self));
            if let Ok(failure) = self.failures.try_recv() {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Ends them all.
    pub(crate) async fn end(mut self) -> Result<()> {
        end(self.runtime.take()).await
    }
}

impl Drop for Crowd {
    /// When the run is interrupted: a runtime may not be dropped on another one's threads.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn end(runtime: Option<Runtime>) -> Result<()> {
    let Some(runtime) = runtime else { return Ok(()) };
    task::spawn_blocking(move || runtime.shutdown_timeout(BREAK_WITHIN)).await.context("a runtime did not end")
}

type Started = (Arc<Counts>, mpsc::Receiver<anyhow::Error>, Runtime);

/// Starts everyone's client, of whom some knock at a time.
fn start(route: &Route, profiles: &[Arc<MemoryProfile>]) -> Result<Started> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("bench-crowd")
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let (counts, knocking) = (Arc::new(Counts::default()), Arc::new(Semaphore::new(KNOCKING_MAX)));
    let (failed, failures) = mpsc::channel(1);
    for profile in profiles {
        let (route, profile) = (route.clone(), profile.clone());
        let (knocking, counts, failed) = (knocking.clone(), counts.clone(), failed.clone());
        // The runtime owns it, and is ended by `end`.
        runtime.spawn(async move {
            if let Err(error) = stay(&route, profile, &knocking, &counts).await {
                // One failure is enough.
                let _ = failed.try_send(error);
            }
        });
    }
    Ok((counts, failures, runtime))
}

/// Connects, and stays for as long as the runtime lasts.
async fn stay(route: &Route, profile: Arc<MemoryProfile>, knocking: &Semaphore, counts: &Counts) -> Result<()> {
    let mut permit = Some(knocking.acquire().await?);
    let (_client, mut events) = Client::start(route.options(profile))?;
    let mut is_up = false;
    while let Some(event) = events.next().await {
        match event {
            Event::Connected { .. } => {
                is_up = true;
                // The first time: `permit` is let go, so that the next one may knock.
                if permit.take().is_some() {
                    counts.connected.fetch_add(1, Ordering::Relaxed);
                }
            }
            // Told again for each try that fails.
            Event::Disconnected { .. } if std::mem::take(&mut is_up) => {
                counts.broken.fetch_add(1, Ordering::Relaxed);
            }
            Event::Entry { entry, .. } => {
                let text = entry.content.as_ref().and_then(protocol::RawContent::text);
                if text.as_deref().and_then(Texts::stamp).is_some() {
                    counts.heard.fetch_add(1, Ordering::Relaxed);
                }
            }
            Event::SessionEnded { error } => return Err(error.into()),
            _ => {}
        }
    }
    bail!("a client stopped")
}
