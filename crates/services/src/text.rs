//! Checks of what users write.

use protocol::{EntryId, Error, Result, is_invisible, limits};

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
    if text.chars().all(|c| is_invisible(c) || c.is_whitespace()) {
        return Err(Error::invalid(format!("{field}: may not be empty")));
    }
    Ok(())
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
        for wrong in ["", "  ", "\u{200b}", "\u{3164}", "a\nb", "a\u{202e}b"] {
            title(wrong).unwrap_err();
        }
        title(&"x".repeat(65)).unwrap_err();
    }
}
