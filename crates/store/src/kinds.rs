//! The numbers of the content kinds that a store looks at, and the contents that it writes itself.

use bytes::Bytes;
use protocol::{
    RawContent,
    wire::{Content, DraftChanged, Edit, Hidden, Recalled, SettingsChanged, content},
};

use crate::UserSettings;

/// Messages have a kind from 1 to this.
pub(crate) const MESSAGE_MAX: u32 = 89;
/// A message that was recalled.
pub(crate) const RECALLED: u32 = 90;
/// Another content for a message.
pub(crate) const EDIT: u32 = 112;
/// A pin, or its removal: the last kind of what is done to messages.
pub(crate) const PIN: u32 = 115;

/// In the place of a message that was recalled.
pub(crate) fn recalled() -> Bytes {
    encoded(content::Kind::Recalled(Recalled {}))
}

/// In the place of an entry that is not for the reader.
pub(crate) fn hidden() -> RawContent {
    content::Kind::Hidden(Hidden {}).into()
}

/// In the place of an edit whose message was recalled.
pub(crate) fn erased_edit(position: u64) -> Bytes {
    encoded(content::Kind::Edit(Edit { position, content: None }))
}

/// In the place of a draft that was replaced.
pub(crate) fn erased_draft(conversation: u64) -> Bytes {
    encoded(content::Kind::DraftChanged(DraftChanged { conversation, draft: None }))
}

/// What a user's settings are from now on.
pub(crate) fn settings_changed(settings: UserSettings) -> Bytes {
    let UserSettings { write_policy, invisible } = settings;
    encoded(content::Kind::SettingsChanged(SettingsChanged { write_policy: write_policy.into(), invisible }))
}

/// The settings that a content tells.
pub(crate) fn settings(content: &Bytes) -> Option<UserSettings> {
    match kind(content)? {
        content::Kind::SettingsChanged(changed) => {
            Some(UserSettings { write_policy: changed.write_policy(), invisible: changed.invisible })
        }
        _ => None,
    }
}

/// The content that an edit puts in the place of its message's.
pub(crate) fn edited(content: &Bytes) -> Option<RawContent> {
    match kind(content)? {
        content::Kind::Edit(edit) => edit.content.map(|content| *content),
        _ => None,
    }
}

/// Whether the content pins a message, rather than to remove a pin.
pub(crate) fn pins(content: &Bytes) -> bool {
    matches!(kind(content), Some(content::Kind::Pin(pin)) if !pin.removed)
}

/// The position of the message that an edit is of.
pub(crate) fn edit_target(content: &Bytes) -> Option<u64> {
    match kind(content)? {
        content::Kind::Edit(edit) => Some(edit.position),
        _ => None,
    }
}

/// The content's kind, decoded; `None` if it cannot be.
pub(crate) fn kind(content: &Bytes) -> Option<content::Kind> {
    let content: Content = RawContent::from_bytes(content.clone()).view().ok()?;
    content.kind
}

pub(crate) fn encoded(kind: content::Kind) -> Bytes {
    RawContent::from(kind).as_bytes().clone()
}

/// Whether an entry of this kind does something to a message: edits, recalls, marks or pins it.
pub(crate) fn is_change(kind: u32) -> bool {
    (EDIT..=PIN).contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content_kind;

    #[test]
    fn the_numbers_are_those_of_the_contents() {
        assert_eq!(content_kind(&recalled()), RECALLED);
        assert_eq!(content_kind(&erased_edit(7)), EDIT);
        assert_eq!(content_kind(&erased_draft(7)), 134);
        assert!(content_kind(hidden().as_bytes()) > MESSAGE_MAX);
    }
}
