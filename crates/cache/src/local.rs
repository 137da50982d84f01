//! The cache within one process.

/// A cache within one process.
#[derive(Debug, Default)]
pub struct LocalCache;
