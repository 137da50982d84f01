//! Where a webhook posts to.

use std::net::SocketAddr;

use http::{HeaderValue, Uri};
use protocol::{WebhookUrl, is_public};

use crate::post::Failure;

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// A receiver's URL, as requests need it.
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
    /// Takes a URL apart; the error says for the bot's owner what is wrong with it. It was looked at when the webhook was made,
    /// but what the server allows may be another thing by now.
    pub(crate) fn parse(text: &str, allow_private: bool) -> Result<Self, String> {
        let url = WebhookUrl::parse(text, allow_private).map_err(|error| error.to_string())?;
        let WebhookUrl { is_tls, host, port, authority, path_and_query } = url;
        let authority = HeaderValue::try_from(authority).map_err(|_| "the URL's host cannot be used".to_owned())?;
        let path_and_query = path_and_query.parse().map_err(|_| "the URL's path cannot be used".to_owned())?;
        Ok(Self { is_tls, host, port, authority, path_and_query })
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
    fn a_url_of_the_rule_is_one_that_requests_can_be_made_to() {
        for text in ["https://hooks.example/a/b?c=d", "http://[::1]:8000", "https://h?a=%20;,'()*!$&+=:@[]~"] {
            let url = Url::parse(text, true).unwrap();
            assert!(text.ends_with(url.path_and_query.to_string().trim_start_matches('/')), "{text}");
        }
        assert!(Url::parse("http://hooks.example/", false).unwrap_err().contains("https:"));
    }

    #[tokio::test]
    async fn a_name_that_leads_to_this_machine_is_refused() {
        // As a name would that is looked up: these are refused before, as they are written.
        for text in ["https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/"] {
            let url = Url::parse(text, true).unwrap();
            let failure = url.addresses(false).await.unwrap_err();
            assert!(failure.is_for_good(), "{text}");
            assert!(!url.addresses(true).await.unwrap().is_empty(), "{text}");
        }
    }
}
