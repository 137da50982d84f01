//! A server that speaks TLS, and its users: commands, and the webhooks in its own process.

use std::{fs, path::Path, process::Stdio};

use client::Server;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
    time::timeout,
};

use crate::{
    device::PATIENCE,
    process::{ENVIRONMENT, MPIM},
    receiver::{Owner, Receiver},
};

/// Runs a command as `alice`: what it prints, or what is wrong.
async fn client(dir: &Path, server: &str, authority: Option<&Path>, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(MPIM);
    command.args(["client", "--json", "--server", server, "--profile"]).arg(dir.join("profile")).args(words);
    if let Some(authority) = authority {
        command.arg("--ca").arg(authority);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // A command that fails early does not read it.
    let _ = child.stdin.take().unwrap().write_all(b"correct horse\n").await;
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("ends in time").unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    if output.status.success() { Ok(stdout) } else { Err(stderr) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_serves_who_believes_it_by_every_transport_and_its_own_webhooks() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let (both, authority) = (dir.path().join("both.pem"), dir.path().join("authority.pem"));
    fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    fs::write(&authority, made.cert.pem()).unwrap();
    let mut server = Command::new(MPIM)
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(dir.path().join("data"))
        .envs(ENVIRONMENT)
        .env("MPIM_GATEWAY_TLS_CERTIFICATE", &both)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let ready = timeout(PATIENCE, lines.next_line()).await.expect("ready in time").unwrap().unwrap();
    let port = ready.strip_prefix("ready https://127.0.0.1:").unwrap_or_else(|| panic!("{ready}"));

    let url = format!("https://localhost:{port}");
    let refused = client(dir.path(), &url, None, &["register", "alice", "--password-stdin"]).await.unwrap_err();
    assert!(refused.contains("certificate") && refused.lines().count() == 1, "{refused}");
    let owner = Owner::start(&url.parse::<Server>().unwrap().trusting(&authority)).await;
    let log_in = ["login", "alice", "--password-stdin"];
    for scheme in ["https", "wss", "tls"] {
        let url = format!("{scheme}://localhost:{port}");
        let profile = tempfile::tempdir().unwrap();
        // The password of the tests' owner.
        let wrong = client(profile.path(), &url, Some(&authority), &log_in).await.unwrap_err();
        assert!(!wrong.contains("certificate") && wrong.contains("password"), "{scheme}: {wrong}");
        let own = format!("user-{scheme}");
        client(profile.path(), &url, Some(&authority), &["register", &own, "--password-stdin"]).await.unwrap();
        let sent = client(profile.path(), &url, Some(&authority), &["send", "alice", "天气"]).await.unwrap();
        assert!(sent.contains("\"position\":1"), "{sent}");
    }
    let plain = client(dir.path(), &format!("tcp://localhost:{port}"), None, &log_in).await.unwrap_err();
    assert!(plain.lines().count() == 1, "{plain}");

    let mut receiver = Receiver::start().await;
    owner.webhook(&receiver.url).await;
    owner.say("heard in this process").await;
    assert_eq!(receiver.text().await, "heard in this process");
    owner.client.close().await;
}
