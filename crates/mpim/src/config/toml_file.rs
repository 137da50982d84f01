//! Reads TOML, keeping the lines.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::{
    mistake::{Mistake, Place},
    source::{Entries, Entry, Raw},
};

/// What a TOML file says, and where it is no TOML.
pub(super) fn read(path: &Path, text: &str) -> (Entries, Vec<Mistake>) {
    let place = |start: usize| {
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        Place::File { path: path.to_owned(), line: Some(line) }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut mistakes: Vec<_> = errors
        .iter()
        .map(|error| Mistake {
            place: place(error.span().map_or(0, |span| span.start)),
            text: error.message().replace('\n', "; "),
        })
        .collect();
    let mut entries = Entries::default();
    for (section, value) in document.get_ref() {
        let name = section.get_ref().to_string();
        match value.get_ref() {
            DeValue::Table(table) => {
                entries.sections.push((name.clone(), place(section.span().start)));
                entries.values.extend(table.iter().map(|(key, value)| Entry {
                    section: name.clone(),
                    key: key.get_ref().to_string(),
                    raw: raw(value.get_ref()),
                    place: place(key.span().start),
                }));
            }
            _ => mistakes.push(Mistake {
                place: place(section.span().start),
                text: format!("{name}: settings stand in sections, such as [server]"),
            }),
        }
    }
    (entries, mistakes)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number that is negative or too large"), Raw::Whole),
        DeValue::Float(_) => Raw::Other("a number that is not whole"),
        DeValue::Boolean(truth) => Raw::Truth(*truth),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
        DeValue::Array(_) => Raw::Other("a list"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}
