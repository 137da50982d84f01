use std::{fs, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::*;

const REDIS_BLOCKS: &str = "\
[redis_cache]
host = 127.0.0.1
port = 6379
database = 0
max_connections = 50
timeout = 5000
user_info_ttl = 3600
friends_ttl = 1800
group_info_ttl = 3600
status_ttl = 3600

[redis_queue]
host = 127.0.0.1
port = 6379
database = 1
max_connections = 100
timeout = 5000
batch_size = 100
batch_timeout = 1000
max_retries = 3
";

/// A file in a directory of its own.
struct Written {
    directory: TempDir,
    path: PathBuf,
}

fn written(name: &str, text: &str) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, text).unwrap();
    Written { directory, path }
}

fn variables(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    owned.into_iter()
}

fn load(name: &str, text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let file = written(name, text);
    Config::load(Some(&file.path), variables(environment)).map_err(|mistakes| {
        let directory = format!("{}/", file.directory.path().display());
        mistakes.to_string().lines().map(|line| line.replace(&directory, "")).collect()
    })
}

#[track_caller]
fn refused(name: &str, text: &str, environment: &[(&str, &str)], wanted: &[&str]) {
    assert_eq!(load(name, text, environment).unwrap_err(), wanted);
}

fn printed(config: &Config) -> String {
    let mut out = Vec::new();
    config.print(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn without_a_file_and_an_environment_there_are_the_defaults() {
    let config = Config::load(None, variables(&[("PATH", "/bin")])).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.server.listen, "127.0.0.1:8080");
    assert_eq!(config.server.data, PathBuf::from("./mpim-data"));
    assert_eq!(config.gateway.connections_per_address_max, 20_000);
    assert_eq!((config.gateway.sends_per_second, config.gateway.sends_burst), (1_000, 2_000));
    assert_eq!(config.gateway.outbox_bytes_max, 1024 * 1024);
    assert_eq!((config.user.password_memory_kib, config.user.password_iterations), (19_456, 2));
    assert_eq!(config.user.access_token_ttl, Duration::from_secs(900));
    assert_eq!(config.user.refresh_token_ttl, Duration::from_secs(30 * 24 * 3_600));
    assert_eq!(config.user.resume_token_ttl, Duration::from_secs(24 * 3_600));
}

#[test]
fn the_redis_blocks_work_as_they_stand_in_ini_and_in_toml() {
    let with_quotes = REDIS_BLOCKS.replace("127.0.0.1", "\"127.0.0.1\"");
    let other = |text: &str| text.replace("6379", "7000").replace("3600", "60").replace("1000", "20");
    for (name, text) in [("mpim.ini", REDIS_BLOCKS), ("mpim.toml", &with_quotes), ("mpim.toml", REDIS_BLOCKS)] {
        assert_eq!(load(name, text, &[]), Ok(Config::default()), "the defaults are what the blocks say");
        let config = load(name, &other(text), &[]).unwrap();
        assert_eq!((config.redis_cache.port, config.redis_queue.port), (7_000, 7_000));
        assert_eq!(config.redis_cache.user_info_ttl, Duration::from_secs(60));
        assert_eq!(config.redis_cache.friends_ttl, Duration::from_secs(1_800));
        assert_eq!(config.redis_queue.batch_timeout, Duration::from_millis(20));
        assert_eq!(config.redis_queue.timeout, Duration::from_millis(5_000));
    }
}

#[test]
fn what_is_so_or_not_is_written_without_quotes_everywhere() {
    let text = "[webhooks]\nallow_private = true\n";
    for name in ["mpim.toml", "mpim.ini"] {
        assert!(load(name, text, &[]).unwrap().webhooks.allow_private, "{name}");
        let config = load(name, text, &[("MPIM_WEBHOOKS_ALLOW_PRIVATE", "false")]).unwrap();
        assert!(!config.webhooks.allow_private, "{name}");
        assert!(printed(&config).contains("allow_private = false"), "{name}");
    }
    for wrong in ["\"true\"", "1", "yes"] {
        let mistakes = load("mpim.toml", &text.replace("true", wrong), &[]).unwrap_err();
        assert!(format!("{mistakes:?}").contains("must be true or false"), "{mistakes:?}");
    }
}

#[test]
fn ini_knows_comments_quotes_and_spaces() {
    let text = "; first\r\n\r\n [ server ] # one\r\n\tlisten=\"127.0.0.1:9000\" ; two\r\ndata = a;b#c # three\r\n[redis_cache]\r\n\
                password = 'p \"x\" # y'\r\nusername = \"a\\\"b\\\\\"\r\n";
    let config = load("mpim.ini", text, &[]).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:9000");
    assert_eq!(config.server.data, PathBuf::from("a;b#c"));
    assert_eq!(config.redis_cache.password.unwrap().expose(), "p \"x\" # y");
    assert_eq!(config.redis_cache.username, "a\"b\\");
}

#[test]
fn the_environment_counts_more_than_the_file() {
    let environment =
        [("MPIM_GATEWAY_SENDS_BURST", "7"), ("MPIM_SERVER_LISTEN", "[::1]:9000"), ("MPIM_LOG_FORMAT", "json")];
    let config = load("mpim.toml", "[gateway]\nsends_burst = 5\nsends_per_second = 3\n", &environment).unwrap();
    assert_eq!((config.gateway.sends_burst, config.gateway.sends_per_second), (7, 3));
    assert_eq!(config.server.listen, "[::1]:9000");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    let toml = "\
verbose = true
[gatway]
listen = 1
[gateway]
conections_max = 10
listen = \"127.0.0.1:1\"
requests_burst = 0
sends_burst = \"many\"
write_timeout = 1.5
[log]
format = \"xml\"
level = \"inof\"
[server]
listen = \"here\"
[user.more]
x = 1
";
    let environment = [
        ("MPIM_STORE_READERS", "none"),
        ("MPIM_SERVER_DATAA", "x"),
        ("MPIM_GATEWAY_OUTBOX_BYTES", "x"),
        ("MPIM_GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("MPIM_PASSWORD", "somebody else's"),
    ];
    refused(
        "mpim.toml",
        toml,
        &environment,
        &[
            "mpim.toml:1: verbose: settings stand in sections, such as [server]",
            "mpim.toml:2: [gatway]: unknown section; did you mean [gateway]?",
            "mpim.toml:5: [gateway] conections_max: unknown key; did you mean connections_max?",
            "mpim.toml:6: [gateway] listen: unknown key; it belongs to [server]",
            "mpim.toml:7: [gateway] requests_burst: must be a whole number from 1 to 10000000, not 0",
            "mpim.toml:8: [gateway] sends_burst: must be a whole number from 1 to 10000000, not \"many\"",
            "mpim.toml:9: [gateway] write_timeout: must be a whole number of seconds from 1 to 3600, not a number that \
             is not whole",
            "mpim.toml:11: [log] format: must be one of text, json, not \"xml\"",
            "mpim.toml:12: [log] level: must be off, error, warn, info, debug or trace; for single modules too, as in \
             \"info,gateway=debug\", not \"inof\"",
            "mpim.toml:14: [server] listen: must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080, not \"here\"",
            "mpim.toml:15: [user] more: unknown key",
            "MPIM_GATEWAY_OUTBOX_BYTES: unknown variable; did you mean MPIM_GATEWAY_OUTBOX_BYTES_MAX?",
            "MPIM_SERVER_DATAA: unknown variable; did you mean MPIM_SERVER_DATA?",
            "MPIM_STORE_READERS: must be a whole number from 1 to 64, not none",
        ],
    );
}

#[test]
fn ini_mistakes_have_their_lines_too() {
    refused(
        "mpim.ini",
        "level = info\n[log\n[log]\nlevel\nlevel = info\nlevel = warn\nformat = \"text\nfile = \"a\" b\n[redis_cach]\nport = 1\n",
        &[],
        &[
            "mpim.ini:1: level: settings stand in sections, such as [server]",
            "mpim.ini:2: a section's heading ends with ]",
            "mpim.ini:4: neither a [section] nor a key = value",
            "mpim.ini:6: [log] level: stands on line 5 already",
            "mpim.ini:7: [log] format: the closing quote is missing",
            "mpim.ini:8: [log] file: something follows the closing quote",
            "mpim.ini:9: [redis_cach]: unknown section; did you mean [redis_cache]?",
        ],
    );
}

#[test]
fn what_is_neither_toml_nor_ini_is_reported_as_toml() {
    let mistakes = load("mpim.toml", "[log]\nlevel = \"info\n[gateway]\nsends_burst = 0\n", &[]).unwrap_err();
    assert!(mistakes[0].starts_with("mpim.toml:2: "), "{mistakes:?}");
    assert!(mistakes.iter().any(|mistake| mistake.starts_with("mpim.toml:4: [gateway] sends_burst")), "{mistakes:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake() {
    let missing = Config::load(Some(Path::new("/nowhere/mpim.toml")), variables(&[])).unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere/mpim.toml: cannot be read: "), "{missing}");
}

#[test]
fn secrets_come_from_files_or_the_environment_and_are_never_shown() {
    let secret = written("secret", "hunter2\n");
    let path = secret.path.to_str().unwrap();
    let text = format!("[redis_cache]\npassword_file = \"{path}\"\n[redis_queue]\npassword = \"swordfish\"\n");
    let config = load("mpim.toml", &text, &[("MPIM_REDIS_CACHE_URL", "redis://:opensesame@127.0.0.1/")]).unwrap();
    assert_eq!(config.redis_cache.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(config.redis_queue.password.as_ref().unwrap().expose(), "swordfish");
    assert_eq!(config.redis_cache.url.as_ref().unwrap().expose(), "redis://:opensesame@127.0.0.1/");
    let shown = format!("{config:?}{}", printed(&config));
    for hidden in ["hunter2", "swordfish", "opensesame"] {
        assert!(!shown.contains(hidden), "{hidden} is shown");
    }
    let again = load("mpim.toml", &printed(&config), &[]).unwrap();
    assert_eq!(again.redis_cache.password, config.redis_cache.password, "the file's name is printed");
    let from_environment = load("mpim.toml", &text, &[("MPIM_REDIS_QUEUE_PASSWORD_FILE", path)]).unwrap();
    assert_eq!(from_environment.redis_queue.password.unwrap().expose(), "hunter2");
}

#[test]
fn mistakes_with_secrets_do_not_show_them() {
    refused(
        "mpim.toml",
        "[redis_cache]\npassword = 12345678\nurl = \"redis://:a@h/\"\nurl_file = \"/nowhere/url\"\n\
         [redis_queue]\npassword_file = \"/nowhere/password\"\n",
        &[],
        &[
            "mpim.toml:2: [redis_cache] password: must be a text",
            "mpim.toml:4: [redis_cache] url_file: url is set too; set one of them",
            "mpim.toml:6: [redis_queue] password_file: /nowhere/password cannot be read: No such file or directory \
             (os error 2)",
        ],
    );
}

#[test]
fn what_is_printed_loads_to_the_same_and_explains_every_key() {
    let mut config = Config::default();
    assert_eq!(load("mpim.toml", &printed(&config), &[]), Ok(config.clone()));
    config.server.data = PathBuf::from("C:\\data \"x\"\n");
    config.server.shutdown_grace = Duration::from_secs(77);
    config.log.level = "warn,cache=trace".into();
    config.log.file = Some(PathBuf::from("/var/log/mpim.log"));
    config.log.format = LogFormat::Json;
    config.log.rotation = LogRotation::Hourly;
    config.redis_queue.batch_timeout = Duration::from_millis(1);
    config.gateway.sends_per_second = 0;
    let text = printed(&config);
    assert_eq!(load("mpim.toml", &text, &[]), Ok(config));
    for (section, key) in read::known_keys() {
        let variable = environment::variable(section, &key);
        assert!(text.contains(&variable), "{variable} is not explained");
        assert!(text.contains(&format!("[{section}]\n")));
    }
}

#[test]
fn each_key_has_a_variable_of_its_own() {
    let keys = read::known_keys();
    let mut names: Vec<_> = keys.iter().map(|(section, key)| environment::variable(section, key)).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), keys.len());
}

mod follower {
    use tokio::time::timeout;

    use super::*;

    const EVENTUALLY: Duration = Duration::from_secs(30);

    /// Beside the file there is an environment that was not asked when the process started: a difference to be seen.
    fn follow(file: &Written) -> Follower {
        let current = Config::load(Some(&file.path), variables(&[])).unwrap();
        Follower::start(&file.path, variables(&[("MPIM_LOG_LEVEL", "debug")]), current).unwrap()
    }

    async fn changed(follower: &mut Follower) -> Config {
        timeout(EVENTUALLY, follower.changed()).await.expect("the change is not seen")
    }

    #[tokio::test]
    async fn a_change_of_the_file_is_seen_with_the_environment_over_it() {
        let file = written("mpim.toml", "[gateway]\nsends_burst = 5\n");
        let mut follower = follow(&file);
        assert_eq!(changed(&mut follower).await.log.level, "debug");
        fs::write(&file.path, "[gateway]\nsends_burst = 6\n").unwrap();
        let config = changed(&mut follower).await;
        assert_eq!((config.gateway.sends_burst, config.log.level.as_str()), (6, "debug"));
    }

    #[tokio::test]
    async fn an_invalid_change_is_passed_over_and_the_next_valid_one_seen() {
        let file = written("mpim.toml", "[gateway]\nsends_burst = 5\n");
        let mut follower = follow(&file);
        changed(&mut follower).await;
        for refused in ["[gateway]\nsends_burst = 0\n", "[gateway]\nsends_brust = 6\n", "[gateway"] {
            fs::write(&file.path, refused).unwrap();
            assert!(timeout(Duration::from_millis(500), follower.changed()).await.is_err(), "{refused}");
        }
        fs::write(&file.path, "[gateway]\nsends_burst = 7\n").unwrap();
        assert_eq!(changed(&mut follower).await.gateway.sends_burst, 7);
    }

    #[tokio::test]
    async fn a_file_put_in_the_old_ones_place_is_followed() {
        let file = written("mpim.toml", "[gateway]\nsends_burst = 5\n");
        let mut follower = follow(&file);
        changed(&mut follower).await;
        for burst in [6, 7] {
            let new = file.directory.path().join("mpim.toml.new");
            fs::write(&new, format!("[gateway]\nsends_burst = {burst}\n")).unwrap();
            fs::rename(&new, &file.path).unwrap();
            assert_eq!(changed(&mut follower).await.gateway.sends_burst, burst);
        }
    }

    #[tokio::test]
    async fn what_cannot_change_while_the_process_runs_stays_as_it_was() {
        let file = written("mpim.toml", "[server]\nlisten = \"127.0.0.1:1\"\n");
        let mut follower = follow(&file);
        changed(&mut follower).await;
        fs::write(&file.path, "[server]\nlisten = \"127.0.0.1:2\"\n").unwrap();
        assert!(timeout(Duration::from_millis(500), follower.changed()).await.is_err());
        fs::write(&file.path, "[server]\nlisten = \"127.0.0.1:2\"\n[gateway]\nrequests_burst = 3\n").unwrap();
        let config = changed(&mut follower).await;
        assert_eq!((config.server.listen.as_str(), config.gateway.requests_burst), ("127.0.0.1:1", 3));
    }

    #[test]
    fn the_levels_all_rates_and_the_lifetimes_are_live() {
        let mut new = Config::default();
        new.log.level = "debug".into();
        for rate in [
            &mut new.gateway.requests_per_second,
            &mut new.gateway.requests_burst,
            &mut new.gateway.sends_per_second,
            &mut new.gateway.sends_burst,
            &mut new.gateway.conversation_sends_per_second,
            &mut new.gateway.conversation_sends_burst,
            &mut new.gateway.accounts_per_second,
            &mut new.gateway.accounts_burst,
            &mut new.gateway.contacts_per_minute,
            &mut new.gateway.contacts_burst,
            &mut new.gateway.groups_per_minute,
            &mut new.gateway.groups_burst,
            &mut new.gateway.searches_per_second,
            &mut new.gateway.searches_burst,
            &mut new.gateway.bots_per_minute,
            &mut new.gateway.bots_burst,
            &mut new.gateway.reports_per_minute,
            &mut new.gateway.reports_burst,
            &mut new.gateway.typing_per_second,
            &mut new.gateway.typing_burst,
            &mut new.gateway.drafts_per_second,
            &mut new.gateway.drafts_burst,
            &mut new.gateway.new_account_percent,
        ] {
            *rate = 9;
        }
        new.gateway.new_account_age = Duration::from_secs(9);
        let cache = &mut new.redis_cache;
        for ttl in [&mut cache.user_info_ttl, &mut cache.group_info_ttl, &mut cache.status_ttl] {
            *ttl = Duration::from_secs(9);
        }
        let live = Config::default().with_live_of(&new);
        assert_eq!(live, new);
        assert_eq!(live.limits().accounts_per_address.burst, 9);
    }
}

/// One default, in two places: the gateway's own is what its tests and other assemblies get.
#[test]
fn the_default_rates_are_the_gateways_own() {
    assert_eq!(Config::default().limits(), gateway::Limits::default());
}
