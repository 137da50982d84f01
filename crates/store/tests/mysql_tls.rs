//! Connections that are encrypted, to a server that is who it should be.

#![allow(clippy::unwrap_used, reason = "the functions of a test file are tests or serve them")]

mod mariadb;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use store::mysql::{MysqlConfig, MysqlStore, OpenError};

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

    let open = async |tls: &str| MysqlStore::open(MysqlConfig::new(format!("{url}{tls}"))).await;
    let verified_by = |mode: &str, authority: &Path| format!("?ssl-mode={mode}&ssl-ca={}", authority.display());
    let store = open(&verified_by("VERIFY_IDENTITY", &trusted)).await.unwrap();
    assert_eq!(store.newest_id().await.unwrap(), 0);
    let begun = Instant::now();
    for of_a_stranger in [verified_by("VERIFY_IDENTITY", &stranger), "?ssl-mode=VERIFY_IDENTITY".into()] {
        assert!(matches!(open(&of_a_stranger).await, Err(OpenError::Unreachable { .. })), "{of_a_stranger}");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "it is not waited for: {:?}", begun.elapsed());
    // It would look as if the server were verified.
    let refused = open(&verified_by("PREFERRED", &trusted)).await.unwrap_err();
    assert!(refused.to_string().contains("ssl-mode=VERIFY_IDENTITY"), "{refused}");
    let refused = open("?ssl-mode=SOMETIMES").await.unwrap_err();
    assert!(matches!(refused, OpenError::Url { which: "url", .. }), "{refused}");
    assert!(open("").await.is_ok());
    // The server now lets nobody in who is not encrypted.
    mariadb::execute(&server, "mysql", "SET GLOBAL require_secure_transport = ON").await;
    assert!(open("").await.is_ok(), "encrypted if the server can");
    assert!(matches!(open("?ssl-mode=DISABLED").await, Err(OpenError::Unreachable { .. })));
}
