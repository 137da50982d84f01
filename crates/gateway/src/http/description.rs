//! The protocol's own description, as its files give it: messages, fields, enumerations, and what their comments say.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type as WireType},
};

/// The package that clients speak.
const PACKAGE: &str = "mpim.client.v1";

/// Read once, as it is the same for the life of the process.
pub(super) static PROTOCOL: LazyLock<Description> = LazyLock::new(Description::read);

/// All messages and enumerations by name, without the package.
#[derive(Debug, Default)]
pub(super) struct Description {
    messages: HashMap<String, Message>,
    enums: HashMap<String, Enum>,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) fields: Vec<Field>,
    /// Of each oneof, the indices of its fields: at most one of them is given.
    pub(super) choices: Vec<Vec<usize>>,
}

#[derive(Debug)]
pub(super) struct Field {
    /// Its name in JSON.
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) kind: Kind,
    pub(super) is_repeated: bool,
    /// Whether it may be given or not, which is not the same as zero or empty; then `null` is as good as nothing.
    pub(super) has_presence: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Bool,
    Whole { bits: u8, is_signed: bool },
    Message(String),
    Enum(String),
    Map(Box<Kind>),
}

#[derive(Debug)]
pub(super) struct Enum {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) values: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) number: i32,
    pub(super) comment: String,
}

impl Description {
    fn read() -> Self {
        let files = FileDescriptorSet::decode(protocol::DESCRIPTORS).expect("the build wrote it in this form");
        let mut description = Self::default();
        for file in files.file.iter().filter(|file| file.package() == PACKAGE) {
            let comments = comments(file);
            for (i, message) in (0..).zip(&file.message_type) {
                description.add_message(message, &[4, i], &comments);
            }
            for (i, of) in (0..).zip(&file.enum_type) {
                let read = read_enum(of, &[5, i], &comments);
                description.enums.insert(read.name.clone(), read);
            }
        }
        description
    }

    fn add_message(&mut self, message: &DescriptorProto, path: &[i32], comments: &Comments) {
        let maps: HashMap<&str, &DescriptorProto> = message
            .nested_type
            .iter()
            .filter(|nested| nested.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry))
            .map(|nested| (nested.name(), nested))
            .collect();
        let mut fields = Vec::new();
        let mut choices = vec![Vec::new(); message.oneof_decl.len()];
        for (i, field) in message.field.iter().enumerate() {
            if let (Some(choice), false) = (field.oneof_index, field.proto3_optional())
                && let Some(choice) = usize::try_from(choice).ok().and_then(|choice| choices.get_mut(choice))
            {
                choice.push(i);
            }
            let place = [path, &[2, i32::try_from(i).unwrap_or(i32::MAX)]].concat();
            fields.push(read_field(field, &maps, comments.get(&place).cloned().unwrap_or_default()));
        }
        choices.retain(|choice| !choice.is_empty());
        let comment = comments.get(path).cloned().unwrap_or_default();
        let name = message.name().to_owned();
        self.messages.insert(name.clone(), Message { name, comment, fields, choices });
    }

    pub(super) fn message(&self, name: &str) -> Option<&Message> {
        self.messages.get(name)
    }

    pub(super) fn of_enum(&self, name: &str) -> Option<&Enum> {
        self.enums.get(name)
    }

    /// A message and all that it holds, directly or not, in alphabetical order.
    pub(super) fn reachable<'a>(&'a self, roots: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut open: Vec<&str> = roots.into_iter().collect();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            let fields = self.message(name).map_or(&[][..], |message| &message.fields);
            open.extend(fields.iter().filter_map(|field| field.kind.named()));
        }
        seen.into_iter().collect()
    }
}

impl Kind {
    /// The message or enumeration that it is, or holds.
    pub(super) fn named(&self) -> Option<&str> {
        match self {
            Self::Message(name) | Self::Enum(name) => Some(name),
            Self::Map(value) => value.named(),
            _ => None,
        }
    }
}

/// What stands above each place of a file, by the path of numbers that descriptors use.
type Comments = HashMap<Vec<i32>, String>;

