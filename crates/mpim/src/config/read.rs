//! Puts what was read into the typed sections, and finds what is not allowed.

use super::{
    Config,
    environment::variable,
    kind::Kind,
    mistake::{Mistake, Mistakes, Place, nearest},
    settings::{Key, Visitor},
    source::{Entries, Entry, Raw},
};

/// All keys there are, by section; those included that name a secret's file.
pub(super) fn known_keys() -> Vec<(&'static str, String)> {
    struct Names(Vec<(&'static str, String)>);

    impl Visitor for Names {
        fn section(&mut self, _name: &'static str, _comment: &'static [&'static str]) {}

        fn key<K: Kind>(&mut self, key: Key, _kind: &K, _value: &mut K::Value) {
            self.0.push((key.section, key.name.to_owned()));
            if K::SECRET {
                self.0.push((key.section, file_key(key.name)));
            }
        }
    }

    let mut names = Names(Vec::new());
    Config::default().visit(&mut names);
    names.0
}

/// The key that names a secret's file.
pub(super) fn file_key(name: &str) -> String {
    format!("{name}_file")
}

/// The configuration, or all mistakes: those made before and those found here.
pub(super) fn read(entries: &Entries, mistakes: Vec<Mistake>) -> Result<Config, Mistakes> {
    read_over(Config::default(), entries, mistakes)
}

/// The same, with what is not said as it is in `config`.
pub(super) fn read_over(mut config: Config, entries: &Entries, mistakes: Vec<Mistake>) -> Result<Config, Mistakes> {
    let mut reading = Reading { entries, mistakes };
    reading.find_unknown();
    config.visit(&mut reading);
    let mut mistakes = reading.mistakes;
    if mistakes.is_empty() {
        return Ok(config);
    }
    mistakes.sort_by(|one, other| one.place.cmp(&other.place));
    Err(Mistakes(mistakes))
}

struct Reading<'a> {
    entries: &'a Entries,
    mistakes: Vec<Mistake>,
}

impl Visitor for Reading<'_> {
    fn section(&mut self, _name: &'static str, _comment: &'static [&'static str]) {}

    fn key<K: Kind>(&mut self, key: Key, kind: &K, value: &mut K::Value) {
        let mut in_file = None;
        for entry in self.entries.values.iter().filter(|entry| entry.section == key.section) {
            let named = entry.key == key.name;
            let from_file = K::SECRET && entry.key == file_key(key.name);
            if !named && !from_file {
                continue;
            }
            if matches!(entry.place, Place::File { .. })
                && let Some(other) = in_file.replace(entry.key.as_str())
            {
                self.mistake(entry, format!("{other} is set too; set one of them"));
                continue;
            }
            let read = if from_file { read_secret(kind, entry) } else { read_value(kind, entry) };
            match read {
                Ok(read) => *value = read,
                Err(text) => self.mistake(entry, text),
            }
        }
    }
}

impl Reading<'_> {
    fn mistake(&mut self, entry: &Entry, text: String) {
        let text = match entry.place {
            Place::File { .. } => format!("[{}] {}: {text}", entry.section, entry.key),
            Place::Variable(_) | Place::Registry(_) => text,
        };
        self.mistakes.push(Mistake { place: entry.place.clone(), text });
    }

    fn find_unknown(&mut self) {
        let known = known_keys();
        let is_section = |name: &str| known.iter().any(|(section, _)| *section == name);
        for (name, place) in self.entries.sections.iter().filter(|(name, _)| !is_section(name)) {
            let meant = nearest(name, known.iter().map(|(section, _)| *section));
            let hint = meant.map_or(String::new(), |meant| format!("; did you mean [{meant}]?"));
            self.mistakes.push(Mistake { place: place.clone(), text: format!("[{name}]: unknown section{hint}") });
        }
        for entry in self.entries.values.iter().filter(|entry| is_section(&entry.section)) {
            let is_entrys = |(section, key): &&(&str, String)| *section == entry.section && *key == entry.key;
            if known.iter().any(|pair| is_entrys(&pair)) {
                continue;
            }
            let here = known.iter().filter(|(section, _)| *section == entry.section).map(|(_, key)| key.as_str());
            let elsewhere = known.iter().find(|(_, key)| *key == entry.key);
            let hint = match (nearest(&entry.key, here), elsewhere) {
                (Some(meant), _) => format!("; did you mean {meant}?"),
                (None, Some((section, _))) => format!("; it belongs to [{section}]"),
                (None, None) => String::new(),
            };
            self.mistake(entry, format!("unknown key{hint}"));
        }
    }
}

fn read_value<K: Kind>(kind: &K, entry: &Entry) -> Result<K::Value, String> {
    kind.read(&entry.raw).ok_or_else(|| {
        let is = match &entry.raw {
            _ if K::SECRET => String::new(),
            // It may be a URL with a password, in the wrong place.
            Raw::Text(text) | Raw::Bare(text) if text.contains('@') => String::new(),
            Raw::Text(text) => format!(", not {text:?}"),
            Raw::Bare(text) => format!(", not {text}"),
            Raw::Whole(number) => format!(", not {number}"),
            Raw::Truth(truth) => format!(", not {truth}"),
            Raw::Other(what) => format!(", not {what}"),
        };
        format!("must be {}{is}", kind.allowed())
    })
}

fn read_secret<K: Kind>(kind: &K, entry: &Entry) -> Result<K::Value, String> {
    let (Raw::Text(path) | Raw::Bare(path)) = &entry.raw else {
        return Err("must be the path of a file".into());
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    kind.read_file(path.as_ref(), &text).ok_or_else(|| format!("{path} is empty"))
}

/// The variable of a key, for what is printed about it.
pub(super) fn variable_of(key: &Key) -> String {
    variable(key.section, key.name)
}
