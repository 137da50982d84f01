//! The live configuration, by ZooKeeper.

use std::ops::RangeInclusive;

use api::UserService as _;
use client::{
    EntryId, Profile as _,
    wire::{self, ErrorCode, client_frame::Body as Request},
};
use servers::Redis;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
};

use crate::{
    device::{Device, PATIENCE},
    http::ask,
    people::{connected, direct, until},
    process::MPIM,
    stores::Stores,
    system::{Setup, System, call},
};

const RATE: &str = "gateway.sends_per_second";
const BURST: &str = "gateway.sends_burst";
const LEVEL: &str = "log.level";
const TTL: &str = "redis_cache.user_info_ttl";

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
    let is_told = |line: &str| line.contains("is in effect") && line.contains(RATE) && line.contains("value=\"1\"");
    for name in ["gateway-1", "gateway-2"] {
        assert!(system.log(name).lines().any(is_told), "{}", system.log(name));
    }

    registry.set_config(LEVEL, Some("trace")).await.unwrap();
    registry.set_config(RATE, None).await.unwrap();
    until("nobody is limited any more", async || is_limited().await == [false; 2]).await;
    for name in ["gateway-1", "gateway-2"] {
        // A refusal is of interest to nobody but who looks for it.
        let refused = async || {
            let wrong = client::log_in(&system.server(name), "limited", "not the password", "again").await;
            assert!(wrong.is_err());
            system.log(name).lines().any(|line| line.contains("DEBUG") && line.contains("a request was refused"))
        };
        until("it logs more", refused).await;
    }
    registry.set_config(LEVEL, Some("error")).await.unwrap();
    registry.close().await;
}

/// How long Redis will keep a key, in milliseconds; negative if it does not.
async fn kept_ms(redis: &Redis, key: &str) -> i64 {
    let mut stream = BufReader::new(TcpStream::connect(redis.address()).await.unwrap());
    stream.write_all(format!("PTTL {key}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).await.unwrap();
    answer.trim_end().strip_prefix(':').unwrap_or_else(|| panic!("{answer}")).parse().unwrap()
}

/// A lifetime of the cache changes in all processes while they run, for what they keep from then on; a value that is not allowed is
/// refused by name, and the one before stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifetimes_of_the_cache_change_while_the_system_runs_and_invalid_values_are_refused() {
    /// Of the default, varied by a tenth.
    const AN_HOUR: RangeInclusive<i64> = 3_200_000..=3_960_000;
    const A_MINUTE: RangeInclusive<i64> = 50_000..=66_000;
    let system = System::start(Setup::small()).await;
    let registry = system.registry().await;
    let mut registered = 0;
    // How long each of both instances has what it was asked for kept: somebody whom it has not been asked for before.
    let mut kept = async || {
        let mut kept = [0; 2];
        for (instance, kept) in ["services-1", "services-2"].into_iter().zip(&mut kept) {
            registered += 1;
            let device = Device::register(&system.server("gateway-1"), &format!("kept{registered}")).await;
            let tokens = device.profile.tokens().unwrap().unwrap();
            let find = wire::FindUsers { ids: vec![tokens.user.get()], names: Vec::new() };
            let found = system.users(instance).find_users(&call(tokens.user, tokens.session), find).await.unwrap();
            assert_eq!(found.users.len(), 1);
            *kept = kept_ms(&system.cache, &format!("mpim:cache:user:{}", tokens.user)).await;
        }
        kept
    };
    let before = kept().await;
    assert!(before.iter().all(|ms| AN_HOUR.contains(ms)), "{before:?}");
    registry.set_config(TTL, Some("60")).await.unwrap();
    until("both keep it for a minute", async || kept().await.iter().all(|ms| A_MINUTE.contains(ms))).await;

    for invalid in ["-7", "for ever", "31536000"] {
        registry.set_config(TTL, Some(invalid)).await.unwrap();
        for name in ["services-1", "services-2"] {
            let is_told = |log: &str| log.lines().any(|line| line.contains("is refused") && line.contains(invalid));
            until("the refusal is told", async || is_told(&system.log(name))).await;
        }
    }
    let after = kept().await;
    assert!(after.iter().all(|ms| A_MINUTE.contains(ms)), "the lifetime before stays: {after:?}");

    registry.set_config(TTL, None).await.unwrap();
    until("both keep it for an hour again", async || kept().await.iter().all(|ms| AN_HOUR.contains(ms))).await;
    registry.close().await;
}

/// What is set for all processes is set, listed and unset by command, and each says what it has done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_set_listed_and_unset_by_command() {
    let (stores, number) = Stores::shared().await;
    let (servers, root) = (stores.zookeeper.address().to_string(), format!("/mpim-{number}"));
    let mpim = async |arguments: &[&str]| {
        let mut command = Command::new(MPIM);
        command.arg("config").args(arguments).env_clear().kill_on_drop(true);
        command.env("MPIM_ZOOKEEPER_HOSTS", &servers).env("MPIM_ZOOKEEPER_ROOT", &root);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(mpim(&["live"]).await.starts_with("no value is set"));
    assert_eq!(mpim(&["set", RATE, "50"]).await, format!("{RATE} = 50\n"));
    assert_eq!(mpim(&["set", LEVEL, "info,gateway=debug"]).await, format!("{LEVEL} = info,gateway=debug\n"));
    let listed = mpim(&["live"]).await;
    assert_eq!(listed, format!("{LEVEL} = info,gateway=debug\n{RATE} = 50\n"));
    let refused = mpim(&["set", RATE, "-5"]).await;
    assert!(refused.contains("must be a whole number") && refused.contains("-5"), "{refused}");
    let unset = mpim(&["set", RATE]).await;
    assert!(unset.starts_with(&format!("{RATE} is unset")), "{unset}");
    assert_eq!(mpim(&["live"]).await, format!("{LEVEL} = info,gateway=debug\n"));
}
