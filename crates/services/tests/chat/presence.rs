//! Who is seen online, and by whom.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use api::{Announcement, Arrival, PresenceService as _, contact_act::What};
use async_trait::async_trait;
use cache::LocalCache;
use protocol::{
    GatewayId, UserId,
    wire::{self, Presence, server_frame::Body},
};
use queue::{Queue as _, Topic};
use services::presence;
use store::LastSeen;
use tokio::time::timeout;

use crate::bed::{Bed, DAY_MS, GATEWAY, PATIENCE, by};

const ELSEWHERE: GatewayId = GatewayId::new(2);

fn on(gateway: GatewayId, away: bool) -> Arrival {
    Arrival { gateway: gateway.get(), away }
}

async fn watch(bed: &Bed, watcher: u64, users: &[u64]) -> Vec<Presence> {
    let watch = wire::WatchPresence { users: users.to_vec() };
    bed.presence.watch(&by(watcher), watch).await.unwrap().presences.unwrap().presences
}

fn here(user: u64, away: bool) -> Presence {
    Presence { user, online: true, seen_ms: 0, away }
}

#[tokio::test]
async fn who_is_away_on_all_gateways_is_told_as_away_and_who_is_back_on_one_as_there() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    bed.befriend(ann, ben).await;
    let mut listener = bed.listen(&[], vec![Topic::Presence(UserId::new(ann))]).await;
    let _elsewhere = bed.queue.open(ELSEWHERE).await.unwrap();
    for (arrival, told) in [
        (on(GATEWAY, false), Some(here(ann, false))),
        (on(ELSEWHERE, false), None),
        (on(GATEWAY, true), None),
        (on(ELSEWHERE, true), Some(here(ann, true))),
        (on(GATEWAY, false), Some(here(ann, false))),
    ] {
        bed.presence.arrive(&by(ann), arrival).await.unwrap();
        if let Some(told) = told {
            assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(told));
            assert_eq!(watch(&bed, ben, &[ann]).await, [told]);
        }
    }
    bed.presence.leave(&by(ann), on(GATEWAY, false)).await.unwrap();
    assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(here(ann, true)));
    bed.presence.leave(&by(ann), on(ELSEWHERE, false)).await.unwrap();
    let Body::PresenceChanged(gone) = listener.next_but_entries().await.body else { panic!() };
    assert!(!gone.online && !gone.away && gone.seen_ms > 0);
}

#[tokio::test]
async fn the_invisible_look_like_somebody_who_is_not_there_to_friends_and_come_back_when_they_want() {
    let bed = Bed::start();
    let (ann, ben, cat) = (bed.user("ann").await, bed.user("ben").await, bed.user("cat").await);
    bed.befriend(ann, ben).await;
    let invisible = |invisible| wire::SettingsChanged { write_policy: 0, invisible };
    let announce = || Announcement { visibility: true, ..Default::default() };
    bed.settle(ann, invisible(true)).await;
    let mut listener = bed.listen(&[], vec![Topic::Presence(UserId::new(ann))]).await;
    bed.presence.arrive(&by(ann), on(GATEWAY, false)).await.unwrap();
    let gone = Presence { user: ann, online: false, seen_ms: 0, away: false };
    assert_eq!(watch(&bed, ben, &[ann]).await, [gone]);
    assert_eq!(watch(&bed, cat, &[ann]).await, []);
    bed.settle(ann, invisible(false)).await;
    bed.presence.announce(&by(ann), announce()).await.unwrap();
    assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(here(ann, false)));
    assert_eq!(watch(&bed, ben, &[ann]).await, [here(ann, false)]);
    bed.settle(ann, invisible(true)).await;
    bed.presence.announce(&by(ann), announce()).await.unwrap();
    assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(gone));
    // That they go is told nobody, and when they went is not kept.
    bed.presence.leave(&by(ann), on(GATEWAY, false)).await.unwrap();
    bed.settle(ann, invisible(false)).await;
    bed.presence.announce(&by(ann), announce()).await.unwrap();
    assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(gone));
}

#[tokio::test]
async fn a_new_profile_is_told_those_who_watch_and_one_who_is_blocked_sees_nothing_more() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    bed.befriend(ann, ben).await;
    let mut listener = bed.listen(&[], vec![Topic::Presence(UserId::new(ann))]).await;
    let profile = wire::UserInfo { id: ann, name: "ann".into(), status_line: "hi".into(), ..Default::default() };
    let announcement = Announcement { user: Some(profile.clone()), ..Default::default() };
    bed.presence.announce(&by(ann), announcement).await.unwrap();
    let heard = listener.next_but_entries().await;
    assert_eq!((heard.body, heard.hide_from), (Body::UserChanged(profile.clone()), 0));
    // Nothing is heard of the invisible: one who hears of them would know that it is not a block.
    let invisible = |invisible| wire::SettingsChanged { write_policy: 0, invisible };
    bed.settle(ann, invisible(true)).await;
    let announcement = Announcement { user: Some(profile), ..Default::default() };
    bed.presence.announce(&by(ann), announcement).await.unwrap();
    bed.settle(ann, invisible(false)).await;
    bed.presence.arrive(&by(ann), on(GATEWAY, false)).await.unwrap();
    assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(here(ann, false)));
    bed.block(ann, ben).await;
    let announcement = Announcement { hide_from: ben, ..Default::default() };
    bed.presence.announce(&by(ann), announcement).await.unwrap();
    let heard = listener.next_but_entries().await;
    let gone = Presence { user: ann, ..Default::default() };
    assert_eq!((heard.hide_from, heard.body), (ben, Body::PresenceChanged(gone)));
    // As if invisible: but of what comes nothing is heard.
    let asked = wire::WatchPresence { users: vec![ann] };
    let watched = bed.presence.watch(&by(ben), asked).await.unwrap();
    assert_eq!((watched.presences.unwrap().presences, watched.followed), (vec![gone], vec![]));
}

