//! What the tests stand on: a service that does as it is told, servers and channels with short times, a proxy that breaks
//! connections, and a peer that says what no instance would.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hmac::{Hmac, Mac as _};
use prometheus_client::registry::Registry;
use protocol::{Error, Result, wire::ErrorCode};
use rpc::{
    Channel, ChannelConfig, Endpoint, Method, Metrics, Request, Route, Secret, Security, Server, ServerConfig, Service,
    TraceContext,
};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for a machine that is busy with something else.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);

pub(crate) const AGAIN: Method = Method::new("test.Service/Again", true);
pub(crate) const ONCE: Method = Method::new("test.Service/Once", false);
pub(crate) const UNKNOWN: Method = Method::new("test.Service/Unknown", false);

/// What the service is asked to do.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Ask {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) delay_ms: u64,
    /// Fails with this code afterwards.
    #[prost(enumeration = "ErrorCode", tag = "3")]
    pub(crate) fail: i32,
    /// Never answers.
    #[prost(bool, tag = "4")]
    pub(crate) hang: bool,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) payload: Vec<u8>,
    /// Answers with so many bytes.
    #[prost(uint64, tag = "6")]
    pub(crate) answer_bytes: u64,
    #[prost(bool, tag = "7")]
    pub(crate) panic: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Answer {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(string, tag = "2")]
    pub(crate) header: String,
    #[prost(string, tag = "3")]
    pub(crate) trace: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) payload: Vec<u8>,
    /// Which server answered.
    #[prost(string, tag = "5")]
    pub(crate) server: String,
}

/// Does as it is told, and counts.
#[derive(Default)]
pub(crate) struct Told {
    name: Mutex<String>,
    /// How often each number was begun.
    pub(crate) begun: Mutex<HashMap<u64, u32>>,
    /// Calls that were dropped before their end.
    pub(crate) dropped: Mutex<Vec<u64>>,
    /// Fails all calls with `UNAVAILABLE`.
    pub(crate) broken: AtomicBool,
}

impl Told {
    pub(crate) fn begun(&self, number: u64) -> u32 {
        self.begun.lock().unwrap().get(&number).copied().unwrap_or(0)
    }

    pub(crate) fn begun_total(&self) -> u32 {
        self.begun.lock().unwrap().values().sum()
    }
}

struct Dropped<'a>(&'a Told, u64, bool);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        if !self.2 {
            self.0.dropped.lock().unwrap().push(self.1);
        }
    }
}

#[async_trait]
impl Service for Told {
    fn name(&self) -> &'static str {
        "Told"
    }

    fn methods(&self) -> &'static [Method] {
        &[AGAIN, ONCE]
    }

    async fn call(&self, request: Request) {
        let Some((header, ask, reply)) = request.open::<String, Ask>() else { return };
        *self.begun.lock().unwrap().entry(ask.number).or_default() += 1;
        let mut dropped = Dropped(self, ask.number, false);
        sleep(Duration::from_millis(ask.delay_ms)).await;
        if ask.hang {
            std::future::pending::<()>().await;
        }
        dropped.2 = true;
        assert!(!ask.panic, "as told");
        if self.broken.load(Ordering::Relaxed) {
            return reply.fail(Error::unavailable("the database is away"));
        }
        if ask.fail != 0 {
            return reply.fail(Error::new(ask.fail(), "as told"));
        }
        let payload = if ask.answer_bytes > 0 { vec![7; ask.answer_bytes as usize] } else { ask.payload };
        let trace = TraceContext::current().map(|trace| trace.to_string()).unwrap_or_default();
        let server = self.name.lock().unwrap().clone();
        reply.send(Ok(Answer { number: ask.number, header, trace, payload, server }));
    }
}

pub(crate) fn secret() -> Security {
    Security::Secret(Secret::new(SECRET).unwrap())
}

pub(crate) fn metrics() -> Arc<Metrics> {
    Metrics::new(&mut Registry::default())
}

pub(crate) fn server_config() -> ServerConfig {
    ServerConfig { heartbeat: HEARTBEAT, handshake_timeout: Duration::from_millis(500), ..ServerConfig::default() }
}

pub(crate) fn channel_config() -> ChannelConfig {
    ChannelConfig { heartbeat: HEARTBEAT, connections_per_instance: 2, ..ChannelConfig::default() }
}

pub(crate) async fn server_with(security: Security, config: ServerConfig) -> (Server, Arc<Told>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let told = Arc::new(Told::default());
    let server = Server::start(listener, vec![told.clone()], security, config, &metrics()).unwrap();
    *told.name.lock().unwrap() = server.address().to_string();
    (server, told)
}

