//! `GET /api/v1/openapi.json`: the HTTP interface, described for programs (OpenAPI 3.1). Made from the protocol's own files
//! and the gateway's table of requests, so that it cannot say anything else than what is served.

mod example;
mod schema;

use std::sync::LazyLock;

use ::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub(super) use self::example::example;
use self::schema::{Direction, Schemas};
use super::{description::PROTOCOL, json};
use crate::dispatch::table::{Access, ROWS, Row, Topic};

/// The description, written once.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

pub(super) async fn show() -> Response {
    json(StatusCode::OK, DOCUMENT.to_vec())
}

/// A request of those who run the server: its name, its message and that of its answer.
pub(super) const ADMIN: [(&str, &str, &str); 3] = [
    ("suspend", "Suspend", "Done"),
    ("list_reports", "ListReports", "Reports"),
    ("close_report", "CloseReport", "Done"),
];

const ABOUT: &str = "Each request of the protocol is a POST to a path of its name, with the request as JSON; the answer is its \
    answer's JSON, or an Error with a status that fits its code. JSON is protobuf's canonical mapping: 64-bit numbers are \
    written as texts, bytes in base64, enumerations as names; what is zero, empty or false is left out. Unknown fields are \
    ignored. Requests with an `id` are done once, however often they arrive: retry with the same id. \
    Pushes come over WebSocket (`/ws`) and TCP.";

/// The refusals that every request may be answered with, and what they mean.
const REFUSALS: [(&str, &str, &str); 9] = [
    ("400", "Invalid", "A field is missing, malformed or outside what is allowed, or a limit is exceeded."),
    ("401", "Unauthenticated", "No valid token was given, it has expired, or name or password is wrong."),
    ("403", "Forbidden", "The caller, or the API key, may not do this."),
    ("404", "NotFound", "What the request names does not exist, or the request does not."),
    ("405", "WrongMethod", "Requests are sent with POST."),
    (
        "409",
        "Conflict",
        "It is not, or no longer, as the request takes it to be; or the name is taken, or the id was used.",
    ),
    ("413", "TooLarge", "The body is larger than any request may be."),
    ("429", "RateLimited", "More requests than allowed; wait as long as Retry-After says."),
    ("503", "Unavailable", "Certainly nothing was stored; try again later."),
];

fn document() -> Value {
    let hook = ("IncomingMessage", "Sent");
    let requests = ROWS.iter().map(|row| row.message).chain(ADMIN.iter().map(|row| row.1)).chain(["Content"]);
    let answers = ROWS.iter().map(|row| row.answer).chain(ADMIN.iter().map(|row| row.2)).chain(["Error", hook.1]);
    let schemas = Schemas::new(&PROTOCOL, requests, answers);
    let mut components = schemas.all();
    components.insert(hook.0.to_owned(), incoming_message(&schemas));
    let mut paths = Map::new();
    for row in ROWS {
        paths.insert(format!("/api/v1/{}", row.name), json!({ "post": request(row, &schemas) }));
    }
    paths.insert("/api/v1/hooks/{token}".to_owned(), json!({ "post": incoming_hook() }));
    for (name, message, answer) in ADMIN {
        paths.insert(format!("/api/v1/admin/{name}"), json!({ "post": admin((name, message, answer), &schemas) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "MPIM",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Instant messaging that you host yourself",
            "description": ABOUT,
            "license": { "name": "Apache 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "This server" }],
        "tags": tags(),
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": refusals(&schemas),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An access token (of `log_in`, `register`, `refresh`) or a bot's API key.",
                },
                "adminKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "What `admin.key` in the server's data directory holds.",
                },
            },
        },
    })
}

/// One request of the protocol.
fn request(row: &Row, schemas: &Schemas<'_>) -> Value {
    let message = PROTOCOL.message(row.message);
    let comment = message.map_or("", |message| message.comment.as_str());
    let mut description = comment.to_owned();
    if row.needs_socket {
        description.push_str("\n\nIt concerns the connection it is made on: over HTTP it is answered with 404.");
    }
    let (scopes, is_for_sessions): (&[&str], bool) = match row.access {
        Access::Scope(scope) => (&[scope.as_str_name()], false),
        Access::Session => (&[], true),
        Access::Anybody | Access::LoggedIn => (&[], false),
    };
    let security = if row.access == Access::Anybody { json!([]) } else { json!([{ "bearer": scopes }]) };
    let mut operation = json!({
        "operationId": row.name,
        "tags": [tag(row.topic)],
        "summary": summary(row.name, comment),
        "description": description.trim(),
        "security": security,
        "x-scopes": scopes,
        "requestBody": {
            "required": message.is_some_and(|message| message.fields.iter().any(|field| field.name == "id")),
            "content": { "application/json": {
                "schema": schemas.reference(row.message, Direction::FromClients),
                "example": example(&PROTOCOL, row.message),
            } },
        },
        "responses": responses((!row.needs_socket).then(|| schemas.reference(row.answer, Direction::FromServers))),
    });
    if is_for_sessions {
        operation["x-session-only"] = true.into();
    }
    if row.needs_socket {
        operation["x-socket-only"] = true.into();
    }
    operation
}

