//! The bytes that wait for readers, on all connections together.

use std::{
    cmp::Ordering,
    sync::{
        Arc,
        atomic::{self, AtomicUsize},
    },
};

/// What one connection adds to the bytes that wait for readers.
pub(super) struct Unwritten {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl Unwritten {
    pub(super) fn new(all: Arc<AtomicUsize>) -> Self {
        Self { all, own: 0 }
    }

    pub(super) fn set(&mut self, bytes: usize) {
        match bytes.cmp(&self.own) {
            Ordering::Less => self.all.fetch_sub(self.own - bytes, atomic::Ordering::Relaxed),
            Ordering::Equal => return,
            Ordering::Greater => self.all.fetch_add(bytes - self.own, atomic::Ordering::Relaxed),
        };
        self.own = bytes;
    }

    pub(super) fn all(&self) -> usize {
        self.all.load(atomic::Ordering::Relaxed)
    }
}

impl Drop for Unwritten {
    fn drop(&mut self) {
        self.set(0);
    }
}
