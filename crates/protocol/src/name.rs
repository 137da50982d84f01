//! Names of users.

use std::{fmt, str::FromStr};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::limits::NAME_CHARS_MAX;

/// A text cannot be a user's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty, or longer than the limit.
    #[error("a name has 1 to {NAME_CHARS_MAX} characters, not {0}")]
    Length(usize),
    /// A character that names may not hold.
    #[error("a name may not hold {0:?}: letters and digits of any script, and - _ . between them, are allowed")]
    Character(char),
}

/// A user's name as the user writes it (in Unicode's form NFC). Two names that differ only in case or in compatible
/// forms of characters (`Ａ` and `a`) are the same name: see [`key`](Self::key).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserName(String);

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes a name unique: its lower-case form after Unicode's normalisation NFKC, without what cannot be seen.
    pub fn key(&self) -> String {
        let visible = self.0.chars().filter(|c| !is_invisible(*c));
        visible.nfkc().collect::<String>().to_lowercase().nfkc().collect()
    }
}

impl FromStr for UserName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name: String = text.nfc().collect();
        let length = name.chars().count();
        if length == 0 || length > NAME_CHARS_MAX {
            return Err(InvalidName::Length(length));
        }
        for (i, c) in name.chars().enumerate() {
            let inside = i > 0 && i + 1 < length;
            // Joiners are letters' business in Persian and Indic scripts, between letters.
            let is_joiner = matches!(c, '\u{200c}' | '\u{200d}');
            let allowed = is_joiner && inside
                || !is_invisible(c)
                    && (c.is_alphanumeric() || is_combining_mark(c) && i > 0 || matches!(c, '-' | '_' | '.') && inside);
            if !allowed {
                return Err(InvalidName::Character(c));
            }
        }
        Ok(Self(name))
    }
}

/// Whether a character shows nothing of its own: those with Unicode's property Default_Ignorable_Code_Point.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserName({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> String {
        text.parse::<UserName>().unwrap().key()
    }

    #[test]
    fn names_of_any_script_are_allowed() {
        for name in ["alice", "小明", "नमस्ते", "Ünal-Öz", "می‌خواهم", "o.b_1", "7"] {
            name.parse::<UserName>().unwrap();
        }
    }

    #[test]
    fn what_could_deceive_or_break_a_screen_is_refused() {
        let long = "x".repeat(33);
        for name in [
            "\u{3164}",
            "\u{115f}\u{1160}",
            "alice\u{34f}",
            "ali\u{fe0f}ce",
            "alice\u{e0100}",
            "",
            " a",
            "a b",
            "a\u{202e}b",
            "a\0b",
            "\n",
            "@all",
            "a/b",
            "-a",
            "a.",
            "\u{301}a",
            long.as_str(),
        ] {
            assert!(name.parse::<UserName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_or_compatible_forms_are_the_same() {
        assert_eq!(key("Alice"), key("aLICE"));
        assert_eq!(key("Ａlice"), key("alice"));
        assert_eq!(key("e\u{301}"), key("É"));
        assert_eq!(key("ali\u{200d}ce"), key("alice"));
        assert_ne!(key("alice"), key("a.lice"));
    }
}
