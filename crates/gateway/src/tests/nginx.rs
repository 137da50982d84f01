//! Behind a real Nginx, with the configuration that is in `deploy/nginx`.

use std::{fs, net::SocketAddr};

use protocol::{
    WEBSOCKET_PROTOBUF,
    wire::{ClientFrame, ErrorCode, LogIn, client_frame::Body as Request, server_frame::Body},
};
use rustls::pki_types::ServerName;
use servers::{Lifetime, Nginx, Upstream, free_port};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, UnixListener},
};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{
    bed::{Bed, Tcp, WebSocket, connect_body, eventually, pushed_text, unlimited},
    tls::{Files, connector},
};
use crate::{Config, Limits, Rate};

/// From where the clients come; Nginx itself comes from 127.0.0.1.
const CLIENT: &str = "127.0.0.5";
const OTHER_CLIENT: &str = "127.0.0.6";

struct Front {
    http: SocketAddr,
    tcp: SocketAddr,
    _nginx: Nginx,
    _dir: TempDir,
}

impl Front {
    async fn before(gateways: &[Upstream], tls: Option<&Files>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [http, tcp] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let listen = |address| if tls.is_some() { format!("{address} ssl") } else { format!("{address}") };
        let certificate = tls.map_or_else(String::new, |files| {
            let path = |name| files.path(name).display().to_string();
            format!("ssl_certificate {}; ssl_certificate_key {};", path("tls.pem"), path("tls.key"))
        });
        let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nginx/mpim.conf.template");
        let configuration = fs::read_to_string(template)
            .unwrap()
            .replace("${MPIM_MODULES}", &Nginx::stream_module())
            .replace("${MPIM_GATEWAYS}", &Nginx::gateways(gateways))
            .replace("${MPIM_HTTP_LISTEN}", &listen(http))
            .replace("${MPIM_TCP_LISTEN}", &listen(tcp))
            .replace("${MPIM_TLS}", &certificate)
            // A machine that tests has neither so many files nor so much memory.
            .replace("worker_rlimit_nofile 200000;", "")
            .replace("worker_connections 100000;", "worker_connections 500;");
        assert!(!configuration.contains("${"), "a name of the template is not put in:\n{configuration}");
        let nginx = Nginx::start("nginx", dir.path(), &configuration, http, Lifetime::Bound).await.unwrap();
        Self { http, tcp, _nginx: nginx, _dir: dir }
    }
}

