//! Checks of what users write.

use protocol::{EntryId, Error, Result, is_invisible, is_visible, limits};

/// The id of a request or an entry.
pub(crate) fn entry_id(text: &str) -> Result<EntryId> {
    text.parse().map_err(|error| Error::invalid(format!("id: {error}")))
}

/// A group's title.
pub(crate) fn title(title: &str) -> Result<String> {
    let title = title.trim();
    not_blank("title", title)?;
    at_most_chars("title", title, limits::TITLE_CHARS_MAX)?;
    no_controls("title", title)?;
    Ok(title.to_owned())
}

/// A device's name; may be empty.
pub(crate) fn device(device: &str) -> Result<String> {
    at_most_chars("device", device, limits::DEVICE_CHARS_MAX)?;
    no_controls("device", device)?;
    Ok(device.trim().to_owned())
}

/// Shows something.
pub(crate) fn not_blank(field: &str, text: &str) -> Result<()> {
    if is_visible(text) { Ok(()) } else { Err(Error::invalid(format!("{field}: has to hold a character that shows"))) }
}

pub(crate) fn at_most_chars(field: &str, text: &str, max: usize) -> Result<()> {
    // Counting characters takes longer than bytes: not of what cannot fit.
    let length = if text.len() > max * 4 { text.len() / 4 } else { text.chars().count() };
    if length > max { Err(Error::limit(&format!("{field}: characters"), length, max)) } else { Ok(()) }
}

pub(crate) fn at_most_bytes(field: &str, text: &str, max: usize) -> Result<()> {
    if text.len() > max { Err(Error::limit(&format!("{field}: bytes"), text.len(), max)) } else { Ok(()) }
}

/// No character that databases and C would take for the end.
pub(crate) fn no_nul(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') { Err(Error::invalid(format!("{field}: a text may not hold NUL"))) } else { Ok(()) }
}

/// One line, in the direction in which it is read.
pub(crate) fn no_controls(field: &str, text: &str) -> Result<()> {
    match text.chars().find(|c| c.is_control() || is_directional(*c)) {
        Some(c) => Err(Error::invalid(format!("{field}: {c:?} is not allowed"))),
        None => Ok(()),
    }
}

/// Lines of text.
pub(crate) fn lines(field: &str, text: &str, chars_max: usize) -> Result<String> {
    let text = text.trim();
    at_most_chars(field, text, chars_max)?;
    match text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t') || is_directional(*c)) {
        Some(c) => Err(Error::invalid(format!("{field}: {c:?} is not allowed"))),
        None => Ok(text.to_owned()),
    }
}

/// One line; may be empty, but not of characters alone that show nothing.
pub(crate) fn line(field: &str, text: &str, chars_max: usize) -> Result<String> {
    let text = text.trim();
    if !text.is_empty() {
        not_blank(field, text)?;
    }
    at_most_chars(field, text, chars_max)?;
    no_controls(field, text)?;
    Ok(text.to_owned())
}

/// A reference to a picture; may be empty.
pub(crate) fn avatar(field: &str, avatar: &str) -> Result<String> {
    at_most_bytes(field, avatar, limits::AVATAR_BYTES_MAX)?;
    let allowed = avatar.is_empty() || avatar.starts_with("https:") || avatar.starts_with("mpim:");
    if !allowed || avatar.chars().any(|c| c.is_whitespace() || is_invisible(c)) {
        return Err(Error::invalid(format!(
            "{field}: allowed are references that begin with https: or mpim:, and none"
        )));
    }
    no_controls(field, avatar)?;
    Ok(avatar.to_owned())
}

/// A language's tag (BCP 47), by its form; may be empty.
pub(crate) fn language(tag: &str) -> Result<String> {
    at_most_bytes("language", tag, limits::LANGUAGE_BYTES_MAX)?;
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let begins = tag.split('-').next().is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_alphabetic()));
    if tag.is_empty() || begins && tag.split('-').all(is_part) {
        Ok(tag.to_owned())
    } else {
        Err(Error::invalid("language: allowed are tags such as en or zh-CN, and none"))
    }
}

/// How many are asked for; 0: the default.
pub(crate) fn bounded(field: &str, asked: u32, default: u32, max: u32) -> Result<u32> {
    match asked {
        0 => Ok(default),
        asked if asked <= max => Ok(asked),
        asked => Err(Error::limit(field, asked, max)),
    }
}

fn is_directional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A password that is to be set.
pub(crate) fn new_password(password: &str) -> Result<()> {
    let length = password.len();
    if length < limits::PASSWORD_BYTES_MIN {
        return Err(Error::invalid(format!("password: at least {} bytes, not {length}", limits::PASSWORD_BYTES_MIN)));
    }
    if length > limits::PASSWORD_BYTES_MAX {
        return Err(Error::limit("password: bytes", length, limits::PASSWORD_BYTES_MAX));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_trimmed_and_hold_no_controls() {
        assert_eq!(title("  天气 ").unwrap(), "天气");
        for wrong in ["", "  ", "\u{200b}", "\u{3164}", "\u{2800}", "\u{2800} \u{301}", "a\nb", "a\u{202e}b"] {
            title(wrong).unwrap_err();
        }
        title(&"x".repeat(65)).unwrap_err();
    }

    #[test]
    fn a_line_may_be_empty_but_not_look_so() {
        assert_eq!(line("status_line", " in Lisbon 天 ", 20).unwrap(), "in Lisbon 天");
        assert_eq!(line("status_line", "", 20).unwrap(), "");
        for wrong in ["\u{3164}", "\u{200b}", "\u{2800}", "a\nb", "a\u{202e}b", "too long for a line of this length"] {
            line("status_line", wrong, 20).unwrap_err();
        }
    }

    #[test]
    fn pictures_and_languages_are_referred_to_in_their_forms() {
        for good in ["", "https://example.com/a.png", "mpim:blob/1"] {
            avatar("avatar", good).unwrap();
        }
        let long = format!("https:{}", "a".repeat(600));
        for wrong in ["http://example.com/a", "javascript:alert(1)", "https://a b", "https:\u{202e}", long.as_str()] {
            avatar("avatar", wrong).unwrap_err();
        }
        for good in ["", "en", "zh-CN", "sl-rozaj-biske-1994", "x-private"] {
            language(good).unwrap();
        }
        for wrong in ["e n", "-", "en-", "12", "toolongapart", "天", "en_US"] {
            language(wrong).unwrap_err();
        }
    }
}
