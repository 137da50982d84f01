//! The URL of a Redis server, or of several that act as one, and how to connect to what it names.
//!
//! - one server: `redis://host:port/database`;
//! - a server behind Sentinels: `redis+sentinel://host:port,host:port/master/database`, where the hosts are the Sentinels
//!   and `master` is the name under which they know it;
//! - a cluster: `redis+cluster://host:port,host:port`, where the hosts are some of its servers.
//!
//! `rediss` instead of `redis` means TLS, with the servers and with the Sentinels; certificates are checked against the
//! machine's authorities, or those in the file that `SSL_CERT_FILE` names. `user:password@` before the hosts is the login to
//! the servers. Sentinels that ask for one have theirs behind the URL: `?sentinel_username=…&sentinel_password=…`; the
//! servers' is never shown to them. In users and passwords, whatever is no letter and no digit may be percent-encoded, and
//! `/`, `@`, `?`, `#`, `&`, `:` (in a user) and `%` have to be. The rule is the same for the URLs of databases: [`check_login`].
//!
//! No password is shown in any error, nor by `Debug`. This crate opens no connection: those who use Redis keep their own.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use redis::{
    ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisConnectionInfo, RedisResult,
    io::tcp::TcpSettings,
};

const PORT_DEFAULT: u16 = 6379;
const SENTINEL_PORT_DEFAULT: u16 = 26379;
const FORMS: &str = "redis://host:port/database, redis+sentinel://host:port,host:port/master/database or \
                     redis+cluster://host:port,host:port (with TLS: rediss…)";
/// What is percent-encoded in a user or password.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A Redis server, or several that act as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Which of both.
    pub kind: Kind,
    /// The server; or some of the cluster's; or the Sentinels: names or addresses, and ports. Never empty.
    pub hosts: Vec<(String, u16)>,
    /// The database's number; 0 in a cluster.
    pub database: i64,
    /// Whether all is encrypted.
    pub tls: bool,
    /// To the servers.
    pub login: Login,
}

/// How the hosts of a [`Server`] are to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One server.
    Alone,
    /// One behind Sentinels.
    Sentinel {
        /// Its name among them.
        master: String,
        /// To the Sentinels.
        login: Login,
    },
    /// A cluster.
    Cluster,
}

/// Who one is to a server; nobody by default.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// `None`: the server's default user.
    pub user: Option<String>,
    /// `None`: there is none.
    pub password: Option<String>,
}

/// Without the password.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = self.password.as_ref().map(|_| format_args!("…"));
        f.debug_struct("Login").field("user", &self.user).field("password", &password).finish()
    }
}

/// A URL that cannot be used: what is wrong with it, and what would be right. Shows no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(String);

impl FromStr for Server {
    type Err = InvalidUrl;

    fn from_str(url: &str) -> Result<Self, InvalidUrl> {
        parse(url).map_err(InvalidUrl)
    }
}

impl Server {
    /// How to connect to a server, wherever it is by now.
    ///
    /// # Errors
    ///
    /// The client does not take the address.
    pub fn connection_info(&self, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        self.connection_info_as(self.redis_info(), host, port)
    }

    /// How to connect to one of [`hosts`](Self::hosts): as to a Sentinel if they are Sentinels, which have no databases.
    ///
    /// # Errors
    ///
    /// The client does not take the address.
    pub fn named_connection_info(&self, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        let redis = match &self.kind {
            Kind::Sentinel { login, .. } => login.redis_info(),
            Kind::Alone | Kind::Cluster => self.redis_info(),
        };
        self.connection_info_as(redis, host, port)
    }

    /// A host, and its port, by which both are the same database, as far as their names tell.
    pub fn shares_database_with(&self, other: &Self) -> Option<(&str, u16)> {
        let masters = [self, other].map(|server| match &server.kind {
            Kind::Sentinel { master, .. } => Some(master),
            Kind::Alone | Kind::Cluster => None,
        });
        if self.database != other.database || masters[0] != masters[1] {
            return None;
        }
        let is_others = |(host, port): &&(String, u16)| {
            other.hosts.iter().any(|(others, at)| others.eq_ignore_ascii_case(host) && at == port)
        };
        self.hosts.iter().find(is_others).map(|(host, port)| (host.as_str(), *port))
    }

    /// Who one is to a server, and which database is meant, whatever the address.
    pub fn redis_info(&self) -> RedisConnectionInfo {
        self.login.redis_info().set_db(self.database)
    }

    fn connection_info_as(&self, redis: RedisConnectionInfo, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        let host = host.to_owned();
        let address = if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(tcp_settings()))
    }
}

impl Login {
    fn redis_info(&self) -> RedisConnectionInfo {
        let mut redis = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        redis
    }
}

