//! `mpim serve` with a configuration that is wrong, and while it waits for others.

use std::{fs, net::TcpListener, path::Path, time::Instant};

use registry::{
    Registry as _, ZooKeeperRegistry,
    zookeeper::{Config, Credentials},
};
use tokio::process::Command;

use crate::{
    device::PATIENCE,
    http,
    people::until,
    process::MPIM,
    stores::Stores,
    system::{RPC_SECRET, Setup, System, free_address},
};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What `mpim serve` says when it refuses to start.
async fn refusal(dir: &Path, configuration: &str, roles: &[&str]) -> String {
    let file = dir.join("mpim.toml");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new(MPIM);
    command.arg("serve").args(roles).arg("--config").arg(&file).env_clear().kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{error}");
    error
}

/// Asserts that a text names all of these, each on a line of its own.
fn names(text: &str, all: &[&str]) {
    for named in all {
        assert_eq!(text.lines().filter(|line| line.contains(named)).count(), 1, "{named} in:\n{text}");
    }
}

#[tokio::test]
async fn every_mistake_of_a_configuration_is_named_at_once_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = "[rpc]\nlisten = \"nowhere\"\nconnections = 0\n\n[zookeeper]\nhosts = 7\n\n[redis_queue]\nport = 70000\n\
                 pasword = \"x\"\n\n[no_such_section]\nkey = 1\n";
    let error = refusal(dir.path(), wrong, &["user", "gateway"]).await;
    names(&error, &["mpim.toml:2", "mpim.toml:3", "mpim.toml:6", "mpim.toml:9", "mpim.toml:10", "no_such_section"]);
}

#[tokio::test]
async fn all_that_is_missing_for_the_roles_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let half = "[rpc]\nlisten = \"0.0.0.0:0\"\nsecret = \"short\"\n[server]\nadmin_key = \"12\"\n";
    let error = refusal(dir.path(), half, &["gateway", "user"]).await;
    names(&error, &["[rpc] secret", "[rpc] advertise", "[mysql] url", "[server] secret_key", "[server] admin_key"]);
    let error = refusal(dir.path(), "", &["gateway"]).await;
    names(&error, &["[rpc] secret"]);
    assert!(!error.contains("mysql"), "a gateway needs no database: {error}");
}

#[tokio::test]
async fn all_addresses_that_are_taken_are_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let taken = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [clients, rpc, monitor] = taken.each_ref().map(|listener| listener.local_addr().unwrap());
    let configuration = format!(
        "[server]\nlisten = \"{clients}\"\nmonitor = \"{monitor}\"\nsecret_key = \"{KEY}\"\n\
         [rpc]\nlisten = \"{rpc}\"\nsecret = \"{RPC_SECRET}\"\n[mysql]\nurl = \"mysql://root@127.0.0.1:1/mpim\"\n"
    );
    let error = refusal(dir.path(), &configuration, &["gateway", "user"]).await;
    names(&error, &[&clients.to_string(), &rpc.to_string(), &monitor.to_string()]);
}

/// Neither the database nor ZooKeeper is there, and one of them is no such server: all is told, and why, and no password is.
#[tokio::test]
async fn all_that_cannot_be_reached_is_named_at_once_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (database, zookeeper) = (free_address(), free_address());
    let configuration = format!(
        "[server]\nmonitor = \"127.0.0.1:0\"\nsecret_key = \"{KEY}\"\n[rpc]\nsecret = \"{RPC_SECRET}\"\n\
         [mysql]\nurl = \"mysql://mpim:hush@{database}/mpim\"\n[zookeeper]\nhosts = \"{zookeeper}\"\n\
         [redis_cache]\nurl = \"redis://a,b\"\n"
    );
    let begun = Instant::now();
    let error = refusal(dir.path(), &configuration, &["user"]).await;
    names(&error, &["[mysql]", "[zookeeper]", "[redis_cache]"]);
    names(&error, &[&database.to_string(), &zookeeper.to_string(), "redis_cache"]);
    assert!(error.to_lowercase().contains("refused"), "{error}");
    assert!(!error.contains("hush"), "a password is told: {error}");
    assert!(begun.elapsed() < PATIENCE / 3, "{:?}", begun.elapsed());
}

