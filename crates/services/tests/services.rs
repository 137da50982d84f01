//! What the services promise, over the SQLite store and the embedded queue and cache.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{sync::Arc, time::Duration};

use api::{Call, Caller, GroupService, MessageService, Scopes, SendRequest, Token, UserService, send_result};
use cache::LocalCache;
use prometheus_client::registry::Registry;
use prost::Message as _;
use protocol::{
    ConversationId, EntryId, Error, GatewayId, IdGenerator, NodeNumber, RawContent, SessionId, UserId, queue as pushes,
    wire::{self, ErrorCode, JoinPolicy, content::Kind},
};
use queue::{Delivered, LocalQueue, Queue, Subscription, Topic};
use services::{
    Clock, group, message,
    user::{self, PasswordConfig, SecretKey},
};
use store::{
    Act, Membership, Messages, NewEntry,
    sqlite::{SqliteConfig, SqliteStore},
};
use tokio::time::Instant;

const GATEWAY: GatewayId = GatewayId::new(1);
const PATIENCE: Duration = Duration::from_secs(20);

struct System {
    store: SqliteStore,
    queue: Arc<LocalQueue>,
    clock: Clock,
    message: Arc<message::Service>,
    user: Arc<user::Service>,
    group: Arc<group::Service>,
    tasks: (message::Tasks, user::Tasks),
    dir: Arc<tempfile::TempDir>,
}

impl System {
    async fn start() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), message::Config::default(), Clock::system()).await
    }

    async fn open(dir: Arc<tempfile::TempDir>, config: message::Config, clock: Clock) -> Self {
        let store = SqliteStore::open(SqliteConfig::new(dir.path())).unwrap();
        let shared = Arc::new(store.clone());
        let queue = Arc::new(LocalQueue::new());
        let cache = Arc::new(LocalCache::default());
        let ids = Arc::new(IdGenerator::new(NodeNumber::new(0).unwrap()));
        let (message, message_tasks) = message::Service::start(
            &config,
            shared.clone(),
            queue.clone(),
            ids.clone(),
            clock.clone(),
            &mut Registry::default(),
        );
        let config = user::Config {
            passwords: PasswordConfig { memory_kib: 8, iterations: 1, threads: 1, queue_max: 16 },
            access_token_ttl: Duration::from_secs(900),
            refresh_token_ttl: Duration::from_secs(86_400),
            resume_token_ttl: Duration::from_secs(3_600),
            info_ttl: Duration::from_secs(60).into(),
            look_at_peers_every: None,
            private_webhooks: false,
        };
        let parts = user::Parts {
            standing_changed: Arc::new(|| {}),
            store: shared.clone(),
            webhooks: shared.clone(),
            cache: cache.clone(),
            queue: queue.clone(),
            messages: message.clone(),
            ids: ids.clone(),
            clock: clock.clone(),
            key: SecretKey::from_bytes([7; 32]),
        };
        let (user, user_tasks) = user::Service::start(config, parts).await.unwrap();
        let config = group::Config { info_ttl: Duration::from_secs(60).into() };
        let group = group::Service::new(&config, shared, cache, user.clone(), message.clone(), ids, clock.clone());
        Self { store, queue, clock, message, user, group, tasks: (message_tasks, user_tasks), dir }
    }

    async fn restart(self) -> Self {
        let (dir, clock) = (self.dir.clone(), self.clock.clone());
        self.tasks.0.stop().await;
        self.tasks.1.stop().await;
        drop((self.message, self.user, self.group));
        self.store.close().await;
        drop(self.store);
        Self::open(dir, message::Config::default(), clock).await
    }

    async fn register(&self, name: &str) -> wire::Session {
        let register = wire::Register { name: name.into(), password: "password".into(), device: "phone".into() };
        self.user.register(&nobody(), register).await.unwrap()
    }

    async fn direct(&self, from: &wire::Session, to: &wire::Session) -> u64 {
        let request = api::OpenDirectRequest { peer: user_id(to).get() };
        self.message.open_direct(&by(from), request).await.unwrap().id
    }

    async fn send(&self, from: &wire::Session, sends: Vec<wire::Send>) -> Vec<Result<u64, ErrorCode>> {
        let response = self.message.send(&by(from), SendRequest { sends }).await.unwrap();
        let outcome = |result: api::SendResult| match result.result.unwrap() {
            send_result::Result::Sent(sent) => Ok(sent.position),
            send_result::Result::Error(error) => Err(error.code()),
        };
        response.results.into_iter().map(outcome).collect()
    }

    async fn texts(&self, reader: &wire::Session, conversation: u64) -> Vec<String> {
        let history = wire::History { conversation, from: None, limit: 500 };
        let page = self.message.history(&by(reader), history).await.unwrap();
        page.entries.iter().filter_map(|entry| entry.content.as_ref()?.text()).collect()
    }

    async fn personal(&self, user: &wire::Session) -> Vec<Kind> {
        let conversation = user_id(user).get();
        let page = self.message.history(&by(user), wire::History { conversation, from: None, limit: 500 }).await;
        let kind = |entry: wire::Entry| entry.content.unwrap().view().unwrap().kind.unwrap();
        page.unwrap().entries.into_iter().map(kind).collect()
    }
}

