//! What a process of a distributed system is given of the configuration, and what must not be missing then.

use std::net::IpAddr;

use client::Server;
use gateway::AdminKey;
use registry::zookeeper;
use rpc::Security;
use services::user::SecretKey;
use store::mysql::MysqlConfig;

use super::{Config, Secret, settings::RedisCache, settings::RedisQueue};
use crate::assembly::Role;

/// The name that the certificates of all processes bear.
const RPC_NAME: &str = "rpc.mpim.internal";
/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 64;

impl Config {
    /// All that is missing or wrong for a process with these roles, one line each, with what would be right.
    pub fn missing_to_serve(&self, roles: &[Role]) -> Vec<String> {
        let mut missing = Vec::new();
        let stores = roles.iter().any(|role| *role != Role::Gateway);
        if self.rpc.tls_files().is_none() {
            match &self.rpc.secret {
                None => missing.push(
                    "[rpc] secret: needed (or secret_file, or tls_certificate, tls_key and tls_authority): what the \
                     processes know each other by, the same for all; make one by `openssl rand -hex 32`"
                        .to_owned(),
                ),
                Some(secret) => missing.extend(self::secret(secret).err()),
            }
        }
        let tls = [&self.rpc.tls_certificate, &self.rpc.tls_key, &self.rpc.tls_authority];
        if (1..tls.len()).contains(&tls.iter().filter(|file| file.is_some()).count()) {
            missing.push("[rpc] tls_certificate, tls_key, tls_authority: all three are needed, or none".into());
        }
        if stores {
            missing.extend(self.rpc.unreachable());
            missing.extend(self.one_redis_for_both());
        }
        if self.zookeeper.username.is_empty() != self.zookeeper.password.is_none() {
            missing.push("[zookeeper] username, password: both are needed, or none".into());
        }
        if stores && self.mysql.url.is_none() {
            missing.push("[mysql] url: needed (or url_file): mysql://USER:PASSWORD@HOST:PORT/DATABASE".into());
        }
        for (key, url) in [("url", &self.mysql.url), ("replica_url", &self.mysql.replica_url)] {
            // What it says of a URL begins with that word.
            let wrong = url.as_ref().and_then(|url| redis_url::check_login(url.expose()).err());
            missing.extend(wrong.map(|wrong| format!("[mysql] {}", wrong.to_string().replacen("url", key, 1))));
        }
        let webhooks = &self.webhooks;
        if webhooks.gateway_authority.is_some() && !webhooks.gateway.as_ref().is_some_and(Server::is_tls) {
            missing.push("[webhooks] gateway: tls://HOST:PORT or https://HOST, as there is a gateway_authority".into());
        }
        if roles.contains(&Role::User) {
            match &self.server.secret_key {
                None => missing.push(
                    "[server] secret_key: needed (or secret_key_file): 64 hexadecimal digits, the same for all user services; \
                     make one by `openssl rand -hex 32`"
                        .to_owned(),
                ),
                Some(key) if digits(key).is_none() => {
                    missing.push(format!("[server] secret_key: must be {KEY_DIGITS} hexadecimal digits"));
                }
                Some(_) => {}
            }
        }
        if self.server.admin_key.as_ref().is_some_and(|key| key.expose().trim().parse::<AdminKey>().is_err()) {
            missing.push(format!("[server] admin_key: must be {KEY_DIGITS} hexadecimal digits"));
        }
        missing
    }

    /// Why the queue and the cache cannot be where they are: in one database, in which the one loses what the other forgets.
    fn one_redis_for_both(&self) -> Option<String> {
        let (cache, queue) = (self.redis_cache().url, self.redis_queue().url);
        // One that is wrong is told where it is used.
        let (Ok(cache), Ok(queue)) = (cache.parse::<redis_url::Server>(), queue.parse::<redis_url::Server>()) else {
            return None;
        };
        let (host, port) = cache.shares_database_with(&queue)?;
        let number = cache.database;
        Some(format!(
            "[redis_cache], [redis_queue]: both are database {number} of {host}:{port}, and what the cache forgets, or a FLUSHDB, \
             would take the queue's pushes along: give one another database number (a cluster has only one: another server)"
        ))
    }

