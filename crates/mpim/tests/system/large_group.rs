//! A group of a hundred thousand: what one member does is one publication, and no answer grows with the others' number.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use client::{
    ConversationId, EntryId, Error, Options, UserId,
    wire::{self, ErrorCode, JoinPolicy, Role, content::Kind},
};
use futures_util::future::join_all;
use mpim::embedded::Parts;
use parking_lot::Mutex;
use protocol::{GatewayId, GroupId, RawContent, limits};
use queue::{LocalQueue, Presence, Publication, Queue, Result, Subscription, Topic};
use services::Clock;
use store::{
    Act, Groups as _, Membership, Messages as _, NewEntry, NewGroup,
    sqlite::{SqliteConfig, SqliteStore},
};

use crate::{
    device::{Device, Online},
    in_process::InProcess,
};

/// One place is left.
const MEMBERS: u64 = limits::MEMBERS_MAX - 1;
const ONLINE: usize = 200;
/// Who enters by one entry while the group is made.
const CHUNK: usize = 1_000;
/// What one message, or one who comes or goes, may take on the queue: no list of members has room in it.
const PUBLICATION_BYTES_MAX: u64 = 1_024;

/// Counts what is published to groups, and to the gateway for single users.
struct CountingQueue {
    queue: LocalQueue,
    to_groups: AtomicU64,
    to_gateways: AtomicU64,
    bytes_max: Mutex<u64>,
}

impl CountingQueue {
    fn new() -> Self {
        Self {
            queue: LocalQueue::new(),
            to_groups: AtomicU64::new(0),
            to_gateways: AtomicU64::new(0),
            bytes_max: Mutex::new(0),
        }
    }

    /// What was published to groups and to gateways since the last call.
    fn take(&self) -> (u64, u64) {
        (self.to_groups.swap(0, Ordering::SeqCst), self.to_gateways.swap(0, Ordering::SeqCst))
    }

    fn take_bytes_max(&self) -> u64 {
        std::mem::take(&mut self.bytes_max.lock())
    }
}

#[async_trait]
impl Queue for CountingQueue {
    async fn publish(&self, publications: Vec<Publication>) -> Result<()> {
        for publication in &publications {
            match publication.topic {
                Topic::Group(_) => self.to_groups.fetch_add(1, Ordering::SeqCst),
                Topic::Gateway(_) => self.to_gateways.fetch_add(1, Ordering::SeqCst),
                Topic::Presence(_) => 0,
            };
            let mut bytes_max = self.bytes_max.lock();
            *bytes_max = (*bytes_max).max(publication.payload.len() as u64);
        }
        self.queue.publish(publications).await
    }

    async fn open(&self, gateway: GatewayId) -> Result<Box<dyn Subscription>> {
        self.queue.open(gateway).await
    }

    async fn bind(&self, user: UserId, gateway: GatewayId, away: bool) -> Result<Option<Presence>> {
        self.queue.bind(user, gateway, away).await
    }

    async fn unbind(&self, user: UserId, gateway: GatewayId) -> Result<Option<Presence>> {
        self.queue.unbind(user, gateway).await
    }

    async fn routes(&self, users: &[UserId]) -> Result<Vec<Vec<GatewayId>>> {
        self.queue.routes(users).await
    }

    async fn presences(&self, users: &[UserId]) -> Result<Vec<Presence>> {
        self.queue.presences(users).await
    }
}