/// A connection from this address of the machine's.
async fn from(client: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(client.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

async fn by_tcp<S: AsyncRead + AsyncWrite + Unpin>(stream: S, user: u64) -> Tcp<S> {
    let mut tcp = Tcp::on(stream).await;
    tcp.connect(user).await;
    tcp
}

async fn by_websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S, user: u64) -> WebSocket<S> {
    let mut request = "ws://chat.example/ws".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", WEBSOCKET_PROTOBUF.parse().unwrap());
    let (stream, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut websocket = WebSocket(stream);
    let connect = ClientFrame { request: 1, body: Some(connect_body(user, user * 10, true)) };
    websocket.request(WEBSOCKET_PROTOBUF, &connect).await;
    assert!(matches!(websocket.frame().await.body, Some(Body::Connected(_))));
    websocket
}

/// The status that a log-in is answered with.
async fn by_http(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let body = r#"{"name": "user-7"}"#;
    let head = "POST /api/v1/log_in HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.99";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).to_owned()
}

fn trusting_nginx() -> Config {
    Config { trusted_proxies: vec!["127.0.0.1".parse().unwrap()], ..unlimited() }
}

#[tokio::test]
async fn all_transports_reach_two_gateways_and_when_one_is_killed_new_connections_reach_the_other() {
    let beds = [Bed::with(trusting_nginx()).await, Bed::with(trusting_nginx()).await];
    let addresses = beds.each_ref().map(|bed| bed.gateway.local_addr().into());
    let front = Front::before(&addresses, None).await;
    // By TCP and by WebSocket apart, Nginx counts connections: each gateway gets one of two.
    let mut tcp = [by_tcp(from(CLIENT, front.tcp).await, 7).await, by_tcp(from(CLIENT, front.tcp).await, 7).await];
    let mut websockets =
        [by_websocket(from(CLIENT, front.http).await, 8).await, by_websocket(from(CLIENT, front.http).await, 8).await];
    for bed in &beds {
        assert!(bed.figure("mpim_gateway_connections") >= 2, "spread by how many connections there are");
        bed.publish_direct(&[7, 8], 1, "pushed").await;
    }
    for (tcp, websocket) in tcp.iter_mut().zip(&mut websockets) {
        assert_eq!(tcp.texts(1).await, ["pushed"]);
        assert_eq!(pushed_text(&websocket.frame().await), "pushed");
    }
    assert_eq!(by_http(from(CLIENT, front.http).await).await, "200");

    let [killed, other] = beds;
    drop(killed.gateway);
    for _ in 0..4 {
        by_tcp(from(CLIENT, front.tcp).await, 7).await;
        by_websocket(from(CLIENT, front.http).await, 8).await;
        assert_eq!(by_http(from(CLIENT, front.http).await).await, "200");
    }
    drop((tcp, websockets));
    eventually("they have gone from the other", || other.figure("mpim_gateway_users") == 0).await;
}

#[tokio::test]
async fn limits_see_the_clients_address_by_every_transport() {
    let one = Rate { per_second: 0.01, burst: 1 };
    let config = trusting_nginx();
    let config = Config {
        connections_per_address_max: 1,
        limits: Limits { accounts_per_address: one, ..config.limits },
        ..config
    };
    let bed = Bed::with(config).await;
    let front = Front::before(&[bed.gateway.local_addr().into()], None).await;
    let log_in = || Request::LogIn(LogIn { name: "user-7".into(), ..LogIn::default() });
    let mut tcp = by_tcp(from(CLIENT, front.tcp).await, 7).await;
    assert!(matches!(tcp.ask(log_in()).await, Body::Session(_)));
    match tcp.ask(log_in()).await {
        Body::Error(error) => assert_eq!(error.code(), ErrorCode::RateLimited),
        other => panic!("{other:?}"),
    }
    assert_eq!(by_http(from(CLIENT, front.http).await).await, "429", "the same client, whatever it claims");
    assert_eq!(by_http(from(OTHER_CLIENT, front.http).await).await, "200");
    let mut second = Tcp::on(from(CLIENT, front.tcp).await).await;
    assert_eq!(second.next().await, None, "it has a connection already");
    let refused = tokio_tungstenite::client_async("ws://chat.example/ws", from(CLIENT, front.http).await).await;
    assert!(refused.unwrap_err().to_string().contains("429"));
    by_websocket(from(OTHER_CLIENT, front.http).await, 8).await;
}

#[tokio::test]
async fn by_a_socket_of_the_machine_all_transports_come_in_and_their_clients_addresses_with_them() {
    let bed = Bed::with(Config { connections_per_address_max: 1, ..trusting_nginx() }).await;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("clients.sock");
    bed.gateway.accept_plain(UnixListener::bind(&socket).unwrap());
    // Nobody is at the address.
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let front = Front::before(&[Upstream { address, socket: Some(socket) }], None).await;
    let mut tcp = by_tcp(from(CLIENT, front.tcp).await, 7).await;
    let mut websocket = by_websocket(from(OTHER_CLIENT, front.http).await, 8).await;
    bed.publish_direct(&[7, 8], 1, "pushed").await;
    assert_eq!(tcp.texts(1).await, ["pushed"]);
    assert_eq!(pushed_text(&websocket.frame().await), "pushed");
    assert_eq!(by_http(from(CLIENT, front.http).await).await, "200");
    for client in [CLIENT, OTHER_CLIENT] {
        let mut second = Tcp::on(from(client, front.tcp).await).await;
        assert_eq!(second.next().await, None, "it has a connection already");
    }
}

#[tokio::test]
async fn tls_ends_in_nginx_or_in_the_gateway() {
    let files = Files::new();
    let name = || ServerName::try_from("localhost").unwrap();
    let tls = connector(&files.path("tls.pem"), &rustls::version::TLS13);

    let plain = Bed::with(trusting_nginx()).await;
    let front = Front::before(&[plain.gateway.local_addr().into()], Some(&files)).await;
    by_tcp(tls.connect(name(), from(CLIENT, front.tcp).await).await.unwrap(), 7).await;
    by_websocket(tls.connect(name(), from(CLIENT, front.http).await).await.unwrap(), 8).await;
    assert_eq!(by_http(tls.connect(name(), from(CLIENT, front.http).await).await.unwrap()).await, "200");

    // TCP passes through Nginx, and the header with the client's address comes before the handshake.
    let within =
        Bed::with(Config { connections_per_address_max: 1, tls: files.config().tls, ..trusting_nginx() }).await;
    let front = Front::before(&[within.gateway.local_addr().into()], None).await;
    let _first = by_tcp(tls.connect(name(), from(CLIENT, front.tcp).await).await.unwrap(), 7).await;
    by_tcp(tls.connect(name(), from(OTHER_CLIENT, front.tcp).await).await.unwrap(), 8).await;
    let mut second = Tcp::on(tls.connect(name(), from(CLIENT, front.tcp).await).await.unwrap()).await;
    assert_eq!(second.next().await, None, "it has a connection already");
}
