//! What kinds of values there are: how each is read, written, and described.

use std::{
    fmt,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use client::Server;
use gateway::Network;

use super::source::Raw;

/// A kind of value.
pub(super) trait Kind {
    type Value: Clone + PartialEq;

    /// Never shown, and may stand in a file named by the key with `_file` appended.
    const SECRET: bool = false;

    /// `None` if it is not allowed.
    fn read(&self, raw: &Raw) -> Option<Self::Value>;

    /// As it stands in TOML.
    fn write(&self, value: &Self::Value) -> String;

    /// What is allowed, to follow "must be".
    fn allowed(&self) -> String;

    /// For secrets: the value that a file holds.
    fn read_file(&self, _path: &Path, _text: &str) -> Option<Self::Value> {
        None
    }

    /// For secrets: the file that the value came from.
    fn file<'a>(&self, _value: &'a Self::Value) -> Option<&'a Path> {
        None
    }
}

fn text_of(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) | Raw::Bare(text) => Some(text),
        Raw::Whole(_) | Raw::Truth(_) | Raw::Other(_) => None,
    }
}

fn number_of(raw: &Raw) -> Option<u64> {
    match raw {
        Raw::Whole(number) => Some(*number),
        Raw::Bare(text) => text.parse().ok(),
        Raw::Text(_) | Raw::Truth(_) | Raw::Other(_) => None,
    }
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A whole number in a range.
pub(super) struct Whole<T>(pub(super) RangeInclusive<T>);

impl<T> Kind for Whole<T>
where
    T: Copy + PartialOrd + fmt::Display + TryFrom<u64>,
{
    type Value = T;

    fn read(&self, raw: &Raw) -> Option<T> {
        T::try_from(number_of(raw)?).ok().filter(|number| self.0.contains(number))
    }

    fn write(&self, value: &T) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.0.start(), self.0.end())
    }
}

/// Whether something is so.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn read(&self, raw: &Raw) -> Option<bool> {
        match raw {
            Raw::Truth(truth) => Some(*truth),
            Raw::Bare(text) => text.parse().ok(),
            Raw::Text(_) | Raw::Whole(_) | Raw::Other(_) => None,
        }
    }

    fn write(&self, value: &bool) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "true or false".into()
    }
}

/// A length of time, written as a whole number of a unit, in a range.
pub(super) struct Time {
    unit: &'static str,
    unit_ms: u64,
    range: RangeInclusive<u64>,
}

/// In seconds.
pub(super) const fn seconds(range: RangeInclusive<u64>) -> Time {
    Time { unit: "seconds", unit_ms: 1_000, range }
}

/// In milliseconds.
pub(super) const fn milliseconds(range: RangeInclusive<u64>) -> Time {
    Time { unit: "milliseconds", unit_ms: 1, range }
}

impl Kind for Time {
    type Value = Duration;

    fn read(&self, raw: &Raw) -> Option<Duration> {
        let number = number_of(raw).filter(|number| self.range.contains(number))?;
        Some(Duration::from_millis(number * self.unit_ms))
    }

    fn write(&self, value: &Duration) -> String {
        (value.as_millis() / u128::from(self.unit_ms)).to_string()
    }

    fn allowed(&self) -> String {
        format!("a whole number of {} from {} to {}", self.unit, self.range.start(), self.range.end())
    }
}

/// A directory or file; relative to where the process was started.
pub(super) struct FilePath;

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, raw: &Raw) -> Option<PathBuf> {
        text_of(raw).filter(|text| !text.is_empty()).map(PathBuf::from)
    }

    fn write(&self, value: &PathBuf) -> String {
        quoted(&value.to_string_lossy())
    }

    fn allowed(&self) -> String {
        "a path".into()
    }
}

/// A file, or none (empty).
pub(super) struct OptionalPath;

impl Kind for OptionalPath {
    type Value = Option<PathBuf>;

    fn read(&self, raw: &Raw) -> Option<Option<PathBuf>> {
        text_of(raw).map(|text| Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()))
    }

    fn write(&self, value: &Option<PathBuf>) -> String {
        quoted(&value.as_deref().unwrap_or(Path::new("")).to_string_lossy())
    }

    fn allowed(&self) -> String {
        "a path, or empty".into()
    }
}

/// `HOST:PORT`.
pub(super) struct Address;

impl Kind for Address {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        text_of(raw).filter(|text| is_address(text)).map(str::to_owned)
    }

    fn write(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080".into()
    }
}

fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    // An IPv6 address has colons of its own and needs brackets.
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let valid = !host.is_empty()
        && (bracketed || !host.contains(':'))
        && !host.contains(|c: char| c.is_whitespace() || c == ',');
    valid && port.parse::<u16>().is_ok()
}

/// `HOST:PORT`, or none (empty).
pub(super) struct OptionalAddress;

impl Kind for OptionalAddress {
    type Value = Option<String>;