fn nobody() -> Call {
    Call { caller: None, origin: None, address: None, deadline: Instant::now() + PATIENCE }
}

fn user_id(session: &wire::Session) -> UserId {
    UserId::new(session.user.as_ref().unwrap().id)
}

fn by(session: &wire::Session) -> Call {
    let caller = Caller { user: user_id(session), session: SessionId::new(session.id), scopes: Scopes::ALL };
    Call { caller: Some(caller), ..nobody() }
}

fn text(conversation: u64, id: EntryId, body: impl Into<String>) -> wire::Send {
    wire::Send {
        target: Some(wire::send::Target::Conversation(conversation)),
        id: id.to_string(),
        content: Some(Kind::Text(wire::Text { body: body.into() }).into()),
        forward_of: None,
    }
}

async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time")
}

/// The positions of a conversation's entries that a subscription hears, until there are `count`. What personal logs tell
/// comes in between.
async fn heard(subscription: &dyn Subscription, conversation: u64, count: usize) -> Vec<u64> {
    let mut positions = Vec::new();
    while positions.len() < count {
        let delivered = tokio::time::timeout(PATIENCE, subscription.receive(100)).await.expect("in time");
        for delivered in delivered {
            let Delivered::Publication(publication) = delivered else { panic!("lost") };
            for delivery in pushes::Batch::decode(publication.payload).unwrap().deliveries {
                if let Some(pushes::delivery::What::Entry(entry)) = delivery.what
                    && entry.conversation == conversation
                {
                    positions.push(entry.position);
                }
            }
        }
    }
    positions
}

