//! Redis, MariaDB and ZooKeeper that end and come back under people who chat.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use client::{Client, ConversationId, EntryId, Error, SendError, Target};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    device::{Device, LOOK_AGAIN, Online},
    http,
    people::{connected, direct, group, sender, until, until_texts},
    proxy::Proxy,
    system::{Setup, System},
};

/// A message is not kept waiting longer, whatever has ended that is not the truth itself.
const LATENCY_MAX: Duration = Duration::from_secs(5);

/// How many texts were said in each conversation.
type Said = HashMap<ConversationId, usize>;

async fn say(online: &Online, conversation: ConversationId, said: &mut Said) {
    let said = said.entry(conversation).or_default();
    let begun = Instant::now();
    online.send(conversation, &format!("{said}")).await;
    assert!(begun.elapsed() < LATENCY_MAX, "acknowledged after {:?}", begun.elapsed());
    *said += 1;
}

/// Two users, each on a gateway, with a conversation of their own and a group.
struct Two {
    ann: Device,
    bob: Device,
    here: Online,
    there: Online,
    alone: ConversationId,
    all: ConversationId,
    said: Said,
}

impl Two {
    async fn start(system: &System) -> Self {
        let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
        let (ann, bob) = (Device::register(&one, "ann").await, Device::register(&two, "bob").await);
        let (here, there) = (connected(&ann, &one).await, connected(&bob, &two).await);
        let (alone, all) = (direct(&here, &bob).await, group(&[&here, &there], "outage").await);
        Self { ann, bob, here, there, alone, all, said: Said::new() }
    }

    /// Each says something in both conversations, and is answered in time.
    async fn say(&mut self) {
        for conversation in [self.alone, self.all] {
            say(&self.here, conversation, &mut self.said).await;
            say(&self.there, conversation, &mut self.said).await;
        }
    }

    /// Only the first of them says something.
    async fn say_alone(&mut self, conversation: ConversationId) {
        say(&self.here, conversation, &mut self.said).await;
    }

    /// Waits until both have all that was said; how long that took.
    async fn hear(&self) -> Duration {
        let begun = Instant::now();
        for device in [&self.ann, &self.bob] {
            self.until_heard(device).await;
        }
        assert_eq!(self.ann.logs()[&self.alone], self.bob.logs()[&self.alone]);
        begun.elapsed()
    }

    async fn until_heard(&self, device: &Device) {
        for (conversation, said) in &self.said {
            until_texts(device, *conversation, *said).await;
        }
    }

    /// What is said comes by itself, at once.
    async fn hear_at_once(&mut self) {
        self.say().await;
        let took = self.hear().await;
        assert!(took < LATENCY_MAX, "heard after {took:?}");
    }

    async fn name_of_ann(&self) -> String {
        self.there.client.find_users(&["ann".into()]).await.unwrap().remove(0).display_name
    }

    async fn end(self) {
        self.here.go_offline().await;
        self.there.go_offline().await;
    }
}

/// The queue is killed: what people write is acknowledged as before. It comes back, empty: all that was written meanwhile comes to
/// devices that only listen, and what is written from then on comes at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_killed_costs_immediacy_and_pushes_come_back_by_themselves() {
    let mut system = System::start(Setup::small()).await;
    let mut two = Two::start(&system).await;
    two.hear_at_once().await;
    for _ in 0..2 {
        system.queue.process.kill();
        for _ in 0..5 {
            two.say().await;
        }
        system.queue.restart().await.unwrap();
        let took = two.hear().await;
        assert!(took < 3 * LATENCY_MAX, "heard after {took:?}");
        two.hear_at_once().await;
    }
    two.end().await;
}

