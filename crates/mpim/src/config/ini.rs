//! Reads INI: `[section]`, `key = value`, comments after `;` or `#`.
//!
//! A value may stand in double quotes, and then hold anything but those, or in TOML's single quotes; without quotes a
//! comment begins at a `;` or `#` that follows a space. Double quotes know `\"` and `\\`.

use std::{collections::HashMap, path::Path};

use super::{
    mistake::{Mistake, Place},
    source::{Entries, Entry, Raw},
};

/// What an INI file says, and where it is no INI.
pub(super) fn read(path: &Path, text: &str) -> (Entries, Vec<Mistake>) {
    let mut reader = Reader { section: None, entries: Entries::default(), first_lines: HashMap::new() };
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let place = || Place::File { path: path.to_owned(), line: Some(number) };
        if let Err(text) = reader.line(line.trim(), number, place) {
            mistakes.push(Mistake { place: place(), text });
        }
    }
    (reader.entries, mistakes)
}

struct Reader {
    section: Option<String>,
    entries: Entries,
    /// The line where each section's key stands.
    first_lines: HashMap<(String, String), usize>,
}

impl Reader {
    fn line(&mut self, line: &str, number: usize, place: impl Fn() -> Place) -> Result<(), String> {
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        if let Some(heading) = line.strip_prefix('[') {
            let (name, rest) = heading.split_once(']').ok_or("a section's heading ends with ]")?;
            if !is_blank(rest) {
                return Err("a section's heading stands on a line of its own".into());
            }
            let name = name.trim().to_owned();
            self.entries.sections.push((name.clone(), place()));
            self.section = Some(name);
            return Ok(());
        }
        let (key, value) = line.split_once('=').ok_or("neither a [section] nor a key = value")?;
        let key = key.trim().to_owned();
        let section =
            self.section.clone().ok_or_else(|| format!("{key}: settings stand in sections, such as [server]"))?;
        let raw = value_of(value.trim()).map_err(|wrong| format!("[{section}] {key}: {wrong}"))?;
        if let Some(first) = self.first_lines.insert((section.clone(), key.clone()), number) {
            return Err(format!("[{section}] {key}: stands on line {first} already"));
        }
        self.entries.values.push(Entry { section, key, raw, place: place() });
        Ok(())
    }
}

/// Nothing but space or a comment.
fn is_blank(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with([';', '#'])
}

fn value_of(written: &str) -> Result<Raw, &'static str> {
    const UNENDED: &str = "the closing quote is missing";
    const MORE: &str = "something follows the closing quote";
    if let Some(quoted) = written.strip_prefix('\'') {
        let (text, rest) = quoted.split_once('\'').ok_or(UNENDED)?;
        return if is_blank(rest) { Ok(Raw::Text(text.to_owned())) } else { Err(MORE) };
    }
    let Some(quoted) = written.strip_prefix('"') else {
        let end = written
            .char_indices()
            .zip(std::iter::once(' ').chain(written.chars()))
            .find(|((_, character), before)| matches!(character, ';' | '#') && before.is_whitespace())
            .map_or(written.len(), |((at, _), _)| at);
        return Ok(Raw::Bare(written[..end].trim_end().to_owned()));
    };
    let mut text = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next().ok_or(UNENDED)? {
            '"' => break,
            '\\' => match rest.next() {
                Some(character @ ('"' | '\\')) => text.push(character),
                _ => return Err("in double quotes only \\\" and \\\\ begin with \\; use single quotes"),
            },
            character => text.push(character),
        }
    }
    if is_blank(rest.as_str()) { Ok(Raw::Text(text)) } else { Err(MORE) }
}
