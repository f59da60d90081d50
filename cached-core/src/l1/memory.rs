//! Memory accounting of an in-process tier.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Memory accounting of one in-process tier. Entries refer to it, which identifies their tier.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    max_bytes: u64,
    /// Bytes held by thread caches. An entry that is in several of them counts once for each.
    thread_cache_bytes: AtomicU64,
    /// Bytes of entries that have left the tier and are still referenced.
    retired_bytes: AtomicU64,
}

impl MemoryBudget {
    /// Creates the budget of a tier of `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { max_bytes, thread_cache_bytes: AtomicU64::new(0), retired_bytes: AtomicU64::new(0) })
    }

    /// Returns the bytes that each thread cache may hold, regardless of the others.
    ///
    /// A thread that never calls again keeps the entries of its cache.
    pub(crate) fn thread_share(&self) -> u64 {
        self.max_bytes / 16
    }

    /// Returns whether a thread cache may hold that many more `bytes`, beyond its share.
    ///
    /// It may if all thread caches together then hold at most half of the tier.
    pub(crate) fn can_reserve(&self, bytes: u64) -> bool {
        self.thread_cache_bytes.load(Ordering::Relaxed) + bytes <= self.max_bytes / 2
    }

    /// Adds `weight` to the bytes held by thread caches.
    pub(crate) fn reserve(&self, weight: u64) {
        self.thread_cache_bytes.fetch_add(weight, Ordering::Relaxed);
    }

    /// Subtracts `weight` from the bytes held by thread caches.
    pub(crate) fn release(&self, weight: u64) {
        self.thread_cache_bytes.fetch_sub(weight, Ordering::Relaxed);
    }

    /// Counts the bytes of an entry that has left the tier and is still referenced.
    pub(super) fn retire(&self, weight: u64) {
        self.retired_bytes.fetch_add(weight, Ordering::Relaxed);
    }

    /// Subtracts the bytes of such an entry, when it is dropped.
    pub(super) fn release_retired(&self, weight: u64) {
        self.retired_bytes.fetch_sub(weight, Ordering::Relaxed);
    }

    pub(crate) fn retired_bytes(&self) -> u64 {
        self.retired_bytes.load(Ordering::Relaxed)
    }
}