    /// What tokens are signed with.
    pub fn token_key(&self) -> Option<SecretKey> {
        digits(self.server.secret_key.as_ref()?).map(SecretKey::from_bytes)
    }

    /// For `mpim admin`.
    pub fn admin_key(&self) -> Option<AdminKey> {
        self.server.admin_key.as_ref()?.expose().trim().parse().ok()
    }

    /// How processes know each other.
    ///
    /// # Errors
    ///
    /// Neither way is there, the secret is too short, or a certificate cannot be used.
    pub fn rpc_security(&self) -> Result<Security, String> {
        match (self.rpc.tls_files(), &self.rpc.secret) {
            (Some(files), _) => rpc::Tls::load(files).map(Security::Tls).map_err(|error| format!("[rpc] {error}")),
            (None, Some(secret)) => self::secret(secret).map(Security::Secret),
            (None, None) => Err("[rpc] secret: needed".into()),
        }
    }

    /// For the RPC to other processes.
    pub fn rpc_channel(&self) -> rpc::ChannelConfig {
        rpc::ChannelConfig {
            zone: self.rpc.zone.clone(),
            connections_per_instance: self.rpc.connections,
            ..rpc::ChannelConfig::default()
        }
    }

    /// For the registry.
    pub fn zookeeper(&self) -> zookeeper::Config {
        zookeeper::Config {
            servers: self.zookeeper.hosts.clone(),
            prefix: self.zookeeper.root.clone(),
            session_timeout: self.zookeeper.session_timeout,
            credentials: self.zookeeper.password.as_ref().map(|password| zookeeper::Credentials {
                user: self.zookeeper.username.clone(),
                password: password.expose().to_owned(),
            }),
            ..zookeeper::Config::default()
        }
    }

    /// For the database.
    pub fn mysql(&self) -> Option<MysqlConfig> {
        let url = self.mysql.url.as_ref()?.expose().to_owned();
        let replica = self.mysql.replica_url.as_ref().map(|url| url.expose().to_owned());
        let (connections_max, timeout) = (self.mysql.max_connections, self.mysql.timeout);
        Some(MysqlConfig { replica, connections_max, timeout, ..MysqlConfig::new(url) })
    }

    /// For the message queue.
    pub fn redis_queue(&self) -> queue::redis::Config {
        let RedisQueue { host, port, database, url, username, password, .. } = &self.redis_queue;
        queue::redis::Config {
            url: redis_url(host, *port, *database, url.as_ref(), username, password.as_ref()),
            max_connections: self.redis_queue.max_connections as usize,
            timeout: self.redis_queue.timeout,
            batch_size: self.redis_queue.batch_size,
            batch_timeout: self.redis_queue.batch_timeout,
            max_retries: self.redis_queue.max_retries,
            ..queue::redis::Config::default()
        }
    }

    /// For the cache.
    pub fn redis_cache(&self) -> cache::redis::Config {
        let RedisCache { host, port, database, url, username, password, .. } = &self.redis_cache;
        cache::redis::Config {
            url: redis_url(host, *port, *database, url.as_ref(), username, password.as_ref()),
            max_connections: self.redis_cache.max_connections as usize,
            timeout: self.redis_cache.timeout,
            ..cache::redis::Config::default()
        }
    }
}

impl super::Rpc {
    /// Why others would not reach this process where it is announced.
    fn unreachable(&self) -> Option<String> {
        let listen = &self.listen;
        let Some(advertise) = &self.advertise else {
            let wrong = format!("[rpc] advertise: needed, as others do not reach {listen}: HOST:PORT where they do");
            return is_everywhere(listen).then_some(wrong);
        };
        if is_everywhere(advertise) {
            return Some(format!(
                "[rpc] advertise: HOST:PORT where others reach this process, which {advertise} is not"
            ));
        }
        // A free port is known to nobody who could pass on to it what comes elsewhere.
        let is_elsewhere = !advertise.ends_with(":0") || is_this_machine(listen) && !is_this_machine(advertise);
        let wrong = format!(
            "[rpc] listen: {listen} takes a free port, which nobody reaches by advertise {advertise}: HOST:PORT"
        );
        (listen.ends_with(":0") && is_elsewhere).then_some(wrong)
    }

