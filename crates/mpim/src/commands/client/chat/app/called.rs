//! What to call somebody.

use std::fmt;

use protocol::name_key;

use crate::commands::client::chat::width::{fit, width};

/// Columns of a chosen name in a text, so that it cannot push the unique name out of sight.
const CHOSEN_COLUMNS_MAX: usize = 12;
/// Columns that are left to a chosen name where there is little room.
const CHOSEN_COLUMNS_MIN: usize = 4;

/// What somebody or something is called. As a text: the name, and the handle where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands::client::chat) struct Called {
    pub(in crate::commands::client::chat) name: String,
    /// The unique name, where somebody chose to be called otherwise: anybody can choose what is another's name.
    handle: Option<String>,
}

impl Called {
    pub(super) fn plainly(name: impl Into<String>) -> Self {
        Self { name: name.into(), handle: None }
    }

    /// By a name that the user chose; `unique` is the one by which nobody else can go.
    pub(super) fn by_choice(chosen: &str, unique: &str) -> Self {
        let says_the_same = unique.is_empty() || name_key(chosen) == name_key(unique);
        Self { name: chosen.into(), handle: (!says_the_same).then(|| format!(" @{unique}")) }
    }

    /// Name and handle in at most so many columns; if there is little room, the chosen name is cut first.
    pub(in crate::commands::client::chat) fn fit(&self, columns: usize) -> (String, String) {
        let handle = self.handle.as_deref().unwrap_or_default();
        let handle = fit(handle, columns.saturating_sub(width(&self.name).min(CHOSEN_COLUMNS_MIN)));
        (fit(&self.name, columns - width(&handle)), handle)
    }
}

impl fmt::Display for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.handle {
            Some(handle) => write!(f, "{}{handle}", fit(&self.name, CHOSEN_COLUMNS_MAX)),
            None => f.write_str(&self.name),
        }
    }
}
