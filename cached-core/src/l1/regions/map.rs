//! The main region, which is a map of Moka's.
//!
//! Moka frees an entry some time after its removal, in any call on any thread. This may be a look-up of
//! another key, of another cache, under a lock of Moka's. The `Drop` of a value is user code. Therefore all
//! calls to Moka go through this module, and no value is dropped before the call has returned (see
//! `deferred_drops`).

use std::sync::Arc;

use moka::sync::Cache;

use crate::{
    key::{BuildPrehashed, KeyRef, OwnedKey},
    l1::{deferred_drops::DeferredDrops, entry::Entry},
};

pub(super) struct Map(Cache<OwnedKey, Arc<Entry>, BuildPrehashed>);

impl Map {
    pub(super) fn new() -> Self {
        Self(Cache::builder().build_with_hasher(BuildPrehashed::default()))
    }

    #[inline]
    pub(super) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _deferred = DeferredDrops::begin();
        self.0.get(&key)
    }

    /// Returns whether there is an entry under `key`. It finds an absence faster than `get`.
    pub(super) fn has(&self, key: KeyRef<'_>) -> bool {
        let _deferred = DeferredDrops::begin();
        self.0.contains_key(&key)
    }

    /// Stores an entry, in the place of an earlier one of its key.
    pub(super) fn insert(&self, entry: Arc<Entry>) {
        let _deferred = DeferredDrops::begin();
        self.0.insert(entry.key().clone(), entry);
    }

    pub(super) fn remove(&self, key: KeyRef<'_>) {
        let _deferred = DeferredDrops::begin();
        self.0.invalidate(&key);
    }

    /// Frees removed entries, as far as other threads do not look at them.
    pub(super) fn release_removed(&self) {
        let _deferred = DeferredDrops::begin();
        self.0.run_pending_tasks();
    }
}
