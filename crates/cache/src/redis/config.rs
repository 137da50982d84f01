//! Where Redis is, and how the cache uses it.

use std::{fmt, time::Duration};

use redis_url::{InvalidUrl, Server, without_passwords};

/// The settings of a [`RedisCache`](super::RedisCache), as in `[redis_cache]`; lifetimes are those of the look-ups.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Where: one server, a cluster, or a server behind Sentinels, as [`redis_url`] reads it.
    pub url: String,
    /// Connections that may be open at once, at least 2. All who call share one, so that no more than 2 are used; in a cluster
    /// one for each server and one more, however many these are.
    pub max_connections: usize,
    /// The longest that a call may take. Look-ups have a shorter patience of their own.
    pub timeout: Duration,
    /// Begins the name of every key and channel, so that several systems may share a server.
    pub prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".into(),
            max_connections: 50,
            timeout: Duration::from_secs(5),
            prefix: "mpim".into(),
        }
    }
}

/// Without the password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, max_connections, timeout, prefix } = self;
        f.debug_struct("Config")
            .field("url", &without_passwords(url))
            .field("max_connections", max_connections)
            .field("timeout", timeout)
            .field("prefix", prefix)
            .finish()
    }
}

/// Settings that cannot be used. Names all that is wrong, and never shows a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cache's settings: {}", .0.join("; "))]
pub struct InvalidConfig(pub Vec<String>);

impl Config {
    /// Checks everything.
    pub(super) fn server(&self) -> Result<Server, InvalidConfig> {
        let mut wrong = Vec::new();
        let server = self.url.parse().map_err(|error: InvalidUrl| wrong.push(error.to_string()));
        let mut at_least = |name: &str, value: u128, least: u128| {
            if value < least {
                wrong.push(format!("{name} is {value}, and must be at least {least}"));
            }
        };
        at_least("max_connections", self.max_connections as u128, 2);
        at_least("timeout (ms)", self.timeout.as_millis(), 10);
        if self.prefix.is_empty() || self.prefix.contains(['{', '}', ':']) {
            wrong.push(format!("prefix is {:?}, and must be a text without braces and colons", self.prefix));
        }
        match server {
            Ok(server) if wrong.is_empty() => Ok(server),
            _ => Err(InvalidConfig(wrong)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_all_named_and_passwords_never() {
        let config = Config {
            url: "http://somebody:secret@host".into(),
            max_connections: 1,
            prefix: "a:b".into(),
            ..Config::default()
        };
        let error = config.server().err().unwrap().to_string();
        for named in ["redis+cluster://", "max_connections is 1", "prefix is \"a:b\""] {
            assert!(error.contains(named), "{named}: {error}");
        }
        assert!(!error.contains("secret") && !format!("{config:?}").contains("secret"));
    }
}
