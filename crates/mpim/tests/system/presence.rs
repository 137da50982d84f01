//! Who is seen to be there, by whom, and who hears that somebody writes.

use std::sync::Arc;

use client::{
    Client, ConversationId, EntryId, Event, Options, UserId,
    wire::{self, client_frame::Body as Request},
};
use mpim::embedded::Parts;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    device::{Device, PATIENCE},
    in_process::InProcess,
};

/// A device and all that it was told, in order.
struct Listener {
    client: Client,
    told: Arc<Mutex<Vec<Told>>>,
    changed: watch::Sender<()>,
    listening: JoinHandle<()>,
}

/// What is looked at here.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Presence(wire::Presence),
    Typing(ConversationId, UserId),
    User(wire::UserInfo),
}

impl Listener {
    async fn start(device: &Device, system: &InProcess) -> Self {
        let options = Options::new(system.tcp_server(), device.profile.clone());
        let (client, mut events) = Client::start(Options { catch_up: false, ..options }).unwrap();
        let (told, changed) = (Arc::new(Mutex::new(Vec::new())), watch::channel(()).0);
        let (list, tell) = (told.clone(), changed.clone());
        let listening = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let told = match event {
                    Event::Presence(presence) => Told::Presence(presence),
                    Event::Typing { conversation, user } => Told::Typing(conversation, user),
                    Event::UserChanged(user) => Told::User(user),
                    _ => continue,
                };
                list.lock().push(told);
                tell.send_replace(());
            }
        });
        let listener = Self { client, told, changed, listening };
        // Connected from here on.
        listener.client.watch_presence(&[]).await.unwrap();
        listener
    }

    fn user(&self) -> UserId {
        self.client.user()
    }

    /// Waits for something, and forgets it and all before it; that is answered.
    async fn until(&self, what: &str, is_it: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                if let Some(at) = self.told.lock().iter().position(&is_it) {
                    return at;
                }
                changed.changed().await.unwrap();
            }
        };
        let at = tokio::time::timeout(PATIENCE / 9, found).await;
        let at = at.unwrap_or_else(|_| panic!("not told: {what}; but {:?}", self.told.lock()));
        self.told.lock().drain(..=at).collect()
    }

    async fn is_told_presence(&self, of: &Self, online: bool, away: bool) -> Vec<Told> {
        let user = of.user().get();
        self.until(&format!("online {online}, away {away}"), |told| match told {
            Told::Presence(presence) => (presence.user, presence.online, presence.away) == (user, online, away),
            _ => false,
        })
        .await
    }

    /// All that was told before something that is told now: what has not come until then does not come.
    async fn told_so_far(&self, by: &Self) -> Vec<Told> {
        let conversation = by.direct_with(self).await;
        by.client.typing(conversation).await.unwrap();
        self.until("typing", |told| *told == Told::Typing(conversation, by.user())).await
    }

    async fn direct_with(&self, other: &Self) -> ConversationId {
        ConversationId::new(self.client.open_direct_with(other.user()).await.unwrap().id)
    }

    async fn befriend(&self, other: &Self) {
        self.client.request_friend(other.user(), "hi", EntryId::generate()).await.unwrap();
        let accepted = async {
            // Until the request has been told.
            while other.client.answer_friend(self.user(), true, EntryId::generate()).await.is_err() {
                tokio::task::yield_now().await;
            }
            while !self.client.contacts(None, 0).await.unwrap().iter().any(|contact| {
                contact.friend && contact.user.as_ref().is_some_and(|user| user.id == other.user().get())
            }) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, accepted).await.expect("friends in time");
    }

    async fn set_invisible(&self, invisible: bool) {
        let id = EntryId::generate().to_string();
        let settings = wire::UpdateSettings { id, write_policy: None, invisible: Some(invisible) };
        self.client.request(Request::UpdateSettings(settings)).await.unwrap();
    }

    async fn stop(self) {
        self.client.close().await;
        self.listening.await.unwrap();
    }
}

/// Ann with two devices, and two friends of hers.
struct Scene {
    system: InProcess,
    ann: Listener,
    ann_too: Listener,
    bob: Listener,
    eve: Listener,
}

impl Scene {
    async fn start() -> Self {
        let system = InProcess::start(Parts::default()).await;
        let server = system.server();
        let ann = Listener::start(&Device::register(&server, "ann").await, &system).await;
        let ann_too = Listener::start(&Device::log_in(&server, "ann").await, &system).await;
        let bob = Listener::start(&Device::register(&server, "bob").await, &system).await;
        let eve = Listener::start(&Device::register(&server, "eve").await, &system).await;
        bob.befriend(&ann).await;
        eve.befriend(&ann).await;
        bob.befriend(&eve).await;
        for friend in [&bob, &eve] {
            let seen = friend.client.watch_presence(&[ann.user()]).await.unwrap();
            assert_eq!(seen, [wire::Presence { user: ann.user().get(), online: true, ..Default::default() }]);
        }
        Self { system, ann, ann_too, bob, eve }
    }

