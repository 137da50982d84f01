//! Catching up is complete, and quick to begin.

use std::collections::HashMap;

use client::{Client, ConversationId, EntryId, Event, Options, Target, wire::JoinPolicy};
use futures_util::{StreamExt as _, stream};
use mpim::embedded::Parts;

use tokio::time::timeout;

use crate::{
    device::{Device, PATIENCE},
    in_process::InProcess,
};

const CONVERSATIONS: usize = 1_000;
const ENTRIES: usize = 50;
/// Requests that a test has under way.
const AT_ONCE: usize = 30;

/// Promise 3: away for 1,000 conversations of 50 entries, a device catches up with all of them, and has something to show
/// after one round trip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_away_for_a_thousand_conversations_catches_up_completely() {
    let system = InProcess::start(Parts::default()).await;
    let server = system.tcp_server();
    let (alice, bob) = (Device::register(&server, "alice").await, Device::register(&server, "bob").await);
    let options = |device: &Device| Options::new(server.clone(), device.profile.clone());
    let (writer, _) = Client::start(Options { catch_up: false, ..options(&alice) }).unwrap();
    let peer = [bob.user()];
    let create = async |number: usize| {
        let title = format!("group {number}");
        writer.create_group(&title, &peer, JoinPolicy::Open, EntryId::generate()).await.unwrap().id
    };
    let groups: Vec<u64> = stream::iter(0..CONVERSATIONS).map(create).buffer_unordered(AT_ONCE).collect().await;
    // The first entry of each tells that the group was made.
    let messages = (1..ENTRIES).flat_map(|number| groups.iter().map(move |group| (*group, number)));
    let send = async |(group, number): (u64, usize)| {
        let target = Target::Conversation(ConversationId::new(group));
        writer.send(target, client::text(number.to_string()), EntryId::generate()).await.unwrap().position
    };
    let sent: Vec<u64> = stream::iter(messages).map(send).buffer_unordered(256).collect().await;
    assert_eq!(sent.len(), CONVERSATIONS * (ENTRIES - 1));
    writer.close().await;

    let (client, mut events) = Client::start(options(&bob)).unwrap();
    let Some(Event::Connected { round_trips }) = events.next().await else { panic!("connects") };
    let Some(Event::Heads(first_screen)) = events.next().await else { panic!("a first screen") };
    assert_eq!(round_trips, 1);
    assert!(first_screen.len() >= 50, "{}", first_screen.len());
    assert!(first_screen.iter().all(|head| !head.entries.is_empty() && head.conversation.is_some()));
    let mut last = HashMap::new();
    loop {
        match timeout(PATIENCE, events.next()).await.expect("in time").expect("catches up") {
            Event::Entry { conversation, entry, .. } => {
                let position = last.entry(conversation).or_insert(0);
                *position += 1;
                assert_eq!(entry.position, *position, "once and in order");
            }
            Event::CaughtUp => break,
            _ => {}
        }
    }
    for group in groups {
        assert_eq!(last.get(&ConversationId::new(group)), Some(&(ENTRIES as u64)));
    }
    client.close().await;
    system.stop().await;
}
