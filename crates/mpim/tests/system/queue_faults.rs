//! The queue is a hint.

use std::{sync::Arc, time::Duration};

use client::{ConversationId, EntryId, Options, wire::JoinPolicy};
use futures_util::future::join_all;
use mpim::embedded::Parts;
use queue::{Faults, FaultyQueue, LocalQueue};
use services::Clock;

use crate::{
    device::{Device, Online},
    in_process::InProcess,
};

const USERS: usize = 4;
const MESSAGES: usize = 60;
const SEED: u64 = 0x6d70_696d;

/// Promise 4: pushes are lost, doubled and come out of order; every device ends with the same, complete logs, though
/// nobody tells it that anything was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_converge_whatever_happens_to_pushes() {
    let faulty = Arc::new(FaultyQueue::new(Arc::new(LocalQueue::new()), Faults::SOME, SEED));
    let system = InProcess::start(Parts { queue: faulty.clone(), clock: Clock::system() }).await;
    let (server, tcp) = (system.server(), system.tcp_server());
    let mut devices = Vec::new();
    for number in 0..USERS {
        let name = format!("user{number}");
        devices.push(Device::register(&server, &name).await);
        devices.push(Device::log_in(&server, &name).await);
    }
    let go_online = |(i, device): (usize, &Device)| {
        let server = if i % 2 == 0 { &server } else { &tcp };
        let options = Options::new(server.clone(), device.profile.clone());
        device.go_online_with(Options { resync_every: Duration::from_millis(300), ..options })
    };
    let online: Vec<Online> = devices.iter().enumerate().map(go_online).collect();
    let users: Vec<_> = devices.iter().step_by(2).map(Device::user).collect();
    let group = online[0].client.create_group("all", &users, JoinPolicy::Open, EntryId::generate()).await.unwrap();
    let group = ConversationId::new(group.id);
    let mut directs = Vec::new();
    for number in 0..USERS {
        let peer = users[(number + 1) % USERS];
        directs.push(ConversationId::new(online[2 * number].client.open_direct_with(peer).await.unwrap().id));
    }
    let send = async |number: usize| {
        for message in 0..MESSAGES {
            online[number].send(group, &format!("{number} to all {message}")).await;
            online[number].send(directs[number / 2], &format!("{number} to one {message}")).await;
        }
    };
    join_all((0..online.len()).map(send)).await;
    for (number, device) in devices.iter().enumerate() {
        let mine = [group, directs[number / 2], directs[(number / 2 + USERS - 1) % USERS]];
        device
            .until("complete logs", |logs| {
                let count = |id| logs.get(id).into_iter().flatten().filter(|seen| seen.text().is_some()).count();
                count(&mine[0]) == devices.len() * MESSAGES && mine[1..].iter().all(|id| count(id) == 2 * MESSAGES)
            })
            .await;
    }
    let all = devices[0].logs();
    for device in &devices {
        assert_eq!(device.logs()[&group], all[&group], "the same order for everyone (seed {SEED})");
    }
    assert!(faulty.dropped() > 0 && faulty.doubled() > 0 && faulty.held() > 0, "there were faults");
    for online in online {
        online.go_offline().await;
    }
    system.stop().await;
}
