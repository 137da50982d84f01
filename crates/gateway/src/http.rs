//! HTTP/1.1 on the same port: the requests of the protocol for scripts, the upgrade to WebSocket, what operators look at.

mod admin;
mod api;
mod description;
mod docs;
mod hooks;
mod openapi;
mod page;
mod refusal;
mod upgrade;

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use ::http::{Request, Response, StatusCode, header};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse as _, Response as AnyResponse},
    routing::{get, post},
};
use bytes::BytesMut;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use protocol::limits::CLIENT_FRAME_BYTES_MAX;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tower::Service as _;

use self::upgrade::Promise;
use crate::{addresses::Place, frame::Encoding, gateway::Shared, origin, rate::Bucket, socket::Socket};

/// What the operators' pages tell.
pub(crate) struct Http {
    exposition: Arc<dyn Fn() -> String + Send + Sync>,
    ready: watch::Receiver<bool>,
}

impl Http {
    pub(crate) fn new(exposition: Arc<dyn Fn() -> String + Send + Sync>, ready: watch::Receiver<bool>) -> Self {
        Self { exposition, ready }
    }
}

/// A connection that has left HTTP for WebSocket.
pub(crate) struct Upgraded {
    pub(crate) stream: Socket,
    /// What came after the handshake already.
    pub(crate) incoming: BytesMut,
    pub(crate) encoding: Encoding,
    /// Who asked for it.
    pub(crate) address: IpAddr,
    /// Its place among the connections of that address, unless the whole connection has one.
    pub(crate) place: Option<Place>,
}

/// Who makes a request.
#[derive(Clone)]
struct Peer {
    address: IpAddr,
    connection: Arc<Connection>,
}

/// One HTTP connection, as its requests see it.
struct Connection {
    /// It is a trusted proxy's, and requests of several clients come by it.
    is_shared: bool,
    bucket: Mutex<Bucket>,
    promise: Mutex<Option<Promise>>,
}

/// Serves a connection until it ends or becomes a WebSocket connection. A connection that drags on is closed: while
/// idle or within the head of a request after `handshake_timeout`, in any case after `http_connection_max`.
pub(crate) async fn serve(shared: Arc<Shared>, stream: Socket, address: IpAddr) -> Option<Upgraded> {
    let (draining, cut) = (shared.draining.clone(), shared.cut.clone());
    let lifetime = shared.config.http_connection_max;
    let patience = shared.config.handshake_timeout;
    // The body of a request has to come in this time as well.
    let answer_within = patience + shared.config.request_timeout;
    let is_shared = shared.is_proxy(address);
    let state = Arc::new(Connection { is_shared, bucket: Mutex::default(), promise: Mutex::new(None) });
    let (requests_state, requests_shared) = (state.clone(), shared.clone());
    let router = router(shared);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let address = origin::forwarded(&requests_shared.config.trusted_proxies, address, request.headers());
        request.extensions_mut().insert(Peer { address, connection: requests_state.clone() });
        let answer = router.clone().call(request.map(Body::new));
        async move {
            let late = || StatusCode::REQUEST_TIMEOUT.into_response();
            Ok::<_, Infallible>(match timeout(answer_within, answer).await {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => late(),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = cut.cancelled() => return None,
        () = async { tokio::select! { () = draining.cancelled() => {}, () = sleep(lifetime) => {} } } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection.as_mut() => served,
                () = cut.cancelled() => return None,
                () = sleep(answer_within) => return None,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%address, %error, "an HTTP connection failed");
    }
    let promise = state.promise.lock().take()?;
    upgrade::redeem(promise).await
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page::show))
        .route("/ws", get(upgrade::upgrade))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/docs", get(docs::show))
        .route("/api/v1/openapi.json", get(openapi::show))
        .route("/api/v1/{request}", post(api::answer))
        .route("/api/v1/hooks/{token}", post(hooks::post))
        .route("/api/v1/admin/{request}", post(admin::answer))
        .method_not_allowed_fallback(refusal::wrong_method)
        .layer(DefaultBodyLimit::max(CLIENT_FRAME_BYTES_MAX))
        .with_state(shared)
}

async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    if shared.leaving.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if *shared.http.ready.borrow() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> AnyResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], (shared.http.exposition)()).into_response()
}

/// A response with this status and JSON.
fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
