//! A service behind a socket is to its callers what the service itself is.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use api::{
    Call, Caller, ConnectionId, GroupServer, GroupService, MessageClient, MessageServer, MessageService,
    PresenceServer, PresenceService, Scopes, SendRequest, SendResponse, SendResult, UserClient, UserServer,
    UserService, send_result,
};
use prometheus_client::registry::Registry;
use prost::{Message as _, encoding};
use protocol::{
    Error, RawContent, Result, SessionId, UserId,
    wire::{self, ErrorCode},
};
use rpc::{Channel, ChannelConfig, Endpoint, METHODS, MethodList, Metrics, Nothing, Owners, Route, Secret, Security};
use tokio::{net::TcpListener, sync::watch, time::Instant};

const PATIENCE: Duration = Duration::from_secs(20);
/// The field of a content that tells whose message it was.
const FORWARDED: u32 = 52;

/// Knows some of the methods, as an older instance does.
#[derive(Default)]
struct Double {
    calls: Mutex<Vec<Call>>,
    /// What was sent to each conversation, in the order of its coming.
    sent: Mutex<HashMap<u64, Vec<String>>>,
    content: Mutex<RawContent>,
}

#[async_trait::async_trait]
impl MessageService for Double {
    async fn send(&self, call: &Call, request: SendRequest) -> Result<SendResponse> {
        self.calls.lock().unwrap().push(call.clone());
        let result = |send: wire::Send| {
            let Some(wire::send::Target::Conversation(conversation)) = send.target else {
                let error = Error::new(ErrorCode::FriendsOnly, "no").with_retry_after(Duration::from_secs(3));
                return SendResult { result: Some(send_result::Result::Error(error.into())) };
            };
            let mut sent = self.sent.lock().unwrap();
            let log = sent.entry(conversation).or_default();
            log.push(send.id);
            let sent = wire::Sent { conversation, position: log.len() as u64, time_ms: 1 };
            SendResult { result: Some(send_result::Result::Sent(sent)) }
        };
        Ok(SendResponse { results: request.sends.into_iter().map(result).collect() })
    }

    async fn append(&self, _: &Call, request: api::AppendRequest) -> Result<wire::Sent> {
        *self.content.lock().unwrap() = request.content.unwrap_or_default();
        Ok(wire::Sent::default())
    }

    async fn history(&self, _: &Call, request: wire::History) -> Result<wire::HistoryPage> {
        let content = Some(self.content.lock().unwrap().clone());
        let entry = wire::Entry { position: 1, content, ..Default::default() };
        Ok(wire::HistoryPage { conversation: request.conversation, entries: vec![entry], last_position: 1 })
    }

    async fn list_pins(&self, _: &Call, _: wire::ListPins) -> Result<wire::Entries> {
        Err(Error::new(ErrorCode::RateLimited, "slowly").with_retry_after(Duration::from_millis(1_500)))
    }
}

impl UserService for Double {}
impl GroupService for Double {}
impl PresenceService for Double {}

fn security() -> Security {
    Security::Secret(Secret::new("0123456789abcdef0123456789abcdef").unwrap())
}

struct Instance {
    server: rpc::Server,
    double: Arc<Double>,
}

impl Instance {
    async fn start() -> Self {
        let double = Arc::new(Double::default());
        let services: Vec<Arc<dyn rpc::Service>> = vec![
            Arc::new(UserServer::new(double.clone())),
            Arc::new(MessageServer::new(double.clone())),
            Arc::new(GroupServer::new(double.clone())),
            Arc::new(PresenceServer::new(double.clone())),
        ];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let server = rpc::Server::start(listener, services, security(), rpc::ServerConfig::default(), &metrics);
        Self { server: server.expect("no two methods have the same number"), double }
    }
}

fn endpoint(instance: &Instance) -> Endpoint {
    Endpoint { address: instance.server.address().to_string(), zone: String::new(), weight: 1 }
}

async fn channel(instances: &[Instance]) -> Channel {
    // Nobody tells of changes: these stay in use.
    let (_, endpoints) = watch::channel(instances.iter().map(endpoint).collect());
    connected(instances, endpoints).await
}

