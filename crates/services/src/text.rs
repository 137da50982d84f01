//! Checks of what users write.

use protocol::{EntryId, Error, RawContent, Result, is_invisible, limits, wire::content};

/// The id of a request or an entry.
pub(crate) fn entry_id(text: &str) -> Result<EntryId> {
    text.parse().map_err(|error| Error::invalid(format!("id: {error}")))
}

/// A group's title.
pub(crate) fn title(title: &str) -> Result<String> {
    let title = title.trim();
    let length = title.chars().count();
    if title.chars().all(|c| is_invisible(c) || c.is_whitespace()) {
        return Err(Error::invalid("title: a group's title may not be empty"));
    }
    if length > limits::TITLE_CHARS_MAX {
        return Err(Error::limit("title: characters", length, limits::TITLE_CHARS_MAX));
    }
    no_controls("title", title)?;
    Ok(title.to_owned())
}

/// A device's name; may be empty.
pub(crate) fn device(device: &str) -> Result<String> {
    let length = device.chars().count();
    if length > limits::DEVICE_CHARS_MAX {
        return Err(Error::limit("device: characters", length, limits::DEVICE_CHARS_MAX));
    }
    no_controls("device", device)?;
    Ok(device.trim().to_owned())
}

fn no_controls(field: &str, text: &str) -> Result<()> {
    match text.chars().find(|c| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) {
        Some(c) => Err(Error::invalid(format!("{field}: {c:?} is not allowed"))),
        None => Ok(()),
    }
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

/// The content of a message by a user.
pub(crate) fn message(content: Option<&RawContent>) -> Result<()> {
    let content = content.ok_or_else(|| Error::invalid("content: missing; a text is {\"text\":{\"body\":\"…\"}}"))?;
    let size = content.as_bytes().len();
    if size > limits::CONTENT_BYTES_MAX {
        return Err(Error::limit("content: bytes", size, limits::CONTENT_BYTES_MAX));
    }
    let view = content.view().map_err(|error| Error::invalid(format!("content: {error}")))?;
    match view.kind {
        Some(content::Kind::Text(text)) => {
            let size = text.body.len();
            if size == 0 {
                return Err(Error::invalid("content.text.body: a text may not be empty"));
            }
            if size > limits::TEXT_BYTES_MAX {
                return Err(Error::limit("content.text.body: bytes", size, limits::TEXT_BYTES_MAX));
            }
            if text.body.contains('\0') {
                return Err(Error::invalid("content.text.body: a text may not hold NUL"));
            }
            Ok(())
        }
        Some(_) => Err(Error::invalid("content: only the server writes this kind; allowed is text")),
        None => Err(Error::invalid("content: no kind known to this server; allowed is text")),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{
        limits,
        wire::{Text, content::Kind},
    };

    use super::*;

    fn text(body: impl Into<String>) -> RawContent {
        Kind::Text(Text { body: body.into() }).into()
    }

    #[test]
    fn a_text_has_1_byte_to_64_kib_and_no_nul() {
        for good in ["a".to_owned(), "天".repeat(20_000), "x".repeat(limits::TEXT_BYTES_MAX)] {
            message(Some(&text(good))).unwrap();
        }
        for wrong in [String::new(), "x".repeat(limits::TEXT_BYTES_MAX + 1), "a\0b".into()] {
            message(Some(&text(wrong))).unwrap_err();
        }
        message(None).unwrap_err();
        message(Some(&RawContent::default())).unwrap_err();
        message(Some(&RawContent::from_bytes(vec![0x0a, 3, 0x0a, 1, 0xff].into()))).unwrap_err();
        message(Some(&Kind::GroupCreated(Default::default()).into())).unwrap_err();
    }

    #[test]
    fn titles_are_trimmed_and_hold_no_controls() {
        assert_eq!(title("  天气 ").unwrap(), "天气");
        for wrong in ["", "  ", "\u{200b}", "\u{3164}", "a\nb", "a\u{202e}b"] {
            title(wrong).unwrap_err();
        }
        title(&"x".repeat(65)).unwrap_err();
    }
}
