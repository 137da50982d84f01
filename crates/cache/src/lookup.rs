//! Cache-aside.

/// Cache-aside for one kind of value.
#[derive(Debug, Default)]
pub struct Lookup;
/// Its settings.
#[derive(Debug, Default)]
pub struct LookupConfig;
