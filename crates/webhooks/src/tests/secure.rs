//! Receivers with TLS.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::bed::soon;
use crate::{
    delivery::Delivery,
    post::{Poster, Receiver},
};

/// Answers each connection's request with 200; its port, and its certificate.
async fn receiver(tasks: &mut JoinSet<()>) -> (u16, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever does not trust the certificate hangs up.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = [0; 4_096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    (port, certificate)
}

#[tokio::test]
async fn a_receivers_certificate_has_to_be_trusted_and_to_bear_its_name() {
    let mut tasks = JoinSet::new();
    let (port, certificate) = receiver(&mut tasks).await;
    let delivery = Delivery { id: "5-70-1".into(), body: Bytes::from_static(b"{}") };
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = Poster::with_roots(roots, Duration::from_secs(10), true);
    let strange = Poster::with_roots(RootCertStore::empty(), Duration::from_secs(10), true);

    let right = format!("https://localhost:{port}/");
    soon(Receiver::new(&right, Vec::new(), &trusting).post(&trusting, &delivery)).await.unwrap();
    let failure = soon(Receiver::new(&right, Vec::new(), &strange).post(&strange, &delivery)).await.unwrap_err();
    assert!(failure.to_string().contains("no TLS"), "{failure}");
    let wrong = format!("https://127.0.0.1:{port}/");
    let failure = soon(Receiver::new(&wrong, Vec::new(), &trusting).post(&trusting, &delivery)).await.unwrap_err();
    assert!(failure.to_string().contains("no TLS"), "{failure}");
}