/// Only the services lose their way to the queue; gateways and routes are as before. What is written meanwhile comes to devices that
/// only listen as soon as the services are back, though nobody writes anything more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_services_could_not_push_is_seen_when_they_reach_the_queue_again() {
    let mut system = System::start(Setup::none()).await;
    let way = Proxy::before(system.queue.address(), usize::MAX).await;
    let by_way = [("MPIM_REDIS_QUEUE_PORT", way.address.port().to_string())];
    system.add_with("services-1", &["user", "message", "presence", "group"], &by_way);
    for gateway in ["gateway-1", "gateway-2"] {
        system.add(gateway, &["gateway"]);
    }
    for process in ["services-1", "gateway-1", "gateway-2"] {
        system.instance(process).ready().await;
    }
    let mut two = Two::start(&system).await;
    two.hear_at_once().await;
    for conversation in [two.alone, two.all] {
        way.cut();
        for _ in 0..3 {
            two.say_alone(conversation).await;
        }
        until_given_up(&system).await;
        way.mend();
        let took = two.hear().await;
        assert!(took < LATENCY_MAX, "heard after {took:?}");
        two.hear_at_once().await;
    }
    two.end().await;
}

/// The same for all, when the queue itself was away, and comes back empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_while_the_queue_was_away_comes_to_devices_that_only_listen() {
    let mut system = System::start(Setup::small()).await;
    let mut two = Two::start(&system).await;
    two.hear_at_once().await;
    for conversation in [two.alone, two.all] {
        system.queue.process.kill();
        two.say_alone(conversation).await;
        until_given_up(&system).await;
        system.queue.restart().await.unwrap();
        let took = two.hear().await;
        assert!(took < LATENCY_MAX, "heard after {took:?}");
    }
    two.end().await;
}

/// Waits until the services try none of their pushes any more.
async fn until_given_up(system: &System) {
    const TRIED_FOR: Duration = Duration::from_secs(3);
    let given_up = async || {
        let mut all = 0;
        for monitor in system.monitors("services") {
            let text = http::get(monitor, "/metrics").await;
            let line = text.lines().find(|line| line.starts_with("mpim_message_pushes_given_up_total "));
            all += line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("they are counted");
        }
        all
    };
    let (mut known, mut since) = (given_up().await, Instant::now());
    until("no push is tried any more", async || {
        let now = given_up().await;
        if now != known {
            (known, since) = (now, Instant::now());
        }
        known > 0 && since.elapsed() > TRIED_FOR
    })
    .await;
}

/// The queue stands still, with all connections open, as a server without memory does: chat goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_that_stands_still_holds_up_nobody() {
    let system = System::start(Setup::small().with("MPIM_REDIS_QUEUE_TIMEOUT", 1_000)).await;
    let mut two = Two::start(&system).await;
    two.hear_at_once().await;
    system.queue.process.pause();
    for _ in 0..3 {
        two.say().await;
    }
    system.queue.process.resume();
    two.hear().await;
    two.hear_at_once().await;
    two.end().await;
}

/// The cache is killed: everything goes on, at the price of time. It comes back empty, and nobody sees what was so before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_killed_costs_latency_and_nothing_else() {
    let mut system = System::start(Setup::small()).await;
    let mut two = Two::start(&system).await;
    two.hear_at_once().await;
    for round in 0..2 {
        system.cache.process.kill();
        two.hear_at_once().await;
        // Friends, groups and profiles, which are looked up there.
        let title = format!("without a cache {round}");
        let made = group(&[&two.here, &two.there], &title).await;
        let title_seen =
            two.there.client.group(client::GroupId::new(made.get())).await.unwrap().conversation.unwrap().title;
        assert_eq!(title_seen, title);
        let profile = client::wire::UpdateProfile { display_name: Some(format!("Ann {round}")), ..Default::default() };
        two.here.client.update_profile(profile).await.unwrap();
        let wanted = format!("Ann {round}");
        until("the other sees the new name", async || two.name_of_ann().await == wanted).await;
        system.cache.restart().await.unwrap();
        two.hear_at_once().await;
        assert_eq!(two.name_of_ann().await, wanted, "and still does");
    }
    two.end().await;
}

/// Both Redis are killed together, and come back: nothing of what was acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cache_and_queue_killed_together_lose_nothing() {
    let mut system = System::start(Setup::small()).await;
    let mut two = Two::start(&system).await;
    two.hear_at_once().await;
    system.cache.process.kill();
    system.queue.process.kill();
    two.say().await;
    // Somebody who comes now gets in, and has it all.
    let third = Device::log_in(&system.server("gateway-1"), "ann").await;
    let newcomer = connected(&third, &system.server("gateway-2")).await;
    two.until_heard(&third).await;
    two.say().await;
    system.cache.restart().await.unwrap();
    system.queue.restart().await.unwrap();
    two.hear().await;
    two.until_heard(&third).await;
    two.hear_at_once().await;
    newcomer.go_offline().await;
    two.end().await;
}

