//! The request that threads purge their caches, when enough of the entries that they may hold has left.
//!
//! A purge costs each thread a scan of its whole table, and until it is complete, one in some lookups takes the
//! longer path. So only entries count that a thread cache has held. An entry that is not used again after its
//! load never gets there, and a load of such entries requests no purge.

#[cfg(test)]
use std::sync::atomic::AtomicUsize;
use std::sync::{
    PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::l1::{entry::Entry, store::L1, thread_cache};

/// Least number of bytes for which threads are asked to purge.
const MIN_PURGE_BYTES: u64 = 1 << 20;

/// Least number of entries of a function with `max_entries` for which threads are asked to purge.
const MIN_PURGE_ENTRIES: u64 = 64;

/// Count of the bytes that have left a tier, and may still be in thread caches.
#[derive(Debug)]
pub(super) struct PurgeTrigger {
    /// Bytes that have left since threads were last asked to purge.
    bytes: AtomicU64,
    /// Bytes above which threads are asked to purge.
    threshold: u64,
    #[cfg(test)]
    pub(super) requests: AtomicUsize,
}

impl PurgeTrigger {
    /// Creates the trigger of a tier of `max_bytes`.
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            bytes: AtomicU64::new(0),
            threshold: (max_bytes / 16).max(MIN_PURGE_BYTES),
            #[cfg(test)]
            requests: AtomicUsize::new(0),
        }
    }

    /// Returns whether entries have left since threads were last asked to purge, and may be in thread caches.
    pub(super) fn has_bytes(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > 0
    }

    /// Asks all threads to purge.
    pub(super) fn request(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        #[cfg(test)]
        self.requests.fetch_add(1, Ordering::Relaxed);
        thread_cache::request_purge();
    }

    /// Adds the bytes of an entry that has left. Asks all threads to purge if there are enough.
    fn add(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.threshold {
            self.request();
        }
    }
}

impl L1 {
    /// Counts an entry that was just retired, if a thread cache may hold it.
    pub(super) fn count_for_purge(&self, entry: &Entry) {
        if entry.may_be_in_thread_cache() {
            self.purge.add(u64::from(entry.weight).max(self.purge_share(entry)));
        }
    }

    /// Returns the bytes that an entry of a function with `max_entries` counts for at least.
    ///
    /// The bytes of its value may be unknown. So threads purge when as many entries have left as the function
    /// has.
    fn purge_share(&self, entry: &Entry) -> u64 {
        if entry.function_ticket().is_none() {
            return 0;
        }
        let function_lists = self.function_lists.read().unwrap_or_else(PoisonError::into_inner);
        function_lists.get(entry.template()).map_or(0, |function_list| {
            let entries = function_list.lock().len() as u64;
            self.purge.threshold / entries.max(MIN_PURGE_ENTRIES)
        })
    }
}
