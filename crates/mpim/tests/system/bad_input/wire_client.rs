//! Clients that send what the test says, on each transport.

use client::wire::{self, ClientFrame, ServerFrame, client_frame::Body as Request, server_frame::Body as Answer};
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::{device::PATIENCE, http};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    WebSocket,
    WebSocketJson,
    Http,
}

impl Transport {
    pub const SOCKETS: [Self; 3] = [Self::Tcp, Self::WebSocket, Self::WebSocketJson];
    pub const ALL: [Self; 4] = [Self::Tcp, Self::WebSocket, Self::WebSocketJson, Self::Http];
}

pub struct WireClient {
    transport: Transport,
    port: u16,
    token: String,
    tcp: Option<TcpStream>,
    websocket: Option<WebSocketStream<TcpStream>>,
    last: u32,
}

impl WireClient {
    /// A connection on which nothing was said.
    pub async fn open(port: u16, transport: Transport) -> Self {
        let mut client = Self { transport, port, token: String::new(), tcp: None, websocket: None, last: 100 };
        if transport == Transport::Http {
            return client;
        }
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if transport == Transport::Tcp {
            stream.write_all(protocol::TCP_PREFACE).await.unwrap();
            client.tcp = Some(stream);
            return client;
        }
        let is_json = transport == Transport::WebSocketJson;
        let protocol = if is_json { protocol::WEBSOCKET_JSON } else { protocol::WEBSOCKET_PROTOBUF };
        let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
        client.websocket = Some(tokio_tungstenite::client_async(request, stream).await.unwrap().0);
        client
    }

    pub async fn connected(port: u16, transport: Transport, token: &str) -> Self {
        let mut client = Self { token: token.to_owned(), ..Self::open(port, transport).await };
        if transport != Transport::Http {
            let token = Some(wire::connect::Token::AccessToken(token.to_owned()));
            let answer = client.ask(Request::Connect(wire::Connect { token, ..wire::Connect::default() })).await;
            assert!(matches!(answer, Answer::Connected(_)), "{answer:?}");
        }
        client
    }

    /// Asks, and passes over pushes.
    pub async fn ask(&mut self, request: Request) -> Answer {
        if self.transport == Transport::Http {
            return self.post(request).await;
        }
        self.last += 1;
        let number = self.last;
        self.send(number, request).await;
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.next()).await.expect("an answer in time");
            let frame = frame.expect("an answer, not the end");
            match frame.body {
                Some(body) if frame.request == number || matches!(body, Answer::Goodbye(_)) => return body,
                _ => {}
            }
        }
    }

    async fn post(&self, request: Request) -> Answer {
        let address = ([127, 0, 0, 1], self.port).into();
        let frame = serde_json::to_value(ClientFrame { request: 0, body: Some(request) }).unwrap();
        let (name, body) = frame.as_object().unwrap().iter().next().unwrap();
        let (status, answer) =
            http::post(address, &format!("/api/v1/{name}"), Some(&self.token), &body.to_string()).await;
        if status == 200 { Answer::Done(wire::Done {}) } else { Answer::Error(serde_json::from_str(&answer).unwrap()) }
    }

    pub async fn send(&mut self, request: u32, body: Request) {
        let frame = ClientFrame { request, body: Some(body) };
        match self.transport {
            Transport::WebSocketJson => self.write_text(&serde_json::to_string(&frame).unwrap()).await,
            _ => self.write_bytes(&frame.encode_to_vec()).await,
        }
    }

    /// Sends over TCP and reads nothing; fails once the connection has ended.
    pub async fn try_send(&mut self, body: Request) -> std::io::Result<()> {
        let frame = ClientFrame { request: 1, body: Some(body) }.encode_length_delimited_to_vec();
        self.tcp.as_mut().unwrap().write_all(&frame).await
    }

    /// A frame over TCP in one segment for each byte.
    pub async fn write_slowly(&mut self, request: u32, body: Request) {
        let frame = ClientFrame { request, body: Some(body) }.encode_length_delimited_to_vec();
        let stream = self.tcp.as_mut().unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in frame {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    }

    pub async fn write_bytes(&mut self, bytes: &[u8]) {
        if let Some(stream) = &mut self.tcp {
            let mut framed = Vec::new();
            prost::encoding::encode_varint(bytes.len() as u64, &mut framed);
            framed.extend_from_slice(bytes);
            stream.write_all(&framed).await.unwrap();
        } else {
            self.websocket.as_mut().unwrap().send(Message::binary(bytes.to_vec())).await.unwrap();
        }
    }

    pub async fn write_text(&mut self, text: &str) {
        self.websocket.as_mut().unwrap().send(Message::text(text)).await.unwrap();
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<ServerFrame> {
        if let Some(stream) = &mut self.tcp {
            let mut length = 0;
            for shift in (0..).step_by(7) {
                let byte = stream.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            let mut frame = vec![0; length];
            stream.read_exact(&mut frame).await.ok()?;
            return Some(ServerFrame::decode(frame.as_slice()).unwrap());
        }
        loop {
            match self.websocket.as_mut().unwrap().next().await?.ok()? {
                Message::Binary(frame) => return Some(ServerFrame::decode(frame).unwrap()),
                Message::Text(frame) => return Some(serde_json::from_str(&frame).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}
