//! The two regions that hold the entries of L1: the window, and the main region behind it.
//!
//! A new entry starts in the [`window`], where it costs one pointer in a hash table. It moves to the main
//! region, which is [`map`] (Moka), when it has proved its use to the eviction policy. Most entries of a long
//! tail never do, and so they cost nothing there. The queues of the policy are another matter: an entry of its
//! main queue may be in the window.
//!
//! Invariants:
//!
//! * Both regions change under the lock of a shard of the window, to which the key belongs. So changes of one
//!   key happen one after the other.
//! * An entry is in one region, which [`Entry::is_in_main`] names under that lock.
//! * A reader looks into the window, under the lock, and into the main region afterwards, without it. An entry
//!   takes the same way. So a reader that comes too late for the window finds the entry in the main region.
//! * An entry that replaces another one of its key is stored in the region of that one. So a key that keeps an
//!   entry never goes back from the main region to the window, behind a reader that is between the two.
//!
//! Therefore a reader that finds no entry in either region need not look again: there was a moment during the
//! look-up at which the key had none.

mod map;
mod window;

use std::sync::{Arc, RwLockWriteGuard};

use self::{
    map::Map,
    window::{Shard, Window},
};
use crate::{key::KeyRef, l1::entry::Entry};

/// The entries of L1, by their keys.
pub(crate) struct Regions {
    window: Window,
    main: Map,
}

/// The lock of a key, with both regions.
pub(crate) struct LockedRegions<'a> {
    shard: RwLockWriteGuard<'a, Shard>,
    main: &'a Map,
}

impl Regions {
    /// Creates the regions of a tier of `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { window: Window::new(max_bytes), main: Map::new() }
    }

    /// Returns the entry under `key`, which may be retired.
    #[inline]
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        let shard = self.window.read(key.hash());
        if let Some(entry) = shard.get(key) {
            return Some(entry.clone());
        }
        let may_be_in_main = shard.main_count > 0;
        drop(shard);
        if may_be_in_main { self.main.get(key) } else { None }
    }

    /// Returns whether there is an entry under `key`. It finds an absence faster than `get`.
    pub(crate) fn has(&self, key: KeyRef<'_>) -> bool {
        let shard = self.window.read(key.hash());
        if shard.get(key).is_some() {
            return true;
        }
        let may_be_in_main = shard.main_count > 0;
        drop(shard);
        may_be_in_main && self.main.has(key)
    }

    /// Takes the lock of the keys with this hash, and of some others.
    ///
    /// The caller has a `DeferredDrops`, since entries may be dropped under the lock.
    pub(crate) fn lock(&self, hash: u64) -> LockedRegions<'_> {
        LockedRegions { shard: self.window.write(hash), main: &self.main }
    }

    /// Frees removed entries that the main region still holds, as far as other threads do not look at them.
    pub(crate) fn release_removed(&self) {
        self.main.release_removed();
    }

    /// Acts as if an entry had just left the main region.
    #[cfg(test)]
    pub(crate) fn expect_releases(&self) {
        self.main.expect_releases();
    }

    /// Returns the number of entries in the window, and of those in the main region.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        self.window.counts()
    }
}

impl LockedRegions<'_> {
    pub(crate) fn get(&self, key: KeyRef<'_>) -> Option<Arc<Entry>> {
        if let Some(entry) = self.shard.get(key) {
            return Some(entry.clone());
        }
        if self.shard.main_count > 0 && self.main.has(key) { self.main.get(key) } else { None }
    }

    /// Stores an entry in the place of `before`, or in the window if its key has none.
    ///
    /// Returns the entry if it was retired by then.
    pub(crate) fn put(&mut self, before: Option<&Arc<Entry>>, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let stored = match before {
            Some(before) if before.is_in_main() => {
                entry.set_in_main();
                self.main.insert(entry.clone());
                &entry
            }
            Some(before) => self.shard.replace(before, entry),
            None => self.shard.insert(entry),
        };
        stored.is_retired().then(|| stored.clone())
    }

    /// Removes an entry that is in one of the regions.
    pub(crate) fn remove(&mut self, entry: &Arc<Entry>) {
        if entry.is_in_main() {
            self.main.remove(entry.key());
            self.shard.main_count -= 1;
        } else {
            self.shard.remove(entry);
        }
    }

    /// Moves an entry that is in one of the regions to the main region.
    pub(crate) fn move_to_main(&mut self, entry: &Arc<Entry>) {
        if entry.is_in_main() {
            return;
        }
        self.main.insert(entry.clone());
        self.shard.main_count += 1;
        entry.set_in_main();
        self.shard.remove(entry);
    }
}
