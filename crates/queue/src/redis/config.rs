//! Where Redis is, and how the queue uses it.

use std::{fmt, time::Duration};

use ::redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, io::tcp::TcpSettings,
};
use percent_encoding::percent_decode_str;

use crate::Bounds;

const PORT_DEFAULT: u16 = 6379;
const SENTINEL_PORT_DEFAULT: u16 = 26379;

/// The settings of a [`RedisQueue`](super::RedisQueue), as in `[redis_queue]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Where: `redis://host:port/database`, `redis+sentinel://host:port,…/master/database` or
    /// `redis+cluster://host:port,…`; with TLS `rediss`; each with `user:password@` before the hosts if need be.
    pub url: String,
    /// Connections open at once. They are shared by all who call: two for each Redis server are used, and as many more for
    /// each further gateway in this process.
    pub max_connections: usize,
    /// The longest that a call may take.
    pub timeout: Duration,
    /// Publications in one envelope at most.
    pub batch_size: usize,
    /// The longest that a publication may wait for those before it, until it is left to catching up.
    pub batch_timeout: Duration,
    /// Attempts to publish something until it is left to catching up; each may take its share of `timeout`.
    pub max_retries: u32,
    /// Begins the name of every key and channel, so that several systems may share a server.
    pub prefix: String,
    /// How much a gateway that does not read may leave waiting.
    pub bounds: Bounds,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/1".into(),
            max_connections: 100,
            timeout: Duration::from_secs(5),
            batch_size: 100,
            batch_timeout: Duration::from_secs(1),
            max_retries: 3,
            prefix: "mpim".into(),
            bounds: Bounds::DEFAULT,
        }
    }
}

/// Without the password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, max_connections, timeout, batch_size, batch_timeout, max_retries, prefix, bounds } = self;
        f.debug_struct("Config")
            .field("url", &without_password(url))
            .field("max_connections", max_connections)
            .field("timeout", timeout)
            .field("batch_size", batch_size)
            .field("batch_timeout", batch_timeout)
            .field("max_retries", max_retries)
            .field("prefix", prefix)
            .field("bounds", bounds)
            .finish()
    }
}

/// Settings that cannot be used. Names all that is wrong, and never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message queue's settings: {}", .0.join("; "))]
pub struct InvalidConfig(pub Vec<String>);

/// A Redis server, or several that act as one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) kind: Kind,
    /// The server; or some of the cluster's; or the Sentinels.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) database: i64,
    tls: bool,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Alone,
    /// Behind Sentinels that know it by this name.
    Sentinel {
        master: String,
    },
    Cluster,
}

impl Config {
    /// Checks everything.
    pub(super) fn server(&self) -> Result<Server, InvalidConfig> {
        let mut wrong = Vec::new();
        let server = Server::parse(&self.url).map_err(|what| wrong.push(what));
        let mut at_least = |name: &str, value: u128, least: u128| {
            if value < least {
                wrong.push(format!("{name} is {value}, and must be at least {least}"));
            }
        };
        at_least("max_connections", self.max_connections as u128, 2);
        at_least("timeout (ms)", self.timeout.as_millis(), 10);
        at_least("batch_size", self.batch_size as u128, 1);
        at_least("batch_timeout (ms)", self.batch_timeout.as_millis(), 1);
        at_least("max_retries", u128::from(self.max_retries), 1);
        if self.prefix.is_empty() || self.prefix.contains(['{', '}', ':']) {
            wrong.push(format!("prefix is {:?}, and must be a text without braces and colons", self.prefix));
        }
        match server {
            Ok(server) if wrong.is_empty() => Ok(server),
            _ => Err(InvalidConfig(wrong)),
        }
    }
}