/// Makes the group in the data of a server that does not run. Most of its members are ids and nothing more: they never come.
async fn make_group(dir: &Path, there: &[UserId]) -> GroupId {
    let store = SqliteStore::open(SqliteConfig::new(dir)).unwrap();
    let (owner, group) = (there[0], GroupId::new(there.iter().map(|user| user.get()).max().unwrap() + 1));
    let request = EntryId::generate();
    let (title, join_policy) = ("everybody".to_owned(), JoinPolicy::Open);
    store.create(NewGroup { id: group, request, creator: owner, title, join_policy, created_ms: 1 }).await.unwrap();
    let strangers = (1..).map(|number| UserId::new(group.get() + number)).take(MEMBERS as usize - there.len());
    let everybody: Vec<UserId> = there.iter().copied().chain(strangers).collect();
    let entries = everybody.chunks(CHUNK).enumerate().map(|(chunk, users)| {
        let create = chunk == 0;
        let role = |user: &UserId| if create && *user == owner { Role::Owner } else { Role::Member };
        let enter = users.iter().map(|user| (*user, role(user))).collect();
        let kind = if create {
            Kind::GroupCreated(wire::GroupCreated { title: "everybody".into(), members: Vec::new() })
        } else {
            Kind::MembersAdded(wire::MembersAdded::default())
        };
        NewEntry {
            conversation: group.conversation(),
            sender: owner,
            id: if create { request } else { EntryId::generate() },
            time_ms: 1,
            content: RawContent::from(kind).as_bytes().clone(),
            act: Act::Membership(Membership { create, enter, ..Membership::default() }),
            settles: None,
        }
    });
    for outcome in store.append(entries.collect()).await.unwrap() {
        outcome.unwrap();
    }
    store.close().await;
    // What those are told who never come would keep the server busy, and this test waiting.
    let database = rusqlite::Connection::open(dir.join("mpim.db")).unwrap();
    let there: Vec<String> = there.iter().map(|user| user.get().to_string()).collect();
    database.execute(&format!("DELETE FROM effects WHERE user NOT IN ({})", there.join(",")), []).unwrap();
    group
}

async fn refusal<T: std::fmt::Debug>(outcome: impl Future<Output = std::result::Result<T, Error>>) -> ErrorCode {
    match outcome.await.unwrap_err() {
        Error::Refused(error) => error.code(),
        error => panic!("{error:?}"),
    }
}

struct Crowd {
    queue: Arc<CountingQueue>,
    devices: Vec<Device>,
    online: Vec<Online>,
    group: ConversationId,
}

