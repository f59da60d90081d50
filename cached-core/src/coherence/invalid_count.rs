//! Estimate of the entries that have become invalid and still occupy memory.
//!
//! Ending an epoch does not visit the entries that depend on it. So their number is added up here, and
//! `cache::reap` scans L1 when it is large enough.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Smallest number of invalid entries that is worth a scan.
const MIN_INVALID: usize = 64;

/// Smallest share of invalid entries that is worth a scan: one in this many.
const MIN_SHARE: usize = 8;

/// Approximate number of entries that have become invalid since the last scan began.
#[derive(Debug, Default)]
pub(crate) struct InvalidCount {
    count: AtomicUsize,
    is_reaping: Arc<AtomicBool>,
}

impl InvalidCount {
    /// Adds the approximate number of entries that depended on an ended epoch.
    pub(crate) fn add(&self, entries: usize) {
        self.count.fetch_add(entries, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns the right to scan all entries; `None` if that is not worth it, or another task has it.
    ///
    /// `entries` returns the number of entries to scan.
    pub(crate) fn begin_reaping(&self, entries: impl FnOnce() -> usize) -> Option<Reaping> {
        let invalid = self.count.load(Ordering::Relaxed);
        if invalid < MIN_INVALID
            || invalid < entries() / MIN_SHARE
            || self.is_reaping.swap(true, Ordering::AcqRel)
        {
            return None;
        }
        self.count.store(0, Ordering::Relaxed);
        Some(Reaping(self.is_reaping.clone()))
    }
}

/// The right to scan all entries. No other task scans until it is dropped.
pub(crate) struct Reaping(Arc<AtomicBool>);

impl Drop for Reaping {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