    /// The files of mutual TLS, if all are named.
    fn tls_files(&self) -> Option<rpc::TlsFiles> {
        Some(rpc::TlsFiles {
            certificate: self.tls_certificate.clone()?,
            key: self.tls_key.clone()?,
            authorities: self.tls_authority.clone()?,
            name: RPC_NAME.into(),
        })
    }
}

fn secret(secret: &Secret) -> Result<rpc::Secret, String> {
    rpc::Secret::new(secret.expose().trim()).map_err(|error| format!("[rpc] secret: {error}"))
}

/// Whether an address is all of this machine's, which tells nobody where to connect.
fn is_everywhere(address: &str) -> bool {
    ip(address).is_some_and(|ip| ip.is_unspecified())
}

/// Whether an address is reached from this machine only.
fn is_this_machine(address: &str) -> bool {
    address.starts_with("localhost:") || ip(address).is_some_and(|ip| ip.is_loopback())
}

/// The host of `HOST:PORT`, if it is no name.
fn ip(address: &str) -> Option<IpAddr> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']']).parse().ok()
}

fn digits(key: &Secret) -> Option<[u8; KEY_DIGITS / 2]> {
    let text = key.expose().trim();
    if text.len() != KEY_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; KEY_DIGITS / 2];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// As a URL, unless there is one.