impl Crowd {
    /// Waits until all of them, but for those at the end who are no members, have so many entries of the group.
    async fn have(&self, end: u64) {
        let members = &self.devices[..ONLINE];
        let what = format!("{end} entries");
        join_all(members.iter().map(|device| device.until_folded(&what, |folded| folded.last(self.group) >= end)))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_a_hundred_thousand_members_does_costs_what_it_costs_with_few() {
    let system = InProcess::start(Parts::default()).await;
    let server = system.server();
    let mut devices = Vec::new();
    for number in 0..=ONLINE + 1 {
        devices.push(Device::register(&server, &format!("user{number}")).await);
    }
    let users: Vec<_> = devices.iter().map(Device::user).collect();
    let queue = Arc::new(CountingQueue::new());
    let parts = Parts { queue: queue.clone(), clock: Clock::system() };
    let mut group = None;
    let system =
        system.restart_with(parts, async |dir: &Path| group = Some(make_group(dir, &users[..ONLINE]).await)).await;
    let group = group.unwrap();
    let server = system.tcp_server();
    let go_online = |device: &Device| device.go_online_with(Options::new(server.clone(), device.profile.clone()));
    let online = devices.iter().map(go_online).collect();
    let crowd = Crowd { queue, devices, online, group: group.conversation() };
    let end = MEMBERS.div_ceil(CHUNK as u64);
    crowd.have(end).await;

    crowd.one_message_is_one_publication(end + 1).await;
    crowd.coming_and_going_is_one_publication_each(group, end + 2).await;
    crowd.pages_are_bounded(group).await;
    crowd.small_talk_stays_away(end + 1).await;
    for online in crowd.online {
        online.go_offline().await;
    }
    system.stop().await;
}

impl Crowd {
    async fn one_message_is_one_publication(&self, end: u64) {
        self.queue.take();
        self.queue.take_bytes_max();
        let sent = self.online[7].send(self.group, "to all of you").await;
        assert_eq!(sent.position, end);
        self.have(end).await;
        let (to_groups, to_gateways) = self.queue.take();
        assert_eq!((to_groups, to_gateways), (1, 0), "one publication for {MEMBERS} members");
        let bytes = self.queue.take_bytes_max();
        assert!(bytes < PUBLICATION_BYTES_MAX, "{bytes}");
    }

    async fn coming_and_going_is_one_publication_each(&self, group: GroupId, end: u64) {
        let [.., guest, late] = self.online.as_slice() else { panic!("two more than members") };
        let joined = guest.client.join_group(group, EntryId::generate()).await.unwrap();
        assert!(!joined.waiting);
        self.have(end).await;
        // The group hears of it, and the guest's own devices.
        guest.device.until("the group", |logs| logs.contains_key(&self.group)).await;
        let (to_groups, to_gateways) = self.queue.take();
        assert_eq!(to_groups, 1);
        assert!(to_gateways <= 1, "{to_gateways}");
        assert_eq!(
            refusal(late.client.join_group(group, EntryId::generate())).await,
            ErrorCode::LimitExceeded,
            "a group is full at some time"
        );
        guest.client.leave_group(group, EntryId::generate()).await.unwrap();
        self.have(end + 1).await;
        let (to_groups, to_gateways) = self.queue.take();
        assert_eq!(to_groups, 1);
        assert!(to_gateways <= 1, "{to_gateways}");
        let bytes = self.queue.take_bytes_max();
        assert!(bytes < PUBLICATION_BYTES_MAX, "{bytes}");
    }

    async fn pages_are_bounded(&self, group: GroupId) {
        let client = &self.online[0].client;
        let (mut listed, mut after, mut pages) = (0, None, 0);
        // Some from the beginning, and the end: each page costs the same wherever it is.
        loop {
            let page = client.members(group, after, limits::MEMBERS_PAGE_MAX).await.unwrap();
            assert_eq!(page.total, MEMBERS);
            assert!(page.members.len() <= limits::MEMBERS_PAGE_MAX as usize);
            listed += page.members.len();
            pages += 1;
            let Some(last) = page.members.last().and_then(|member| member.user.as_ref()) else { break };
            let last = UserId::new(last.id);
            let jump = MEMBERS - 4 * u64::from(limits::MEMBERS_PAGE_MAX);
            after = Some(if pages == 2 { UserId::new(last.get() + jump) } else { last });
        }
        assert!(pages > 3 && listed < 6 * limits::MEMBERS_PAGE_MAX as usize, "{pages} pages, {listed} members");
        assert_eq!(client.group(group).await.unwrap().members, MEMBERS);
        assert_eq!(
            client.admins(group, 0).await.unwrap().members.len(),
            1,
            "admins are found without a look at the others"
        );
    }

    /// Typing and receipts, as docs/protocol-chat.md says of large groups.
    async fn small_talk_stays_away(&self, message: u64) {
        let (writer, reader) = (&self.online[7].client, &self.online[8].client);
        self.queue.take();
        reader.typing(self.group).await.unwrap();
        reader.read(self.group, message).await.unwrap();
        let mark = wire::Mark { conversation: self.group.get(), position: message };
        self.online[9].client.deliver(vec![mark]).await.unwrap();
        assert_eq!(refusal(writer.receipts(self.group, message, None, 0)).await, ErrorCode::LimitExceeded);
        // Whatever was published before this is counted when this arrives.
        self.online[7].send(self.group, "the last word").await;
        self.have(message + 3).await;
        let (to_groups, to_gateways) = self.queue.take();
        assert_eq!(to_groups, 1, "the last word, and nothing else");
        assert!(to_gateways <= 2, "the reader's other devices: {to_gateways}");
    }
}
