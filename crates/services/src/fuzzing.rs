//! The check of what users write, for fuzz targets.

use protocol::RawContent;

/// Whether a user may send this content.
pub fn accepts(content: &RawContent) -> bool {
    crate::message::accepts(content)
}