    async fn stop(self) {
        for listener in [self.ann, self.ann_too, self.bob, self.eve] {
            listener.stop().await;
        }
        self.system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_away_when_so_at_all_devices() {
    let scene = Scene::start().await;
    let Scene { ann, ann_too, bob, eve, .. } = &scene;
    ann.client.set_away(true).await.unwrap();
    assert_eq!(bob.told_so_far(eve).await.len(), 1, "at the other device she is there");
    ann_too.client.set_away(true).await.unwrap();
    bob.is_told_presence(ann, true, true).await;
    let seen = bob.client.watch_presence(&[ann.user()]).await.unwrap();
    assert!(seen[0].online && seen[0].away);
    ann.client.set_away(false).await.unwrap();
    bob.is_told_presence(ann, true, false).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_invisible_are_shown_as_gone_and_nothing_more_is_told_of_them() {
    let scene = Scene::start().await;
    let Scene { ann, ann_too, bob, eve, .. } = &scene;
    ann.set_invisible(true).await;
    let told = bob.is_told_presence(ann, false, false).await;
    assert_eq!(told, [Told::Presence(wire::Presence { user: ann.user().get(), ..Default::default() })]);
    ann.client.set_away(true).await.unwrap();
    ann_too.client.set_away(true).await.unwrap();
    ann.client.set_away(false).await.unwrap();
    assert_eq!(bob.told_so_far(eve).await.len(), 1, "nothing but that eve writes");
    let seen = bob.client.watch_presence(&[ann.user()]).await.unwrap();
    assert_eq!(seen, [wire::Presence { user: ann.user().get(), ..Default::default() }], "as somebody who is not there");
    ann.set_invisible(false).await;
    bob.is_told_presence(ann, true, false).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_blocked_see_somebody_go_and_never_come_back() {
    let scene = Scene::start().await;
    let Scene { ann, ann_too, bob, eve, .. } = &scene;
    let conversation = ann.direct_with(bob).await;
    ann.client.set_blocked(bob.user(), true, EntryId::generate()).await.unwrap();
    bob.is_told_presence(ann, false, false).await;
    ann.client.set_away(true).await.unwrap();
    ann_too.client.set_away(true).await.unwrap();
    eve.is_told_presence(ann, true, true).await;
    rename(ann, "Ann").await;
    eve.until("the name", |told| matches!(told, Told::User(user) if user.display_name == "Ann")).await;
    // Neither hears the other write, and both are answered as ever.
    ann.client.typing(conversation).await.unwrap();
    bob.client.typing(conversation).await.unwrap();
    assert_eq!(bob.told_so_far(eve).await.len(), 1, "nothing but that eve writes");
    assert_eq!(ann.told_so_far(eve).await.len(), 1, "nothing but that eve writes");
    let seen = bob.client.watch_presence(&[ann.user()]).await.unwrap();
    let gone = wire::Presence { user: ann.user().get(), ..Default::default() };
    assert_eq!(seen, [gone], "as if she were invisible");
    ann.client.set_away(false).await.unwrap();
    eve.is_told_presence(ann, true, false).await;
    assert_eq!(bob.told_so_far(eve).await.len(), 1, "nothing but that eve writes");
    ann.client.set_blocked(bob.user(), false, EntryId::generate()).await.unwrap();
    let seen = bob.client.watch_presence(&[ann.user()]).await.unwrap();
    assert!(seen[0].online, "after that he may see her again, when he asks");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_are_friends_no_longer_see_each_other_go_and_nothing_more() {
    let scene = Scene::start().await;
    let Scene { ann, ann_too, bob, eve, .. } = &scene;
    let seen = ann.client.watch_presence(&[bob.user(), eve.user()]).await.unwrap();
    assert!(seen.len() == 2 && seen.iter().all(|presence| presence.online));
    ann.client.remove_friend(bob.user(), EntryId::generate()).await.unwrap();
    bob.is_told_presence(ann, false, false).await;
    ann.is_told_presence(bob, false, false).await;
    ann.client.set_away(true).await.unwrap();
    ann_too.client.set_away(true).await.unwrap();
    eve.is_told_presence(ann, true, true).await;
    bob.client.set_away(true).await.unwrap();
    assert_eq!(bob.told_so_far(eve).await.len(), 1, "nothing but that eve writes");
    assert_eq!(ann.told_so_far(eve).await.len(), 1, "nothing but that eve writes");
    // The others are watched as before.
    eve.client.set_away(true).await.unwrap();
    ann.is_told_presence(eve, true, true).await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_hears_of_a_changed_profile_and_who_writes_is_heard_by_the_other_alone() {
    let scene = Scene::start().await;
    let Scene { ann, ann_too, bob, eve, .. } = &scene;
    rename(ann, "Ann of Avonlea").await;
    for friend in [bob, eve] {
        friend
            .until("the name", |told| matches!(told, Told::User(user) if user.display_name == "Ann of Avonlea"))
            .await;
    }
    let conversation = ann.direct_with(bob).await;
    bob.client.typing(conversation).await.unwrap();
    for device in [ann, ann_too] {
        device.until("typing", |told| *told == Told::Typing(conversation, bob.user())).await;
    }
    let told = eve.told_so_far(bob).await;
    assert_eq!(told.len(), 1, "nothing of what others write to each other: {told:?}");
    scene.stop().await;
}

async fn rename(user: &Listener, display_name: &str) {
    let profile = wire::UpdateProfile { display_name: Some(display_name.into()), ..Default::default() };
    user.client.request(Request::UpdateProfile(profile)).await.unwrap();
}
