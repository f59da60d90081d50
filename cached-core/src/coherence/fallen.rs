//! How many entries may have fallen with the marks that this process has ended.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Fewer than this are not worth a look at all.
const FEWEST: usize = 64;

/// Nor are fewer than one of so many entries.
const SHARE: usize = 8;

/// How much has fallen since all entries were looked at.
#[derive(Debug, Default)]
pub(crate) struct Fallen {
    entries: AtomicUsize,
    is_reaped: Arc<AtomicBool>,
}

impl Fallen {
    /// About so many entries stood on a mark that has ended.
    pub(crate) fn add(&self, entries: usize) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    /// The right to look at all entries, of which there are so many, if that is worth it and no other task has it.
    pub(crate) fn begin_reaping(&self, entries: impl FnOnce() -> usize) -> Option<Reaping> {
        let fallen = self.entries.load(Ordering::Relaxed);
        if fallen < FEWEST || fallen < entries() / SHARE || self.is_reaped.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.entries.store(0, Ordering::Relaxed);
        Some(Reaping(self.is_reaped.clone()))
    }
}

/// Until it is dropped, no other task reaps.
pub(crate) struct Reaping(Arc<AtomicBool>);

impl Drop for Reaping {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