fn redis_url(
    host: &str,
    port: u16,
    database: u32,
    url: Option<&Secret>,
    username: &str,
    password: Option<&Secret>,
) -> String {
    if let Some(url) = url {
        return url.expose().trim().to_owned();
    }
    redis_url::url_of(host, port, database, username, password.map(Secret::expose))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::read(Some((Path::new("mpim.toml"), text)), std::iter::empty()).unwrap()
    }

    #[test]
    fn all_that_is_missing_is_named_at_once_and_nothing_that_the_roles_do_not_need() {
        let all = config("").missing_to_serve(&Role::ALL);
        let names = |missing: &[String]| {
            missing.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&all), ["[rpc] secret", "[mysql] url", "[server] secret_key"]);
        assert_eq!(
            names(&config("[rpc]\nlisten = \"0.0.0.0:1\"\n").missing_to_serve(&[Role::Gateway])),
            ["[rpc] secret"]
        );
        let wrong = config(
            "[rpc]\nsecret = \"short\"\nlisten = \"0.0.0.0:7000\"\ntls_key = \"k\"\n[server]\nsecret_key = \"ab\"\nadmin_key = \"x\"\n[webhooks]\n\
             gateway = \"h:1\"\ngateway_authority = \"a\"\n",
        );
        let wrong = names(&wrong.missing_to_serve(&[Role::User]));
        let expected = [
            "[rpc] secret",
            "[rpc] tls_certificate, tls_key, tls_authority",
            "[rpc] advertise",
            "[mysql] url",
            "[webhooks] gateway",
            "[server] secret_key",
            "[server] admin_key",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn the_database_is_named_by_a_url_that_may_tell_how_it_is_encrypted() {
        let url = "mysql://u:p@db.example/mpim?ssl-mode=VERIFY_IDENTITY&ssl-ca=/etc/mpim/ca.pem";
        let mysql = config(&format!("[mysql]\nurl = \"{url}\"\ntimeout = 2500\n")).mysql().unwrap();
        assert_eq!((&*mysql.url, mysql.timeout.as_millis()), (url, 2_500));
    }

    #[test]
    fn an_address_that_nobody_reaches_is_not_announced() {
        let wrong = |listen: &str, advertise: &str| {
            let rpc =
                format!("[rpc]\nsecret = \"{}\"\nlisten = \"{listen}\"\nadvertise = \"{advertise}\"\n", "s".repeat(32));
            config(&format!("{rpc}[mysql]\nurl = \"mysql://h/d\"\n")).missing_to_serve(&[Role::Message])
        };
        for (listen, advertise, named) in [
            ("0.0.0.0:7000", "", "[rpc] advertise"),
            ("[::]:7000", "", "[rpc] advertise"),
            ("10.0.0.5:7000", "0.0.0.0:7000", "[rpc] advertise"),
            ("10.0.0.5:7000", "[::0]:7000", "[rpc] advertise"),
            ("127.0.0.1:0", "10.0.0.5:7000", "[rpc] listen"),
            ("127.0.0.1:0", "10.0.0.5:0", "[rpc] listen"),
            ("0.0.0.0:0", "10.0.0.5:7000", "[rpc] listen"),
        ] {
            let [line] = &wrong(listen, advertise)[..] else { panic!("{listen} {advertise} is one mistake") };
            assert!(line.starts_with(named), "{line}");
        }
        for (listen, advertise) in [
            ("127.0.0.1:0", ""),
            ("127.0.0.1:0", "localhost:0"),
            ("0.0.0.0:0", "10.0.0.5:0"),
            ("0.0.0.0:7000", "services.example:7400"),
            // Something passes it on.
            ("127.0.0.1:7000", "10.0.0.5:7000"),
        ] {
            assert_eq!(wrong(listen, advertise), [""; 0], "{listen} {advertise}");
        }
    }

    #[test]
    fn queue_and_cache_are_not_in_one_database() {
        let wrong = |redis: &str, roles: &[Role]| {
            let needed = format!("[rpc]\nsecret = \"{}\"\n[mysql]\nurl = \"mysql://h/d\"\n", "s".repeat(32));
            config(&format!("{needed}{redis}")).missing_to_serve(roles)
        };
        let same = "[redis_queue]\ndatabase = 0\n";
        let [line] = &wrong(same, &[Role::Message])[..] else { panic!("one mistake") };
        assert!(line.starts_with("[redis_cache], [redis_queue]: both are database 0 of 127.0.0.1:6379"), "{line}");
        assert!(wrong(same, &[Role::Gateway]).is_empty(), "a gateway has no cache");
        for two in ["", "[redis_queue]\ndatabase = 0\nport = 6380\n", "[redis_queue]\ndatabase = 0\nhost = \"r\"\n"] {
            assert_eq!(wrong(two, &[Role::Message]), [""; 0], "{two}");
        }
    }

    #[test]
    fn a_url_in_the_place_of_a_host_is_refused_with_where_it_belongs_and_without_its_password() {
        for host in ["redis://:QX@h:1/0", "h:6379", "u:QX@h", "h/0"] {
            let text = format!("[redis_cache]\nhost = \"{host}\"\n");
            let error =
                Config::read(Some((Path::new("mpim.toml"), &text)), std::iter::empty()).unwrap_err().to_string();
            assert!(error.contains("[redis_cache] host") && error.contains("belongs into url"), "{error}");
            assert!(!error.contains('Q'), "{error}");
        }
        for host in ["redis.example", "10.0.0.6", "::1", "[::1]"] {
            assert_eq!(config(&format!("[redis_cache]\nhost = \"{host}\"\n")).redis_cache.host, host);
        }
    }

    #[test]
    fn a_login_that_is_not_percent_encoded_is_refused_and_not_shown() {
        let wrong = |key: &str, url: &str| {
            let needed = format!("[rpc]\nsecret = \"{}\"\n[mysql]\nurl = \"mysql://h/d\"\n", "s".repeat(32));
            let text =
                if key == "url" { needed.replace("mysql://h/d", url) } else { format!("{needed}{key} = \"{url}\"\n") };
            config(&text).missing_to_serve(&[Role::Message])
        };
        for key in ["url", "replica_url"] {
            let [line] = &wrong(key, "mysql://us:QX:Q@QY/w:rd#1@HOST/chat")[..] else { panic!("one mistake") };
            assert!(line.starts_with(&format!("[mysql] {key}: '/'")) && line.contains("percent-encoded"), "{line}");
            assert!(!line.contains('Q'), "{line}");
            assert!(wrong(key, "mysql://us:p%3Ap%40ss%2Fw%3Ard%231@HOST/chat").is_empty());
        }
    }

    #[test]
    fn redis_is_named_by_host_and_port_or_by_a_url() {
        let given =
            config("[redis_queue]\nhost = \"r\"\nport = 7\ndatabase = 2\nusername = \"u\"\npassword = \"p@/\"\n");
        assert_eq!(given.redis_queue().url, "redis://u:p%40%2F@r:7/2");
        assert_eq!(config("").redis_cache().url, "redis://127.0.0.1:6379/0");
        let url = "redis+cluster://a:1,b:2";
        assert_eq!(config(&format!("[redis_cache]\nurl = \"{url}\"\n")).redis_cache().url, url);
    }
}
