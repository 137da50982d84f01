use protocol::limits::CLIENT_FRAME_BYTES_MAX;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::bed::{Bed, soon, unlimited};
use crate::{Config, Limits, Rate};

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

pub(super) async fn exchange(bed: &Bed, head: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
    let request = format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // A refusal may come before the body is sent.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub(super) async fn get(bed: &Bed, path: &str) -> Answer {
    exchange(bed, &format!("GET {path} HTTP/1.1"), "").await
}

pub(super) async fn post(bed: &Bed, request: &str, token: Option<&str>, body: &str) -> Answer {
    let token = token.map(|token| format!("\r\nAuthorization: Bearer {token}")).unwrap_or_default();
    exchange(bed, &format!("POST /api/v1/{request} HTTP/1.1{token}"), body).await
}

#[tokio::test]
async fn requests_are_answered_over_http_as_over_sockets() {
    let bed = Bed::new().await;
    let session = post(&bed, "log_in", None, r#"{"name": "user-7"}"#).await;
    assert_eq!(session.status, 200);
    let token = session.json()["accessToken"].as_str().unwrap().to_owned();
    assert_eq!(token, "7.70");
    let send = json!({"to": "user-8", "id": "x", "content": {"text": {"body": "天气"}}}).to_string();
    let sent = post(&bed, "send", Some(&token), &send).await;
    assert_eq!((sent.status, sent.json()["conversation"].as_str()), (200, Some("10008")), "{}", sent.body);
    assert!(sent.head.contains("content-type: application/json"));
    let synced = post(&bed, "sync", Some(&token), "").await;
    assert_eq!(synced.json()["heads"][0]["conversation"]["peer"]["name"], "user-9");
    assert_eq!(post(&bed, "ping", None, "{}").await.status, 200);
    assert_eq!(
        post(&bed, "history", Some(&token), r#"{"conversation": "5"}"#).await.json()["lastPosition"],
        (1u64 << 60).to_string()
    );
}

#[tokio::test]
async fn the_status_of_a_refusal_tells_what_its_code_tells() {
    let bed = Bed::new().await;
    let token = Some("7.70");
    let send = json!({"conversation": "404", "content": {"text": {"body": "x"}}}).to_string();
    let many = json!({"to": "x".repeat(CLIENT_FRAME_BYTES_MAX)}).to_string();
    for (request, token, body, status, code) in [
        ("log_in", None, r#"{"name": "nobody"}"#, 401, "WRONG_CREDENTIALS"),
        ("register", None, r#"{"name": "taken"}"#, 409, "NAME_TAKEN"),
        ("sync", None, "{}", 401, "UNAUTHENTICATED"),
        ("sync", Some("no token"), "{}", 401, "UNAUTHENTICATED"),
        ("sync", token, "{", 400, "INVALID"),
        ("sync", token, "[]", 400, "INVALID"),
        ("send", token, send.as_str(), 403, "NOT_MEMBER"),
        ("send", token, many.as_str(), 413, "LIMIT_EXCEEDED"),
        ("revoke_session", token, "{}", 403, "FORBIDDEN"),
        ("join_group", token, r#"{"group": "5"}"#, 404, "NOT_FOUND"),
        ("open_direct", token, r#"{"name": "nobody"}"#, 404, "NOT_FOUND"),
        ("change_password", token, "{}", 503, "UNAVAILABLE"),
        ("dance", token, "{}", 404, "UNKNOWN_REQUEST"),
        ("connect", token, "{}", 404, "UNKNOWN_REQUEST"),
        ("watch_presence", token, "{}", 404, "UNKNOWN_REQUEST"),
    ] {
        let answer = post(&bed, request, token, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{request}: {}", answer.body);
    }
    assert!(post(&bed, "sync", None, "{}").await.head.contains("www-authenticate: bearer"));
    assert!(post(&bed, "change_password", token, "{}").await.head.contains("retry-after: 1"));
    let wrong_method = get(&bed, "/api/v1/sync").await;
    assert_eq!((wrong_method.status, wrong_method.code().as_str()), (405, "UNKNOWN_REQUEST"));
    assert!(wrong_method.head.contains("allow: post"), "{}", wrong_method.head);
    assert_eq!(get(&bed, "/nowhere").await.status, 404);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_504() {
    let request_timeout = std::time::Duration::from_millis(50);
    let bed = Bed::with(Config { request_timeout, ..unlimited() }).await;
    let send = json!({"conversation": "77", "content": {"text": {"body": "wait"}}}).to_string();
    let answer = post(&bed, "send", Some("7.70"), &send).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "TIMED_OUT"));
}

#[tokio::test]
async fn a_rate_limit_is_a_429_that_says_when_to_retry() {
    let limits = Limits { accounts_per_address: Rate { per_second: 0.5, burst: 1 }, ..unlimited().limits };
    let bed = Bed::with(Config { limits, ..unlimited() }).await;
    assert_eq!(post(&bed, "log_in", None, r#"{"name": "user-7"}"#).await.status, 200);
    let refused = post(&bed, "log_in", None, r#"{"name": "user-7"}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "RATE_LIMITED"));
    assert!(refused.head.contains("retry-after: 2"), "{}", refused.head);
}

#[tokio::test]
async fn operators_see_health_readiness_and_figures() {
    let bed = Bed::new().await;
    assert_eq!(get(&bed, "/healthz").await.status, 200);
    assert_eq!(get(&bed, "/readyz").await.status, 200);
    bed.ready.send_replace(false);
    assert_eq!(get(&bed, "/readyz").await.status, 503);
    assert_eq!(get(&bed, "/healthz").await.status, 200);
    let client = bed.connected(7).await;
    let metrics = get(&bed, "/metrics").await;
    for figure in [
        "mpim_gateway_users 1",
        r#"mpim_gateway_requests_total{kind="connect",outcome="OK"} 1"#,
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.body.contains(figure), "{figure} is missing in {}", metrics.body);
    }
    drop(client);
}

#[tokio::test]
async fn a_browser_finds_a_page_in_its_language() {
    let bed = Bed::new().await;
    let english = get(&bed, "/").await;
    assert!(english.head.contains("text/html") && english.body.contains("MPIM is running here"));
    let chinese = exchange(&bed, "GET / HTTP/1.1\r\nAccept-Language: zh-CN", "").await;
    let position = |text| chinese.body.find(text).unwrap();
    assert!(position("MPIM 正在这里运行") < position("MPIM is running here"));
}

#[tokio::test]
async fn the_websocket_path_says_what_it_wants() {
    let bed = Bed::new().await;
    assert_eq!(get(&bed, "/ws").await.status, 426);
    let upgrade = "GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: ";
    for (rest, status) in [("8", 426), ("13\r\nSec-WebSocket-Protocol: mqtt", 400)] {
        let mut stream = TcpStream::connect(bed.gateway.local_addr()).await.unwrap();
        stream.write_all(format!("{upgrade}{rest}\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        soon("an answer", stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(answer, *format!("HTTP/1.1 {status}").as_bytes());
    }
}
