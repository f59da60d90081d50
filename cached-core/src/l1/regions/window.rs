//! The window: a sharded hash table of the entries that have not proved their use.
//!
//! A shard is a hash table under a lock. It holds one pointer to each entry: the hash and the key are those of
//! the entry. Entries are spread by bits of the hash that determine neither the place in a table of `hashbrown`
//! nor the set in a thread cache.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;

use crate::{key::KeyRef, l1::entry::Entry};

/// Bytes of L1 for which there is one shard. A table that grows is copied under the lock of its shard, and so
/// many bytes are about a thousand small entries.
const BYTES_PER_SHARD: u64 = 1 << 20;

/// Least number of shards, so that the changes of different keys seldom wait for each other.
const MIN_SHARDS: usize = 64;

/// Greatest number of shards, which take 64 KiB.
const MAX_SHARDS: usize = 1024;

/// Capacity up to which a table keeps its memory.
const KEPT_CAPACITY: usize = 64;

pub(super) struct Window {
    shards: Box<[PaddedShard]>,
}

/// A shard on a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct PaddedShard(RwLock<Shard>);

/// Entries of the keys that share a lock.
#[derive(Default)]
pub(super) struct Shard {
    entries: HashTable<Arc<Entry>>,
    /// Number of entries in the main region whose keys belong to this shard.
    pub(super) main_count: usize,
}

impl Window {
    /// Creates the window of a tier of `max_bytes`.
    pub(super) fn new(max_bytes: u64) -> Self {
        let count = usize::try_from(max_bytes / BYTES_PER_SHARD).unwrap_or(MAX_SHARDS).min(MAX_SHARDS);
        let count = count.next_power_of_two().max(MIN_SHARDS);
        Self { shards: (0..count).map(|_| PaddedShard::default()).collect() }
    }

    pub(super) fn read(&self, hash: u64) -> RwLockReadGuard<'_, Shard> {
        self.shard(hash).read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        self.shard(hash).write().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash select a shard")]
    fn shard(&self, hash: u64) -> &RwLock<Shard> {
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)].0
    }

    /// Returns the number of entries in the window, and of those in the main region.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |shard: &PaddedShard| {
            let shard = shard.0.read().unwrap_or_else(PoisonError::into_inner);
            (shard.entries.len(), shard.main_count)
        };
        self.shards.iter().map(count).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }
}

impl Shard {
    pub(super) fn get(&self, key: KeyRef<'_>) -> Option<&Arc<Entry>> {
        self.entries.find(key.hash(), |entry| key.is_same(entry.key()))
    }

    /// Adds an entry of a key that has none here, and returns it.
    pub(super) fn insert(&mut self, entry: Arc<Entry>) -> &Arc<Entry> {
        self.entries.insert_unique(entry.hash(), entry, hash).into_mut()
    }

    /// Replaces `before` by another entry of its key, and returns that.
    pub(super) fn replace(&mut self, before: &Arc<Entry>, entry: Arc<Entry>) -> &Arc<Entry> {
        let held = self.entries.entry(hash(before), |held| Arc::ptr_eq(held, before), hash);
        held.insert(entry).into_mut()
    }

    pub(super) fn remove(&mut self, entry: &Arc<Entry>) {
        if let Ok(held) = self.entries.find_entry(hash(entry), |held| Arc::ptr_eq(held, entry)) {
            held.remove();
            self.shrink();
        }
    }

    /// Gives back the memory of a table of which an eighth is in use.
    fn shrink(&mut self) {
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if capacity > KEPT_CAPACITY && len <= capacity / 8 {
            self.entries.shrink_to(2 * len, hash);
        }
    }
}

fn hash(entry: &Arc<Entry>) -> u64 {
    entry.hash()
}
