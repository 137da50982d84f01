use std::time::Duration;

use protocol::{
    WEBSOCKET_PROTOBUF,
    wire::{ErrorCode, LogIn, client_frame::Body as Request, server_frame::Body},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{
    bed::{Bed, Tcp, WebSocket, connect_body, soon, unlimited},
    http::exchange,
};
use crate::{Config, Limits, Rate};

/// The tests' own connections are those of a proxy.
fn behind_a_proxy() -> Config {
    Config { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..unlimited() }
}

fn one_account_request(config: Config) -> Config {
    let one = Rate { per_second: 0.01, burst: 1 };
    Config { limits: Limits { accounts_per_address: one, ..config.limits }, ..config }
}

async fn tcp(bed: &Bed, header: &[u8]) -> Tcp {
    let mut stream = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
    stream.write_all(header).await.unwrap();
    Tcp::on(stream).await
}

fn from(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 10.0.0.1 4711 8080\r\n").into_bytes()
}

/// Whether the address may log in once more.
async fn may_log_in(client: &mut Tcp) -> bool {
    match client.ask(Request::LogIn(LogIn { name: "user-7".into(), ..LogIn::default() })).await {
        Body::Error(error) if error.code() == ErrorCode::RateLimited => false,
        Body::Session(_) => true,
        other => panic!("{other:?}"),
    }
}

async fn log_in_status(bed: &Bed, forwarded: &str) -> u16 {
    let head = format!("POST /api/v1/log_in HTTP/1.1\r\nX-Forwarded-For: {forwarded}");
    exchange(bed, &head, r#"{"name": "user-7"}"#).await.status
}

#[tokio::test]
async fn limits_count_against_the_address_that_a_trusted_proxy_tells() {
    let bed = Bed::with(one_account_request(behind_a_proxy())).await;
    assert!(may_log_in(&mut tcp(&bed, &from("198.51.100.1")).await).await);
    assert!(!may_log_in(&mut tcp(&bed, &from("198.51.100.1")).await).await, "the same client by another connection");
    assert!(may_log_in(&mut tcp(&bed, &from("198.51.100.2")).await).await);
    assert_eq!(log_in_status(&bed, "198.51.100.1").await, 429, "the same client by HTTP");
    assert_eq!(log_in_status(&bed, "203.0.113.9, 198.51.100.3").await, 200);
    assert_eq!(log_in_status(&bed, "203.0.113.8, 198.51.100.3").await, 429, "what the client claims does not count");
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let config = Config { handshake_timeout: Duration::from_millis(500), ..one_account_request(unlimited()) };
    let bed = Bed::with(config).await;
    assert_eq!(log_in_status(&bed, "198.51.100.1").await, 200);
    assert_eq!(log_in_status(&bed, "198.51.100.2").await, 429, "both are of this address");
    let mut claimed = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
    claimed.write_all(&[&from("198.51.100.1")[..], b"MPIM/1"].concat()).await.unwrap();
    let mut answer = String::new();
    soon("the end", claimed.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn connections_are_counted_for_the_client_and_not_for_the_proxy() {
    let bed = Bed::with(Config { connections_per_address_max: 2, ..behind_a_proxy() }).await;
    let mut open = Vec::new();
    for address in ["198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.2"] {
        let mut client = tcp(&bed, &from(address)).await;
        client.connect(7).await;
        open.push(client);
    }
    assert_eq!(tcp(&bed, &from("198.51.100.1")).await.next().await, None, "one too many");
    let websocket = async |address: &str| {
        let mut request = format!("ws://{}/ws", bed.gateway.local_addr()).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", WEBSOCKET_PROTOBUF.parse().unwrap());
        request.headers_mut().insert("x-forwarded-for", address.parse().unwrap());
        tokio_tungstenite::connect_async(request).await.map(|(stream, _)| WebSocket(stream))
    };
    let refused = websocket("198.51.100.1").await.err().unwrap().to_string();
    assert!(refused.contains("429"), "{refused}");
    let mut other = websocket("198.51.100.3").await.unwrap();
    let frame = protocol::wire::ClientFrame { request: 1, body: Some(connect_body(8, 80, true)) };
    other.request(WEBSOCKET_PROTOBUF, &frame).await;
    assert_eq!(other.frame().await.request, 1);
    drop(open);
    soon("a place that is freed", async { while websocket("198.51.100.1").await.is_err() {} }).await;
    // Requests take no place: a proxy's connections are not one client's.
    for _ in 0..5 {
        assert_eq!(log_in_status(&bed, "198.51.100.3").await, 200);
    }
}

#[tokio::test]
async fn requests_of_clients_that_share_a_proxys_connection_are_limited_each_by_itself() {
    let one = Rate { per_second: 0.01, burst: 1 };
    let config = behind_a_proxy();
    let bed = Bed::with(Config { limits: Limits { requests_per_connection: one, ..config.limits }, ..config }).await;
    assert_eq!(log_in_status(&bed, "198.51.100.1").await, 200);
    assert_eq!(log_in_status(&bed, "198.51.100.1").await, 429, "by another connection of the proxy's");
    assert_eq!(log_in_status(&bed, "198.51.100.2").await, 200);
}

#[tokio::test]
async fn a_malformed_or_unfinished_header_closes_the_connection_in_time() {
    let config = Config { handshake_timeout: Duration::from_millis(300), ..behind_a_proxy() };
    let bed = Bed::with(config).await;
    for header in [
        &b"PROXY TCP4 nonsense\r\n"[..],
        b"PROXY TCP4 198.51.100.1",
        &[b'P'; 1],
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        let mut stream = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
        stream.write_all(header).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty() && began.elapsed() < Duration::from_secs(5), "{header:?} {answer:?}");
    }
    // The proxy's own connections, to see whether the gateway is there, and those without a header are served.
    tcp(&bed, b"PROXY UNKNOWN\r\n").await.connect(7).await;
    tcp(&bed, b"").await.connect(8).await;
}