impl Server {
    fn parse(url: &str) -> Result<Self, String> {
        const FORMS: &str = "redis://host:port/database, redis+sentinel://host:port,host:port/master/database or \
                             redis+cluster://host:port,host:port (with TLS: rediss…)";
        let shown = without_password(url);
        let (scheme, rest) = url.split_once("://").ok_or(format!("url is {shown:?}, and must be {FORMS}"))?;
        let (redis, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        let tls = match redis {
            "redis" => false,
            "rediss" => true,
            _ => return Err(format!("url is {shown:?}, and must be {FORMS}")),
        };
        // Otherwise a part of the password would be taken for a host, and shown.
        if rest.rsplit_once('@').is_some_and(|(login, _)| login.contains(['/', '@'])) {
            return Err("url: '/' and '@' in user or password have to be percent-encoded (%2F, %40)".into());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = authority.rsplit_once('@').map_or((None, authority), |(c, hosts)| (Some(c), hosts));
        let (user, password) = credentials.map_or(Ok((None, None)), parse_credentials)?;
        let port = if kind == "sentinel" { SENTINEL_PORT_DEFAULT } else { PORT_DEFAULT };
        let hosts: Vec<_> = hosts.split(',').map(|host| parse_host(host, port)).collect::<Result<_, _>>()?;
        let (kind, database) = match (kind, path.split_once('/')) {
            ("", None) if hosts.len() == 1 => (Kind::Alone, parse_database(path)?),
            ("", None) => {
                return Err(format!("url is {shown:?}, and names several hosts without +sentinel or +cluster"));
            }
            ("cluster", None) if path.is_empty() || path == "0" => (Kind::Cluster, 0),
            ("cluster", None) => return Err(format!("url names database {path:?}, but a cluster has only database 0")),
            ("sentinel", None) if !path.is_empty() => (Kind::Sentinel { master: path.into() }, 0),
            ("sentinel", Some((master, database))) if !master.is_empty() => {
                (Kind::Sentinel { master: master.into() }, parse_database(database)?)
            }
            _ => return Err(format!("url is {shown:?}, and must be {FORMS}")),
        };
        Ok(Self { kind, hosts, database, tls, user, password })
    }

    /// How to connect to one of the servers. Sentinels have neither databases nor, here, passwords.
    pub(super) fn connection_info(
        &self,
        host: &str,
        port: u16,
        sentinel: bool,
    ) -> ::redis::RedisResult<ConnectionInfo> {
        let mut redis = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        if !sentinel {
            redis = redis.set_db(self.database);
            if let Some(user) = &self.user {
                redis = redis.set_username(user);
            }
            if let Some(password) = &self.password {
                redis = redis.set_password(password);
            }
        }
        let address = if self.tls {
            ConnectionAddr::TcpTls { host: host.into(), port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.into(), port)
        };
        // Without this each pipeline waits for the acknowledgement of the one before.
        let tcp = TcpSettings::default().set_nodelay(true);
        Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(tcp))
    }
}

fn parse_credentials(text: &str) -> Result<(Option<String>, Option<String>), String> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(|text| Some(text.into_owned()).filter(|text| !text.is_empty()))
    };
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let both = decode(user).and_then(|user| Ok((user, decode(password)?)));
    both.map_err(|_| "url: the user or password is not percent-encoded UTF-8".to_owned())
}

fn parse_host(text: &str, port: u16) -> Result<(String, u16), String> {
    let wrong = || format!("url names the host {text:?}, and must name it as host or host:port");
    // An IPv6 address stands in brackets.
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(wrong)).transpose()? {
        Some((host, rest)) => (host, rest.strip_prefix(':').map_or(Ok(port), str::parse)),
        None => text.split_once(':').map_or((text, Ok(port)), |(host, port)| (host, port.parse())),
    };
    match port {
        Ok(port) if !host.is_empty() && port != 0 => Ok((host.into(), port)),
        _ => Err(wrong()),
    }
}

fn parse_database(text: &str) -> Result<i64, String> {
    match text {
        "" => Ok(0),
        text => text.parse::<u32>().map(i64::from).map_err(|_| format!("url names database {text:?}, not a number")),
    }
}

fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, hosts))) => format!("{scheme}://…@{hosts}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Server, InvalidConfig> {
        Config { url: url.into(), ..Config::default() }.server()
    }

    fn hosts(server: &Server) -> Vec<(&str, u16)> {
        server.hosts.iter().map(|(host, port)| (host.as_str(), *port)).collect()
    }

    #[test]
    fn a_url_names_one_server_a_cluster_or_sentinels() {
        let alone = parse("redis://cache.example:6380/2").unwrap();
        assert_eq!(
            (alone.kind.clone(), hosts(&alone), alone.database),
            (Kind::Alone, vec![("cache.example", 6380)], 2)
        );
        let secured = parse("rediss://us%40er:p%3Aw@[::1]:7000").unwrap();
        assert_eq!((hosts(&secured), secured.tls), (vec![("::1", 7000)], true));
        assert_eq!((secured.user.as_deref(), secured.password.as_deref()), (Some("us@er"), Some("p:w")));
        assert_eq!(parse("redis://:secret@one").unwrap().password.as_deref(), Some("secret"));
        let cluster = parse("redis+cluster://one,two:7001,three").unwrap();
        assert_eq!((cluster.kind.clone(), hosts(&cluster)[1]), (Kind::Cluster, ("two", 7001)));
        let sentinel = parse("redis+sentinel://one,two:5000/main/3").unwrap();
        let kind = Kind::Sentinel { master: "main".into() };
        assert_eq!(
            (sentinel.kind.clone(), hosts(&sentinel), sentinel.database),
            (kind, vec![("one", 26379), ("two", 5000)], 3)
        );
    }

    #[test]
    fn a_password_that_is_not_encoded_is_shown_nowhere() {
        for url in ["redis://u:pa/ss@host", "redis://:se/cr@et@host:7000/1", "redis+cluster://u:pa/ss@one,two"] {
            let error = parse(url).err().unwrap().to_string();
            assert!(error.contains("percent-encoded"), "{error}");
            assert!(!["u:", "/ss", "se/", "cr"].iter().any(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn bad_settings_are_all_named_and_passwords_never() {
        let config = Config {
            url: "http://somebody:secret@host".into(),
            max_connections: 1,
            batch_size: 0,
            prefix: "a:b".into(),
            ..Config::default()
        };
        let error = config.server().err().unwrap().to_string();
        for named in ["redis+cluster://", "max_connections is 1", "batch_size is 0", "prefix is \"a:b\""] {
            assert!(error.contains(named), "{named}: {error}");
        }
        assert!(!error.contains("secret") && !format!("{config:?}").contains("secret"));
        for wrong in
            ["redis://", "redis://a,b", "redis://h:0", "redis+cluster://a/1", "redis+sentinel://a", "redis://h/x"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