/// Without this each pipeline waits for the acknowledgement of the one before.
pub fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// The URL of one server. An empty user is the server's default user.
pub fn url_of(host: &str, port: u16, database: u32, user: &str, password: Option<&str>) -> String {
    let encoded = |text| utf8_percent_encode(text, ENCODED);
    let login = match (user, password) {
        ("", None) => String::new(),
        (user, None) => format!("{}@", encoded(user)),
        (user, Some(password)) => format!("{}:{}@", encoded(user), encoded(password)),
    };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    format!("redis://{login}{host}:{port}/{database}")
}

/// A URL as it may be shown, also one that cannot be parsed.
pub fn without_passwords(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (login, shown) = rest.rsplit_once('@').map_or(("", rest), |(_, hosts)| ("…@", hosts));
    // Otherwise a part of a password may be taken for a host.
    let is_sure = !scheme.is_empty() && !unencoded(rest);
    match shown.split_once('?') {
        _ if !is_sure => "…".to_owned(),
        Some((shown, _)) => format!("{scheme}://{login}{shown}?…"),
        None => format!("{scheme}://{login}{shown}"),
    }
}

/// Whether a user or password is not encoded that should be: where it ends is not known then.
fn unencoded(rest: &str) -> bool {
    rest.rsplit_once('@').is_some_and(|(login, _)| login.contains(['/', '@', '?', '#']))
}

/// Refuses a URL of any scheme whose user or password is not percent-encoded where it has to be: a part of the password would
/// be taken, and shown, for a host.
///
/// # Errors
///
/// Says what has to be encoded, and shows nothing of the URL.
pub fn check_login(url: &str) -> Result<(), InvalidUrl> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let wrong = "url: '/', '@', '?' and '#' in users and passwords have to be percent-encoded (%2F, %40, %3F, %23), and '%' too (%25)";
    if unencoded(rest) { Err(InvalidUrl(wrong.into())) } else { Ok(()) }
}

fn parse(url: &str) -> Result<Server, String> {
    let wrong = || format!("url is {:?}, and must be {FORMS}", without_passwords(url));
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let (redis, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match redis {
        "redis" => false,
        "rediss" => true,
        _ => return Err(wrong()),
    };
    check_login(url).map_err(|InvalidUrl(wrong)| wrong)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let login = Login { user: decode(user)?, password: decode(password)? };
    let port = if kind == "sentinel" { SENTINEL_PORT_DEFAULT } else { PORT_DEFAULT };
    let hosts: Vec<_> = hosts.split(',').map(|host| parse_host(host, port)).collect::<Result<_, _>>()?;
    if kind != "sentinel" && !query.is_empty() {
        return Err("url: what stands behind '?' is a login to Sentinels, and this is no redis+sentinel://".into());
    }
    let sentinel = |master: &str| Ok::<_, String>(Kind::Sentinel { master: master.into(), login: parse_query(query)? });
    let (kind, database) = match (kind, path.split_once('/')) {
        ("", None) if hosts.len() == 1 => (Kind::Alone, parse_database(path)?),
        ("", None) => {
            let shown = without_passwords(url);
            return Err(format!("url is {shown:?}, and names several hosts without +sentinel or +cluster"));
        }
        ("cluster", None) if path.is_empty() || path == "0" => (Kind::Cluster, 0),
        ("cluster", None) => return Err(format!("url names database {path:?}, but a cluster has only database 0")),
        ("sentinel", None) if !path.is_empty() => (sentinel(path)?, 0),
        ("sentinel", Some((master, database))) if !master.is_empty() => (sentinel(master)?, parse_database(database)?),
        _ => return Err(wrong()),
    };
    Ok(Server { kind, hosts, database, tls, login })
}

/// The login to Sentinels.
fn parse_query(query: &str) -> Result<Login, String> {
    let mut login = Login::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("sentinel_username", user)) => login.user = decode(user)?,
            Some(("sentinel_password", password)) => login.password = decode(password)?,
            // The value may be a password, under a name mistaken.
            _ => return Err("url: behind '?' may stand sentinel_username=… and sentinel_password=…".into()),
        }
    }
    Ok(login)
}

fn decode(text: &str) -> Result<Option<String>, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "url: a user or password is not percent-encoded UTF-8".to_owned())?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

fn parse_host(text: &str, port: u16) -> Result<(String, u16), String> {
    let wrong = || format!("url names the host {text:?}, and must name it as host or host:port");
    // An IPv6 address stands in brackets.
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(wrong)).transpose()? {
        Some((host, "")) => (host, Ok(port)),
        Some((host, rest)) => (host, rest.strip_prefix(':').ok_or_else(wrong)?.parse()),
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

#[cfg(test)]
mod tests;
