//! Where a webhook posts to.

use std::net::SocketAddr;

use http::{HeaderValue, Uri, uri::Scheme};

use crate::{address::is_public, post::Failure};

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A receiver's URL, taken apart.
#[derive(Debug)]
pub(crate) struct Url {
    pub(crate) is_tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as they were written.
    pub(crate) authority: HeaderValue,
    pub(crate) path_and_query: Uri,
}

impl Url {
    /// Takes a URL apart; the error says for the bot's owner what is wrong with it.
    pub(crate) fn parse(text: &str, allow_private: bool) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("the URL cannot be read: {error}"))?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP && allow_private => false,
            _ => return Err("the URL has to begin with https:".into()),
        };
        let authority = uri.authority().ok_or("the URL has no host")?;
        if authority.as_str().contains('@') {
            return Err("the URL may not hold a user".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let unusable = |_| "the URL's host cannot be used".to_owned();
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(unusable)?,
            path_and_query: path_and_query.parse().map_err(|_| "the URL's path cannot be used".to_owned())?,
            host,
        })
    }

    /// Where to connect to. What this returns was checked, and is what has to be connected to: asked again, the name might lead
    /// elsewhere.
    pub(crate) async fn addresses(&self, allow_private: bool) -> Result<Vec<SocketAddr>, Failure> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| Failure::again(format!("{} cannot be found: {error}", self.host)))?;
        let mut found = found.peekable();
        if found.peek().is_none() {
            return Err(Failure::again(format!("{} has no address", self.host)));
        }
        let allowed: Vec<_> =
            found.filter(|address| allow_private || is_public(address.ip())).take(ADDRESSES_MAX).collect();
        if allowed.is_empty() {
            return Err(Failure::for_good(format!("{} has no public address", self.host)));
        }
        Ok(allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = Url::parse("https://hooks.example/a/b?c=d", false).unwrap();
        assert_eq!((url.is_tls, url.host.as_str(), url.port), (true, "hooks.example", 443));
        assert_eq!(url.path_and_query.to_string(), "/a/b?c=d");
        let url = Url::parse("http://[::1]:8000", true).unwrap();
        assert_eq!((url.is_tls, url.host.as_str(), url.port), (false, "::1", 8000));
        assert_eq!((url.authority.to_str().unwrap(), url.path_and_query.path()), ("[::1]:8000", "/"));
    }

    #[test]
    fn what_is_not_allowed_is_refused_with_the_reason() {
        for (text, reason) in [
            ("http://hooks.example/", "https:"),
            ("ftp://hooks.example/", "https:"),
            ("/path", "https:"),
            ("https://user@hooks.example/", "user"),
            ("https://", "read"),
            ("", "read"),
        ] {
            let error = Url::parse(text, false).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused() {
        for text in ["https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/"] {
            let url = Url::parse(text, false).unwrap();
            let failure = url.addresses(false).await.unwrap_err();
            assert!(failure.is_for_good(), "{text}");
            assert!(!url.addresses(true).await.unwrap().is_empty(), "{text}");
        }
    }
}