fn incoming_hook() -> Value {
    json!({
        "operationId": "post_incoming_webhook",
        "tags": ["webhooks"],
        "summary": "Posts a message into the conversation of an incoming webhook",
        "description": "The token in the path is the secret; nothing else is needed. Answer: Sent.",
        "security": [],
        "x-scopes": [],
        "parameters": [{
            "name": "token",
            "in": "path",
            "required": true,
            "description": "The token that the answer to create_incoming_webhook bore.",
            "schema": { "type": "string", "minLength": 1, "pattern": "^[A-Za-z0-9_.-]+$" },
        }],
        "requestBody": {
            "required": true,
            "content": { "application/json": {
                "schema": { "$ref": "#/components/schemas/IncomingMessage" },
                "example": { "text": "The nightly build has passed" },
            } },
        },
        "responses": responses(Some(json!({ "$ref": "#/components/schemas/Sent" }))),
    })
}

fn incoming_message(schemas: &Schemas<'_>) -> Value {
    json!({
        "type": "object",
        "description": "A text, or any other content.",
        "properties": {
            "text": { "type": "string", "minLength": 1, "maxLength": protocol::limits::TEXT_BYTES_MAX },
            "content": schemas.reference("Content", Direction::FromClients),
            "id": {
                "type": ["string", "null"],
                "format": "uuid",
                "description": "The same in a retry, so that it is stored once; without it each post is a new message.",
            },
        },
        "oneOf": [{ "required": ["text"] }, { "required": ["content"] }],
    })
}

fn admin((name, message, answer): (&str, &str, &str), schemas: &Schemas<'_>) -> Value {
    let comment = PROTOCOL.message(message).map_or("", |message| message.comment.as_str());
    json!({
        "operationId": format!("admin_{name}"),
        "tags": ["administration"],
        "summary": summary(name, comment),
        "description": format!("{comment}\n\nWithout an admin key, the server answers with 404."),
        "security": [{ "adminKey": [] }],
        "x-scopes": [],
        "requestBody": { "content": { "application/json": {
            "schema": schemas.reference(message, Direction::FromClients),
            "example": example(&PROTOCOL, message),
        } } },
        "responses": responses(Some(schemas.reference(answer, Direction::FromServers))),
    })
}

/// What a request may be answered with; nothing but refusals if there is no `answer`.
fn responses(answer: Option<Value>) -> Value {
    let mut responses = Map::new();
    if let Some(answer) = answer {
        let content = json!({ "application/json": { "schema": answer } });
        responses.insert("200".to_owned(), json!({ "description": "It is done.", "content": content }));
    }
    for (status, name, _) in REFUSALS {
        responses.insert(status.to_owned(), json!({ "$ref": format!("#/components/responses/{name}") }));
    }
    responses.insert("408".to_owned(), json!({ "$ref": "#/components/responses/TooSlow" }));
    responses.insert("504".to_owned(), json!({ "$ref": "#/components/responses/OutcomeUnknown" }));
    responses.into()
}

fn refusals(schemas: &Schemas<'_>) -> Value {
    let content = json!({ "application/json": { "schema": schemas.reference("Error", Direction::FromServers) } });
    let unknown = ("504", "OutcomeUnknown", "It was perhaps done: retry with the same id.");
    let mut responses = Map::new();
    for (status, name, description) in REFUSALS.into_iter().chain([unknown]) {
        let mut response = json!({ "description": description, "content": content });
        let headers = match status {
            "401" => json!({ "WWW-Authenticate": { "schema": { "type": "string" } } }),
            "405" => json!({ "Allow": { "schema": { "type": "string" } } }),
            "429" | "503" => json!({ "Retry-After": {
                "description": "Seconds.",
                "schema": { "type": "integer", "minimum": 1 },
            } }),
            _ => json!({}),
        };
        if headers != json!({}) {
            response["headers"] = headers;
        }
        responses.insert(name.to_owned(), response);
    }
    let too_slow = "The request's body did not come in time.";
    responses.insert("TooSlow".to_owned(), json!({ "description": too_slow }));
    responses.into()
}

