//! The live configuration, by ZooKeeper.

use client::{
    EntryId, Profile as _,
    wire::{self, ErrorCode, client_frame::Body as Request},
};

use crate::{
    device::Device,
    http::ask,
    people::{connected, direct, until},
    system::{Setup, System},
};

const RATE: &str = "gateway.sends_per_second";
const BURST: &str = "gateway.sends_burst";
const LEVEL: &str = "log.level";

/// A rate and the levels of the log change in all processes while they run; a value that is not allowed is refused by name, and the one
/// before stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_log_levels_change_while_the_system_runs_and_invalid_values_are_refused() {
    let system = System::start(Setup::small()).await;
    let registry = system.registry().await;
    let device = Device::register(&system.server("gateway-1"), "limited").await;
    let online = connected(&device, &system.server("gateway-1")).await;
    let alone = direct(&online, &device).await;
    online.go_offline().await;
    let token = device.profile.tokens().unwrap().unwrap().access_token;
    // Whether one of a few sends at once is refused for being too many, at each gateway.
    let is_limited = async || {
        let mut limited = [false; 2];
        for (gateway, limited) in ["gateway-1", "gateway-2"].into_iter().zip(&mut limited) {
            for _ in 0..4 {
                let send = wire::Send {
                    id: EntryId::generate().to_string(),
                    target: Some(wire::send::Target::Conversation(alone.get())),
                    content: Some(client::text("to myself")),
                    ..wire::Send::default()
                };
                match ask(system.reached_at(gateway), Some(&token), Request::Send(send)).await {
                    Ok(_) => {}
                    Err(ErrorCode::RateLimited) => *limited = true,
                    Err(code) => panic!("{code:?}"),
                }
            }
        }
        limited
    };
    assert_eq!(is_limited().await, [false; 2]);
    registry.set_config(BURST, Some("1")).await.unwrap();
    registry.set_config(RATE, Some("1")).await.unwrap();
    until("both gateways limit", async || is_limited().await == [true; 2]).await;

    for (key, invalid) in [(RATE, "very many"), (RATE, "-1"), (LEVEL, "loud")] {
        registry.set_config(key, Some(invalid)).await.unwrap();
        for name in ["gateway-1", "gateway-2", "services-1", "services-2"] {
            let is_told = |log: &str| log.lines().any(|line| line.contains("is refused") && line.contains(invalid));
            until("the refusal is told", async || is_told(&system.log(name))).await;
        }
    }
    assert_eq!(is_limited().await, [true; 2], "the rate before stays");

    registry.set_config(LEVEL, Some("trace")).await.unwrap();
    registry.set_config(RATE, None).await.unwrap();
    until("nobody is limited any more", async || is_limited().await == [false; 2]).await;
    for name in ["gateway-1", "gateway-2"] {
        let detailed = |log: &str| log.contains("DEBUG") || log.contains("TRACE");
        let chat = async || {
            drop(client::log_in(&system.server(name), "limited", "password", "again").await.unwrap());
            detailed(&system.log(name))
        };
        until("it logs more", chat).await;
    }
    registry.set_config(LEVEL, Some("error")).await.unwrap();
    registry.close().await;
}