#[tokio::test]
async fn sends_are_stored_and_published_in_the_order_given_and_a_wrong_one_stops_no_other() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let subscription = system.queue.open(GATEWAY).await.unwrap();
    system.queue.bind(user_id(&bob), GATEWAY, false).await.unwrap();
    let mut sends: Vec<_> = (1..=50).map(|i| text(conversation, EntryId::generate(), i.to_string())).collect();
    sends.insert(10, text(conversation, EntryId::generate(), ""));
    sends.insert(20, text(conversation + 1, EntryId::generate(), "not mine"));
    sends.insert(30, text(user_id(&alice).get(), EntryId::generate(), "to the personal log"));
    let outcomes = system.send(&alice, sends).await;
    assert_eq!(outcomes[10], Err(ErrorCode::Invalid));
    assert_eq!(outcomes[20], Err(ErrorCode::NotMember));
    assert_eq!(outcomes[30], Err(ErrorCode::Forbidden));
    let positions: Vec<u64> = outcomes.into_iter().filter_map(Result::ok).collect();
    assert_eq!(positions, (1..=50).collect::<Vec<_>>());
    assert_eq!(system.texts(&bob, conversation).await, (1..=50).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(heard(subscription.as_ref(), conversation, 50).await, (1..=50).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_id_stores_one_entry_eight_times_at_once_after_a_restart_and_a_day_later() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let id = EntryId::generate();
    let at_once = (0..8).map(|_| system.send(&alice, vec![text(conversation, id, "once")]));
    for outcome in futures_util::future::join_all(at_once).await {
        assert_eq!(outcome, [Ok(1)]);
    }
    let system = system.restart().await;
    assert_eq!(system.send(&alice, vec![text(conversation, id, "once")]).await, [Ok(1)]);
    for day_ms in [86_400_000, -172_800_000] {
        system.clock.shift(day_ms);
        assert_eq!(system.send(&alice, vec![text(conversation, id, "once")]).await, [Ok(1)]);
    }
    assert_eq!(system.send(&alice, vec![text(conversation, id, "other")]).await, [Err(ErrorCode::IdReused)]);
    assert_eq!(system.texts(&bob, conversation).await, ["once"]);
}

#[tokio::test]
async fn what_exceeds_the_queue_is_certainly_not_stored() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let config = message::Config { append_queue_bytes_max: 4_096, ..message::Config::default() };
    let system = System::open(dir, config, Clock::system()).await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let send = |i: u32| system.send(&alice, vec![text(conversation, EntryId::generate(), format!("{i:>3000}"))]);
    let outcomes = futures_util::future::join_all((0..20).map(send)).await.concat();
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(outcomes.iter().all(|outcome| outcome.is_ok() || *outcome == Err(ErrorCode::Overloaded)));
    assert!((1..20).contains(&stored), "{stored}");
    assert_eq!(system.texts(&bob, conversation).await.len(), stored);
}

#[tokio::test]
async fn a_change_of_members_that_a_crash_left_untold_is_told_once() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let group = ConversationId::new(4_711);
    let system = {
        // Committed by a process that was killed before it told anybody.
        let (dir, clock) = (system.dir.clone(), system.clock.clone());
        let (message, user) = system.tasks;
        message.stop().await;
        user.stop().await;
        let enter = [&alice, &bob].map(|session| (user_id(session), wire::Role::Member)).to_vec();
        let entry = NewEntry {
            conversation: group,
            sender: user_id(&alice),
            id: EntryId::generate(),
            time_ms: 1,
            content: RawContent::from(Kind::GroupCreated(wire::GroupCreated::default())).as_bytes().clone(),
            act: Act::Membership(Membership { create: true, enter, ..Membership::default() }),
            settles: None,
        };
        system.store.append(vec![entry]).await.unwrap()[0].as_ref().unwrap();
        system.store.close().await;
        drop((system.message, system.user, system.group, system.store));
        System::open(dir, message::Config::default(), clock).await
    };
    let entered = Kind::GroupEntered(wire::GroupEntered { group: group.get() });
    for session in [&alice, &bob] {
        eventually(async || system.personal(session).await.contains(&entered).then_some(())).await;
    }
    let system = system.restart().await;
    for session in [&alice, &bob] {
        let told = system.personal(session).await.iter().filter(|kind| **kind == entered).count();
        assert_eq!(told, 1);
    }
}

