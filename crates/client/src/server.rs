//! Where a server is, and over which transport to reach it.

use std::{fmt, path::PathBuf, str::FromStr};

use crate::transport::Trust;

/// The address of a server.
///
/// ```
/// let server: client::Server = "http://127.0.0.1:8080".parse().unwrap();
/// assert_eq!(server.to_string(), "http://127.0.0.1:8080");
/// assert!("tcp://[::1]:8080".parse::<client::Server>().is_ok());
/// assert!("https://chat.example".parse::<client::Server>().is_ok());
/// assert!("127.0.0.1:8080".parse::<client::Server>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    text: String,
    pub(crate) transport: Transport,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whom to believe that the server is who it should be; `None`: nothing is in TLS.
    pub(crate) trust: Option<Trust>,
}

/// How frames travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    /// WebSocket on `/ws`, binary messages.
    WebSocket,
    /// TCP, length-delimited.
    Tcp,
}

/// A text is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a server's address: {reason}; wanted is http://HOST:PORT, ws://HOST:PORT or tcp://HOST:PORT, with TLS https://HOST, wss://HOST or tls://HOST:PORT"
)]
pub struct InvalidServer {
    text: String,
    reason: &'static str,
}

impl Server {
    /// Believes the authorities in a PEM file, and no others, where TLS is spoken: for private ones. Otherwise those of the
    /// system are believed. The file is read when the first connection is made; one that cannot be used is why there is none.
    #[must_use]
    pub fn trusting(mut self, authorities: impl Into<PathBuf>) -> Self {
        if let Some(trust) = &mut self.trust {
            *trust = Trust::in_file(authorities.into());
        }
        self
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.trust.is_some()
    }

    /// Host and port, as a `Host` header wants them.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Server {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let invalid = |reason| InvalidServer { text: text.into(), reason };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("it has no scheme"))?;
        let (transport, default_port, is_tls) = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => (Transport::WebSocket, Some(80), false),
            "https" | "wss" => (Transport::WebSocket, Some(443), true),
            "tcp" => (Transport::Tcp, None, false),
            "tls" => (Transport::Tcp, None, true),
            _ => return Err(invalid("its scheme is not known")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !(path.is_empty() || path == "ws" && transport == Transport::WebSocket) {
            return Err(invalid("it may not have a path"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| invalid("its [ is not closed"))?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(invalid("what follows ] is not a port")),
                }
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|&port| port > 0),
            None => default_port,
        }
        .ok_or_else(|| invalid("its port is missing, or no number from 1 to 65535"))?;
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@' | '[' | ']');
        if host.is_empty() || host.contains(odd) {
            return Err(invalid("its host is missing or malformed"));
        }
        let trust = is_tls.then(Trust::default);
        Ok(Self { text: text.trim_end_matches('/').into(), transport, host: host.into(), port, trust })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_each_transport_are_read() {
        for (text, transport, authority) in [
            ("http://127.0.0.1:8080", Transport::WebSocket, "127.0.0.1:8080"),
            ("HTTP://chat.example/", Transport::WebSocket, "chat.example:80"),
            ("ws://[::1]:9000/ws", Transport::WebSocket, "[::1]:9000"),
            ("tcp://localhost:7000", Transport::Tcp, "localhost:7000"),
            ("https://chat.example", Transport::WebSocket, "chat.example:443"),
            ("wss://[::1]:9000/ws", Transport::WebSocket, "[::1]:9000"),
            ("tls://localhost:7000", Transport::Tcp, "localhost:7000"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.transport, server.authority().as_str()), (transport, authority), "{text}");
            let is_tls = ["https", "wss", "tls"].contains(&text.split(':').next().unwrap());
            assert_eq!(server.trust.is_some(), is_tls, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_refused_with_the_reason() {
        for (text, reason) in [
            ("127.0.0.1:8080", "no scheme"),
            ("tls://a", "port"),
            ("tcp://a", "port"),
            ("http://a:0", "port"),
            ("http://a:x", "port"),
            ("http://:80", "host"),
            ("http://u@a:80", "host"),
            ("http://a/b", "path"),
            ("tcp://a:1/ws", "path"),
            ("http://[::1", "closed"),
        ] {
            let error = text.parse::<Server>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