/// A channel that can reach all of them.
async fn connected(instances: &[Instance], endpoints: watch::Receiver<Vec<Endpoint>>) -> Channel {
    let metrics = Metrics::new(&mut Registry::default());
    let channel = Channel::new("message", endpoints, security(), ChannelConfig::default(), &metrics);
    let all = || {
        let owners = channel.owners();
        (0..1_000).filter_map(|key| owners.of(Route::Key(key))).collect::<HashSet<_>>().len()
    };
    let since = Instant::now();
    while all() < instances.len() {
        assert!(since.elapsed() < PATIENCE, "not all instances can be reached");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    channel
}

fn call() -> Call {
    let caller = Caller { user: UserId::new(5), session: SessionId::new(6), scopes: Scopes::of_identity(&[1]) };
    let address = Some("192.0.2.1".parse().unwrap());
    Call { caller: Some(caller), origin: Some(ConnectionId(7)), address, deadline: Instant::now() + PATIENCE }
}

fn send(conversation: u64, id: String) -> wire::Send {
    let target = Some(wire::send::Target::Conversation(conversation));
    wire::Send { target, id, ..Default::default() }
}

#[tokio::test]
async fn callers_cannot_tell_a_remote_service_from_one_in_their_process() {
    let instance = Instance::start().await;
    let direct: Arc<dyn MessageService> = instance.double.clone();
    let remote: Arc<dyn MessageService> = Arc::new(MessageClient::new(channel(std::slice::from_ref(&instance)).await));
    for service in [direct, remote] {
        let error = service.list_pins(&call(), wire::ListPins { conversation: 1 }).await.unwrap_err();
        assert_eq!((error.code(), error.message()), (ErrorCode::RateLimited, "slowly"));
        assert_eq!(error.retry_after(), Some(Duration::from_millis(1_500)));
        let error = service.typing(&call(), wire::Typing { conversation: 1 }).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::UnknownRequest);
        let to_nobody = wire::Send { target: None, id: "x".into(), ..Default::default() };
        let answer = service.send(&call(), SendRequest { sends: vec![to_nobody] }).await.unwrap();
        let Some(send_result::Result::Error(error)) = &answer.results[0].result else { panic!("{answer:?}") };
        assert_eq!(Error::from(error.clone()).retry_after(), Some(Duration::from_secs(3)));
    }
}

#[tokio::test]
async fn who_calls_and_from_where_and_until_when_arrives() {
    let instance = Instance::start().await;
    let double = instance.double.clone();
    let client = MessageClient::new(channel(std::slice::from_ref(&instance)).await);
    let made = call();
    client.send(&made, SendRequest { sends: vec![send(1, "a".into())] }).await.unwrap();
    let arrived = double.calls.lock().unwrap()[0].clone();
    assert_eq!((arrived.caller, arrived.origin, arrived.address), (made.caller, made.origin, made.address));
    let difference = arrived.deadline.max(made.deadline) - arrived.deadline.min(made.deadline);
    assert!(difference < Duration::from_secs(1), "{difference:?}");
}

#[tokio::test]
async fn fields_of_a_content_that_are_unknown_here_survive_the_hops() {
    let unknown = |bytes: &mut Vec<u8>| encoding::string::encode(9_000, &"from a newer client".to_string(), bytes);
    let mut content =
        RawContent::from(wire::content::Kind::Text(wire::Text { body: "天气".into() })).as_bytes().to_vec();
    unknown(&mut content);
    // It is a forwarded message, of which a newer client tells more.
    let mut forwarded = wire::Forwarded { sender: 3, time_ms: 4 }.encode_to_vec();
    unknown(&mut forwarded);
    encoding::bytes::encode(FORWARDED, &forwarded, &mut content);
    let view = wire::Content::decode(content.as_slice()).unwrap();
    assert_eq!(view.forwarded, Some(wire::Forwarded { sender: 3, time_ms: 4 }));

    let instance = Instance::start().await;
    let client = MessageClient::new(channel(std::slice::from_ref(&instance)).await);
    let sent = Some(RawContent::from_bytes(content.clone().into()));
    let append = api::AppendRequest { conversation: 1, content: sent, ..Default::default() };
    client.append(&call(), append).await.unwrap();
    let page = client.history(&call(), wire::History { conversation: 1, ..Default::default() }).await.unwrap();
    assert_eq!(page.entries[0].content.as_ref().unwrap().as_bytes(), &content);
}

