//! Over TLS, as `rediss`: with servers whose certificate this machine does not trust, and a process that does.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use protocol::UserId;
use queue::{Queue as _, redis::RedisQueue};
use servers::{Lifetime, Redis, RedisCluster, Security, Sentinel, Tls};
use tokio::process::Command;

use crate::{bed, contract::clients};

/// The servers, in the environment of the process that trusts them.
const URLS: &str = "REDIS_TLS_URLS";

/// A certificate that nobody trusts yet, and its key.
fn certificate(dir: &Path) -> [PathBuf; 2] {
    fs::create_dir_all(dir).unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
    let files = ["certificate.pem", "key.pem"].map(|name| dir.join(name));
    fs::write(&files[0], made.cert.pem()).unwrap();
    fs::write(&files[1], made.signing_key.serialize_pem()).unwrap();
    files
}

fn tls_hosts<'a>(servers: impl IntoIterator<Item = &'a Redis>) -> String {
    let hosts: Vec<String> = servers.into_iter().map(|server| server.tls_address().unwrap().to_string()).collect();
    hosts.join(",")
}

/// The authorities that are trusted are those of the machine unless the environment names others, which a process cannot change of
/// itself: so this test starts itself again.
#[tokio::test]
async fn servers_are_spoken_to_over_tls_if_their_certificate_is_trusted_and_otherwise_not() {
    if let Some(urls) = env::var_os(URLS) {
        for url in urls.to_str().unwrap().split(' ') {
            all_goes_well(url).await;
        }
        return;
    }
    let dir = bed::dir("queue-tls");
    let [certificate, key] = certificate(&dir);
    let tls = Some(Tls { certificate: &certificate, key: &key });
    let security = Security { password: "servers", sentinel_password: "sentinels", tls };
    let alone = Redis::start_secured("redis", &dir, security, &[], Lifetime::Bound).await.unwrap();
    let cluster = RedisCluster::start(&dir.join("cluster"), security, Lifetime::Bound).await.unwrap();
    let behind = Sentinel::start(&dir.join("sentinel"), security, Lifetime::Bound).await.unwrap();
    let url = format!("rediss://:servers@{}/0", tls_hosts([&alone]));
    let urls = [
        url.clone(),
        format!("rediss+cluster://:servers@{}", tls_hosts(&cluster.nodes)),
        format!(
            "rediss+sentinel://:servers@{}/{}?sentinel_password=sentinels",
            tls_hosts(&behind.sentinels),
            Sentinel::MASTER
        ),
    ];
    let refused = RedisQueue::start(bed::config(&url)).unwrap().routes(&[UserId::new(1)]).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("certificate"), "{refused}");

    let name = "tls::servers_are_spoken_to_over_tls_if_their_certificate_is_trusted_and_otherwise_not";
    let output = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .envs([(URLS, urls.join(" ")), ("SSL_CERT_FILE", certificate.display().to_string())])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

async fn all_goes_well(url: &str) {
    queue::contract::publications_to_a_topic_arrive_whole_and_in_order(clients(url)).await;
    queue::contract::routes_come_in_the_users_order(clients(url)).await;
}
