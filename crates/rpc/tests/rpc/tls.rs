//! Mutual TLS.

use std::{fs, path::Path, time::Duration};

use protocol::Advice;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rpc::{ChannelConfig, Security, Tls, TlsError, TlsFiles};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::bed::*;

const NAME: &str = "rpc.mpim.internal";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes a certificate for this name, its key and the authority.
    fn issue(&self, folder: &Path, name: &str) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let files = TlsFiles {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            authorities: folder.join("authorities.pem"),
            name: NAME.into(),
        };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::write(&files.authorities, &self.pem).unwrap();
        files
    }
}

fn tls(files: TlsFiles) -> Security {
    Security::Tls(Tls::load(files).unwrap())
}

fn impatient() -> ChannelConfig {
    ChannelConfig { reach_timeout: Duration::from_millis(500), ..channel_config() }
}

#[tokio::test]
async fn instances_of_one_authority_meet_and_others_do_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let folders: Vec<TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let (server, told) = server_with(tls(ours.issue(folders[0].path(), NAME)), server_config()).await;
    let address = [server.address().to_string()];
    let ours_files = ours.issue(folders[1].path(), NAME);
    let (channel, _endpoints) = channel_with(&address, tls(ours_files.clone()), channel_config(), &metrics());
    let payload = vec![3; 1_000_000];
    let answer = ask(&channel, &ONCE, Ask { payload: payload.clone(), ..number(1) }).await.unwrap();
    assert_eq!(answer.payload, payload);

    // Another authority's certificate, which trusts ours.
    let mut stranger = theirs.issue(folders[2].path(), NAME);
    stranger.authorities = ours_files.authorities.clone();
    // One of ours that takes the server for somebody else.
    let elsewhere = TlsFiles { name: "db.mpim.internal".into(), ..ours_files };
    for files in [stranger, elsewhere] {
        let (channel, _endpoints) = channel_with(&address, tls(files), impatient(), &metrics());
        assert_eq!(ask(&channel, &AGAIN, number(2)).await.unwrap_err().advice(), Advice::RetryLater);
    }
    // And whoever knows a secret only.
    let (channel, _endpoints) = channel_with(&address, secret(), impatient(), &metrics());
    assert_eq!(ask(&channel, &AGAIN, number(2)).await.unwrap_err().advice(), Advice::RetryLater);
    assert_eq!(told.begun(2), 0);
}

#[tokio::test]
async fn a_stranger_who_speaks_no_tls_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = server_with(tls(Authority::new().issue(folder.path(), NAME)), server_config()).await;
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"MPIMRPC1"] {
        let mut stranger = TcpStream::connect(server.address()).await.unwrap();
        stranger.write_all(bytes).await.unwrap();
        let mut heard = Vec::new();
        timeout(PATIENCE, stranger.read_to_end(&mut heard)).await.expect("closed").ok();
        // At most an alert.
        assert!(heard.len() <= 7, "{heard:?}");
    }
}

#[tokio::test]
async fn renewed_certificates_are_used_by_new_connections_and_old_ones_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let folders: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let (server, told) = server_with(tls(old.issue(folders[0].path(), NAME)), server_config()).await;
    let address = [server.address().to_string()];
    let (before, _endpoints) =
        channel_with(&address, tls(old.issue(folders[1].path(), NAME)), channel_config(), &metrics());
    ask(&before, &ONCE, number(1)).await.unwrap();
    let established = tokio::spawn({
        let before = before.clone();
        async move { ask(&before, &ONCE, Ask { delay_ms: 300, ..number(2) }).await }
    });
    eventually("the call is begun", || told.begun(2) == 1).await;

    // Files that are of no use change nothing.
    fs::write(folders[0].path().join("certificate.pem"), "half a fi").unwrap();
    let (meanwhile, _endpoints) =
        channel_with(&address, tls(old.issue(folders[2].path(), NAME)), channel_config(), &metrics());
    ask(&meanwhile, &ONCE, number(3)).await.unwrap();

    new.issue(folders[0].path(), NAME);
    let (after, _endpoints) =
        channel_with(&address, tls(new.issue(folders[2].path(), NAME)), channel_config(), &metrics());
    ask(&after, &ONCE, number(4)).await.unwrap();
    let (late, _endpoints) = channel_with(&address, tls(old.issue(folders[1].path(), NAME)), impatient(), &metrics());
    assert_eq!(ask(&late, &ONCE, number(5)).await.unwrap_err().advice(), Advice::RetryLater);
    assert_eq!(established.await.unwrap().unwrap().number, 2);
    assert_eq!(ask(&before, &ONCE, number(6)).await.unwrap().number, 6);
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = Authority::new().issue(folder.path(), NAME);
    let error = |files: TlsFiles| Tls::load(files).unwrap_err().to_string();
    let missing = TlsFiles { key: folder.path().join("nothing.pem"), ..files.clone() };
    assert!(error(missing).contains("nothing.pem"));
    let wrong = TlsFiles { authorities: files.key.clone(), ..files.clone() };
    assert!(error(wrong).contains("it holds no certificate"));
    let nameless = TlsFiles { name: "not a name".into(), ..files.clone() };
    assert!(matches!(Tls::load(nameless), Err(TlsError::Name(_))));
    // The key of another certificate.
    let other = tempfile::tempdir().unwrap();
    let strange = TlsFiles { key: Authority::new().issue(other.path(), NAME).key, ..files };
    assert!(Tls::load(strange).is_err());
}
