//! JSON schemas of the protocol's messages, in canonical protobuf JSON.
//!
//! What servers write is narrower than what they read: they write 64-bit numbers as texts and enumerations as names, and
//! take numbers for both. So a message that goes both ways has two schemas.

use std::collections::BTreeSet;

use protocol::limits;
use serde_json::{Map, Value, json};

use crate::http::description::{Description, Enum, Field, Kind, Message};

/// Who writes the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    FromClients,
    FromServers,
}

/// The schemas of all that these requests and answers hold.
pub(super) struct Schemas<'a> {
    protocol: &'a Description,
    read: BTreeSet<&'a str>,
    written: BTreeSet<&'a str>,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(
        protocol: &'a Description,
        requests: impl IntoIterator<Item = &'a str>,
        answers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let read = protocol.reachable(requests).into_iter().collect();
        let written = protocol.reachable(answers).into_iter().collect();
        Self { protocol, read, written }
    }

    /// All schemas by name.
    pub(super) fn all(&self) -> Map<String, Value> {
        let read = self.read.iter().map(|name| (*name, Direction::FromClients));
        let written = self.written.iter().map(|name| (*name, Direction::FromServers));
        read.chain(written).map(|(name, direction)| (self.name(name, direction), self.of(name, direction))).collect()
    }

    /// A reference to a message's or enumeration's schema.
    pub(super) fn reference(&self, name: &str, direction: Direction) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", self.name(name, direction)) })
    }

    fn name(&self, name: &str, direction: Direction) -> String {
        let goes_both_ways = self.read.contains(name) && self.written.contains(name);
        let suffix = if goes_both_ways && direction == Direction::FromClients { "Input" } else { "" };
        format!("{name}{suffix}")
    }

    fn of(&self, name: &str, direction: Direction) -> Value {
        match (self.protocol.message(name), self.protocol.of_enum(name)) {
            (Some(message), _) => self.message(message, direction),
            (None, Some(of)) => enumeration(of, direction),
            (None, None) => json!({}),
        }
    }

    fn message(&self, message: &Message, direction: Direction) -> Value {
        let properties: Map<String, Value> =
            message.fields.iter().map(|field| (field.name.clone(), self.field(message, field, direction))).collect();
        let mut schema = json!({ "type": "object", "properties": properties });
        describe(&mut schema, &message.comment);
        let is_request = direction == Direction::FromClients;
        if is_request && message.fields.iter().any(is_request_id) {
            schema["required"] = json!(["id"]);
        }
        let choices: Vec<Value> = message
            .choices
            .iter()
            .filter(|choice| choice.len() > 1)
            .map(|choice| at_most_one(choice.iter().map(|i| message.fields[*i].name.as_str()).collect()))
            .collect();
        if !choices.is_empty() {
            schema["allOf"] = choices.into();
        }
        schema
    }

    fn field(&self, message: &Message, field: &Field, direction: Direction) -> Value {
        let of_clients = direction == Direction::FromClients;
        let mut schema = self.kind(&field.kind, direction);
        if of_clients {
            bound(&mut schema, message, field);
        }
        if field.is_repeated {
            schema = json!({ "type": "array", "items": schema });
        } else if field.has_presence && of_clients {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        describe(&mut schema, &field.comment);
        schema
    }

    fn kind(&self, kind: &Kind, direction: Direction) -> Value {
        match (kind, direction) {
            (Kind::Text, _) => json!({ "type": "string" }),
            (Kind::Bytes, _) => json!({ "type": "string", "contentEncoding": "base64" }),
            (Kind::Bool, _) => json!({ "type": "boolean" }),
            (Kind::Whole { bits: 64, is_signed }, Direction::FromServers) => {
                let pattern = if *is_signed { "^-?[0-9]{1,19}$" } else { "^[0-9]{1,20}$" };
                json!({ "type": "string", "format": whole(64, *is_signed), "pattern": pattern })
            }
            (Kind::Whole { bits: 64, is_signed }, Direction::FromClients) => {
                // One digit less than fits, so that whatever matches fits.
                let pattern = if *is_signed { "^-?[0-9]{1,18}$" } else { "^[0-9]{1,19}$" };
                let (minimum, maximum) =
                    if *is_signed { (json!(i64::MIN), json!(i64::MAX)) } else { (json!(0), json!(u64::MAX)) };
                json!({
                    "type": ["string", "integer"],
                    "format": whole(64, *is_signed),
                    "pattern": pattern,
                    "minimum": minimum,
                    "maximum": maximum,
                })
            }
            (Kind::Whole { bits, is_signed }, Direction::FromServers) => {
                let (minimum, maximum) = range_of_32(*is_signed);
                json!({ "type": "integer", "format": whole(*bits, *is_signed), "minimum": minimum, "maximum": maximum })
            }
            (Kind::Whole { bits, is_signed }, Direction::FromClients) => {
                let (minimum, maximum) = range_of_32(*is_signed);
                json!({
                    "type": ["integer", "string"],
                    "format": whole(*bits, *is_signed),
                    "pattern": "^[0-9]{1,9}$",
                    "minimum": minimum,
                    "maximum": maximum,
                })
            }
            (Kind::Message(name) | Kind::Enum(name), _) => self.reference(name, direction),
            (Kind::Map(value), _) => json!({
                "type": "object",
                "propertyNames": { "pattern": "^[0-9]{1,19}$" },
                "additionalProperties": self.kind(value, direction),
            }),
        }
    }
}

