//! Over TLS, as `rediss://`: with a server whose certificate this machine does not trust, and a process that does.

use std::{env, fs, path::Path, process::Stdio};

use cache::{Cache as _, redis::RedisCache};
use servers::{Lifetime, Redis, free_port};
use tokio::process::Command;

use crate::{bed, contract::clients, near::copies_are_dropped_when_another_process_invalidates};

/// The server, in the environment of the process that trusts it.
const URL: &str = "REDIS_TLS_URL";

/// A server that speaks TLS beside plain, its URL, and the file with its certificate.
async fn secured_server(dir: &Path) -> (Redis, String, String) {
    fs::create_dir_all(dir).unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| dir.join(name).to_str().unwrap().to_owned());
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port().to_string();
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &certificate];
    let arguments = [&files[..], &["--tls-port", &port, "--tls-auth-clients", "no"]].concat();
    let server = Redis::start("redis", dir, free_port(), &arguments, Lifetime::Bound).await.unwrap();
    (server, format!("rediss://127.0.0.1:{port}/0"), certificate)
}

/// The authorities that are trusted are those of the machine unless the environment names others, which a process cannot change of
/// itself: so this test starts itself again.
#[tokio::test]
async fn a_server_is_spoken_to_over_tls_if_its_certificate_is_trusted_and_otherwise_not() {
    if let Some(url) = env::var_os(URL) {
        return all_goes_well(url.to_str().unwrap()).await;
    }
    let (_server, url, certificate) = secured_server(&bed::dir("cache-tls")).await;
    let refused = RedisCache::start(&bed::config(&url)).unwrap().get(&["name:1".to_owned()]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");

    let name = "tls::a_server_is_spoken_to_over_tls_if_its_certificate_is_trusted_and_otherwise_not";
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .envs([(URL, &url), ("SSL_CERT_FILE", &certificate)])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

async fn all_goes_well(url: &str) {
    cache::contract::what_was_filled_is_found_by_every_client(clients(url)).await;
    cache::contract::an_invalidation_revokes_leases_of_other_clients(clients(url)).await;
    copies_are_dropped_when_another_process_invalidates(url).await;
}
