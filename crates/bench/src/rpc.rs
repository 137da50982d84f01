//! `rpc`: calls between two processes, as a gateway makes them to the message service, which does nothing here but answer.
//!
//! The caller is this process, the server a child of it; both prove that they know a secret. The CPU time is that of both.

mod process;
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use api::{Call, Caller, MessageClient, MessageService as _, Scopes, SendRequest};
use hdrhistogram::Histogram;
use prometheus_client::registry::Registry;
use protocol::{EntryId, RawContent, SessionId, UserId, wire};
use rpc::{Channel, ChannelConfig, Endpoint, Metrics, Secret, Security};
use tokio::{sync::watch, task::JoinSet};

use self::process::Server;
pub(crate) use self::server::{cpu_time, serve};
use crate::{
    args::{CommonArgs, RpcArgs},
    drive::Times,
    measure::Span,
    progress::Progress,
    report::{Report, decimal},
};

/// How long a call may take before it counts as an error.
const DEADLINE: Duration = Duration::from_secs(5);
/// Latencies up to this are told apart; no call takes longer.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// Calls are to different conversations.
const CONVERSATIONS: u64 = 1_000;

/// Runs the scenario.
///
/// # Errors
///
/// The server's process cannot be started, or no call succeeds.
pub(crate) async fn run(args: &RpcArgs, common: &CommonArgs) -> Result<Report> {
    let secret: String = (0..32).map(|_| format!("{:02x}", fastrand::u8(..))).collect();
    let mut server = Server::start(&secret).await?;
    let config = ChannelConfig { connections_per_instance: args.connections as usize, ..ChannelConfig::default() };
    let endpoint = Endpoint { address: server.address().to_owned(), zone: String::new(), weight: 1 };
    let (_endpoints, endpoints) = watch::channel(vec![endpoint]);
    let metrics = Metrics::new(&mut Registry::default());
    let channel = Channel::new("message", endpoints, Security::Secret(Secret::new(secret)?), config, &metrics);
    let client = MessageClient::new(channel.clone());
    let request = request(common.body_bytes as usize);
    client.send(&call(), request(0)).await.context("the first call failed")?;

    let times = Times::new(common);
    let mut callers = JoinSet::new();
    for caller in 0..args.in_flight {
        callers.spawn(make_calls(client.clone(), request.clone(), u64::from(caller), times));
    }
    let bar = Progress::new(common).time("calls", common.warm_up + common.seconds);
    tokio::time::sleep_until(times.from.into()).await;
    let (client_before, server_before) = (cpu_time()?, server.cpu_time().await?);
    tokio::time::sleep_until(times.until.into()).await;
    let (client_cpu, server_cpu) = (cpu_time()? - client_before, server.cpu_time().await? - server_before);
    drop(bar);
    let mut all = Tally::new();
    while let Some(tally) = callers.join_next().await {
        all.add(&tally.context("a caller failed")?);
    }
    channel.close().await;
    server.stop().await?;
    if all.latencies.is_empty() {
        bail!("no call succeeded, {} failed", all.errors);
    }

    let seconds = common.seconds.as_secs_f64();
    let calls = all.latencies.len();
    let of_each = |cpu: Duration| decimal(cpu.as_secs_f64() * 1e6 / calls as f64, 3);
    let span = Span { seconds, messages: calls, cpu_seconds: Some(server_cpu.as_secs_f64()), system: None };
    Ok(Report::new("rpc", span, all.errors)
        .with_latencies(all.latencies)
        .with("calls_per_s", decimal(calls as f64 / seconds, 0))
        .with("cpu_us_per_call", of_each(client_cpu + server_cpu))
        .with("client_cpu_us_per_call", of_each(client_cpu))
        .with("connections", args.connections)
        .with("in_flight", args.in_flight))
}

/// Makes a call after the other until the time is over.
async fn make_calls(
    client: MessageClient,
    request: Arc<dyn Fn(u64) -> SendRequest + Send + Sync>,
    first: u64,
    times: Times,
) -> Tally {
    let mut tally = Tally::new();
    let mut number = first;
    let mut begun = Instant::now();
    while begun < times.until {
        let answer = client.send(&call(), request(number)).await;
        let ended = Instant::now();
        if begun >= times.from {
            if answer.is_ok_and(|answer| answer.results.len() == 1) {
                tally.latencies.saturating_record((ended - begun).as_nanos() as u64);
            } else {
                tally.errors += 1;
            }
        }
        number += 1;
        begun = ended;
    }
    tally
}

/// What one caller has seen.
struct Tally {
    /// In nanoseconds.
    latencies: Histogram<u64>,
    errors: u64,
}

impl Tally {
    fn new() -> Self {
        let latencies = Histogram::new_with_bounds(1_000, LATENCY_MAX.as_nanos() as u64, 3);
        Self { latencies: latencies.expect("the bounds are valid constants"), errors: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("all have the same bounds");
        self.errors += other.errors;
    }
}

fn call() -> Call {
    let caller = Caller { user: UserId::new(1), session: SessionId::new(2), scopes: Scopes::ALL };
    Call { caller: Some(caller), origin: None, address: None, deadline: tokio::time::Instant::now() + DEADLINE }
}

/// Makes the request to send a message of so many bytes to one of the conversations.
fn request(body_bytes: usize) -> Arc<dyn Fn(u64) -> SendRequest + Send + Sync> {
    let text = wire::Text { body: "x".repeat(body_bytes) };
    let content = RawContent::from(wire::content::Kind::Text(text));
    let id = EntryId::generate().to_string();
    Arc::new(move |number| {
        let target = Some(wire::send::Target::Conversation(number % CONVERSATIONS + 1));
        let send = wire::Send { target, id: id.clone(), content: Some(content.clone()), forward_of: None };
        SendRequest { sends: vec![send] }
    })
}
