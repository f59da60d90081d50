//! Invalidation epochs of names.
//!
//! An [`Epoch`] of a name lasts until the name is invalidated. A change that the tier reports, such as the
//! fill of another process, counts as an invalidation. One atomic operation ends it, and with it every entry
//! and load that depends on it, wherever they are. So an invalidation looks up no entries, and an entry that is
//! inserted a moment later is invalid as well.
//!
//! Order of steps: a reader takes the current epoch *before* it asks L2, and stores the value in L1 together
//! with that epoch. An invalidation that overtakes the answer then still ends the epoch of the value.
//!
//! Each entry of a function with a shared tier has an epoch of its own. So the table has only the hash of a name
//! and a pointer to the epoch, which has the text.
//!
//! Locks: a load that is notified by [`DependentLoad::invalidate`] takes locks of its flight, so no lock of this
//! module is held during the call. Dropping an epoch locks its shard, so no epoch is dropped under that lock.
//!
//! This file has the table. `life` has an epoch, with the loads and the listeners that it notifies. `validity`
//! combines the epochs of a name and its tags; `l2::replay` ends epochs on behalf of the change feed.

mod life;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::HashMap,
    fmt,
    hash::BuildHasher,
    iter, ptr,
    sync::{Arc, PoisonError, Weak},
};

use hashbrown::HashTable;

pub(crate) use self::life::{DependentLoad, Epoch, Listener};
use crate::{
    base::glob,
    coherence::invalid_count::InvalidCount,
    sync::{Mutex, MutexGuard, shards},
};

const SHARDS: usize = shards(32);

/// The living epochs of a cache, by name. An epoch that has no holder is removed.
pub(crate) struct Epochs {
    /// Estimated number of entries that became invalid when epochs of tags, or of many names, ended.
    pub(crate) invalid_count: InvalidCount,
    shards: Box<[Arc<EpochShard>]>,
    hasher: foldhash::fast::RandomState,
    functions: Mutex<HashMap<&'static str, Arc<Epoch>, foldhash::fast::RandomState>>,
}

/// The epochs of some names. Names that differ have slots that differ, even if they have the same hash.
///
/// An epoch refers to its shard, and not to the whole table: all threads would count references to that.
type EpochShard = Mutex<HashTable<EpochSlot>>;

/// The place of an epoch in the table.
struct EpochSlot {
    /// Hash of the name: a table that grows needs it, and a pointer to a dropped epoch has it no more.
    hash: u64,
    epoch: Weak<Epoch>,
}

