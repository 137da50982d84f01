//! Dialogues from a file: one JSON object a line.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use protocol::limits::TEXT_BYTES_MAX;
use serde::Deserialize;

/// Two people, or several, who take turns.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Dialogue {
    pub(super) language: String,
    // Read to be sure that the file is one of dialogues; nothing depends on it.
    #[serde(rename = "topic")]
    _topic: String,
    pub(super) turns: Vec<String>,
}

/// Reads a whole file.
///
/// # Errors
///
/// The file cannot be read; a line is no dialogue; a text is empty or longer than a message may be. The error names
/// the line.
pub(super) fn read(path: &Path) -> Result<Vec<Dialogue>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    parse(BufReader::new(file)).with_context(|| format!("cannot read {}", path.display()))
}

fn parse(input: impl BufRead) -> Result<Vec<Dialogue>> {
    let mut dialogues = Vec::new();
    for (index, line) in input.lines().enumerate() {
        let number = index + 1;
        let line = line.with_context(|| format!("line {number}"))?;
        if line.trim().is_empty() {
            continue;
        }
        let dialogue: Dialogue = serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
        for (turn, text) in dialogue.turns.iter().enumerate() {
            ensure!(!text.is_empty() && !text.contains('\0'), "line {number}: turn {turn} is no text to send");
            ensure!(text.len() <= TEXT_BYTES_MAX, "line {number}: turn {turn} has {} bytes", text.len());
        }
        dialogues.push(dialogue);
    }
    ensure!(dialogues.iter().any(|dialogue| !dialogue.turns.is_empty()), "there is no dialogue in it");
    Ok(dialogues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_kept_as_they_are_written() {
        let lines = "{\"language\":\"hebrew\",\"topic\":\"a\",\"turns\":[\" שלום \",\"e\\u0301 \\n\"]}\n\n\
            {\"language\":\"chinese\",\"topic\":\"b\",\"turns\":[\"你好\"],\"more\":1}\n";
        let dialogues = parse(lines.as_bytes()).unwrap();
        assert_eq!(dialogues.len(), 2);
        assert_eq!(dialogues[0].turns, [" שלום ", "e\u{301} \n"]);
        assert_eq!(dialogues[1].language, "chinese");
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = r#"{"language":"a","topic":"b","turns":["x","y"]}"#;
        for bad in [r#"{"language":"a","topic":"b"}"#, r#"{"language":"a","topic":"b","turns":["x",""]}"#, "x"] {
            let error = parse(format!("{good}\n{bad}\n").as_bytes()).unwrap_err();
            assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        }
        assert!(parse("".as_bytes()).is_err());
    }
}
