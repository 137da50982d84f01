//! JSON of strangers: read, or refused in words of the protocol, with the field that is wrong.

use serde::{Deserializer, de::DeserializeOwned};

/// What the libraries say of numbers: they read them in several ways, and tell of all or of the last.
const OF_NUMBERS: [&str; 6] = [
    "data did not match any variant of untagged enum Content",
    "invalid digit found in string",
    "cannot parse integer from empty string",
    "number too large to fit in target type",
    "number too small to fit in target type",
    "invalid float literal",
];

/// Reads a value, or tells what is wrong with it and where: "history.limit: not a number that this field can hold".
pub(crate) fn read_json<'de, T: DeserializeOwned>(json: impl Deserializer<'de>) -> Result<T, String> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        let what = in_words(&error.into_inner().to_string());
        // A dot: the whole of it.
        if path == "." { what } else { format!("{path}: {what}") }
    })
}

/// What a library says, without names of its own.
fn in_words(error: &str) -> String {
    for known in OF_NUMBERS {
        if let Some(place) = error.strip_prefix(known) {
            return format!("not a number that this field can hold{place}");
        }
    }
    if let Some((field, place)) = error.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        return format!("{field} is there twice, or beside a field that excludes it{place}");
    }
    match error.split_once("struct mpim.") {
        None => error.into(),
        Some((before, after)) => {
            let ends = after.find(|c: char| !c.is_alphanumeric() && c != '.' && c != '_').unwrap_or(after.len());
            format!("{before}an object{}", &after[ends..])
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::wire::ClientFrame;
    use serde_json::{Deserializer, Value};

    use super::*;

    #[test]
    fn what_is_wrong_is_told_by_its_field_and_in_words_of_the_protocol() {
        for (json, wanted) in [
            (r#"{"history": {"limit": -1}}"#, "history.limit: not a number that this field can hold"),
            (r#"{"read": {"position": "-1"}}"#, "read.position: not a number that this field can hold"),
            (r#"{"history": {"before": 1, "after": 2}}"#, " is there twice, or beside a field that excludes it"),
            (r#"{"send": {"content": {"text": {"body": 1}}}}"#, "send.content"),
            (r#"{"saveDraft": {"draft": []}}"#, "saveDraft.draft: invalid type: sequence, expected an object"),
            ("[]", "invalid type: sequence, expected an object"),
        ] {
            let value: Value = json.parse().unwrap();
            let refused = [read_json::<ClientFrame>(value), read_json(&mut Deserializer::from_str(json))];
            for error in refused.map(Result::unwrap_err) {
                assert!(error.contains(wanted), "{json}: {error}");
                let leaked = ["mpim.", "struct", "untagged", "variant of"].iter().find(|leak| error.contains(**leak));
                assert_eq!(leaked, None, "{json}: {error}");
            }
        }
    }
}