/// What is kept in ZooKeeper is closed to others: a start, and a change of the live configuration, without the password or with a
/// wrong one end at once, and say by which settings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_by_zookeeper_is_told_so_at_once() {
    const ROOT: &str = "/closed";
    let (stores, _) = Stores::shared().await;
    let servers = stores.zookeeper.address().to_string();
    let credentials = Some(Credentials { user: "mpim".into(), password: "right".into() });
    let owner = Config { servers: servers.clone(), prefix: ROOT.into(), credentials, ..Config::default() };
    let owner = ZooKeeperRegistry::connect(owner).await.unwrap();
    owner.set_config("log.level", Some("info")).await.unwrap();
    let _lease = owner.lease_node().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    for credentials in ["", "username = \"mpim\"\npassword = \"mistaken\"\n"] {
        let zookeeper = format!("[zookeeper]\nhosts = \"{servers}\"\nroot = \"{ROOT}\"\n{credentials}");
        let configuration =
            format!("[server]\nlisten = \"127.0.0.1:0\"\n[rpc]\nsecret = \"{RPC_SECRET}\"\n{zookeeper}");
        let begun = Instant::now();
        let error = refusal(dir.path(), &configuration, &["gateway"]).await;
        names(&error, &["mpim: [zookeeper] username, password: "]);
        assert!(!error.contains("mistaken"), "a password is told: {error}");
        let file = dir.path().join("mpim.toml");
        let mut set = Command::new(MPIM);
        set.args(["config", "set", "log.level", "debug", "--config"]).arg(&file).env_clear().kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, set.output()).await.expect("it ends").unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.starts_with("mpim: [zookeeper] username, password: "), "{error}");
        assert!(begun.elapsed() < Config::default().connect_timeout, "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_exist_is_told_from_a_server_that_is_not_there() {
    let (stores, number) = Stores::shared().await;
    let dir = tempfile::tempdir().unwrap();
    let (database, zookeeper) = (stores.mariadb.url("nowhere"), stores.zookeeper.address());
    let configuration = format!(
        "[server]\nsecret_key = \"{KEY}\"\n[rpc]\nsecret = \"{RPC_SECRET}\"\n[mysql]\nurl = \"{database}\"\n\
         [zookeeper]\nhosts = \"{zookeeper}\"\nroot = \"/mpim-{number}\"\n"
    );
    let error = refusal(dir.path(), &configuration, &["user"]).await;
    let told = format!("[mysql] the server {} has no database \"nowhere\": make it first", stores.mariadb.address());
    assert!(error.contains(&told), "{error}");
}

/// Nobody waits for the cache, so a mistaken address is told and counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_not_there_at_the_start_is_told_and_counted_and_not_waited_for() {
    let mut system = System::start(Setup::none()).await;
    let nowhere = ("MPIM_REDIS_CACHE_PORT", free_address().port().to_string());
    system.add_with("all", &["user", "message", "presence", "group"], &[nowhere]).ready().await;
    until("it is told", async || system.log("all").contains("[redis_cache] is not there")).await;
    assert!(system.metric("all", "mpim_cache_errors_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_told_to_stop_end_without_a_warning() {
    let mut system = System::start(Setup::small()).await;
    for name in ["gateway-1", "services-1"] {
        system.instance(name).process.stop(PATIENCE).await;
        let log = system.log(name);
        let (_, farewell) = log.split_once("stopping; a second signal ends at once").expect("it was told");
        let worrying =
            |line: &&str| ["WARN", "ERROR", "SessionExpired", "session expired"].iter().any(|word| line.contains(word));
        let lines: Vec<&str> = farewell.lines().filter(worrying).collect();
        assert!(lines.is_empty(), "{name}: {lines:#?}");
    }
}

/// A process that is alone says for which services it waits, and takes no part until they are there; and then it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_tells_for_which_service_a_process_waits() {
    let mut system = System::start(Setup::none()).await;
    let monitor = system.add("gateway-alone", &["gateway"]).monitor;
    let readyz = async || match tokio::net::TcpStream::connect(monitor).await {
        Ok(_) => http::get(monitor, "/readyz").await,
        Err(_) => String::new(),
    };
    let waits_for = async |services: &[&str]| {
        let text = readyz().await;
        ["user", "message", "presence", "group"]
            .iter()
            .all(|service| text.contains(&format!("{service}: no instance")) == services.contains(service))
    };
    until("it waits for all of them", async || waits_for(&["user", "message", "presence", "group"]).await).await;
    system.add("most", &["user", "message", "group"]);
    until("it waits for one", async || waits_for(&["presence"]).await).await;
    assert!(http::get(monitor, "/healthz").await.contains("ok"), "it is well nevertheless");
    system.add("presence-late", &["presence"]);
    for name in ["gateway-alone", "most", "presence-late"] {
        system.instance(name).ready().await;
    }
    assert_eq!(readyz().await, "ready\n");
    client::register(&system.server("gateway-alone"), "late", "password", "test").await.unwrap();
}

/// While a process waits for ZooKeeper or the database, it answers, and says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_answers_from_the_start_on() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = Setup::none().with("MPIM_ZOOKEEPER_HOSTS", silent.local_addr().unwrap());
    let mut system = System::start(setup).await;
    let monitor = system.add("gateway-alone", &["gateway"]).monitor;
    until("it listens", async || tokio::net::TcpStream::connect(monitor).await.is_ok()).await;
    let readyz = tokio::time::timeout(PATIENCE / 30, http::get(monitor, "/readyz"));
    let text = readyz.await.expect("it answers at once");
    assert!(text.contains("start: "), "{text}");
}
