//! A receiver that answers as a test says.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use super::bed::soon;

/// What was posted.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
    pub(super) body: Value,
}

impl Posted {
    pub(super) fn text(&self) -> &str {
        self.body["entry"]["content"]["text"]["body"].as_str().unwrap()
    }

    pub(super) fn id(&self) -> &str {
        self.headers["webhook-id"].to_str().unwrap()
    }
}

type Answer = Arc<Mutex<Box<dyn FnMut(&Posted) -> Option<Response<Full<Bytes>>> + Send>>>;

pub(super) struct Receiver {
    pub(super) url: String,
    posted: mpsc::UnboundedReceiver<Posted>,
    answer: Answer,
    _task: JoinSet<()>,
}

/// An answer without a body.
pub(super) fn status(status: u16) -> Option<Response<Full<Bytes>>> {
    Some(Response::builder().status(status).body(Full::default()).unwrap())
}

impl Receiver {
    /// One that accepts everything.
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, posted) = mpsc::unbounded_channel();
        let answer: Answer = Arc::new(Mutex::new(Box::new(|_| status(204))));
        let mut task = JoinSet::new();
        task.spawn(accept(listener, sender, Arc::clone(&answer)));
        Self { url, posted, answer, _task: task }
    }

    /// From now on it answers like this; `None`: never.
    pub(super) fn answers(&self, answer: impl FnMut(&Posted) -> Option<Response<Full<Bytes>>> + Send + 'static) {
        *self.answer.lock() = Box::new(answer);
    }

    pub(super) async fn next(&mut self) -> Posted {
        soon(self.posted.recv()).await.unwrap()
    }

    /// Nothing has come that was not taken.
    pub(super) fn is_idle(&mut self) -> bool {
        self.posted.try_recv().is_err()
    }
}

async fn accept(listener: TcpListener, sender: mpsc::UnboundedSender<Posted>, answer: Answer) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (sender, answer) = (sender.clone(), Arc::clone(&answer));
        let service = service_fn(move |request: Request<Incoming>| {
            let (sender, answer) = (sender.clone(), Arc::clone(&answer));
            async move {
                let (head, body) = request.into_parts();
                let bytes = body.collect().await.unwrap().to_bytes();
                let posted = Posted { headers: head.headers, body: serde_json::from_slice(&bytes).unwrap(), bytes };
                let response = (*answer.lock())(&posted);
                let _ = sender.send(posted);
                match response {
                    Some(response) => Ok::<_, Infallible>(response),
                    None => std::future::pending().await,
                }
            }
        });
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.await;
        });
    }
}
