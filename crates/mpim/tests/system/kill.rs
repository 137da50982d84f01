//! `kill -9` at random moments.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use client::{Client, ConversationId, EntryId, Error, Options, SendError, Target};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    device::{Device, Logs, Online, PATIENCE},
    process::Process,
};

const KILLS: usize = 20;
const USERS: usize = 6;

/// What became of the messages that were sent.
#[derive(Default)]
struct Sent {
    /// Acknowledged at this position.
    acknowledged: HashMap<EntryId, (ConversationId, u64)>,
    /// Given up by the sender while the outcome was unknown.
    unknown: HashMap<EntryId, (ConversationId, String)>,
    /// Given up by the sender and certainly not stored.
    not_stored: HashSet<EntryId>,
}

/// Sends until told to stop.
async fn send_on(client: Client, conversations: Vec<ConversationId>, sent: Arc<Mutex<Sent>>, stop: CancellationToken) {
    for number in 0.. {
        if stop.is_cancelled() {
            return;
        }
        let (id, conversation) = (EntryId::generate(), conversations[number % conversations.len()]);
        let text = format!("{} says {number}", client.name());
        let sending = client.send(Target::Conversation(conversation), client::text(text.clone()), id);
        match sending.await {
            Ok(stored) => drop(sent.lock().acknowledged.insert(id, (conversation, stored.position))),
            Err(SendError::OutcomeUnknown { .. }) => drop(sent.lock().unknown.insert(id, (conversation, text))),
            Err(SendError::NotStored { error: Error::TimedOut { .. } }) => drop(sent.lock().not_stored.insert(id)),
            Err(error) => panic!("a valid message was refused: {error:?}"),
        }
    }
}

/// A clock that is not even: when to kill next.
fn moment(kill: usize) -> Duration {
    Duration::from_millis(150 + (kill as u64 * 7_919) % 400)
}

/// Promises 1 and 2: what was acknowledged is there once, in order, at every device, whenever the server is killed; every
/// other message is there once or not at all, and sending it again with the same id settles it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_messages_survive_twenty_kills() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path()).await;
    let (server, tcp) = (process.server(), process.tcp_server());

    let mut devices = Vec::new();
    for number in 0..USERS {
        let name = format!("user{number}");
        devices.push(Device::register(&server, &name).await);
        devices.push(Device::log_in(&server, &name).await);
    }
    // One device of each user by WebSocket, the other by TCP.
    let online: Vec<Online> = (devices.iter().enumerate())
        .map(|(i, device)| device.go_online(if i % 2 == 0 { &server } else { &tcp }))
        .collect();
    let users: Vec<_> = devices.iter().step_by(2).map(Device::user).collect();
    let group = online[0]
        .client
        .create_group("all", &users, client::wire::JoinPolicy::Open, EntryId::generate())
        .await
        .unwrap();
    let group = ConversationId::new(group.id);

    // Who is in which conversation, by user.
    let mut members: HashMap<ConversationId, HashSet<usize>> = HashMap::from([(group, (0..USERS).collect())]);
    let sent = Arc::new(Mutex::new(Sent::default()));
    let (mut senders, stop) = (JoinSet::new(), CancellationToken::new());
    for (number, sender) in online.iter().enumerate() {
        let mut conversations = vec![group];
        let peer = (number / 2 + 1) % USERS;
        let direct = ConversationId::new(sender.client.open_direct_with(users[peer]).await.unwrap().id);
        members.insert(direct, HashSet::from([number / 2, peer]));
        conversations.push(direct);
        // Two clients without an ear send for the same session: one patient, one that gives up early.
        for send_timeout in [None, Some(Duration::from_millis(60))] {
            let options = Options::new(server.clone(), sender.device.profile.clone());
            let (client, _) = Client::start(Options { catch_up: false, send_timeout, ..options }).unwrap();
            senders.spawn(send_on(client, conversations.clone(), Arc::clone(&sent), stop.clone()));
        }
    }
    for kill in 0..KILLS {
        tokio::time::sleep(moment(kill)).await;
        process.kill_and_restart().await;
    }
    stop.cancel();
    let ended = async { while senders.join_next().await.transpose().unwrap().is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("every send is settled");

    // Every message whose outcome is unknown is settled by a retry, late and over another connection.
    let sent = Arc::into_inner(sent).unwrap().into_inner();
    let mut acknowledged = sent.acknowledged;
    let stored_anyway: HashSet<EntryId> = online[0].device.logs().values().flatten().map(|seen| seen.id).collect();
    for (id, (conversation, text)) in &sent.unknown {
        let author = text.split_once(' ').unwrap().0;
        let author = online.iter().find(|online| online.client.name() == author).unwrap();
        let stored = author.client.send(Target::Conversation(*conversation), client::text(text), *id).await.unwrap();
        acknowledged.insert(*id, (*conversation, stored.position));
    }
    println!(
        "{} acknowledged, {} certainly not stored, {} unknown and settled, {} of them had been stored",
        acknowledged.len(),
        sent.not_stored.len(),
        sent.unknown.len(),
        sent.unknown.keys().filter(|id| stored_anyway.contains(id)).count(),
    );
    assert!(acknowledged.len() > KILLS * USERS, "the load was real");

    let last = last_positions(&acknowledged);
    assert_eq!(last.len(), members.len(), "every conversation was written to");
    for (number, device) in devices.iter().enumerate() {
        let mine: Vec<_> = last.iter().filter(|(id, _)| members[id].contains(&(number / 2))).collect();
        device
            .until("every acknowledged message", |logs| {
                mine.iter().all(|(id, last)| logs.get(id).is_some_and(|log| log.len() as u64 >= **last))
            })
            .await;
    }
    let histories: Vec<Logs> = devices.iter().map(Device::logs).collect();
    let seen = histories.iter().flat_map(|logs| logs.values().flatten());
    assert!(!seen.into_iter().any(|seen| sent.not_stored.contains(&seen.id)), "certainly not stored");
    for (id, (conversation, position)) in &acknowledged {
        for (number, logs) in histories.iter().enumerate() {
            let log = logs.get(conversation).map_or(&[][..], Vec::as_slice);
            let times = log.iter().filter(|seen| seen.id == *id).count();
            let is_member = members[conversation].contains(&(number / 2));
            assert_eq!(times, usize::from(is_member), "once at every device of a member, and nowhere else");
            if is_member {
                assert_eq!(log[*position as usize - 1].id, *id, "at its place");
            }
        }
    }
    for (conversation, users) in &members {
        let mut logs = users.iter().flat_map(|user| [&histories[2 * user], &histories[2 * user + 1]]);
        let first = &logs.next().unwrap()[conversation];
        assert!(logs.all(|logs| &logs[conversation] == first), "the same for everyone");
    }
    for online in online {
        online.go_offline().await;
    }
}

fn last_positions(acknowledged: &HashMap<EntryId, (ConversationId, u64)>) -> HashMap<ConversationId, u64> {
    let mut last = HashMap::new();
    for (conversation, position) in acknowledged.values() {
        let known = last.entry(*conversation).or_insert(0);
        *known = (*position).max(*known);
    }
    last
}
