//! Connections that are encrypted, to a server that is who it should be.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store::mysql::{MysqlConfig, MysqlStore, OpenError, Tls};

/// An authority.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

#[tokio::test]
async fn a_server_is_trusted_if_the_configured_authority_vouches_for_its_name() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let (trusted, issuer) = authority();
    let (stranger, _) = authority();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let (trusted, stranger) = (file("trusted.pem", &trusted), file("stranger.pem", &stranger));
    let certificate = format!("--ssl-cert={}", file("server.pem", &certificate).display());
    let key = format!("--ssl-key={}", file("server.key", &key.serialize_pem()).display());
    let server = mariadb::start("mysql_tls", &[&certificate, &key]).await;
    let url = mariadb::create(&server, "encrypted").await;

    let open = async |tls: Tls| MysqlStore::open(MysqlConfig { tls, ..MysqlConfig::new(url.clone()) }).await;
    let store = open(Tls::Verified(Some(trusted))).await.unwrap();
    assert_eq!(store.newest_id().await.unwrap(), 0);
    assert!(matches!(open(Tls::Verified(Some(stranger))).await, Err(OpenError::Unreachable { .. })));
    assert!(open(Tls::FromUrl).await.is_ok());
    // The server now lets nobody in who is not encrypted.
    mariadb::execute(&server, "mysql", "SET GLOBAL require_secure_transport = ON").await;
    assert!(open(Tls::FromUrl).await.is_ok(), "encrypted if the server can");
    assert!(matches!(open(Tls::Off).await, Err(OpenError::Unreachable { .. })));
}