/// What became of the messages that were sent.
#[derive(Default)]
struct Sent {
    acknowledged: HashMap<EntryId, u64>,
    unknown: HashMap<EntryId, String>,
    not_stored: Vec<EntryId>,
}

async fn send_on(
    client: Client,
    to: ConversationId,
    sent: Arc<Mutex<Sent>>,
    settled: Arc<AtomicUsize>,
    stop: CancellationToken,
) {
    for number in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let (id, text) = (EntryId::generate(), format!("{} {number}", client.name()));
        match client.send(Target::Conversation(to), client::text(text.clone()), id).await {
            Ok(stored) => drop(sent.lock().acknowledged.insert(id, stored.position)),
            Err(SendError::OutcomeUnknown { .. }) => drop(sent.lock().unknown.insert(id, text)),
            Err(SendError::NotStored { error: Error::TimedOut { .. } }) => sent.lock().not_stored.push(id),
            Err(error) => panic!("a valid message was refused: {error:?}"),
        }
        settled.fetch_add(1, Ordering::Relaxed);
    }
}

/// People who write all the time, some of whom give a message up soon.
struct Writers {
    sent: Arc<Mutex<Sent>>,
    settled: Arc<AtomicUsize>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Writers {
    const GIVEN_UP_AFTER: Duration = Duration::from_millis(150);

    fn start(system: &System, two: &Two) -> Self {
        let (sent, settled, stop) =
            (Arc::new(Mutex::new(Sent::default())), Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let mut tasks = JoinSet::new();
        for (device, gateway) in [(&two.ann, "gateway-1"), (&two.bob, "gateway-2"), (&two.ann, "gateway-2")] {
            for after in [None, Some(Self::GIVEN_UP_AFTER)] {
                let client = sender(device, &system.server(gateway), after);
                tasks.spawn(send_on(client, two.alone, Arc::clone(&sent), Arc::clone(&settled), stop.clone()));
            }
        }
        Self { sent, settled, stop, tasks }
    }

    /// Until so many more messages are settled.
    async fn go_on(&self, count: usize) {
        let before = self.settled.load(Ordering::Relaxed);
        until("people write", async || self.settled.load(Ordering::Relaxed) > before + count).await;
    }

    /// They stop. What was acknowledged is at its place, what was certainly not stored nowhere, and what was unknown is there once
    /// when it is sent again with the same id. At least so many messages were not acknowledged.
    async fn judge(mut self, two: &Two, failed_min: usize) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        let sent = Arc::into_inner(self.sent).unwrap().into_inner();
        println!(
            "{} acknowledged, {} unknown, {} not stored",
            sent.acknowledged.len(),
            sent.unknown.len(),
            sent.not_stored.len()
        );
        assert!(sent.unknown.len() + sent.not_stored.len() >= failed_min, "the database was away");
        let mut acknowledged = sent.acknowledged;
        for (id, text) in sent.unknown {
            let author = if text.starts_with("ann ") { &two.here } else { &two.there };
            let target = || Target::Conversation(two.alone);
            let stored = author.client.send(target(), client::text(text.clone()), id).await.unwrap();
            let again = author.client.send(target(), client::text(text), id).await.unwrap();
            assert_eq!(stored.position, again.position);
            acknowledged.insert(id, stored.position);
        }
        for device in [&two.ann, &two.bob] {
            until_texts(device, two.alone, acknowledged.len()).await;
            let seen = device.logs()[&two.alone].clone();
            assert!(
                acknowledged.iter().all(|(id, position)| seen[*position as usize - 1].id == *id),
                "each at its place"
            );
            assert!(!seen.iter().any(|seen| sent.not_stored.contains(&seen.id)), "certainly not stored");
        }
    }
}

/// The database is killed under people who write, and comes back, three times. Each send was acknowledged, or certainly not stored, or
/// unknown, and that is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_while_the_database_restarts_are_refused_or_unknown_honestly_and_retries_store_once() {
    const KILLS: usize = 3;
    let mut system = System::start(Setup::small().with_own_stores()).await;
    let two = Two::start(&system).await;
    let writers = Writers::start(&system, &two);
    for _ in 0..KILLS {
        writers.go_on(100).await;
        system.own_stores().mariadb.process.kill();
        // Those who give up do so while it is away.
        writers.go_on(6).await;
        system.own_stores().mariadb.restart().await.unwrap();
    }
    writers.go_on(100).await;
    writers.judge(&two, KILLS).await;
    two.end().await;
}