impl Epochs {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Arc::default()).collect();
        Arc::new(Self {
            invalid_count: InvalidCount::default(),
            shards,
            hasher: foldhash::fast::RandomState::default(),
            functions: Mutex::default(),
        })
    }

    /// Returns the living epoch of all entries of a function that have no names.
    ///
    /// Only a pattern ends it: the entry of a key is found by the key. `names` is the pattern of the names that
    /// the entries would have.
    pub(crate) fn current_of_function(
        &self,
        template: &'static str,
        names: impl FnOnce() -> String,
    ) -> Arc<Epoch> {
        let make = || Arc::new(Epoch::new(names().into(), 0, Weak::new()));
        lock(&self.functions).entry(template).or_insert_with(make).clone()
    }

    /// Ends the epochs of the functions of which a name may match `pattern`. Returns their templates.
    fn end_functions(&self, pattern: &str) -> Vec<&'static str> {
        let is_match = |_: &&str, epoch: &mut Arc<Epoch>| glob::may_meet(pattern, epoch.name());
        let ended: Vec<_> = lock(&self.functions).extract_if(is_match).collect();
        let end = |(template, epoch): (&'static str, Arc<Epoch>)| {
            self.invalid_count.add(Arc::strong_count(&epoch) - 1);
            epoch.end();
            template
        };
        ended.into_iter().map(end).collect()
    }

    /// Returns the living epoch of `name`. All readers of the name share it until it ends.
    pub(crate) fn current(&self, name: &str) -> Arc<Epoch> {
        self.current_at(self.hash(name), name)
    }

    fn current_at(&self, hash: u64, name: &str) -> Arc<Epoch> {
        let shard = self.shard(hash);
        // Declared before the lock, and so dropped after it.
        let mut of_other_names = Vec::new();
        let mut slots = lock(shard);
        for slot in slots.iter_hash(hash).filter(|slot| slot.hash == hash) {
            match slot.epoch.upgrade() {
                Some(epoch) if epoch.name() == name => return epoch,
                other => of_other_names.extend(other),
            }
        }
        let epoch = Arc::new(Epoch::new(name.into(), hash, Arc::downgrade(shard)));
        let slot = EpochSlot { hash, epoch: Arc::downgrade(&epoch) };
        slots.insert_unique(hash, slot, |slot| slot.hash);
        epoch
    }

    /// Ends the epoch of `name`, and invalidates the loads that depend on it.
    pub(crate) fn end(&self, name: &str) {
        self.end_at(self.hash(name), |_| ());
    }

    /// Ends the epoch of a tag that this process invalidates, and adds the number of its holders to
    /// `invalid_count`.
    pub(crate) fn end_tag(&self, tag: &str) {
        self.end_at(self.hash(tag), |epoch| self.invalid_count.add(Arc::strong_count(epoch) - 1));
    }

    /// Ends all epochs with this hash. If names that differ have the same hash, too much is invalidated.
    fn end_at(&self, hash: u64, before: impl Fn(&Arc<Epoch>)) {
        let mut slots = lock(self.shard(hash));
        let mut take = || {
            let found = slots.find_entry(hash, |slot| slot.hash == hash).ok()?;
            Some(found.remove().0.epoch)
        };
        // Nearly always, there is one at most, and no vector is allocated.
        let (first, others) = (take(), iter::from_fn(&mut take).collect::<Vec<_>>());
        drop(slots);
        for epoch in first.into_iter().chain(others).filter_map(|epoch| epoch.upgrade()) {
            before(&epoch);
            epoch.end();
        }
    }

    /// Wakes the listeners of `name` without ending its epoch: waiting calls look again, and entries stay
    /// valid.
    ///
    /// Used after a change that this process has made itself, which the tier need not report to it.
    pub(crate) fn notify_listeners(&self, name: &str) {
        let hash = self.hash(name);
        let slots = lock(self.shard(hash));
        let with_hash = slots.iter_hash(hash).filter(|slot| slot.hash == hash);
        let epochs: Vec<_> = with_hash.filter_map(|slot| slot.epoch.upgrade()).collect();
        drop(slots);
        for epoch in epochs {
            epoch.notify_listeners();
        }
    }

    /// Ends the epoch of every name that matches `pattern`, as [`end`](Self::end) does for one.
    ///
    /// Returns the templates of the functions whose epoch has ended. No epoch notifies their loads.
    pub(crate) fn end_matching(&self, pattern: &str) -> Vec<&'static str> {
        self.end_where(|name| glob::matches(pattern, name.strip_suffix('\0').unwrap_or(name)));
        self.end_functions(pattern)
    }

    /// Ends the epoch of every name, as [`end`](Self::end) does for one.
    ///
    /// Entries without a name stay valid: no tier knows them.
    pub(crate) fn end_all(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, is_match: impl Fn(&str) -> bool) {
        for shard in &self.shards {
            // The epochs that stay are held as well until the lock is released: see the module.
            let (mut ended, mut others) = (Vec::new(), Vec::new());
            lock(shard).retain(|slot| {
                let Some(epoch) = slot.epoch.upgrade() else { return true };
                let stays = !is_match(epoch.name());
                if stays {
                    others.push(epoch);
                } else {
                    ended.push(epoch);
                }
                stays
            });
            drop(others);
            self.invalid_count.add(ended.len());
            for epoch in ended {
                epoch.end();
            }
        }
    }

    /// Returns the number of names with a living epoch.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name)
    }

    fn shard(&self, hash: u64) -> &Arc<EpochShard> {
        // The table of the shard uses the low and the topmost bits of the hash.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

/// Removes an epoch that is being dropped. A later epoch of the name stays.
fn remove(shard: &EpochShard, hash: u64, epoch: &Epoch) {
    let mut slots = lock(shard);
    if let Ok(found) = slots.find_entry(hash, |slot| ptr::eq(slot.epoch.as_ptr(), epoch)) {
        found.remove();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Epochs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("len", &self.len()).finish_non_exhaustive()
    }
}
