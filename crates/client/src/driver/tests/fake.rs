//! A server that does what a test says.

use std::{future::Future, time::Duration};

use prost::Message as _;
use protocol::{
    EntryId, TCP_PREFACE,
    wire::{self, ErrorCode, GoodbyeReason, client_frame::Body as Request, server_frame::Body as Answer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::Server;

pub(super) const ME: u64 = 11;
pub(super) const PEER: u64 = 12;
/// Nothing in these tests takes so long unless it hangs.
const SOON: Duration = Duration::from_secs(20);

pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing happened for a long time")
}

pub(super) fn session() -> wire::Session {
    wire::Session {
        id: 7,
        user: Some(wire::UserInfo { id: ME, name: "alice".into(), ..wire::UserInfo::default() }),
        access_token: "access".into(),
        access_expires_ms: i64::MAX,
        refresh_token: "refresh".into(),
        refresh_expires_ms: i64::MAX,
    }
}

pub(super) fn entry(position: u64) -> wire::Entry {
    let content = Some(crate::text(format!("text {position}")));
    wire::Entry { position, id: EntryId::generate().to_string(), sender: PEER, time_ms: 1, content }
}

pub(super) struct FakeServer(TcpListener);

impl FakeServer {
    pub(super) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(super) fn address(&self) -> Server {
        format!("tcp://{}", self.0.local_addr().unwrap()).parse().unwrap()
    }

    /// The next connection, greeted.
    pub(super) async fn accept_raw(&self) -> Peer {
        let (mut stream, _) = soon(self.0.accept()).await.unwrap();
        let mut preface = [0; 6];
        soon(stream.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, TCP_PREFACE);
        Peer { stream, connect_request: 0 }
    }

    /// The next connection, and what it asks in `connect`.
    pub(super) async fn accept(&self) -> (Peer, wire::Connect) {
        let mut peer = self.accept_raw().await;
        let (request, connect) = peer.expect_connect().await;
        peer.connect_request = request;
        (peer, connect)
    }

    /// The next connection, bound to the session, with nothing to catch up.
    pub(super) async fn accept_connected(&self, resume_token: &str) -> Peer {
        let (mut peer, _) = self.accept().await;
        peer.connected(resume_token, wire::SyncPage { cursor: "c".into(), ..wire::SyncPage::default() }).await;
        peer
    }
}

/// The server's end of a connection.
pub(super) struct Peer {
    stream: TcpStream,
    connect_request: u32,
}

impl Peer {
    /// The next request; `None` at the end of the connection.
    pub(super) async fn try_expect(&mut self) -> Option<(u32, Request)> {
        let mut length = 0usize;
        for shift in 0.. {
            let byte = soon(self.stream.read_u8()).await.ok()?;
            length |= usize::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut frame = vec![0; length];
        soon(self.stream.read_exact(&mut frame)).await.ok()?;
        let frame = wire::ClientFrame::decode(&*frame).unwrap();
        assert_ne!(frame.request, 0);
        Some((frame.request, frame.body.unwrap()))
    }

    pub(super) async fn expect(&mut self) -> (u32, Request) {
        self.try_expect().await.expect("the connection ended")
    }

    pub(super) async fn until_closed(&mut self) {
        while self.try_expect().await.is_some() {}
    }

    pub(super) async fn expect_connect(&mut self) -> (u32, wire::Connect) {
        match self.expect().await {
            (request, Request::Connect(connect)) => (request, connect),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn expect_send(&mut self) -> (u32, wire::Send) {
        loop {
            match self.expect().await {
                (request, Request::Send(send)) => return (request, send),
                // Comes when the kind of a conversation is not known; some tests do not care.
                (request, Request::Sync(_)) => {
                    self.answer(request, Answer::Sync(wire::SyncPage { cursor: "c".into(), ..Default::default() }))
                        .await;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn expect_sync(&mut self) -> (u32, wire::Sync) {
        match self.expect().await {
            (request, Request::Sync(sync)) => (request, sync),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn expect_fetch(&mut self) -> (u32, wire::Fetch) {
        match self.expect().await {
            (request, Request::Fetch(fetch)) => (request, fetch),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn answer(&mut self, request: u32, body: Answer) {
        let frame = wire::ServerFrame { request, body: Some(body) };
        // A client that has gone is what some tests are about.
        let _ = soon(self.stream.write_all(&frame.encode_length_delimited_to_vec())).await;
    }

    pub(super) async fn connected(&mut self, resume_token: &str, sync: wire::SyncPage) {
        self.connected_to(self.connect_request, resume_token, sync).await;
    }

    pub(super) async fn connected_to(&mut self, request: u32, resume_token: &str, sync: wire::SyncPage) {
        let connected =
            wire::Connected { resume_token: resume_token.into(), sync: Some(sync), ..wire::Connected::default() };
        self.answer(request, Answer::Connected(connected)).await;
    }

    pub(super) async fn connected_with_heartbeat(
        &mut self,
        resume_token: &str,
        sync: wire::SyncPage,
        heartbeat_ms: u32,
    ) {
        let resume_token = resume_token.into();
        let connected = wire::Connected { resume_token, sync: Some(sync), heartbeat_ms, ..wire::Connected::default() };
        self.answer(self.connect_request, Answer::Connected(connected)).await;
    }

    pub(super) async fn refuse(&mut self, request: u32, code: ErrorCode, retry_after_ms: u32) {
        let message = "refused by the test".into();
        self.answer(request, Answer::Error(wire::Error { code: code.into(), message, retry_after_ms })).await;
    }

    pub(super) async fn goodbye(&mut self, reason: GoodbyeReason, reconnect_after_ms: u32) {
        let message = "goodbye by the test".into();
        self.answer(0, Answer::Goodbye(wire::Goodbye { reason: reason.into(), message, reconnect_after_ms })).await;
    }

    pub(super) async fn push_entry(&mut self, conversation: u64, position: u64) {
        let kind = wire::ConversationKind::Direct.into();
        self.answer(0, Answer::Entry(wire::EntryPush { conversation, kind, entry: Some(entry(position)) })).await;
    }
}