#[tokio::test]
async fn groups_are_made_once_joined_as_their_policy_says_and_left() {
    let system = System::start().await;
    let (alice, bob, carol) =
        (system.register("alice").await, system.register("bob").await, system.register("carol").await);
    let create = wire::CreateGroup {
        id: EntryId::generate().to_string(),
        title: " 天气 ".into(),
        members: vec![user_id(&bob).get(), user_id(&bob).get(), user_id(&alice).get()],
        join_policy: JoinPolicy::ByInvitation.into(),
    };
    let group = system.group.create_group(&by(&alice), create.clone()).await.unwrap();
    assert_eq!(system.group.create_group(&by(&alice), create.clone()).await.unwrap(), group);
    assert_eq!(group.title, "天气");
    let ghost = wire::CreateGroup { id: EntryId::generate().to_string(), members: vec![99], ..create };
    let error = system.group.create_group(&by(&alice), ghost).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::NotFound, "user 99 does not exist"));

    let id = || EntryId::generate().to_string();
    let join = |id| wire::JoinGroup { id, group: group.id, ..Default::default() };
    let leave = |id| wire::LeaveGroup { id, group: group.id };
    let refused = system.group.join_group(&by(&carol), join(id())).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotFound);
    let invite = |users: &[&wire::Session]| {
        let users = users.iter().map(|session| user_id(session).get()).collect();
        wire::Invite { id: id(), group: group.id, users }
    };
    let by_herself = system.group.invite(&by(&carol), invite(&[&carol, &alice])).await.unwrap_err();
    assert_eq!(by_herself.code(), ErrorCode::NotMember);
    assert_eq!(system.group.invite(&by(&carol), invite(&[&carol])).await.unwrap_err().code(), ErrorCode::Invalid);
    system.group.invite(&by(&bob), invite(&[&carol, &bob])).await.unwrap();
    assert_eq!(system.send(&carol, vec![text(group.id, EntryId::generate(), "hi")]).await, [Ok(3)]);
    // Who is a member already joins without an entry.
    system.group.join_group(&by(&carol), join(id())).await.unwrap();
    assert_eq!(system.send(&carol, vec![text(group.id, EntryId::generate(), "me")]).await, [Ok(4)]);

    let leaving = id();
    system.group.leave_group(&by(&carol), leave(leaving.clone())).await.unwrap();
    system.group.leave_group(&by(&carol), leave(leaving)).await.unwrap();
    let again = system.group.leave_group(&by(&carol), leave(id())).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::NotMember);
    assert_eq!(
        system.send(&carol, vec![text(group.id, EntryId::generate(), "gone")]).await,
        [Err(ErrorCode::NotMember)]
    );
    let history = wire::History { conversation: group.id, from: None, limit: 0 };
    let refused = system.message.history(&by(&carol), history).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NotMember);
    let told = eventually(async || {
        let told = system.personal(&carol).await;
        told.contains(&Kind::GroupExited(wire::GroupExited { group: group.id, removed: false })).then_some(told)
    })
    .await;
    assert!(told.contains(&Kind::GroupEntered(wire::GroupEntered { group: group.id })));
}

async fn code_of<T>(outcome: impl Future<Output = Result<T, Error>>) -> ErrorCode {
    outcome.await.err().expect("refused").code()
}

