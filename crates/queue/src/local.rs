//! The queue within one process.

/// A queue within one process.
#[derive(Debug, Default)]
pub struct LocalQueue;
