//! One request to a receiver.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{delivery::Delivery, url::Url};

/// Of an answer's body so much is read, for the connection's sake; with more to come, the connection is given up.
const BODY_BYTES_MAX: usize = 8 * 1024;
/// The head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("mpim/", env!("CARGO_PKG_VERSION")));

/// Why an attempt failed, for the bot's owner, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Failure {
    error: String,
    again: Again,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Later, at the earliest after a wait that the receiver asked for.
    After(Duration),
    /// There is no use in it.
    Never,
}

impl Failure {
    /// What may go better next time.
    pub(crate) fn again(error: String) -> Self {
        Self { error, again: Again::After(Duration::ZERO) }
    }

    /// What will not.
    pub(crate) fn for_good(error: String) -> Self {
        Self { error, again: Again::Never }
    }

    pub(crate) fn is_for_good(&self) -> bool {
        self.again == Again::Never
    }

    /// The least wait that the receiver asked for.
    pub(crate) fn wait_min(&self) -> Duration {
        match self.again {
            Again::After(wait) => wait,
            Again::Never => Duration::ZERO,
        }
    }
}

/// What all webhooks need to post.
pub(crate) struct Poster {
    tls: TlsConnector,
    timeout: Duration,
    allow_private: bool,
}

impl Poster {
    /// Trusts the certificates that this machine trusts. Reads files.
    pub(crate) fn new(timeout: Duration, allow_private: bool) -> Self {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a certificate that this machine trusts cannot be read");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Self::with_roots(roots, timeout, allow_private)
    }

    pub(crate) fn with_roots(roots: RootCertStore, timeout: Duration, allow_private: bool) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { tls: TlsConnector::from(Arc::new(config)), timeout, allow_private }
    }
}

/// One webhook's receiver, with the connection to it.
pub(crate) struct Receiver {
    url: Result<Url, String>,
    secret: Vec<u8>,
    connection: Option<Connection>,
}

impl Receiver {
    pub(crate) fn new(url: &str, secret: Vec<u8>, poster: &Poster) -> Self {
        Self { url: Url::parse(url, poster.allow_private), secret, connection: None }
    }

    /// Posts a delivery once; takes at most the configured time.
    pub(crate) async fn post(&mut self, poster: &Poster, delivery: &Delivery) -> Result<(), Failure> {
        match tokio::time::timeout(poster.timeout, self.post_untimed(poster, delivery)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::again(format!("no answer within {} s", poster.timeout.as_secs_f32()))),
        }
    }

    async fn post_untimed(&mut self, poster: &Poster, delivery: &Delivery) -> Result<(), Failure> {
        let url = self.url.as_ref().map_err(|error| Failure::for_good(error.clone()))?;
        let request = request(url, delivery, &self.secret);
        // A receiver closes a connection that was idle when it likes: only what fails on a fresh one has failed.
        let kept = match self.connection.take() {
            Some(connection) => connection.exchange(request.clone()).await.ok(),
            None => None,
        };
        let (answer, connection) = match kept {
            Some(answered) => answered,
            None => {
                let connection = connect(url, poster).await?;
                let broken = |error| Failure::again(format!("the connection broke: {error}"));
                connection.exchange(request).await.map_err(broken)?
            }
        };
        self.connection = connection;
        judge(answer.0, &answer.1)
    }
}

/// What a status means.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let error = format!("it answered {status}");
    if status == StatusCode::GONE {
        return Err(Failure::for_good(error));
    }
    if status.is_redirection() {
        return Err(Failure::again(format!("{error}; redirects are not followed")));
    }
    Err(Failure { error, again: Again::After(retry_after(headers, SystemTime::now())) })
}

/// In either form: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let Some(value) = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()) else {
        return Duration::ZERO;
    };
    match value.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            httpdate::parse_http_date(value).ok().and_then(|date| date.duration_since(now).ok()).unwrap_or_default()
        }
    }
}

fn request(url: &Url, delivery: &Delivery, secret: &[u8]) -> Request<Full<Bytes>> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = |text: String| HeaderValue::try_from(text).expect("numbers and base64 are visible ASCII");
    let mut request = Request::new(Full::new(delivery.body.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url.path_and_query.clone();
    let headers = request.headers_mut();
    headers.insert(header::HOST, url.authority.clone());
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", text(delivery.id.clone()));
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    headers.insert("webhook-signature", text(delivery.sign(secret, timestamp)));
    request
}

async fn connect(url: &Url, poster: &Poster) -> Result<Connection, Failure> {
    let addresses = url.addresses(poster.allow_private).await?;
    let stream = TcpStream::connect(addresses.as_slice()).await;
    let stream = stream.map_err(|error| Failure::again(format!("cannot connect to {}: {error}", url.host)))?;
    // A request is written at once, so that there is nothing to gather; if it fails, the rest works all the same.
    let _ = stream.set_nodelay(true);
    if !url.is_tls {
        return Connection::open(stream).await;
    }
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| Failure::for_good(format!("{} cannot be a server's name", url.host)))?;
    let stream = poster.tls.connect(name, stream).await;
    Connection::open(stream.map_err(|error| Failure::again(format!("no TLS with {}: {error}", url.host)))?).await
}

/// A connection to a receiver, which moves only while a request is under way.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Does the reading and writing.
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Connection {
    async fn open(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, Failure> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, driver) = opened.map_err(|error| Failure::again(error.to_string()))?;
        // What ends the connection ends the exchange as well, which tells it.
        Ok(Self { sender, driver: Box::pin(async move { drop(driver.await) }) })
    }

    /// Sends a request; its answer, and the connection if it can be used again.
    async fn exchange(self, request: Request<Full<Bytes>>) -> hyper::Result<((StatusCode, HeaderMap), Option<Self>)> {
        let Self { mut sender, mut driver } = self;
        let mut driven = true;
        let answered = {
            let mut exchange = pin!(async {
                let (head, body) = sender.send_request(request).await?.into_parts();
                let is_whole = discard(body).await;
                hyper::Result::Ok(((head.status, head.headers), is_whole))
            });
            loop {
                tokio::select! {
                    answered = &mut exchange => break answered,
                    () = &mut driver, if driven => driven = false,
                }
            }
        };
        let (head, is_whole) = answered?;
        let usable = driven && is_whole && !sender.is_closed();
        Ok((head, usable.then_some(Self { sender, driver })))
    }
}

/// Reads a body to its end, or as far as is decent; `true` if that was its end.
async fn discard(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > BODY_BYTES_MAX {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_the_receiver_asks_for_is_read_in_either_form() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        for (value, seconds) in [("120", 120), ("Sun, 06 Nov 1994 08:49:37 GMT", 7), ("soon", 0), ("-1", 0)] {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]);
            assert_eq!(retry_after(&headers, now), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), Duration::ZERO);
    }

    #[test]
    fn only_success_is_success_and_only_gone_is_for_good() {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("3"))]);
        let judged = |status: u16| judge(StatusCode::from_u16(status).unwrap(), &headers);
        assert!(judged(200).is_ok() && judged(204).is_ok());
        assert!(judged(410).unwrap_err().is_for_good());
        assert!(judged(307).unwrap_err().to_string().contains("redirects are not followed"));
        for status in [400, 404, 429, 500, 503] {
            let failure = judged(status).unwrap_err();
            assert_eq!((failure.is_for_good(), failure.wait_min()), (false, Duration::from_secs(3)), "{status}");
        }
    }
}
