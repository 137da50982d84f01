//! Where Redis is, and how the queue uses it.

use std::{fmt, time::Duration};

use redis_url::{InvalidUrl, Server, without_passwords};

use crate::Bounds;

/// The settings of a [`RedisQueue`](super::RedisQueue), as in `[redis_queue]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Where: one server, a cluster, or a server behind Sentinels, as [`redis_url`] reads it.
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
            .field("url", &without_passwords(url))
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

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
