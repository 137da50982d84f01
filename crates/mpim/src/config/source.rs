//! What files and the environment say, before it is known whether it is allowed.

use std::path::Path;

use super::{
    ini,
    mistake::{Mistake, Place},
    toml_file,
};

/// Values and section headings, in the order in which later ones count more.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) values: Vec<Entry>,
    pub(super) sections: Vec<(String, Place)>,
}

/// One value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A value as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// A text in quotes.
    Text(String),
    /// A whole number.
    Whole(u64),
    /// Whether something is so.
    Truth(bool),
    /// Without quotes: the key decides what it is.
    Bare(String),
    /// Something that no key takes, and what it is.
    Other(&'static str),
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Raw {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<bool> for Raw {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

/// Reads a file, as TOML or as INI. A file named `.ini` is INI. Any other is TOML if it can be; and if not, INI if that
/// reads without a mistake, so that values may stand without quotes. Otherwise what TOML found wrong is reported.
pub(super) fn read_file(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Entries {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (ini, ini_mistakes) = ini::read(path, text);
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("ini")) {
        mistakes.extend(ini_mistakes);
        return ini;
    }
    let (toml, toml_mistakes) = toml_file::read(path, text);
    if toml_mistakes.is_empty() {
        return toml;
    }
    if ini_mistakes.is_empty() {
        return ini;
    }
    mistakes.extend(toml_mistakes);
    toml
}