fn tags() -> Value {
    let mut tags: Vec<&str> = Vec::new();
    for row in ROWS {
        if tags.last() != Some(&tag(row.topic)) {
            tags.push(tag(row.topic));
        }
    }
    tags.extend(["webhooks", "administration"]);
    tags.into_iter().map(|tag| json!({ "name": tag })).collect()
}

/// A topic's name.
pub(super) fn tag(topic: Topic) -> &'static str {
    match topic {
        Topic::Accounts => "accounts",
        Topic::Users => "users",
        Topic::Contacts => "contacts",
        Topic::Messages => "messages",
        Topic::Conversations => "conversations",
        Topic::Groups => "groups",
        Topic::Presence => "presence",
        Topic::Bots => "bots",
        Topic::Reports => "reports",
    }
}

/// The first sentence of a comment; the name, where the comment tells only the answer.
pub(super) fn summary(name: &str, comment: &str) -> String {
    let sentence = comment.split(". ").next().unwrap_or_default().trim_end_matches('.');
    if sentence.is_empty() || sentence.starts_with("Answer") { name.replace('_', " ") } else { sentence.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// All references of a document.
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    found.push(reference);
                }
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_request_is_an_operation_with_its_answer_and_its_scope() {
        let document = document();
        let mut ids = HashSet::new();
        for row in ROWS {
            let operation = &document["paths"][format!("/api/v1/{}", row.name)]["post"];
            assert_eq!(operation["operationId"], row.name);
            assert!(ids.insert(row.name) && !operation["summary"].as_str().unwrap().is_empty());
            let answer = &operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
            if !row.needs_socket {
                assert_eq!(answer.as_str().unwrap(), format!("#/components/schemas/{}", row.answer));
            }
            for status in ["400", "401", "403", "404", "405", "409", "413", "429", "503", "504"] {
                assert!(operation["responses"][status].is_object(), "{} {status}", row.name);
            }
        }
        assert_eq!(document["paths"].as_object().unwrap().len(), ROWS.len() + 1 + ADMIN.len());
        let send = &document["paths"]["/api/v1/send"]["post"];
        assert_eq!((&send["x-scopes"], &send["security"]), (&json!(["WRITE"]), &json!([{ "bearer": ["WRITE"] }])));
        assert_eq!(document["paths"]["/api/v1/log_in"]["post"]["security"], json!([]));
        assert_eq!(document["paths"]["/api/v1/create_bot"]["post"]["x-session-only"], true);
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 500);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some_and(|value| value != &json!({})), "{reference}");
        }
    }

    #[test]
    fn schemas_are_those_of_canonical_json() {
        let schemas = &document()["components"]["schemas"];
        let sent = &schemas["Sent"]["properties"];
        assert_eq!(
            (&sent["conversation"]["type"], &sent["conversation"]["format"]),
            (&json!("string"), &json!("uint64"))
        );
        assert!(schemas["ErrorCode"]["enum"].as_array().unwrap().contains(&json!("RATE_LIMITED")));
        assert_eq!(schemas["Opaque"]["properties"]["payload"]["contentEncoding"], "base64");
        let send = &schemas["Send"];
        assert_eq!(send["required"], json!(["id"]));
        assert_eq!(send["allOf"][0]["oneOf"][0], json!({ "required": ["conversation"] }));
        assert_eq!(send["properties"]["conversation"]["anyOf"][0]["type"], json!(["string", "integer"]));
        assert_eq!(send["properties"]["content"]["anyOf"][0]["$ref"], "#/components/schemas/ContentInput");
        assert_eq!(schemas["Entry"]["properties"]["content"]["$ref"], "#/components/schemas/Content");
        assert_eq!(schemas["UpdateSettings"]["properties"]["writePolicy"]["anyOf"][1], json!({ "type": "null" }));
    }

    /// Examples are what people copy.
    #[test]
    fn every_example_is_a_request() {
        for row in ROWS {
            let example = example(&PROTOCOL, row.message);
            let frame = json!({ row.name: example });
            let read = serde_json::from_value::<protocol::wire::ClientFrame>(frame.clone());
            assert!(read.is_ok_and(|read| read.body.is_some()), "{frame}");
        }
        for (name, message, _) in ADMIN {
            let frame = json!({ name: example(&PROTOCOL, message) });
            assert!(serde_json::from_value::<protocol::wire::AdminRequest>(frame).is_ok());
        }
    }
}
