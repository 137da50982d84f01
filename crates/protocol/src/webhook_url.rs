//! Where an outgoing webhook may post to: looked at when one is made, and again when it is delivered.

use std::net::{IpAddr, Ipv6Addr};

use crate::address::is_public;

/// A webhook cannot post to a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhookUrl {
    /// It is no address of the web.
    #[error("the URL has to begin with https:// and a host")]
    Scheme,
    /// What is posted could be read on the way.
    #[error("the URL has to begin with https: this server does not post over http:")]
    PlainHttp,
    /// It has to be encoded.
    #[error("the URL may not hold {0:?}, which addresses have to encode")]
    Character(char),
    /// It would never be sent.
    #[error("the URL may not hold a fragment (#), which is never sent")]
    Fragment,
    /// Deliveries are signed instead.
    #[error("the URL may not hold a user or password: deliveries are signed")]
    User,
    /// There is none, or it cannot be one.
    #[error("the URL has no host that can be one")]
    Host,
    /// It is none.
    #[error("the URL has no port number from 1 to 65535 where one should be")]
    Port,
    /// It is on the server's machine, or in its network.
    #[error("{0} is no public address: this server posts to public ones only")]
    Private(String),
}

/// An address that entries may be posted to, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    /// Over TLS.
    pub is_tls: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// The one that was written, or the scheme's.
    pub port: u16,
    /// Host and port as they were written.
    pub authority: String,
    /// What to ask for there; begins with `/`.
    pub path_and_query: String,
}

impl WebhookUrl {
    /// Takes an address apart. Unless `allow_private`, it is one with https:, and not one that names this machine or an address
    /// that is not public. Where another name leads to, only a look-up tells.
    ///
    /// # Errors
    ///
    /// Says for the bot's owner what is wrong, and what is allowed.
    pub fn parse(text: &str, allow_private: bool) -> Result<Self, InvalidWebhookUrl> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidWebhookUrl::Scheme)?;
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" if allow_private => false,
            "http" => return Err(InvalidWebhookUrl::PlainHttp),
            _ => return Err(InvalidWebhookUrl::Scheme),
        };
        if let Some(character) = text.chars().find(|c| !c.is_ascii_graphic() || r#""<>\^`{|}"#.contains(*c)) {
            return Err(InvalidWebhookUrl::Character(character));
        }
        if text.contains('#') {
            return Err(InvalidWebhookUrl::Fragment);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(InvalidWebhookUrl::User);
        }
        // The colons of an IPv6 address are in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(InvalidWebhookUrl::Port)?,
        };
        let host = bare(host).ok_or(InvalidWebhookUrl::Host)?;
        if !allow_private && is_private(host) {
            return Err(InvalidWebhookUrl::Private(host.to_owned()));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path_and_query = format!("{slash}{path}");
        Ok(Self { is_tls, host: host.to_owned(), port, authority: authority.to_owned(), path_and_query })
    }
}

/// The host without the brackets of an IPv6 address; `None` if it cannot be one.
fn bare(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').filter(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            Some(host).filter(|host| !host.is_empty() && host.bytes().all(is_name))
        }
    }
}

/// Whether the host, as it is written, is this machine or no public address.
fn is_private(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_entries_can_be_posted_to_is_taken_apart() {
        let url = WebhookUrl::parse("https://hooks.example/a/b?c=d%20e", false).unwrap();
        assert_eq!((url.is_tls, url.host.as_str(), url.port), (true, "hooks.example", 443));
        assert_eq!((url.authority.as_str(), url.path_and_query.as_str()), ("hooks.example", "/a/b?c=d%20e"));
        let url = WebhookUrl::parse("HTTP://[::1]:8000?x", true).unwrap();
        assert_eq!((url.is_tls, url.host.as_str(), url.port), (false, "::1", 8000));
        assert_eq!((url.authority.as_str(), url.path_and_query.as_str()), ("[::1]:8000", "/?x"));
        for good in
            ["https://example.com", "https://1.1.1.1:8443/", "https://[2606:4700::1111]/", "https://local.host/"]
        {
            WebhookUrl::parse(good, false).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_posted_to_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", InvalidWebhookUrl::Scheme),
            ("example.com", InvalidWebhookUrl::Scheme),
            ("ftp://example.com", InvalidWebhookUrl::Scheme),
            ("https://", InvalidWebhookUrl::Host),
            ("https:///path", InvalidWebhookUrl::Host),
            ("https://user:password@example.com", InvalidWebhookUrl::User),
            ("https://user@example.com/", InvalidWebhookUrl::User),
            ("https://example.com/a b", InvalidWebhookUrl::Character(' ')),
            ("https://example.com/天", InvalidWebhookUrl::Character('天')),
            ("https://example.com\\@evil.com/", InvalidWebhookUrl::Character('\\')),
            ("https://exa$mple.com/", InvalidWebhookUrl::Host),
            ("https://[zz]/", InvalidWebhookUrl::Host),
            ("https://example.com:0/", InvalidWebhookUrl::Port),
            ("https://example.com:99999/", InvalidWebhookUrl::Port),
            ("https://example.com:x/", InvalidWebhookUrl::Port),
            ("https://example.com:/", InvalidWebhookUrl::Port),
            ("https://example.com/#top", InvalidWebhookUrl::Fragment),
        ] {
            for allow_private in [false, true] {
                assert_eq!(WebhookUrl::parse(text, allow_private), Err(reason.clone()), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_public_or_not_encrypted_is_refused_unless_it_is_allowed() {
        for text in [
            "http://example.com/",
            "https://localhost:8080/",
            "https://hooks.LOCALHOST./",
            "https://127.0.0.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
        ] {
            let refused = WebhookUrl::parse(text, false).unwrap_err();
            assert!(matches!(refused, InvalidWebhookUrl::PlainHttp | InvalidWebhookUrl::Private(_)), "{text}");
            WebhookUrl::parse(text, true).unwrap();
        }
    }
}
