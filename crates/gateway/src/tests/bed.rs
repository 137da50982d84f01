//! A gateway on a free port before made-up services, and clients for it.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use prometheus_client::{encoding::text, registry::Registry};
use prost::Message as _;
use protocol::{
    GatewayId, GroupId, TCP_PREFACE, UserId,
    queue::{Batch, Delivery, EntryDelivery, delivery::What},
    wire::{
        ClientFrame, Connect, Connected, ConversationKind, Entry, EntryPush, GoodbyeReason, Presence, Send,
        ServerFrame, Sync, Text, client_frame, connect, content, send, server_frame::Body,
    },
};
use queue::{LocalQueue, Publication, Queue as _, Topic};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite};

use super::services::Fake;
use crate::{Config, Gateway, Limits, Metrics};

/// Longer than anything here takes, shorter than a person's patience.
const PATIENCE: Duration = Duration::from_secs(20);
const GATEWAY: GatewayId = GatewayId::new(3);

/// The outcome of what must not take for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("in vain: {what}"))
}

/// Waits until something is so.
pub(super) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub(super) fn unlimited() -> Config {
    Config { limits: Limits::UNLIMITED, departure_grace: Duration::ZERO, ..Config::default() }
}

pub(super) struct Bed {
    pub(super) fake: Arc<Fake>,
    pub(super) queue: LocalQueue,
    pub(super) gateway: Gateway,
    pub(super) ready: watch::Sender<bool>,
    registry: Arc<Mutex<Registry>>,
}

impl Bed {
    pub(super) async fn new() -> Self {
        Self::with(unlimited()).await
    }

    pub(super) async fn with(config: Config) -> Self {
        Self::on(LocalQueue::new(), config).await
    }

    pub(super) async fn on(queue: LocalQueue, config: Config) -> Self {
        Self::start(queue, config).await.unwrap()
    }

    pub(super) async fn try_with(config: Config) -> Result<Self, crate::Error> {
        Self::start(LocalQueue::new(), config).await
    }

