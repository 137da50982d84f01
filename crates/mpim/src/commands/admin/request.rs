//! One request to a server's administration, over HTTP.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request as HttpRequest, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use protocol::wire::{self, AdminRequest, admin_request::Body as Request};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// From the connection to the end of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// A page of reports with the messages they are about, and more than that.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const DEFAULT_PORT: u16 = 80;

/// A server, and the key to its administration.
pub(super) struct Server {
    /// Host and port.
    authority: String,
    key: String,
}

impl Server {
    /// # Errors
    ///
    /// The URL is not that of a server.
    pub(super) fn new(url: &str, key: String) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
            bail!("{url:?} is not a server's URL: it has to be http://HOST:PORT");
        };
        Ok(Self { authority: format!("{host}:{}", uri.port_u16().unwrap_or(DEFAULT_PORT)), key })
    }

    /// Asks, and returns the answer's JSON.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses; what it says is in the error.
    pub(super) async fn ask(&self, request: Request) -> anyhow::Result<Value> {
        let frame = serde_json::to_value(AdminRequest { body: Some(request) })?;
        let (name, body) = frame
            .as_object()
            .and_then(|frame| frame.iter().next())
            .map(|(name, body)| (snake_case(name), body.to_string()))
            .context("a request without a body")?;
        let (is_success, answer) = timeout(ANSWER_WITHIN, self.post(&name, body))
            .await
            .with_context(|| format!("no answer from {} within {ANSWER_WITHIN:?}", self.authority))??;
        if is_success {
            return serde_json::from_slice(&answer).context("the server's answer cannot be read");
        }
        match serde_json::from_slice::<wire::Error>(&answer) {
            Ok(error) => bail!("{}", error.message),
            Err(_) => bail!("{} does not answer as an MPIM server does", self.authority),
        }
    }

    async fn post(&self, name: &str, body: String) -> anyhow::Result<(bool, Bytes)> {
        let reach = || format!("cannot reach {}; is the server running there? (see --server)", self.authority);
        let stream = TcpStream::connect(&self.authority).await.with_context(reach)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(reach)?;
        let request = HttpRequest::post(format!("/api/v1/admin/{name}"))
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            let response = sender.send_request(request).await.with_context(reach)?;
            let is_success = response.status().is_success();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
            Ok((is_success, body.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection has ended; what it received is waiting.
            _ = connection => exchange.await,
        }
    }
}

/// A request's name in JSON, as paths have it.
fn snake_case(name: &str) -> String {
    let mut path = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            path.push('_');
        }
        path.push(c.to_ascii_lowercase());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_are_servers() {
        for (url, authority) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://chat.example/", "chat.example:80"),
            ("http://[::1]:9", "[::1]:9"),
        ] {
            assert_eq!(Server::new(url, String::new()).unwrap().authority, authority);
        }
        for wrong in ["", "chat.example", "https://chat.example", "tcp://127.0.0.1:8080", "http://"] {
            assert!(Server::new(wrong, String::new()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_are_those_of_paths() {
        assert_eq!((snake_case("listReports"), snake_case("suspend")), ("list_reports".into(), "suspend".into()));
    }
}
