//! The map of the in-process tier, which is Moka's.
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

pub(crate) struct Map(Cache<OwnedKey, Arc<Entry>, BuildPrehashed>);

impl Map {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().build_with_hasher(BuildPrehashed::default()))
    }

    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _deferred = DeferredDrops::begin();
        self.0.get(&key)
    }

    /// Returns whether there is an entry under `key`. It finds an absence faster than `get`.
    pub(crate) fn has(&self, key: KeyRef<'_>) -> bool {
        let _deferred = DeferredDrops::begin();
        self.0.contains_key(&key)
    }

    pub(crate) fn insert(&self, key: OwnedKey, entry: Arc<Entry>) {
        let _deferred = DeferredDrops::begin();
        self.0.insert(key, entry);
    }

    pub(crate) fn remove(&self, key: KeyRef<'_>) {
        let _deferred = DeferredDrops::begin();
        self.0.invalidate(&key);
    }
}