fn comments(file: &FileDescriptorProto) -> Comments {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations.map(|location| (location.path.clone(), as_text(location.leading_comments()))).collect()
}

/// A comment as running text; an empty line stays one.
fn as_text(comment: &str) -> String {
    let paragraphs = comment.trim().split("\n\n");
    let joined: Vec<String> = paragraphs.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    joined.join("\n\n")
}

fn read_field(field: &FieldDescriptorProto, maps: &HashMap<&str, &DescriptorProto>, comment: String) -> Field {
    let entry = short(field.type_name());
    let (kind, is_map) = match maps.get(entry) {
        Some(entry) => (Kind::Map(Box::new(entry.field.get(1).map_or(Kind::Text, kind))), true),
        None => (kind(field), false),
    };
    let is_repeated = field.label() == Label::Repeated && !is_map;
    let is_message = matches!(kind, Kind::Message(_));
    Field {
        name: field.json_name().to_owned(),
        comment,
        has_presence: !is_repeated && (is_message || field.oneof_index.is_some()),
        kind,
        is_repeated,
    }
}

fn kind(field: &FieldDescriptorProto) -> Kind {
    let whole = |bits, is_signed| Kind::Whole { bits, is_signed };
    match field.r#type() {
        WireType::String => Kind::Text,
        WireType::Bytes => Kind::Bytes,
        WireType::Bool => Kind::Bool,
        WireType::Uint32 | WireType::Fixed32 => whole(32, false),
        WireType::Int32 | WireType::Sint32 | WireType::Sfixed32 => whole(32, true),
        WireType::Uint64 | WireType::Fixed64 => whole(64, false),
        WireType::Int64 | WireType::Sint64 | WireType::Sfixed64 => whole(64, true),
        WireType::Message => Kind::Message(short(field.type_name()).to_owned()),
        WireType::Enum => Kind::Enum(short(field.type_name()).to_owned()),
        WireType::Double | WireType::Float | WireType::Group => {
            unreachable!("the protocol has neither fractions nor groups")
        }
    }
}

fn read_enum(of: &EnumDescriptorProto, path: &[i32], comments: &Comments) -> Enum {
    let comment = |path: &[i32]| comments.get(path).cloned().unwrap_or_default();
    let value = |(i, value): (i32, &prost_types::EnumValueDescriptorProto)| Value {
        name: value.name().to_owned(),
        number: value.number(),
        comment: comment(&[path, &[2, i]].concat()),
    };
    Enum { name: of.name().to_owned(), comment: comment(path), values: (0..).zip(&of.value).map(value).collect() }
}

/// A name without its package.
fn short(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::table::ROWS;

    #[test]
    fn messages_are_read_with_their_fields_choices_and_comments() {
        let send = PROTOCOL.message("Send").unwrap();
        assert!(send.comment.starts_with("Appends a message."), "{}", send.comment);
        let names: Vec<_> = send.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(names, ["conversation", "to", "id", "content", "forwardOf"]);
        assert_eq!(send.choices, [[0, 1]]);
        assert_eq!(send.fields[0].kind, Kind::Whole { bits: 64, is_signed: false });
        assert!(send.fields[1].comment.starts_with("A user's name"));
        assert!(send.fields[0].has_presence && !send.fields[2].has_presence && send.fields[3].has_presence);
        let opaque = PROTOCOL.message("Opaque").unwrap();
        assert_eq!(opaque.fields[2].kind, Kind::Map(Box::new(Kind::Bytes)));
        let settings = PROTOCOL.message("UpdateSettings").unwrap();
        assert!(settings.choices.is_empty() && settings.fields[1].has_presence);
    }

    /// The comment tells clients what they get: so it must be what the table says.
    #[test]
    fn each_requests_comment_names_the_answer_that_the_table_names() {
        for row in ROWS {
            let message = PROTOCOL.message(row.message).unwrap();
            assert!(PROTOCOL.message(row.answer).is_some(), "{}", row.answer);
            let Some((_, answer)) = message.comment.split_once("nswer: ") else { continue };
            let named = answer.split(|c: char| !c.is_alphanumeric()).next();
            assert_eq!(named, Some(row.answer), "{}: {}", row.name, message.comment);
        }
    }
}