/// The database stands still, with all connections open, for longer than an answer may take: people are told so in time, and chat on
/// once it answers, in processes that nobody restarts. What they were told is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_chat_on_after_the_database_was_silent_for_longer_than_its_timeout() {
    // The least that is allowed.
    const TIMEOUT: Duration = Duration::from_millis(2_000);
    /// Each of a read's may take that long.
    const STEPS_MAX: u32 = 3;
    const SILENCES: usize = 2;
    let setup = Setup::small().with_own_stores().with("MPIM_MYSQL_TIMEOUT", TIMEOUT.as_millis());
    let mut system = System::start(setup).await;
    let two = Two::start(&system).await;
    let writers = Writers::start(&system, &two);
    for _ in 0..SILENCES {
        writers.go_on(100).await;
        system.own_stores().mariadb.process.pause();
        let begun = Instant::now();
        // Who asks something is told.
        let asked = two.here.client.pins(two.alone).await;
        let bound = STEPS_MAX * TIMEOUT + LATENCY_MAX;
        assert!(asked.is_err() && begun.elapsed() < bound, "{asked:?} after {:?}", begun.elapsed());
        while begun.elapsed() < (STEPS_MAX + 1) * TIMEOUT {
            writers.go_on(6).await;
        }
        system.own_stores().mariadb.process.resume();
    }
    writers.go_on(100).await;
    writers.judge(&two, SILENCES).await;
    // The conversation of both holds what the writers wrote; the group's is empty.
    for number in 1..=3 {
        let begun = Instant::now();
        two.here.send(two.all, &format!("{number}")).await;
        until_texts(&two.bob, two.all, number).await;
        assert!(begun.elapsed() < LATENCY_MAX, "heard after {:?}", begun.elapsed());
    }
    two.end().await;
}

/// ZooKeeper is killed, stays away for longer than its sessions last, and comes back, once with what it knew and once empty: people chat
/// all the time. Then everybody is announced again: who starts now finds them, and a service that went meanwhile is called no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zookeeper_restarted_under_everyone() {
    const SESSION: Duration = Duration::from_millis(1_000);
    let setup = Setup::small().with_own_stores().with("MPIM_ZOOKEEPER_SESSION_TIMEOUT", SESSION.as_millis());
    let mut system = System::start(setup).await;
    let mut two = Two::start(&system).await;
    for empty in [false, true] {
        system.own_stores().zookeeper.process.kill();
        let killed = Instant::now();
        while killed.elapsed() < 2 * SESSION {
            two.hear_at_once().await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        system.kill("services-2");
        two.hear_at_once().await;
        if empty {
            let data = system.own_stores().zookeeper.process.log().parent().unwrap().join("data");
            fs::remove_dir_all(&data).unwrap();
            fs::create_dir_all(&data).unwrap();
        }
        system.own_stores().zookeeper.restart().await.unwrap();
        two.hear_at_once().await;
        system.kill_and_restart("services-2").await;
        two.hear_at_once().await;
        let name = format!("gateway-after-{empty}");
        system.add(&name, &["gateway"]).ready().await;
        let newcomer = connected(&Device::log_in(&system.server(&name), "bob").await, &system.server(&name)).await;
        two.until_heard(&newcomer.device).await;
        newcomer.go_offline().await;
        // The service that came back is announced: alone, it does all of it.
        let registry = system.registry().await;
        let mut known = registry::Registry::watch(&registry, "message").await.unwrap();
        let both = known.wait_for(|known| known.len() == 2);
        tokio::time::timeout(crate::device::PATIENCE, both).await.expect("both are announced").unwrap();
        registry.close().await;
        system.kill("services-1");
        two.hear_at_once().await;
        system.kill_and_restart("services-1").await;
    }
    two.end().await;
}
