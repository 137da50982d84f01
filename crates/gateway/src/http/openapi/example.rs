//! Examples of requests: what one would write, made from what the protocol's files tell.

use serde_json::{Map, Value, json};

use crate::http::description::{Description, Field, Kind};

/// How deep an example goes; nobody reads further.
const DEPTH_MAX: usize = 4;

/// An example of a message.
pub(in crate::http) fn example(protocol: &Description, message: &str) -> Value {
    match message {
        "Sync" => json!({ "entries": 20 }),
        "History" => json!({ "conversation": SOME_ID, "after": "0", "limit": 50 }),
        "Send" => json!({ "to": "bob", "id": SOME_UUID, "content": { "text": { "body": "Hello, Bob" } } }),
        _ => of_message(protocol, message, DEPTH_MAX),
    }
}

const SOME_ID: &str = "118294794152706048";
const SOME_UUID: &str = "0193a5b0-7c11-7d2e-8f00-000000000001";

fn of_message(protocol: &Description, name: &str, depth: usize) -> Value {
    let Some(message) = protocol.message(name).filter(|_| depth > 0) else { return json!({}) };
    let is_shown = |i: &usize| message.choices.iter().all(|choice| choice.first() == Some(i) || !choice.contains(i));
    let shown = (0..message.fields.len()).filter(is_shown).map(|i| &message.fields[i]);
    // What a content may hold beside its kind is not what an example is about.
    let shown = shown.take(if name == "Content" { 1 } else { usize::MAX });
    let fields: Map<String, Value> =
        shown.map(|field| (field.name.clone(), of_field(protocol, name, field, depth))).collect();
    Value::Object(fields)
}

fn of_field(protocol: &Description, message: &str, field: &Field, depth: usize) -> Value {
    let value = match &field.kind {
        Kind::Text => json!(text(message, &field.name)),
        Kind::Bytes => json!("AAECAw=="),
        Kind::Bool => json!(true),
        Kind::Whole { bits: 32, .. } => json!(50),
        Kind::Whole { is_signed: true, .. } => json!("1795429276712"),
        Kind::Whole { .. } => match field.name.as_str() {
            "position" | "positions" | "upTo" | "replyTo" => json!("7"),
            "after" | "before" => json!("0"),
            _ => json!(SOME_ID),
        },
        Kind::Message(name) => of_message(protocol, name, depth - 1),
        Kind::Enum(name) => {
            // The first that says something: 0 often says nothing.
            let values = protocol.of_enum(name).map_or(&[][..], |of| &of.values);
            json!(values.get(1).or(values.first()).map(|value| value.name.as_str()).unwrap_or_default())
        }
        Kind::Map(_) => return json!({}),
    };
    if field.is_repeated { json!([value]) } else { value }
}

fn text(message: &str, field: &str) -> &'static str {
    match (message, field) {
        (_, "id") => SOME_UUID,
        ("CreateBot", "name") => "robot",
        (_, "name" | "names") => "alice",
        (_, "password" | "oldPassword") => "correct horse",
        (_, "newPassword") => "battery staple",
        (_, "device") => "laptop",
        (_, "refreshToken" | "accessToken" | "token" | "link" | "code") => "…",
        (_, "title") => "Gardeners",
        (_, "displayName" | "nickname" | "remark") => "Alice",
        (_, "language") => "en",
        (_, "url" | "avatar" | "image") => "https://example.org/",
        (_, "reaction") => "👍",
        (_, "query") => "ali",
        (_, "label") => "nightly build",
        (_, "page" | "cursor") => "",
        (_, "body" | "text" | "message") => "Hello",
        _ => "…",
    }
}
