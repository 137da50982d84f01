//! Names of users.

use std::{fmt, str::FromStr};

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
use unicode_security::{confusable_detection::skeleton, mixed_script::AugmentedScriptSet};

use crate::limits::NAME_CHARS_MAX;

/// Keys of names that nobody may have: in a text they would read as a mention of everybody.
const RESERVED_KEYS: [&str; 2] = ["all", "everyone"];

/// A text cannot be a user's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Empty, or longer than the limit.
    #[error("a name has 1 to {NAME_CHARS_MAX} characters, not {0}")]
    Length(usize),
    /// A character that names may not hold.
    #[error("a name may not hold {0:?}: letters and digits of any script, and - _ . between them, are allowed")]
    Character(char),
    /// A character that names hold only between others.
    #[error("a name may not begin or end with {0:?}: letters and digits of any script are allowed there")]
    Edge(char),
    /// It mixes scripts that nobody writes together, so that it could pass for another name.
    #[error(
        "a name may not mix scripts: letters of one script are allowed, and Latin letters together with Chinese, Japanese \
         or Korean ones"
    )]
    MixedScripts,
    /// It would read as a mention of everybody.
    #[error("nobody may be called {0}: it stands for everybody")]
    Reserved(String),
}

/// A user's name as the user writes it (in Unicode's form NFC). Two names that differ only in case, in compatible forms
/// of characters (`Ａ` and `a`) or in characters that look alike (Cyrillic `а` and Latin `a`) are the same name: see
/// [`key`](Self::key).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UserName(String);

impl UserName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What makes a name unique: see [`name_key`].
    pub fn key(&self) -> String {
        name_key(&self.0)
    }
}

/// What a name is found by, whether it may be a new one or not: its lower-case form after Unicode's normalisation NFKC,
/// without what cannot be seen, and with each character outside ASCII replaced by the one that stands for all those that
/// look like it (UTS 39). ASCII stays as it is: `rn` and `m` are told apart, and a key sorts as its name does.
pub fn name_key(text: &str) -> String {
    let visible = text.chars().filter(|c| !is_invisible(*c));
    let lower = visible.nfkc().collect::<String>().to_lowercase();
    let mut key = String::with_capacity(lower.len());
    for c in lower.nfd() {
        key.push_str(&prototype(c));
    }
    key.to_lowercase().nfkc().collect()
}

/// What stands for all that look like a character in lower case or, if that is nothing in ASCII, as a capital.
fn prototype(c: char) -> String {
    if c.is_ascii() {
        return c.into();
    }
    let prototype: String = skeleton(c.encode_utf8(&mut [0; 4])).collect();
    let mut upper = c.to_uppercase();
    if let (false, Some(upper), None) = (prototype.is_ascii(), upper.next(), upper.next())
        && upper != c
    {
        let of_capital: String = skeleton(upper.encode_utf8(&mut [0; 4])).collect();
        if of_capital.is_ascii() {
            return of_capital;
        }
    }
    prototype
}

/// Whether a name mixes scripts beyond what UTS 39 calls "highly restrictive": one script, or Latin with Chinese,
/// Japanese or Korean.
fn mixes_scripts(name: &str) -> bool {
    let latin = AugmentedScriptSet::for_char('a');
    let (mut has_latin, mut others) = (false, AugmentedScriptSet::default());
    for scripts in name.chars().map(AugmentedScriptSet::for_char) {
        if scripts == latin {
            has_latin = true;
        } else {
            others.intersect_with(scripts);
        }
    }
    if has_latin {
        let mut with_latin = others;
        with_latin.intersect_with(latin);
        return with_latin.is_empty() && !(others.hanb || others.jpan || others.kore);
    }
    others.is_empty()
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
            if !allowed && matches!(c, '-' | '_' | '.') {
                return Err(InvalidName::Edge(c));
            }
            if !allowed {
                return Err(InvalidName::Character(c));
            }
        }
        if mixes_scripts(&name) {
            return Err(InvalidName::MixedScripts);
        }
        let name = Self(name);
        if RESERVED_KEYS.contains(&name.key().as_str()) {
            return Err(InvalidName::Reserved(name.0));
        }
        Ok(name)
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

    #[test]
    fn names_that_look_alike_are_the_same() {
        assert_eq!(key("аре"), key("ape"), "Cyrillic");
        assert_eq!(key("ΑΡΕ"), key("ape"), "Greek capitals");
        assert_eq!(key("ТОМ"), key("tom"), "Cyrillic capitals");
        assert_eq!(key("ТОМ"), key("том"));
        assert_eq!(key("СССР"), key("cccp"));
        assert_eq!(key("ロ"), key("口"));
        for (a, b) in [("rn", "m"), ("l0", "lo"), ("小明", "小朋"), ("天", "夫"), ("Алиса", "Алина")] {
            assert_ne!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn keys_of_ascii_and_chinese_names_are_their_lower_case() {
        for name in ["alice_1.b-c", "01lim", "小明", "天气"] {
            assert_eq!(key(name), name);
        }
    }

    #[test]
    fn scripts_are_mixed_only_where_people_do() {
        for name in
            ["alice小明", "Ａ小", "小明ちゃんＡ", "서울seoul", "ㄅ小b", "小明2号", "Ünal_3", "Алиса-1", "ひカ字"]
        {
            name.parse::<UserName>().unwrap();
        }
        for name in ["аlice", "Alisа", "αlice", "小аlice", "Алиса小", "شa", "서ひ"] {
            assert_eq!(name.parse::<UserName>(), Err(InvalidName::MixedScripts), "{name}");
        }
    }

    #[test]
    fn a_refusal_tells_where_a_character_may_stand() {
        let refused = |name: &str| name.parse::<UserName>().unwrap_err().to_string();
        assert!(refused("..a").contains("begin or end"), "{}", refused("..a"));
        assert!(refused("a-").contains("begin or end"));
        assert!(refused("a b").contains("may not hold ' '"));
    }

    #[test]
    fn nobody_is_called_as_all_are() {
        for name in ["all", "Everyone", "ＡＬＬ", "a\u{200c}ll"] {
            assert!(name.parse::<UserName>().is_err(), "{name}");
        }
        "alle".parse::<UserName>().unwrap();
    }
}
