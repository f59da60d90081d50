//! The map of the in-process tier, which is Moka's.
//!
//! An entry is freed some time after it was removed, in whatever call of whatever thread then has the turn to free: a look at another
//! key, of another cache, under a lock of Moka's. What a value does when it is dropped is the user's code. So there is no way to Moka
//! but through here, and no value is dropped before the call has returned.

use std::sync::Arc;

use moka::sync::Cache;

use crate::{
    key::{BuildPrehashed, Key, KeyRef},
    l1::{entry::Entry, leaving::Leaving},
};

pub(crate) struct Map(Cache<Key, Arc<Entry>, BuildPrehashed>);

impl Map {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().build_with_hasher(BuildPrehashed::default()))
    }

    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let _leaving = Leaving::begin();
        self.0.get(&key)
    }

    /// Whether there is anything under `key`: a short way to nothing.
    pub(crate) fn has(&self, key: KeyRef<'_>) -> bool {
        let _leaving = Leaving::begin();
        self.0.contains_key(&key)
    }

    pub(crate) fn insert(&self, key: Key, kept: Arc<Entry>) {
        let _leaving = Leaving::begin();
        self.0.insert(key, kept);
    }

    pub(crate) fn remove(&self, key: KeyRef<'_>) {
        let _leaving = Leaving::begin();
        self.0.invalidate(&key);
    }
}
