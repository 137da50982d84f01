use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use protocol::{WEBSOCKET_PROTOBUF, wire::client_frame::Body as Request};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::bed::{Bed, Tcp, WebSocket, connect_body, soon, unlimited};
use crate::{Config, TlsFiles};

/// A certificate for `localhost` and its key: `tls.pem` and `tls.key`.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.renew();
        files
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
        fs::write(self.path("tls.key"), made.signing_key.serialize_pem()).unwrap();
        fs::write(self.path("tls.pem"), made.cert.pem()).unwrap();
    }

    pub(super) fn config(&self) -> Config {
        let tls = TlsFiles { certificate: self.path("tls.pem"), key: self.path("tls.key") };
        Config { tls: Some(tls), ..unlimited() }
    }
}

/// Trusts the certificate in this file and no other.
pub(super) fn connector(certificate: &Path, version: &'static SupportedProtocolVersion) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn tls(
    address: SocketAddr,
    certificate: &Path,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    connector(certificate, version).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn everything_on_the_port_is_in_tls_where_there_is_a_certificate() {
    let files = Files::new();
    let bed = Bed::with(files.config()).await;
    let (address, certificate) = (bed.gateway.local_addr(), files.path("tls.pem"));
    for version in [&TLS12, &TLS13] {
        let mut tcp = Tcp::on(tls(address, &certificate, version).await.unwrap()).await;
        tcp.connect(7).await;
        bed.publish_direct(&[7], 1, "by TCP").await;
        assert_eq!(tcp.texts(1).await, ["by TCP"]);

        let mut request = format!("ws://{address}/ws").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", WEBSOCKET_PROTOBUF.parse().unwrap());
        let stream = tls(address, &certificate, version).await.unwrap();
        let (stream, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let mut websocket = WebSocket(stream);
        let frame = protocol::wire::ClientFrame { request: 1, body: Some(connect_body(8, 80, true)) };
        websocket.request(WEBSOCKET_PROTOBUF, &frame).await;
        assert_eq!(websocket.frame().await.request, 1);
        // Larger than what TLS takes at once.
        let text = "天气".repeat(20_000);
        bed.publish_direct(&[8], 1, &text).await;
        assert_eq!(super::bed::pushed_text(&websocket.frame().await), text);

        let mut http = tls(address, &certificate, version).await.unwrap();
        http.write_all(b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        http.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ready\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_tls_is_refused_where_there_is_a_certificate() {
    let files = Files::new();
    let bed = Bed::with(files.config()).await;
    let address = bed.gateway.local_addr();
    let mut plain = bed.tcp().await;
    plain.request(Request::Ping(protocol::wire::Ping {})).await;
    let mut answer = Vec::new();
    soon("the end", plain.stream.read_to_end(&mut answer)).await.unwrap_or_default();
    assert!(answer.len() < 16 && answer.first() != Some(&0x16), "no more than an alert: {answer:?}");
    let strangers = Files::new();
    tls(address, &strangers.path("tls.pem"), &TLS13).await.unwrap_err();
    soon("both are counted", async {
        while bed.figure("mpim_gateway_tls_failures_total") < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_the_handshake_is_closed_in_time() {
    let files = Files::new();
    let config = Config { handshake_timeout: Duration::from_millis(200), ..files.config() };
    let bed = Bed::with(config).await;
    let mut mute = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
    mute.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let mut answer = Vec::new();
    soon("the end", mute.read_to_end(&mut answer)).await.unwrap_or_default();
    assert!(answer.is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_used_for_new_connections_and_old_ones_go_on() {
    let files = Files::new();
    let bed = Bed::with(files.config()).await;
    let (address, certificate) = (bed.gateway.local_addr(), files.path("tls.pem"));
    let old = files.path("old.pem");
    fs::copy(&certificate, &old).unwrap();
    let mut before = Tcp::on(tls(address, &old, &TLS13).await.unwrap()).await;
    before.connect(7).await;
    files.renew();
    soon("the new certificate", async {
        while tls(address, &certificate, &TLS13).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    tls(address, &old, &TLS13).await.unwrap_err();
    before.expect_silence().await;
}

#[tokio::test]
async fn another_listener_may_be_plain() {
    let files = Files::new();
    let bed = Bed::with(files.config()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    bed.gateway.accept_plain(listener);
    Tcp::on(TcpStream::connect(address).await.unwrap()).await.connect(7).await;
    bed.gateway.drain(Duration::from_secs(5)).await;
    assert!(TcpStream::connect(address).await.is_err(), "still accepts");
}

#[tokio::test]
async fn a_gateway_does_not_start_with_a_certificate_that_cannot_be_used() {
    let files = Files::new();
    fs::write(files.path("tls.key"), "nonsense").unwrap();
    let error = Bed::try_with(files.config()).await.err().unwrap().to_string();
    assert!(error.contains("tls.key") && error.contains("private key"), "{error}");
}