#[tokio::test]
async fn a_refresh_token_is_used_once_its_lost_answer_is_repeated_and_its_replay_ends_the_session() {
    let system = System::start().await;
    let first = system.register("alice").await;
    let refresh = |token: &str, id: EntryId| {
        let request = wire::Refresh { refresh_token: token.into(), id: id.to_string() };
        let user = system.user.clone();
        async move { user.refresh(&nobody(), request).await }
    };
    let id = EntryId::generate();
    let second = refresh(&first.refresh_token, id).await.unwrap();
    let repeated = refresh(&first.refresh_token, id).await.unwrap();
    assert_eq!(second.refresh_token, repeated.refresh_token);
    assert_ne!(first.refresh_token, second.refresh_token);
    let third = refresh(&second.refresh_token, EntryId::generate()).await.unwrap();
    // A thief comes with the first.
    assert_eq!(code_of(refresh(&first.refresh_token, EntryId::generate())).await, ErrorCode::SessionEnded);
    assert_eq!(code_of(refresh(&third.refresh_token, EntryId::generate())).await, ErrorCode::SessionEnded);
    let token = Token { token: third.access_token.clone() };
    assert_eq!(code_of(system.user.authenticate(&nobody(), token.clone())).await, ErrorCode::SessionEnded);
    let system = system.restart().await;
    assert_eq!(code_of(system.user.connect(&nobody(), token)).await, ErrorCode::SessionEnded);
    let garbage = wire::Refresh { refresh_token: "garbage".into(), id: id.to_string() };
    assert_eq!(code_of(system.user.refresh(&nobody(), garbage)).await, ErrorCode::Unauthenticated);
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_and_a_revoked_one_cannot_resume() {
    let system = System::start().await;
    let phone = system.register("alice").await;
    let log_in = |password: &str| {
        let request = wire::LogIn { name: "ALICE".into(), password: password.into(), device: "desk".into() };
        let user = system.user.clone();
        async move { user.log_in(&nobody(), request).await }
    };
    assert_eq!(code_of(log_in("wrong")).await, ErrorCode::WrongCredentials);
    let (desk, tablet) = (log_in("password").await.unwrap(), log_in("password").await.unwrap());
    let connect = |token: &str| {
        let (user, token) = (system.user.clone(), Token { token: token.into() });
        async move { user.connect(&nobody(), token).await }
    };
    let resume = connect(&desk.access_token).await.unwrap().resume_token;
    connect(&resume).await.unwrap();
    let token = Token { token: resume.clone() };
    assert_eq!(code_of(system.user.authenticate(&nobody(), token)).await, ErrorCode::Unauthenticated);
    system.user.revoke_session(&by(&phone), wire::RevokeSession { session: desk.id }).await.unwrap();
    assert_eq!(code_of(connect(&resume)).await, ErrorCode::SessionEnded);
    let again = system.user.revoke_session(&by(&phone), wire::RevokeSession { session: desk.id }).await;
    assert_eq!(again.unwrap_err().code(), ErrorCode::NotFound);

    let change = |old: &str| wire::ChangePassword { old_password: old.into(), new_password: "new password".into() };
    assert_eq!(code_of(system.user.change_password(&by(&phone), change("wrong"))).await, ErrorCode::Forbidden);
    system.user.change_password(&by(&phone), change("password")).await.unwrap();
    assert_eq!(code_of(connect(&tablet.access_token)).await, ErrorCode::SessionEnded);
    connect(&phone.access_token).await.unwrap();
    assert_eq!(code_of(log_in("password")).await, ErrorCode::WrongCredentials);
    let back = log_in("new password").await.unwrap();
    let sessions = system.user.list_sessions(&by(&back), wire::ListSessions {}).await.unwrap().sessions;
    assert_eq!(sessions.iter().map(|session| session.id).collect::<Vec<_>>(), [phone.id, back.id]);
    assert_eq!(sessions.iter().filter(|session| session.current).count(), 1);
}

/// What is removed when it is over must not be missed while tokens of it are about.
#[tokio::test]
async fn a_revoked_session_stays_revoked_when_what_is_over_is_removed() {
    let system = System::start().await;
    let (phone, lost) = (system.register("alice").await, {
        let request = wire::LogIn { name: "alice".into(), password: "password".into(), device: "lost".into() };
        system.user.log_in(&nobody(), request).await.unwrap()
    });
    let resume = system.user.connect(&nobody(), Token { token: lost.access_token.clone() }).await.unwrap().resume_token;
    system.user.revoke_session(&by(&phone), wire::RevokeSession { session: lost.id }).await.unwrap();
    // Each start removes what is over.
    system.clock.shift(1_000);
    let system = system.restart().await.restart().await;
    let token = Token { token: resume };
    assert_eq!(code_of(system.user.connect(&nobody(), token)).await, ErrorCode::SessionEnded);
}

/// What is stored and what follows from it belong together, though the connection broke in between.
#[tokio::test]
async fn a_revocation_whose_caller_goes_is_carried_out_whole() {
    let system = System::start().await;
    let phone = system.register("alice").await;
    let request = wire::LogIn { name: "alice".into(), password: "password".into(), device: "lost".into() };
    let lost = system.user.log_in(&nobody(), request).await.unwrap();
    let call = by(&phone);
    let mut revoking = Box::pin(system.user.revoke_session(&call, wire::RevokeSession { session: lost.id }));
    assert!(futures_util::poll!(&mut revoking).is_pending());
    drop(revoking);
    eventually(async || {
        let token = Token { token: lost.access_token.clone() };
        let outcome = system.user.authenticate(&nobody(), token).await;
        outcome.err().map(|error| assert_eq!(error.code(), ErrorCode::SessionEnded))
    })
    .await;
    let identity = api::Identity { session: lost.id, ..api::Identity::default() };
    assert_eq!(code_of(system.user.check_session(&nobody(), identity)).await, ErrorCode::SessionEnded);
    let ended = Kind::SessionEnded(wire::SessionEnded { session: lost.id });
    eventually(async || system.personal(&phone).await.contains(&ended).then_some(())).await;
}

#[tokio::test]
async fn the_old_password_makes_no_session_that_outlives_its_change() {
    let system = System::start().await;
    let phone = system.register("alice").await;
    let mut password = "password".to_owned();
    for round in 0..10 {
        let new_password = format!("password {round}");
        let log_ins = (0..6).map(|_| {
            let request = wire::LogIn { name: "alice".into(), password: password.clone(), device: "thief".into() };
            let user = system.user.clone();
            async move { user.log_in(&nobody(), request).await.map(drop) }
        });
        let change = wire::ChangePassword { old_password: password.clone(), new_password: new_password.clone() };
        let call = by(&phone);
        let (_, changed) =
            tokio::join!(futures_util::future::join_all(log_ins), system.user.change_password(&call, change),);
        changed.unwrap();
        let live = system.user.list_sessions(&by(&phone), wire::ListSessions {}).await.unwrap().sessions;
        assert_eq!(live.iter().map(|session| session.id).collect::<Vec<_>>(), [phone.id], "round {round}");
        password = new_password;
    }
}

/// Many may be tried at once; a right one in between helps nobody but its owner.
#[tokio::test]
async fn passwords_guessed_at_once_are_limited_as_if_one_after_the_other() {
    let system = System::start().await;
    system.register("alice").await;
    let guess = |_| {
        let request = wire::LogIn { name: "alice".into(), password: "a wrong guess".into(), device: String::new() };
        let user = system.user.clone();
        async move { code_of(user.log_in(&nobody(), request)).await }
    };
    let codes = futures_util::future::join_all((0..15).map(guess)).await;
    assert_eq!(codes.iter().filter(|code| **code == ErrorCode::WrongCredentials).count(), 10);
    assert_eq!(codes.iter().filter(|code| **code == ErrorCode::RateLimited).count(), 5);
}

#[tokio::test]
async fn a_read_position_moves_forward_only_and_the_peer_hears_of_it() {
    let system = System::start().await;
    let (alice, bob) = (system.register("alice").await, system.register("bob").await);
    let conversation = system.direct(&alice, &bob).await;
    let sends = (0..3).map(|i| text(conversation, EntryId::generate(), i.to_string())).collect();
    system.send(&alice, sends).await;
    let subscription = system.queue.open(GATEWAY).await.unwrap();
    system.queue.bind(user_id(&alice), GATEWAY, false).await.unwrap();
    for position in [2, 1, 9] {
        system.message.read(&by(&bob), wire::Read { conversation, position }).await.unwrap();
    }
    let mut moved = Vec::new();
    while moved.len() < 2 {
        for delivered in tokio::time::timeout(PATIENCE, subscription.receive(10)).await.expect("in time") {
            let Delivered::Publication(publication) = delivered else { panic!("lost") };
            assert_eq!(publication.topic, Topic::Gateway(GATEWAY));
            for delivery in pushes::Batch::decode(publication.payload).unwrap().deliveries {
                let Some(pushes::delivery::What::Frame(frame)) = delivery.what else { continue };
                let Some(wire::server_frame::Body::ReadMoved(read)) = wire::ServerFrame::decode(frame).unwrap().body
                else {
                    continue;
                };
                moved.push(read.position);
            }
        }
    }
    assert_eq!(moved, [2, 3]);
    let head = |session: wire::Session| {
        let message = system.message.clone();
        async move {
            let page = message.sync(&by(&session), wire::Sync::default()).await.unwrap();
            page.heads.into_iter().find(|head| head.conversation.as_ref().unwrap().id == conversation).unwrap()
        }
    };
    let bobs = head(bob).await;
    assert_eq!((bobs.last_position, bobs.read_position, bobs.unread), (3, 3, 0));
    let alices = head(alice).await;
    assert_eq!((alices.read_position, alices.unread, alices.peer_read_position), (3, 0, 3));
}