pub(crate) async fn server() -> (Server, Arc<Told>) {
    server_with(secret(), server_config()).await
}

pub(crate) fn endpoint(address: impl ToString) -> Endpoint {
    Endpoint { address: address.to_string(), zone: String::new(), weight: 1 }
}

pub(crate) type Endpoints = watch::Sender<Vec<Endpoint>>;

pub(crate) fn channel_with(
    addresses: &[String],
    security: Security,
    config: ChannelConfig,
    metrics: &Metrics,
) -> (Channel, Endpoints) {
    let (sender, endpoints) = watch::channel(addresses.iter().map(endpoint).collect());
    (Channel::new("test", endpoints, security, config, metrics), sender)
}

pub(crate) fn channel(addresses: &[String]) -> (Channel, Endpoints) {
    channel_with(addresses, secret(), channel_config(), &metrics())
}

pub(crate) fn soon() -> Instant {
    Instant::now() + PATIENCE
}

pub(crate) async fn ask(channel: &Channel, method: &Method, ask: Ask) -> Result<Answer> {
    channel.call(method, Route::Any, soon(), &"header".to_string(), &ask).await
}

pub(crate) fn number(number: u64) -> Ask {
    Ask { number, ..Ask::default() }
}

/// Waits until something is so; fails if it does not come about.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Passes bytes on to a server, until told otherwise.
pub(crate) struct Proxy {
    pub(crate) address: String,
    cut: Mutex<CancellationToken>,
    frozen: Arc<watch::Sender<bool>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let frozen = Arc::new(watch::Sender::new(false));
        let cut = CancellationToken::new();
        Arc::new_cyclic(|proxy: &std::sync::Weak<Self>| {
            let (proxy, freeze) = (proxy.clone(), frozen.clone());
            let accepting = tokio::spawn(async move {
                while let Ok((near, _)) = listener.accept().await {
                    let Some(proxy) = proxy.upgrade() else { return };
                    let cut = proxy.cut.lock().unwrap().clone();
                    let Ok(far) = TcpStream::connect(&server).await else { continue };
                    let (near_in, near_out) = near.into_split();
                    let (far_in, far_out) = far.into_split();
                    tokio::spawn(pass(near_in, far_out, freeze.subscribe(), cut.clone()));
                    tokio::spawn(pass(far_in, near_out, freeze.subscribe(), cut));
                }
            });
            Self { address, cut: Mutex::new(cut), frozen, accepting }
        })
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }

    /// Breaks all connections, and takes no new ones.
    pub(crate) fn end(&self) {
        self.accepting.abort();
        self.cut();
    }

    /// Keeps connections open and passes nothing on.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
    cut: CancellationToken,
) {
    let passing = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if frozen.wait_for(|frozen| !frozen).await.is_err() {
                return;
            }
            match from.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..count]).await.is_err()
                    {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = cut.cancelled() => {}
        () = passing => {}
    }
}

/// Knows the secret, and then says what it likes.
pub(crate) struct Rogue(pub(crate) TcpStream);

impl Rogue {
    pub(crate) async fn enter(address: impl tokio::net::ToSocketAddrs) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let nonce = [9; 32];
        stream.write_all(&[&b"MPIMRPC1"[..], &nonce, &mac("hello", &[&nonce])].concat()).await.unwrap();
        let mut answer = [0; 64];
        stream.read_exact(&mut answer).await.unwrap();
        stream.write_all(&mac("client", &[&nonce, &answer[..32]])).await.unwrap();
        Self(stream)
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Everything until the server closes the connection.
    pub(crate) async fn hear_all(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let end = timeout(PATIENCE, self.0.read_to_end(&mut heard)).await.expect("the server closes the connection");
        // Whether it is closed or reset depends on what was still on its way.
        drop(end);
        heard
    }
}

fn mac(role: &str, nonces: &[&[u8]]) -> Vec<u8> {
    let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(b"MPIMRPC1");
    mac.update(role.as_bytes());
    nonces.iter().for_each(|nonce| mac.update(nonce));
    mac.finalize().into_bytes().to_vec()
}

/// A frame as docs/rpc.md describes it.
pub(crate) fn frame(kind: u8, call: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(9 + payload.len()).unwrap();
    [&length.to_be_bytes()[..], &[kind], &call.to_be_bytes(), payload].concat()
}

/// A request as docs/rpc.md describes it, with an empty header.
pub(crate) fn request(call: u64, method: &Method, ask: &Ask) -> Vec<u8> {
    use prost::Message as _;
    let head = [&method.id.to_be_bytes()[..], &10_000u32.to_be_bytes(), &[0], &0u16.to_be_bytes()].concat();
    frame(1, call, &[head, ask.encode_to_vec()].concat())
}