#[tokio::test]
async fn who_are_friends_no_longer_are_hidden_from_each_other_unless_they_talk() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    bed.befriend(ann, ben).await;
    let topics = [ann, ben].map(|user| Topic::Presence(UserId::new(user)));
    let mut listener = bed.listen(&[], topics.to_vec()).await;
    let parted = || Announcement { parted_from: ben, ..Default::default() };
    // Nothing is told as long as they are friends.
    bed.presence.announce(&by(ann), parted()).await.unwrap();
    bed.contact(ann, ben, What::Remove(true)).await.unwrap();
    bed.presence.announce(&by(ann), parted()).await.unwrap();
    for (seen, watcher) in [(ann, ben), (ben, ann)] {
        let heard = listener.next_but_entries().await;
        let gone = Presence { user: seen, ..Default::default() };
        assert_eq!((heard.hide_from, heard.body), (watcher, Body::PresenceChanged(gone)));
    }
    // Ann has written to ben: he sees her, and she does not see him, who has not answered.
    let direct = bed.direct(ann, ben).await;
    let why = wire::content::Kind::Text(wire::Text { body: "why?".into() });
    bed.say(ann, direct, why).await.unwrap();
    bed.presence.announce(&by(ann), parted()).await.unwrap();
    let heard = listener.next_but_entries().await;
    assert_eq!((heard.hide_from, heard.topic), (ann, Topic::Presence(UserId::new(ben))));
    bed.presence.arrive(&by(ann), on(GATEWAY, false)).await.unwrap();
    assert_eq!(listener.next_but_entries().await.body, Body::PresenceChanged(here(ann, false)));
}

/// A store that counts how often it is asked.
struct Counting {
    store: store::sqlite::SqliteStore,
    asked: AtomicUsize,
}

#[async_trait]
impl LastSeen for Counting {
    async fn note_seen(&self, seen: Vec<(UserId, i64)>) -> store::Result<()> {
        self.store.note_seen(seen).await
    }

    async fn last_seen(&self, users: Vec<UserId>) -> store::Result<Vec<(UserId, i64)>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.store.last_seen(users).await
    }
}

#[tokio::test]
async fn when_a_user_was_last_seen_is_read_once_for_all_who_watch_and_again_after_the_next_visit() {
    let bed = Bed::start();
    let (ann, ben) = (bed.user("ann").await, bed.user("ben").await);
    bed.befriend(ann, ben).await;
    let _gateway = bed.queue.open(GATEWAY).await.unwrap();
    let store = Arc::new(Counting { store: bed.store.clone(), asked: AtomicUsize::new(0) });
    let config = presence::Config { seen_ttl: Duration::from_secs(3_600).into() };
    let cache = Arc::new(LocalCache::default());
    let (queue, message, clock) = (bed.queue.clone(), bed.message.clone(), bed.clock.clone());
    let (presence, tasks) = presence::Service::start(&config, store.clone(), cache, queue, message, clock);
    let seen = async || {
        let watch = wire::WatchPresence { users: vec![ann] };
        presence.watch(&by(ben), watch).await.unwrap().presences.unwrap().presences[0].seen_ms
    };
    // What is noted is written a little later.
    let seen_after = async |before: i64| {
        let look = async {
            loop {
                let now = seen().await;
                if now > before {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, look).await.expect("the visit is told")
    };
    let mut last = 0;
    for _ in 0..3 {
        presence.arrive(&by(ann), on(GATEWAY, false)).await.unwrap();
        presence.leave(&by(ann), on(GATEWAY, false)).await.unwrap();
        last = seen_after(last).await;
        let asked = store.asked.load(Ordering::Relaxed);
        for _ in 0..10 {
            assert_eq!(seen().await, last);
        }
        // Once more at most: what was read between the commit and what follows it was forgotten.
        assert!(store.asked.load(Ordering::Relaxed) <= asked + 1);
        bed.clock.shift(DAY_MS);
    }
    // Whether it may be known at all is asked each time.
    bed.block(ann, ben).await;
    assert_eq!(seen().await, 0);
    tasks.stop().await;
}
