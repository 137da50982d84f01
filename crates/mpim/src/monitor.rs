//! Where a process tells how it is: `/metrics`, `/healthz`, `/readyz`. For those who run it, on a port of its own.

use std::{collections::BTreeMap, convert::Infallible, fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection lives.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Between two tries to accept when the system refuses.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Gives the text of `/metrics`.
pub(crate) type Exposition = Arc<dyn Fn() -> String + Send + Sync>;

/// What a process waits for before it is ready to serve, with the reason for each.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    waits: watch::Sender<BTreeMap<String, String>>,
    ready: watch::Sender<bool>,
}

impl Readiness {
    /// Not ready: it begins.
    pub(crate) fn new() -> Self {
        let waits = BTreeMap::from([("start".to_owned(), "not yet started".to_owned())]);
        Self { waits: watch::Sender::new(waits), ready: watch::Sender::new(false) }
    }

    /// Something has to become so.
    pub(crate) fn waits(&self, what: &str, why: impl Into<String>) {
        self.change(|waits| drop(waits.insert(what.to_owned(), why.into())));
    }

    /// It is so.
    pub(crate) fn has(&self, what: &str) {
        self.change(|waits| drop(waits.remove(what)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, String>)) {
        self.waits.send_modify(change);
        self.ready.send_replace(self.waits.borrow().is_empty());
    }

    /// Whether it is ready, now and whenever that changes.
    pub(crate) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// A line for each reason why it is not.
    fn reasons(&self) -> String {
        let mut text = String::new();
        for (what, why) in &*self.waits.borrow() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{what}: {why}");
        }
        text
    }
}

/// Answers until it is dropped.
#[derive(Debug)]
pub(crate) struct Monitor {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Monitor {
    pub(crate) fn start(listener: TcpListener, exposition: Exposition, readiness: Readiness) -> std::io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(accept(listener, exposition, readiness)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, exposition: Exposition, readiness: Readiness) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (exposition, readiness) = (Arc::clone(&exposition), readiness.clone());
                connections.spawn(async move {
                    // That somebody stays longer, or leaves in the middle, is no matter.
                    let _ = timeout(CONNECTION_MAX, serve(stream, exposition, readiness)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a connection to the monitor was not accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, exposition: Exposition, readiness: Readiness) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let response = answer(&request, &exposition, &readiness);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(%error, "a connection to the monitor ended early");
    }
}

fn answer(request: &Request<Incoming>, exposition: &Exposition, readiness: &Readiness) -> Response<Full<Bytes>> {
    let text = |status, text: String| {
        let response = Response::builder().status(status).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        response.body(Full::from(text)).unwrap_or_default()
    };
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".into());
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, exposition()),
        "/healthz" => text(StatusCode::OK, "ok\n".into()),
        "/readyz" => match readiness.reasons() {
            none if none.is_empty() => text(StatusCode::OK, "ready\n".into()),
            reasons => text(StatusCode::SERVICE_UNAVAILABLE, reasons),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_is_told_why_a_process_is_not_ready_and_when_it_is() {
        let readiness = Readiness::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let monitor = Monitor::start(listener, Arc::new(|| "figures".into()), readiness.clone()).unwrap();
        readiness.waits("message", "no instance is known");
        readiness.has("start");
        let answer = get(monitor.address(), "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("message: no instance is known\n"), "{answer}");
        assert!(!*readiness.ready().borrow());
        readiness.has("message");
        assert!(get(monitor.address(), "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(*readiness.ready().borrow());
        assert!(get(monitor.address(), "/metrics").await.ends_with("figures"));
        assert!(get(monitor.address(), "/").await.starts_with("HTTP/1.1 404"));
    }
}