    async fn start(queue: LocalQueue, config: Config) -> Result<Self, crate::Error> {
        let fake = Fake::new();
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let registry = Arc::new(Mutex::new(registry));
        let (ready, is_ready) = watch::channel(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scraped = registry.clone();
        let exposition = Arc::new(move || exposition(&scraped));
        let gateway = Gateway::start(
            config,
            GATEWAY,
            fake.services(),
            Arc::new(queue.clone()),
            listener,
            metrics,
            exposition,
            is_ready,
        );
        Ok(Self { gateway: gateway.await?, fake, queue, ready, registry })
    }

    /// A figure, by its name and labels in the exposition.
    pub(super) fn figure(&self, name: &str) -> u64 {
        let exposition = exposition(&self.registry);
        let line = exposition.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    pub(super) async fn tcp(&self) -> Tcp {
        Tcp::on(TcpStream::connect(self.gateway.local_addr()).await.unwrap()).await
    }

    /// A connection bound to the user's session `<user>0`.
    pub(super) async fn connected(&self, user: u64) -> Tcp {
        let mut tcp = self.tcp().await;
        tcp.connect(user).await;
        tcp
    }

    pub(super) async fn websocket(&self, protocol: Option<&'static str>) -> WebSocket {
        use tungstenite::client::IntoClientRequest as _;
        let mut request = format!("ws://{}/ws", self.gateway.local_addr()).into_client_request().unwrap();
        if let Some(protocol) = protocol {
            request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        }
        let (stream, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        let chosen = response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(chosen.as_deref(), protocol);
        WebSocket(stream)
    }

    pub(super) async fn publish(&self, topic: Topic, delivery: Delivery) {
        let payload = Batch { deliveries: vec![delivery] }.encode_to_vec().into();
        self.queue.publish(vec![Publication { topic, payload }]).await.unwrap();
    }

    /// Publishes to the gateway what arrives there together.
    pub(super) async fn publish_batch(&self, deliveries: Vec<Delivery>) {
        let payload = Batch { deliveries }.encode_to_vec().into();
        self.queue.publish(vec![Publication { topic: Topic::Gateway(GATEWAY), payload }]).await.unwrap();
    }

    pub(super) async fn publish_to(&self, users: &[u64], what: What) {
        self.publish_batch(vec![Delivery { users: users.to_vec(), what: Some(what), ..Delivery::default() }]).await;
    }

    /// Publishes a text in a direct conversation.
    pub(super) async fn publish_direct(&self, users: &[u64], position: u64, text: &str) {
        self.publish_to(users, What::Entry(direct_entry(position, text))).await;
    }

    /// Publishes a text in a group.
    pub(super) async fn publish_group(&self, group: u64, position: u64, text: &str) {
        self.publish_group_change(group, position, text, &[], &[]).await;
    }

    pub(super) async fn publish_group_change(
        &self,
        group: u64,
        position: u64,
        text: &str,
        entered: &[u64],
        exited: &[u64],
    ) {
        let entry = EntryDelivery {
            frame: entry_frame(
                group,
                ConversationKind::Group,
                position,
                content::Kind::Text(Text { body: text.into() }),
            ),
            conversation: group,
            position,
            entered: entered.to_vec(),
            exited: exited.to_vec(),
        };
        let delivery = Delivery { what: Some(What::Entry(entry)), ..Delivery::default() };
        self.publish(Topic::Group(GroupId::new(group)), delivery).await;
    }

    pub(super) async fn publish_presence(&self, user: u64, online: bool) {
        let body = Body::PresenceChanged(Presence { user, online, ..Presence::default() });
        let frame = ServerFrame { request: 0, body: Some(body) }.encode_to_vec().into();
        let delivery = Delivery { what: Some(What::Frame(frame)), ..Delivery::default() };
        self.publish(Topic::Presence(UserId::new(user)), delivery).await;
    }
}

fn exposition(registry: &Mutex<Registry>) -> String {
    let mut exposition = String::new();
    text::encode(&mut exposition, &registry.lock()).unwrap();
    exposition
}

pub(super) fn direct_entry(position: u64, text: &str) -> EntryDelivery {
    let kind = content::Kind::Text(Text { body: text.into() });
    let frame = entry_frame(77, ConversationKind::Direct, position, kind);
    EntryDelivery { frame, conversation: 77, position, ..EntryDelivery::default() }
}

pub(super) fn personal_entry(user: u64, position: u64, kind: content::Kind) -> EntryDelivery {
    let frame = entry_frame(user, ConversationKind::Personal, position, kind);
    EntryDelivery { frame, conversation: user, position, ..EntryDelivery::default() }
}

fn entry_frame(conversation: u64, kind: ConversationKind, position: u64, content: content::Kind) -> Bytes {
    let entry = Entry { position, id: "id".into(), sender: 1, time_ms: 2, content: Some(content.into()) };
    let push = EntryPush { conversation, kind: kind.into(), entry: Some(entry) };
    ServerFrame { request: 0, body: Some(Body::Entry(push)) }.encode_to_vec().into()
}

pub(super) fn send(conversation: u64, text: &str) -> client_frame::Body {
    send_to(send::Target::Conversation(conversation), text)
}

pub(super) fn send_to(target: send::Target, text: &str) -> client_frame::Body {
    let content = Some(content::Kind::Text(Text { body: text.into() }).into());
    client_frame::Body::Send(Send { target: Some(target), id: "an id".into(), content, forward_of: None })
}

pub(super) fn connect_body(user: u64, session: u64, sync: bool) -> client_frame::Body {
    client_frame::Body::Connect(Connect {
        token: Some(connect::Token::AccessToken(format!("{user}.{session}"))),
        sync: sync.then(Sync::default),
        heartbeat_ms: 0,
    })
}

/// The text of a pushed entry.
pub(super) fn pushed_text(frame: &ServerFrame) -> String {
    match &frame.body {
        Some(Body::Entry(push)) => push.entry.as_ref().unwrap().content.as_ref().unwrap().text().unwrap_or_default(),
        other => panic!("not an entry: {other:?}"),
    }
}

/// A native client.
pub(super) struct Tcp<S = TcpStream> {
    pub(super) stream: S,
    incoming: BytesMut,
    requests: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tcp<S> {
    /// Begins to speak the protocol on a connection.
    pub(super) async fn on(mut stream: S) -> Self {
        stream.write_all(TCP_PREFACE).await.unwrap();
        Self { stream, incoming: BytesMut::new(), requests: 0 }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request; returns its number.
    pub(super) async fn request(&mut self, body: client_frame::Body) -> u32 {
        self.requests += 1;
        let frame = ClientFrame { request: self.requests, body: Some(body) };
        self.write(&frame.encode_length_delimited_to_vec()).await;
        self.requests
    }

    /// The next frame; `None` once the connection has ended.
    pub(super) async fn next(&mut self) -> Option<ServerFrame> {
        soon("a frame", async {
            loop {
                if let Ok(length) = prost::decode_length_delimiter(&self.incoming[..]) {
                    let prefix = prost::length_delimiter_len(length);
                    if self.incoming.len() >= prefix + length {
                        self.incoming.advance(prefix);
                        return Some(ServerFrame::decode(self.incoming.split_to(length)).unwrap());
                    }
                }
                if self.stream.read_buf(&mut self.incoming).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        })
        .await
    }

    pub(super) async fn frame(&mut self) -> ServerFrame {
        self.next().await.expect("the connection has ended")
    }

    /// Asks, and expects the answer to be the next frame.
    pub(super) async fn ask(&mut self, body: client_frame::Body) -> Body {
        let request = self.request(body).await;
        let frame = self.frame().await;
        assert_eq!(frame.request, request, "{frame:?}");
        frame.body.unwrap()
    }

    pub(super) async fn connect(&mut self, user: u64) -> Connected {
        match self.ask(connect_body(user, user * 10, true)).await {
            Body::Connected(connected) => connected,
            other => panic!("not connected: {other:?}"),
        }
    }

    /// The texts of the next pushes.
    pub(super) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(pushed_text(&self.frame().await));
        }
        texts
    }

    /// Expects nothing but what is caused by this ping: all that was handed over before has come.
    pub(super) async fn expect_silence(&mut self) {
        let answer = self.ask(client_frame::Body::Ping(protocol::wire::Ping {})).await;
        assert!(matches!(answer, Body::Pong(_)), "{answer:?}");
    }

    /// Expects the end, with these last words.
    pub(super) async fn expect_goodbye(&mut self, reason: GoodbyeReason) -> protocol::wire::Goodbye {
        let frame = self.frame().await;
        let Some(Body::Goodbye(goodbye)) = frame.body else { panic!("no goodbye: {frame:?}") };
        assert_eq!(goodbye.reason(), reason);
        assert_eq!(self.next().await, None);
        goodbye
    }
}

/// A client in a browser.
pub(super) struct WebSocket<S = MaybeTlsStream<TcpStream>>(pub(super) WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(super) async fn send_text(&mut self, text: &str) {
        self.0.send(tungstenite::Message::text(text)).await.unwrap();
    }

    pub(super) async fn request(&mut self, protocol: &str, frame: &ClientFrame) {
        let message = if protocol == protocol::WEBSOCKET_JSON {
            tungstenite::Message::text(serde_json::to_string(frame).unwrap())
        } else {
            tungstenite::Message::binary(frame.encode_to_vec())
        };
        self.0.send(message).await.unwrap();
    }

    /// The next frame; `None` once the server has closed.
    pub(super) async fn next(&mut self) -> Option<ServerFrame> {
        match soon("a message", self.0.next()).await?.ok()? {
            tungstenite::Message::Text(text) => Some(serde_json::from_str(&text).unwrap()),
            tungstenite::Message::Binary(bytes) => Some(ServerFrame::decode(bytes).unwrap()),
            _ => None,
        }
    }

    pub(super) async fn frame(&mut self) -> ServerFrame {
        self.next().await.expect("the connection has ended")
    }
}
