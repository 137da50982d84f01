//! Protobuf over WebSocket, one frame a message.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Sink as _, Stream as _};
use prost::Message as _;
use protocol::{
    WEBSOCKET_PROTOBUF,
    limits::SERVER_FRAME_BYTES_MAX,
    wire::{ClientFrame, ServerFrame},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, ClientRequestBuilder, Message, protocol::WebSocketConfig},
};

use crate::{
    Error, Server,
    transport::{FRAMES_MAX, UNWRITTEN_BYTES_MAX, Wire},
};

/// Kept for the connection's life and cleared at every read: the library's 128 KiB would cost memory and time.
const READ_BUFFER_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(crate) struct WebSocket {
    stream: WebSocketStream<Wire>,
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// The library holds bytes that are not written yet.
    unflushed: bool,
}

impl WebSocket {
    pub(crate) async fn open(stream: Wire, server: &Server) -> Result<Self, tungstenite::Error> {
        // Whatever is around it: the library is given a connection, and makes no TLS of its own.
        let uri = format!("ws://{}/ws", server.authority())
            .parse()
            .map_err(|error| tungstenite::Error::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(WEBSOCKET_PROTOBUF);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(UNWRITTEN_BYTES_MAX)
            .max_write_buffer_size(4 * UNWRITTEN_BYTES_MAX + protocol::limits::CLIENT_FRAME_BYTES_MAX)
            .max_message_size(Some(SERVER_FRAME_BYTES_MAX))
            .max_frame_size(Some(SERVER_FRAME_BYTES_MAX));
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { stream, queue: VecDeque::new(), queued_bytes: 0, unflushed: false })
    }

    pub(crate) fn queue(&mut self, frame: &ClientFrame) {
        let frame = frame.encode_to_vec();
        self.queued_bytes += frame.len();
        self.queue.push_back(frame.into());
    }

    pub(crate) fn unwritten(&self) -> usize {
        self.queued_bytes
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.queue.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_ready(cx)).map_err(broken)?;
            let Some(frame) = self.queue.pop_front() else { break };
            self.queued_bytes -= frame.len();
            self.unflushed = true;
            Pin::new(&mut self.stream).start_send(Message::Binary(frame)).map_err(broken)?;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx)).map_err(broken)?;
            self.unflushed = false;
            // An idle connection holds no buffer.
            self.queue = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, frames: &mut Vec<ServerFrame>) -> Poll<Result<(), Error>> {
        let before = frames.len();
        while frames.len() < before + FRAMES_MAX {
            let message = match Pin::new(&mut self.stream).poll_next(cx) {
                Poll::Ready(message) => message,
                Poll::Pending if frames.len() > before => break,
                Poll::Pending => return Poll::Pending,
            };
            match message {
                Some(Ok(Message::Binary(frame))) => {
                    frames.push(ServerFrame::decode(frame).map_err(|error| Error::Protocol(error.to_string()))?);
                }
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(Error::Protocol("a text message where frames are binary".into())));
                }
                // The library answers pings, and the end of the stream follows a close.
                Some(Ok(_)) => {}
                // What came before the end is still of use; the end will be reported again.
                Some(Err(_)) | None if frames.len() > before => break,
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                None => return Poll::Ready(Err(Error::broken(io::Error::from(io::ErrorKind::UnexpectedEof)))),
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn close(mut self) -> Result<(), Error> {
        self.stream.close(None).await.map_err(broken)
    }
}

fn broken(error: tungstenite::Error) -> Error {
    Error::Broken(cause(error))
}

/// The library's error, without the layer that only repeats its cause.
pub(crate) fn cause(error: tungstenite::Error) -> Arc<dyn StdError + Send + Sync> {
    match error {
        tungstenite::Error::Io(error) => Arc::new(error),
        tungstenite::Error::Protocol(error) => Arc::new(error),
        tungstenite::Error::Capacity(error) => Arc::new(error),
        error => Arc::new(error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use protocol::wire::{Ping, Pong, client_frame, server_frame};
    use tokio::net::TcpListener;
    use tokio_tungstenite::tungstenite::{
        handshake::server::{Request, Response},
        http::HeaderValue,
    };

    use super::*;
    use crate::transport::Socket;

    #[tokio::test]
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    async fn frames_go_both_ways_and_the_end_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: Server = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let count = 2_000;
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let greet = |request: &Request, mut response: Response| {
                assert_eq!(request.uri().path(), "/ws");
                assert_eq!(request.headers()["sec-websocket-protocol"], WEBSOCKET_PROTOBUF);
                let protocol = HeaderValue::from_static(WEBSOCKET_PROTOBUF);
                response.headers_mut().insert("sec-websocket-protocol", protocol);
                Ok(response)
            };
            let mut stream = tokio_tungstenite::accept_hdr_async(stream, greet).await.unwrap();
            for request in 1..=count {
                let Message::Binary(frame) = stream.next().await.unwrap().unwrap() else { panic!() };
                assert_eq!(ClientFrame::decode(frame).unwrap().request, request);
                let body = Some(server_frame::Body::Pong(Pong { time_ms: 5 }));
                let answer = ServerFrame { request, body }.encode_to_vec();
                stream.feed(Message::Binary(answer.into())).await.unwrap();
            }
            stream.close(None).await.unwrap();
        });
        let mut socket = Socket::open(&address).await.unwrap();
        let (mut frames, mut queued) = (Vec::new(), 0);
        while frames.len() < count as usize {
            while queued < count && socket.has_room() {
                queued += 1;
                let body = Some(client_frame::Body::Ping(Ping {}));
                socket.queue(&ClientFrame { request: queued, body });
            }
            socket.drive(true, &mut frames).await.unwrap();
        }
        assert!(frames.iter().map(|frame| frame.request).eq(1..=count));
        assert!(matches!(socket.drive(true, &mut frames).await, Err(Error::Broken(_))));
        server.await.unwrap();
    }
}