fn range_of_32(is_signed: bool) -> (i64, i64) {
    if is_signed { (i32::MIN.into(), i32::MAX.into()) } else { (0, u32::MAX.into()) }
}

fn whole(bits: u8, is_signed: bool) -> String {
    format!("{}int{bits}", if is_signed { "" } else { "u" })
}

fn enumeration(of: &Enum, direction: Direction) -> Value {
    let names = of.values.iter().map(|value| json!(value.name));
    let values: Vec<Value> = match direction {
        Direction::FromServers => names.collect(),
        Direction::FromClients => names.chain(of.values.iter().map(|value| json!(value.number))).collect(),
    };
    let mut schema = json!({ "enum": values });
    if direction == Direction::FromServers {
        schema["type"] = "string".into();
    }
    let told: Vec<String> = of
        .values
        .iter()
        .filter(|value| !value.comment.is_empty())
        .map(|value| format!("- `{}`: {}", value.name, value.comment))
        .collect();
    let text = [of.comment.clone(), told.join("\n")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    describe(&mut schema, &text.join("\n\n"));
    schema
}

/// Of these properties at most one is there.
fn at_most_one(names: Vec<&str>) -> Value {
    let present: Vec<Value> = names.iter().map(|name| json!({ "required": [name] })).collect();
    let none = json!({ "not": { "anyOf": present.clone() } });
    json!({ "oneOf": present.into_iter().chain([none]).collect::<Vec<_>>() })
}

fn describe(schema: &mut Value, comment: &str) {
    if !comment.is_empty() {
        schema["description"] = comment.into();
    }
}

/// The id by which a request is done once, however often it arrives.
fn is_request_id(field: &Field) -> bool {
    field.name == "id" && field.kind == Kind::Text
}

/// What the kind alone does not tell of a request's field.
fn bound(schema: &mut Value, message: &Message, field: &Field) {
    if is_request_id(field) {
        schema["format"] = "uuid".into();
        return;
    }
    let (min, max) = match (message.name.as_str(), field.name.as_str()) {
        ("Register", "password") | ("ChangePassword", "newPassword") => {
            (limits::PASSWORD_BYTES_MIN, limits::PASSWORD_BYTES_MAX)
        }
        ("Register" | "Rename" | "CreateBot", "name") => (1, limits::NAME_CHARS_MAX),
        ("Register" | "LogIn", "device") => (0, limits::DEVICE_CHARS_MAX),
        ("CreateGroup", "title") => (1, limits::TITLE_CHARS_MAX),
        ("Text", "body") => (1, limits::TEXT_BYTES_MAX),
        ("SearchUsers", "query") => (1, 32),
        ("Search", "query") => (1, 64),
        _ => return,
    };
    if min > 0 {
        schema["minLength"] = min.into();
    }
    schema["maxLength"] = max.into();
}
