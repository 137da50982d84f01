//! Who chats in these tests.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use client::{Client, ConversationId, EntryId, Options, Server};

use crate::device::{Device, LOOK_AGAIN, Logs, Online};

/// Longer than any test: devices of these tests do not ask whether a push got lost unless they are told to.
pub const NEVER: Duration = Duration::from_secs(3_600);

/// Switches a device on that catches up when it connects, and later only when it is told of something.
pub fn listen(device: &Device, server: &Server) -> Online {
    let options = Options::new(server.clone(), device.profile.clone());
    device.go_online_with(Options { resync_every: NEVER, ..options })
}

/// The same, once it is connected.
pub async fn connected(device: &Device, server: &Server) -> Online {
    let online = listen(device, server);
    until("it is connected", async || matches!(online.client.state(), client::State::Connected)).await;
    online
}

/// Somebody who only sends, and gives a message up after a while if there is an `after`.
pub fn sender(device: &Device, server: &Server, after: Option<Duration>) -> Client {
    let options = Options::new(server.clone(), device.profile.clone());
    Client::start(Options { catch_up: false, send_timeout: after, ..options }).unwrap().0
}

/// The direct conversation of two.
pub async fn direct(one: &Online, other: &Device) -> ConversationId {
    ConversationId::new(one.client.open_direct_with(other.user()).await.unwrap().id)
}

/// A group of them all, made by the first.
pub async fn group(all: &[&Online], title: &str) -> ConversationId {
    let users: Vec<_> = all.iter().map(|online| online.device.user()).collect::<HashSet<_>>().into_iter().collect();
    let policy = client::wire::JoinPolicy::Open;
    ConversationId::new(all[0].client.create_group(title, &users, policy, EntryId::generate()).await.unwrap().id)
}

/// How many texts of a conversation a device has seen.
pub fn texts(logs: &Logs, conversation: ConversationId) -> usize {
    logs.get(&conversation).into_iter().flatten().filter(|seen| seen.text().is_some()).count()
}

/// Waits until a device has seen so many texts of a conversation.
pub async fn until_texts(device: &Device, conversation: ConversationId, count: usize) {
    device.until("all texts", |logs| texts(logs, conversation) >= count).await;
    assert_eq!(texts(&device.logs(), conversation), count);
}

/// Waits until it is so, and tells how long that took.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < crate::device::PATIENCE, "not in time: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    begun.elapsed()
}
