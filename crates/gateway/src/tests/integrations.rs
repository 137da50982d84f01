//! What programs use over HTTP beside the requests: the description, incoming webhooks, administration.

use protocol::wire::Suspend;
use serde_json::{Value, json};

use super::{
    bed::{Bed, unlimited},
    http::{Answer, exchange, get, post},
};
use crate::{Config, Limits, Rate, dispatch::table::ROWS};

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[tokio::test]
async fn the_description_tells_of_every_request_and_is_json() {
    let bed = Bed::new().await;
    let answer = get(&bed, "/api/v1/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    for row in ROWS {
        let operation = &document["paths"][format!("/api/v1/{}", row.name)]["post"];
        assert!(operation["requestBody"].is_object(), "{}", row.name);
    }
}

/// A program that believes the description must not be surprised by what is answered.
#[tokio::test]
async fn every_request_over_http_is_answered_with_a_status_that_the_description_names() {
    let bed = Bed::new().await;
    let document = get(&bed, "/api/v1/openapi.json").await.json();
    for (path, operation) in document["paths"].as_object().unwrap() {
        let operation = &operation["post"];
        let request = path.replace("{token}", "hook-9").replace("/api/v1/", "");
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        for body in [example.to_string(), "{}".into(), "[".into()] {
            for token in [None, Some("7.70")] {
                let answer = post(&bed, &request, token, &body).await;
                let described = &operation["responses"][answer.status.to_string()];
                assert!(described.is_object(), "{request}: {} {}", answer.status, answer.body);
                assert!(answer.json().is_object() && answer.head.contains("content-type: application/json"));
            }
        }
    }
}

#[tokio::test]
async fn people_find_a_page_about_it_in_their_language() {
    let bed = Bed::new().await;
    let english = get(&bed, "/api/docs").await;
    assert!(english.head.contains("text/html") && english.head.contains("default-src 'none'"));
    assert!(english.body.contains("MPIM over HTTP") && english.body.contains("http://x/api/v1/send"));
    assert!(get(&bed, "/api/docs?lang=zh").await.body.contains("MPIM 的 HTTP 接口"));
    let preferred = exchange(&bed, "GET /api/docs HTTP/1.1\r\nAccept-Language: zh-CN", "").await;
    assert!(preferred.body.contains("MPIM 的 HTTP 接口"));
}

#[tokio::test]
async fn whoever_has_a_hook_posts_as_its_bot_into_its_conversation() {
    let bed = Bed::new().await;
    let sent = post(&bed, "hooks/hook-9", None, r#"{"text": "built"}"#).await;
    assert_eq!((sent.status, sent.json()["conversation"].as_str()), (200, Some("77")), "{}", sent.body);
    let content = json!({"id": "0193a5b0-7c11-7d2e-8f00-000000000001", "content": {"text": {"body": "again"}}});
    assert_eq!(post(&bed, "hooks/hook-9", None, &content.to_string()).await.status, 200);
    assert_eq!(bed.fake.state.lock().sent, ["built", "again"]);
    for (path, body, status, code) in [
        ("hooks/wrong", r#"{"text": "x"}"#, 404, "NOT_FOUND"),
        ("hooks/hook-9", "{}", 400, "INVALID"),
        ("hooks/hook-9", "text", 400, "INVALID"),
    ] {
        let refused = post(&bed, path, None, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{path} {body}");
    }
    assert_eq!(bed.fake.state.lock().sent.len(), 2);
}

#[tokio::test]
async fn a_hook_is_held_to_the_rates_of_its_bot() {
    let limits = Limits { sends_per_user: Rate { per_second: 0.5, burst: 1 }, ..unlimited().limits };
    let bed = Bed::with(Config { limits, ..unlimited() }).await;
    assert_eq!(post(&bed, "hooks/hook-9", None, r#"{"text": "x"}"#).await.status, 200);
    let refused = post(&bed, "hooks/hook-9", None, r#"{"text": "x"}"#).await;
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 2"), "{}", refused.head);
    assert_eq!(post(&bed, "hooks/hook-10", None, r#"{"text": "x"}"#).await.status, 200);
}

async fn administered() -> Bed {
    Bed::with(Config { admin_key: Some(KEY.parse().unwrap()), ..unlimited() }).await
}

async fn admin(bed: &Bed, request: &str, key: Option<&str>, body: Value) -> Answer {
    post(bed, &format!("admin/{request}"), key, &body.to_string()).await
}

#[tokio::test]
async fn whoever_has_the_admin_key_administers() {
    let bed = administered().await;
    let done = admin(&bed, "suspend", Some(KEY), json!({"name": "mallory", "suspended": true})).await;
    assert_eq!((done.status, done.json()), (200, json!({})));
    assert_eq!(bed.fake.state.lock().suspended, [Suspend { name: "mallory".into(), suspended: true }]);
    let reports = admin(&bed, "list_reports", Some(KEY), json!({"closed": true})).await;
    assert_eq!(reports.json()["reports"][0]["id"], "5");
    assert_eq!(admin(&bed, "close_report", Some(KEY), json!({"report": "6"})).await.status, 404);
    assert_eq!(admin(&bed, "dance", Some(KEY), json!({})).await.code(), "UNKNOWN_REQUEST");
}

#[tokio::test]
async fn nobody_administers_without_the_key() {
    let bed = administered().await;
    let wrong = KEY.replace("00", "01");
    for key in [None, Some(""), Some(wrong.as_str()), Some(&KEY[1..]), Some("7.70")] {
        let refused = admin(&bed, "suspend", key, json!({"name": "bob", "suspended": true})).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHENTICATED"), "{key:?}");
    }
    // Where no key is set, there is no administration, whatever is shown.
    let bed = Bed::new().await;
    for key in [None, Some(KEY), Some("")] {
        assert_eq!(admin(&bed, "suspend", key, json!({})).await.status, 404);
    }
    assert!(bed.fake.state.lock().suspended.is_empty());
}