#[tokio::test]
async fn each_send_goes_to_the_owner_of_its_log_and_results_come_back_in_order() {
    let instances = [Instance::start().await, Instance::start().await, Instance::start().await];
    let doubles: Vec<_> = instances.iter().map(|instance| instance.double.clone()).collect();
    let client = MessageClient::new(channel(&instances).await);
    for round in 0..3 {
        let sends = (0..120).map(|n| send(n % 40, format!("{round} {n}"))).collect();
        let answer = client.send(&call(), SendRequest { sends }).await.unwrap();
        assert_eq!(answer.results.len(), 120);
        for (n, result) in answer.results.iter().enumerate() {
            let Some(send_result::Result::Sent(sent)) = &result.result else { panic!("{result:?}") };
            // The nth send is the (n / 40)th of its round to its conversation.
            assert_eq!((sent.conversation, sent.position), (n as u64 % 40, round * 3 + n as u64 / 40 + 1));
        }
    }
    let mut owners: HashMap<u64, usize> = HashMap::new();
    for double in &doubles {
        let sent = double.sent.lock().unwrap();
        assert!(!sent.is_empty(), "every instance owns some");
        for conversation in sent.keys() {
            *owners.entry(*conversation).or_default() += 1;
        }
        // One call for each owner and round, however many conversations.
        assert_eq!(double.calls.lock().unwrap().len(), 3);
    }
    assert!(owners.len() == 40 && owners.values().all(|owners| *owners == 1));
    assert_eq!(client.send(&call(), SendRequest::default()).await.unwrap().results.len(), 0);
}

/// What the sends of a request are parted by.
#[tokio::test]
async fn a_view_of_the_owners_stays_as_it_is_though_an_instance_goes() {
    let instances = [Instance::start().await, Instance::start().await];
    let all: Vec<Endpoint> = instances.iter().map(endpoint).collect();
    let (told, endpoints) = watch::channel(all.clone());
    let channel = connected(&instances, endpoints).await;
    let of_all = |owners: &Owners| (0..1_000).map(|key| owners.of(Route::Key(key))).collect::<Vec<_>>();
    let view = channel.owners();
    let before = of_all(&view);
    told.send_replace(all[..1].to_vec());
    let since = Instant::now();
    while of_all(&channel.owners()) == before {
        assert!(since.elapsed() < PATIENCE, "it does not go");
        tokio::task::yield_now().await;
    }
    assert!(of_all(&view) == before);
}

/// While an instance comes and goes all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_to_a_log_arrive_in_their_order_though_its_owner_changes() {
    const ROUNDS: usize = 100;
    const SENDS: usize = 4_000;
    let instances = [Instance::start().await, Instance::start().await];
    let all: Vec<Endpoint> = instances.iter().map(endpoint).collect();
    let (told, endpoints) = watch::channel(all.clone());
    let client = MessageClient::new(connected(&instances, endpoints).await);
    let coming_and_going = tokio::spawn(async move {
        for count in [1, 2].into_iter().cycle() {
            told.send_replace(all[..count].to_vec());
            tokio::task::yield_now().await;
        }
    });
    for round in 0..ROUNDS {
        let sends = (0..SENDS).map(|n| send(n as u64 % 2, format!("{round} {n:04}"))).collect();
        client.send(&call(), SendRequest { sends }).await.unwrap();
        for conversation in 0..2 {
            let of_round = |double: &Arc<Double>| {
                let sent = double.sent.lock().unwrap();
                let all = sent.get(&conversation).into_iter().flatten();
                all.filter(|id| id.starts_with(&format!("{round} "))).cloned().collect::<Vec<_>>()
            };
            let arrived: Vec<Vec<String>> = instances.iter().map(|instance| of_round(&instance.double)).collect();
            let at_one: Vec<_> = arrived.iter().filter(|sent| !sent.is_empty()).collect();
            assert_eq!(at_one.len(), 1, "of round {round}, {conversation} went to both: {arrived:?}");
            assert!(at_one[0].is_sorted() && at_one[0].len() == SENDS / 2, "{arrived:?}");
        }
    }
    coming_and_going.abort();
}

#[tokio::test]
async fn an_instance_can_be_asked_for_all_methods_and_knows_which_may_be_repeated() {
    let instance = Instance::start().await;
    let channel = channel(std::slice::from_ref(&instance)).await;
    let list: MethodList = channel.call(&METHODS, Route::Any, call().deadline, &Nothing {}, &Nothing {}).await.unwrap();
    let idempotent: HashMap<_, _> =
        list.methods.iter().map(|method| (method.name.as_str(), method.idempotent)).collect();
    assert!(idempotent["mpim.service.v1.MessageService/Send"], "a send bears an id");
    assert!(!idempotent["mpim.service.v1.UserService/LogIn"], "a log-in makes a session");
    let error = UserClient::new(channel).list_bots(&call(), wire::ListBots::default()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::UnknownRequest);
}
