//! Gateways that die, and leases that run out.

use std::time::{Duration, Instant};

use client::{ConversationId, EntryId, Target};
use servers::answers;

use crate::{
    device::{Device, Online},
    people::{connected, direct, group, sender, texts, until, until_texts},
    system::{Setup, System},
};

/// What users call at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A gateway is killed while it holds users: they get in through the other one at once, as who they are, and chat. The first MPIM
/// took them for logged in for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_killed_and_its_users_locked_out() {
    const USERS: usize = 10;
    let mut system = System::start(Setup::small()).await;
    let (one, two) = (system.server("gateway-1"), system.server("gateway-2"));
    let mut devices = Vec::new();
    for number in 0..USERS {
        devices.push(Device::register(&one, &format!("locked{number}")).await);
    }
    let mut online: Vec<Online> = Vec::new();
    for device in &devices {
        online.push(connected(device, &one).await);
    }
    let all = group(&online.iter().collect::<Vec<_>>(), "locked").await;
    for device in &devices {
        device.until("the group", |logs| logs.contains_key(&all)).await;
    }
    system.kill("gateway-1");
    let killed = Instant::now();
    let mut again = Vec::new();
    for device in &devices {
        again.push(connected(device, &two).await);
        // And a log-in with the password, as one would who has lost everything.
        let session = client::log_in(&two, again.last().unwrap().client.name(), "password", "another").await.unwrap();
        again.push(connected(&Device::new(session), &two).await);
    }
    let took = killed.elapsed();
    assert!(took < AT_ONCE, "{took:?} until all were in again");
    for (number, online) in again.iter().enumerate() {
        online.send(all, &format!("{number}")).await;
    }
    for online in &again {
        until_texts(&online.device, all, again.len()).await;
    }
}

/// The routes of a gateway that was killed point nowhere: nobody who writes to its users waits for that, and their other devices hear
/// it at once. A gateway that starts again where it was takes users again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_left_by_a_dead_gateway_harms_nobody() {
    const MESSAGES: usize = 30;
    let mut system = System::start(Setup::small()).await;
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (ann, bob) = (Device::register(&two, "routeann").await, Device::register(&one, "routebob").await);
    let other = Device::log_in(&two, "routebob").await;
    let (writer, here, there) =
        (connected(&ann, &two).await, connected(&bob, &one).await, connected(&other, &two).await);
    let (alone, all) = (direct(&writer, &bob).await, group(&[&writer, &here], "routes").await);
    writer.send(alone, "0").await;
    until_texts(&bob, alone, 1).await;
    system.kill("gateway-1");
    let mut slowest = Duration::ZERO;
    for number in 1..=MESSAGES {
        let begun = Instant::now();
        writer.send(alone, &format!("{number}")).await;
        writer.send(all, &format!("{number}")).await;
        until("the other device has it", async || {
            let logs = other.logs();
            texts(&logs, alone) == number + 1 && texts(&logs, all) == number
        })
        .await;
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < AT_ONCE, "{slowest:?} for a message");
    system.kill_and_restart("gateway-1").await;
    until_texts(&bob, alone, MESSAGES + 1).await;
    until_texts(&bob, all, MESSAGES).await;
    writer.send(alone, "again").await;
    until_texts(&bob, alone, MESSAGES + 2).await;
    there.go_offline().await;
    here.go_offline().await;
}

/// A user stays connected while all that is lent for a time runs out: the gateway's lease in the queue, sessions with ZooKeeper, access
/// tokens. What is written comes as at first. The first MPIM forgot such a user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_connected_longer_than_any_lease() {
    /// Longer than the shortest time for which a token can be made.
    const CONNECTED: Duration = Duration::from_secs(12);
    const END_LEASES: &str = "EVAL \"local n = 0 for _, key in ipairs(redis.call('keys', 'mpim:lease:*')) do \
                              n = n + redis.call('pexpire', key, 1) end return 'ended ' .. n\" 0\r\n";
    let setup = Setup::small().with("MPIM_USER_ACCESS_TOKEN_TTL", 10).with("MPIM_ZOOKEEPER_SESSION_TIMEOUT", 1_000);
    let system = System::start(setup).await;
    let (one, two) = (system.server("gateway-1"), system.tcp_server("gateway-2"));
    let (ann, bob) = (Device::register(&one, "leaseann").await, Device::register(&two, "leasebob").await);
    let (writer, receiver) = (connected(&ann, &one).await, connected(&bob, &two).await);
    let alone = direct(&writer, &bob).await;
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < CONNECTED {
        assert!(answers(system.queue.address(), END_LEASES, "ended 2").await, "both gateways had a lease");
        let mut heard_again = Duration::ZERO;
        // What is written without a lease is perhaps not pushed, but noticed as soon as there is one.
        for number in 0..3 {
            writer.send(alone, &format!("{sent}")).await;
            sent += 1;
            let took = until("it has come", async || texts(&bob.logs(), alone) == sent).await;
            heard_again = if number == 2 { took } else { heard_again.max(took) };
        }
        assert!(heard_again < AT_ONCE, "{heard_again:?}");
        let has_both = "EVAL \"return 'leases ' .. #redis.call('keys', 'mpim:lease:*')\" 0\r\n";
        until("the leases are taken again", async || answers(system.queue.address(), has_both, "leases 2").await).await;
    }
    assert!(sent > 10, "{sent}");
    assert!(matches!(receiver.client.state(), client::State::Connected));
    receiver.send(alone, "still here").await;
    until_texts(&ann, alone, sent + 1).await;
    receiver.go_offline().await;
    writer.go_offline().await;
}

/// Gateways are killed and started again in turn under people who write all the time: whatever was acknowledged is at every device
/// once, in one order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_gateways_killed_in_turn() {
    const KILLS: usize = 4;
    let mut system = System::start(Setup::small()).await;
    let gateways = [system.server("gateway-1"), system.server("gateway-2")];
    let (ann, bob) = (Device::register(&gateways[0], "turnann").await, Device::register(&gateways[1], "turnbob").await);
    let (here, there) = (connected(&ann, &gateways[0]).await, connected(&bob, &gateways[1]).await);
    let alone: ConversationId = direct(&here, &bob).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let mut writers = tokio::task::JoinSet::new();
    for (number, device) in [(0, &ann), (1, &bob)] {
        let (client, stop) = (sender(device, &gateways[number], None), stop.clone());
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            while !stop.is_cancelled() {
                let (id, text) = (EntryId::generate(), client::text(format!("{number}")));
                let sent = client.send(Target::Conversation(alone), text, id).await.unwrap();
                acknowledged.push((id, sent.position));
            }
            acknowledged
        });
    }
    for kill in 0..KILLS {
        let before = texts(&ann.logs(), alone).max(texts(&bob.logs(), alone));
        let count = async || texts(&ann.logs(), alone).max(texts(&bob.logs(), alone));
        until("people write", async || count().await > before + 20).await;
        system.kill_and_restart(["gateway-1", "gateway-2"][kill % 2]).await;
    }
    stop.cancel();
    let acknowledged: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    assert!(acknowledged.len() > 20 * KILLS);
    for device in [&ann, &bob] {
        until_texts(device, alone, acknowledged.len()).await;
        let seen = device.logs()[&alone].clone();
        assert!(acknowledged.iter().all(|(id, position)| seen[*position as usize - 1].id == *id), "each at its place");
    }
    here.go_offline().await;
    there.go_offline().await;
}