    fn read(&self, raw: &Raw) -> Option<Option<String>> {
        let text = text_of(raw)?;
        (text.is_empty() || is_address(text)).then(|| Some(text.to_owned()).filter(|text| !text.is_empty()))
    }

    fn write(&self, value: &Option<String>) -> String {
        quoted(value.as_deref().unwrap_or(""))
    }

    fn allowed(&self) -> String {
        format!("{}, or empty", Address.allowed())
    }
}

/// Where clients find a server, or none (empty).
pub(super) struct OptionalServer;

impl Kind for OptionalServer {
    type Value = Option<Server>;

    fn read(&self, raw: &Raw) -> Option<Option<Server>> {
        match text_of(raw)? {
            "" => Some(None),
            text if is_address(text) => format!("tcp://{text}").parse().ok().map(Some),
            text => text.parse().ok().map(Some),
        }
    }

    fn write(&self, value: &Option<Server>) -> String {
        quoted(&value.as_ref().map(ToString::to_string).unwrap_or_default())
    }

    fn allowed(&self) -> String {
        "tcp://HOST:PORT, http://HOST:PORT, with TLS tls://HOST:PORT or https://HOST; or empty".into()
    }
}

/// `HOST:PORT,HOST:PORT,…`
pub(super) struct Addresses;

impl Kind for Addresses {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        text_of(raw).filter(|text| text.split(',').all(is_address)).map(str::to_owned)
    }

    fn write(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "HOST:PORT, or several with commas between them".into()
    }
}

/// A node of ZooKeeper's tree.
pub(super) struct NodePath;

impl Kind for NodePath {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        let is_name = |name: &str| !["", ".", ".."].contains(&name) && !name.contains(char::is_control);
        let text = text_of(raw)?;
        text.strip_prefix('/').filter(|names| names.split('/').all(is_name)).map(|_| text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "a path of ZooKeeper's, such as /mpim".into()
    }
}

/// A host's name or address, without port.
pub(super) struct Host;

impl Kind for Host {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        let is_address = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_name = |text: &str| {
            !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || ['/', '@', ':', ','].contains(&c))
        };
        text_of(raw).filter(|text| is_address(text) || is_name(text)).map(str::to_owned)
    }

    fn write(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "a host's name or address alone (a URL belongs into url, a port into port)".into()
    }
}

/// Networks, separated by commas; for instance none.
pub(super) struct Networks;

impl Kind for Networks {
    type Value = Vec<Network>;

    fn read(&self, raw: &Raw) -> Option<Vec<Network>> {
        let text = text_of(raw)?;
        let each = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        each.map(|text| text.parse().ok()).collect()
    }

    fn write(&self, value: &Vec<Network>) -> String {
        quoted(&value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    fn allowed(&self) -> String {
        "addresses or networks separated by commas, such as \"127.0.0.1, 10.0.0.0/8\", or empty".into()
    }
}

/// Any text, for instance none.
pub(super) struct Text;

impl Kind for Text {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        text_of(raw).map(str::to_owned)
    }

    fn write(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "a text".into()
    }
}

/// Levels by module, such as `info,gateway=debug`.
pub(super) struct Levels;

impl Kind for Levels {
    type Value = String;

    fn read(&self, raw: &Raw) -> Option<String> {
        text_of(raw).filter(|text| crate::logging::parse_levels(text).is_some()).map(str::to_owned)
    }

    fn write(&self, value: &String) -> String {
        quoted(value)
    }

    fn allowed(&self) -> String {
        "off, error, warn, info, debug or trace; for single modules too, as in \"info,gateway=debug\"".into()
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Clone + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, raw: &Raw) -> Option<T> {
        let text = text_of(raw)?;
        self.0.iter().find(|(word, _)| *word == text).map(|(_, value)| value.clone())
    }

    fn write(&self, value: &T) -> String {
        let word = self.0.iter().find(|(_, choice)| choice == value).map(|(word, _)| *word);
        quoted(word.expect("each value of a choice has a word"))
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| *word).collect();
        format!("one of {}", words.join(", "))
    }
}

/// Something that nobody else may see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// The secret itself. Not to be logged.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

/// A secret, or none.
pub(super) struct OptionalSecret;

impl Kind for OptionalSecret {
    type Value = Option<Secret>;

    const SECRET: bool = true;

    fn read(&self, raw: &Raw) -> Option<Option<Secret>> {
        let text = text_of(raw)?;
        Some((!text.is_empty()).then(|| Secret { text: text.to_owned(), file: None }))
    }

    fn write(&self, _value: &Option<Secret>) -> String {
        quoted("")
    }

    fn allowed(&self) -> String {
        "a text".into()
    }

    fn read_file(&self, path: &Path, text: &str) -> Option<Option<Secret>> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        (!text.is_empty()).then(|| Some(Secret { text: text.to_owned(), file: Some(path.to_owned()) }))
    }

    fn file<'a>(&self, value: &'a Option<Secret>) -> Option<&'a Path> {
        value.as_ref()?.file.as_deref()
    }
}
