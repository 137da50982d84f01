//! The HTTP API, asked with the protocol's own messages.

use std::net::SocketAddr;

use client::wire::{self, ClientFrame, ErrorCode, client_frame::Body as Request};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// What a request came to.
pub type Answer = Result<Value, ErrorCode>;

/// Makes one request, with a token if there is one.
pub async fn ask(address: SocketAddr, token: Option<&str>, request: Request) -> Answer {
    let frame = serde_json::to_value(ClientFrame { request: 0, body: Some(request) }).unwrap();
    let (name, body) = frame.as_object().unwrap().iter().next().expect("a frame holds its request");
    let (status, answer) = post(address, &format!("/api/v1/{name}"), token, &body.to_string()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    if status == 200 {
        return Ok(answer);
    }
    let error: wire::Error = serde_json::from_value(answer).unwrap();
    Err(error.code())
}

/// A GET, and the body of its answer.
pub async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}")).1.to_owned()
}

/// A POST, and the status and body of its answer.
pub async fn post(address: SocketAddr, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let authorization = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {authorization}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let status = line.split(' ').nth(1).expect("a status line").parse().unwrap();
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (status, String::from_utf8(body).unwrap())
}
