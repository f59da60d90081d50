//! The main region, which is a map of Moka's.
//!
//! Moka frees an entry some time after its removal, in any call on any thread. This may be a look-up of
//! another key, of another cache, under a lock of Moka's. The `Drop` of a value is user code. Therefore all
//! calls to Moka go through this module, and no value is dropped before the call has returned (see
//! `deferred_drops`).

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use moka::sync::Cache;

use crate::{
    key::{BuildPrehashed, KeyRef, OwnedKey},
    l1::{deferred_drops::DeferredDrops, entry::Entry},
};

/// Number of calls that free an entry after its removal. One is not enough if a thread looks at it at that moment.
const RELEASES: u8 = 8;

pub(super) struct Map {
    entries: Cache<OwnedKey, Arc<Entry>, BuildPrehashed>,
    /// Number of calls of [`release_removed`](Self::release_removed) that still have to free entries.
    releases_due: AtomicU8,
}

impl Map {
    pub(super) fn new() -> Self {
        let entries = Cache::builder().build_with_hasher(BuildPrehashed::default());
        Self { entries, releases_due: AtomicU8::new(0) }
    }

    #[inline]
    pub(super) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _deferred = DeferredDrops::begin();
        self.entries.get(&key)
    }

    /// Returns whether there is an entry under `key`. It finds an absence faster than `get`.
    pub(super) fn has(&self, key: KeyRef<'_>) -> bool {
        let _deferred = DeferredDrops::begin();
        self.entries.contains_key(&key)
    }

    /// Stores an entry, in the place of an earlier one of its key.
    pub(super) fn insert(&self, entry: Arc<Entry>) {
        let _deferred = DeferredDrops::begin();
        self.entries.insert(entry.key().owned(), entry);
        self.expect_releases();
    }

    pub(super) fn remove(&self, key: KeyRef<'_>) {
        let _deferred = DeferredDrops::begin();
        self.entries.invalidate(&key);
        self.expect_releases();
    }

    /// Frees removed entries, as far as other threads do not look at them.
    ///
    /// Moka does so by itself in later calls, but there may be none.
    pub(super) fn release_removed(&self) {
        let due = self.releases_due.load(Ordering::Relaxed);
        if due > 0 {
            // A removal at this moment may be overwritten, and then has one call less.
            self.releases_due.store(due - 1, Ordering::Relaxed);
            let _deferred = DeferredDrops::begin();
            self.entries.run_pending_tasks();
        }
    }

    pub(super) fn expect_releases(&self) {
        self.releases_due.store(RELEASES, Ordering::Relaxed);
    }
}
