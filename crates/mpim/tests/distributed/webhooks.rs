//! Webhooks that two user services could deliver.

use std::fs;

use crate::{
    receiver::{Owner, Receiver},
    system::{Setup, System},
};

/// Each instance of the user service owns some of these.
const WEBHOOKS: usize = 4;

async fn receivers(owner: &Owner) -> Vec<Receiver> {
    let mut receivers = Vec::new();
    for _ in 0..WEBHOOKS {
        let receiver = Receiver::start().await;
        owner.webhook(&receiver.url).await;
        receivers.push(receiver);
    }
    receivers
}

/// What is said to a bot is posted to each of its webhooks once, in order, though two instances could do it; also after one of them was
/// killed, and came back. Only the delivery that was under way then may come again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_deliver_once_by_two_user_services_and_go_on_when_one_is_killed() {
    const MESSAGES: usize = 20;
    let mut system = System::start(Setup::full().with("MPIM_ZOOKEEPER_SESSION_TIMEOUT", 1_000)).await;
    let owner = Owner::start(&system.server("gateway-1")).await;
    let mut receivers = receivers(&owner).await;
    let mut said = 0;
    let mut heard = vec![Vec::<String>::new(); WEBHOOKS];
    for killed in [None, Some("user-1"), None, Some("user-2")] {
        if let Some(name) = killed {
            system.kill(name);
        }
        for _ in 0..MESSAGES {
            owner.say(&said.to_string()).await;
            said += 1;
        }
        for (receiver, heard) in receivers.iter_mut().zip(&mut heard) {
            while heard.last().is_none_or(|text| *text != (said - 1).to_string()) {
                heard.push(receiver.text().await);
            }
        }
        if let Some(name) = killed {
            system.kill_and_restart(name).await;
        }
    }
    let expected: Vec<String> = (0..said).map(|number| number.to_string()).collect();
    for heard in &mut heard {
        heard.dedup();
        assert_eq!(*heard, expected);
    }
    for receiver in &mut receivers {
        assert!(receiver.posted.try_recv().is_err(), "and nothing comes after it");
    }
    owner.client.close().await;
}

/// One of two user services is not told how to reach gateways; the other reaches one that speaks TLS, with a certificate of a private
/// authority. It delivers all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn webhooks_are_delivered_over_tls_and_by_those_alone_who_are_told_where_gateways_are() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let (both, authority) = (dir.path().join("both.pem"), dir.path().join("authority.pem"));
    fs::write(&both, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    fs::write(&authority, made.cert.pem()).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();

    let mut system = System::start(Setup::none()).await;
    let certificate = [("MPIM_GATEWAY_TLS_CERTIFICATE", text(&both))];
    let port = system.add_with("gateway-1", &["gateway"], &certificate).address.port();
    let reach = [
        ("MPIM_WEBHOOKS_GATEWAY", format!("tls://localhost:{port}")),
        ("MPIM_WEBHOOKS_GATEWAY_AUTHORITY", text(&authority)),
    ];
    let all = ["user", "message", "presence", "group"];
    system.add_with("services-1", &all, &reach);
    system.add("services-2", &all);
    for name in ["gateway-1", "services-1", "services-2"] {
        system.instance(name).ready().await;
    }
    let server: client::Server = format!("https://localhost:{port}").parse().unwrap();
    let owner = Owner::start(&server.trusting(&authority)).await;
    let mut receivers = receivers(&owner).await;
    receivers.append(&mut self::receivers(&owner).await);
    owner.say("to all").await;
    for receiver in &mut receivers {
        assert_eq!(receiver.text().await, "to all");
    }
    owner.client.close().await;
}
