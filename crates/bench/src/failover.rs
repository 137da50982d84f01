//! `failover`: a gateway of a cluster is killed. Its clients come back through the others and catch up, while pairs chat.
//!
//! All clients are members of one group, to which a message is sent right after the kill: who has received it is back and has
//! caught up, and who had it another way has none of the two.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use client::{EntryId, Target};
use protocol::ConversationId;
use tokio::time;

use crate::{
    accounts::Route,
    args::ReconnectArgs,
    drive::{Bench, Course, Sender, Times},
    group,
    load::{Clock, Texts},
    measure::{Recorder, Span},
    online::Receivers,
    reconnect::{
        chat::{self, Chat},
        crowd::Crowd,
    },
    report::{Report, decimal},
};

/// Messages a second in the chat unless the arguments say otherwise.
const RATE: f64 = 100.0;
/// Of whom one is killed.
const ROLE: &str = "gateway";

/// Runs the scenario. Its messages are those of the chat from the kill until everyone is back.
///
/// # Errors
///
/// The server is no cluster with two gateways; what it needs cannot be set up; not all clients come back in time.
pub(crate) async fn run(bench: &mut Bench, args: &ReconnectArgs) -> Result<Report> {
    let gateways = bench.server.cluster()?.instances(ROLE);
    let [victim, _, ..] = gateways.as_slice() else {
        anyhow::bail!("two gateways are needed: see mpim cluster up --gateways")
    };
    let route = bench.route()?;
    let recorder = Arc::new(Recorder::new(Clock::start()));
    let rate = bench.args.rate.unwrap_or(RATE);
    let texts = Texts::new(bench.args.body_bytes as usize);
    let plan = chat::Plan { route: route.clone(), pairs: args.pairs as usize, rate, texts: texts.clone() };
    let chat = Chat::gather(plan, recorder.clone(), bench.progress.clone()).await?;
    let mut crowd = Crowd::gather(bench, &route, args.clients as usize).await?;
    let mut receivers = Receivers::new(recorder.clone());
    let herald = Herald { sender: herald(bench, &route, &crowd, &mut receivers).await?, texts };

    // Everyone hears the herald before it matters.
    herald.tell(&recorder).await?;
    let bar = bench.progress.bar("first message", u64::from(args.clients));
    crowd.wait_for(Crowd::heard, |heard| bar.at(heard)).await?;
    drop(bar);
    let (start, patience) = (Instant::now(), bench.args.patience);
    let from = start + bench.args.warm_up;
    chat.talk(Times { start, from, until: from + patience });
    time::sleep_until(from.into()).await;
    let storm = storm(bench, &mut crowd, &herald, victim, &recorder).await;
    chat.fall_silent();
    bench.drain(&recorder).await;
    let broken = crowd.broken();
    receivers.close().await;
    crowd.end().await?;
    chat.close().await?;
    let Storm { course, seconds, errors_logged, restart } = storm?;

    let cpu = course.span.cpu_seconds.map(|cpu| cpu * 1e6 / broken.max(1) as f64);
    let course = Course { span: Span { cpu_seconds: None, system: None, ..course.span }, ..course };
    Ok(bench
        .report("failover", course, &recorder)
        .with("clients", args.clients)
        .with("broken", broken)
        .with("caught_up_seconds", decimal(seconds, 3))
        .with("errors_logged", errors_logged)
        .with("gateway_back_seconds", decimal(restart, 3))
        .with("server_cpu_us_per_reconnect", cpu.map_or(serde_json::Value::Null, |us| decimal(us, 1)))
        .with("pairs", args.pairs)
        .with("rate", rate))
}

/// Who writes to everyone.
struct Herald {
    sender: Sender,
    texts: Texts,
}

impl Herald {
    /// Sends a message, for as long as it takes.
    async fn tell(&self, recorder: &Recorder) -> Result<()> {
        let content = client::text(self.texts.write(recorder.clock().now()));
        let Sender { client, conversation } = &self.sender;
        // The SDK sends it again until it has an answer.
        let submitted = client.submit(Target::Conversation(*conversation), content, EntryId::generate()).await?;
        submitted.await.context("the message to everyone was not stored")?;
        Ok(())
    }
}

/// Connects one more, who makes a group of everyone.
async fn herald(bench: &Bench, route: &Route, crowd: &Crowd, receivers: &mut Receivers) -> Result<Sender> {
    let account = route.register(1, &bench.progress).await?.pop().context("one account")?;
    let client = receivers.add(route.connect(account.profile).await?, None);
    let conversation: ConversationId = group::create(route, &client, "everyone", crowd.users()).await?;
    Ok(Sender { client, conversation })
}

struct Storm {
    course: Course,
    seconds: f64,
    errors_logged: u64,
    restart: f64,
}

/// Kills the gateway, measures how everyone comes back, and starts it again.
async fn storm(
    bench: &mut Bench,
    crowd: &mut Crowd,
    herald: &Herald,
    victim: &str,
    recorder: &Recorder,
) -> Result<Storm> {
    let heard_before = crowd.heard();
    let bar = bench.progress.bar("caught up", crowd.users().len() as u64);
    let errors_before = bench.server.cluster()?.errors_logged()?;
    let before = bench.sample(recorder).await;
    recorder.measure(before.at, u64::MAX);
    let begun = Instant::now();
    let killed = bench.server.cluster()?.kill(victim).await?;
    let heard = |crowd: &Crowd| crowd.heard() - heard_before;
    let caught_up = async { tokio::try_join!(herald.tell(recorder), crowd.wait_for(heard, |heard| bar.at(heard))) };
    let caught_up = time::timeout(bench.args.patience, caught_up).await;
    let seconds = begun.elapsed().as_secs_f64();
    let delivered = recorder.delivered_total();
    let begun = Instant::now();
    bench.server.cluster()?.start_again(killed).await?;
    let restart = begun.elapsed().as_secs_f64();
    // Not before the system is whole again.
    let late = || format!("only {} of {} clients have caught up in time", heard(crowd), crowd.users().len());
    caught_up.with_context(late)??;
    let after = bench.sample(recorder).await;
    // The CPU time includes the gateway's start: with one of its processes away, the system's cannot be told.
    let span = Span::between(&before, &after);
    let span = Span { seconds, messages: delivered - before.delivered, ..span };
    let errors_logged = bench.server.cluster()?.errors_logged()? - errors_before;
    Ok(Storm { course: Course { span, samples: Vec::new() }, seconds, errors_logged, restart })
}
