//! The caches without an attribute, each used as its documentation shows.

mod cached;
mod cachet;
mod foyer;
mod moka;
mod multi_tier;
mod quick;
mod tinyufo;

use crate::work::{Key, Value, load};

pub use cached::{CachedLru, CachedLruTtl};
pub use cachet::Cachet;
pub use foyer::{Foyer, FoyerTuned, Lfu, S3Fifo, Sieve};
pub use moka::{MokaFuture, MokaLru, MokaSync, MokaTinyLfu, MokaTuned};
pub use multi_tier::{ByQuick, MultiTier};
pub use quick::Quick;
pub use tinyufo::Ufo;

/// A cache with a bound in entries.
pub trait Peer<K: Key, V: Value>: Send + Sync + 'static {
    /// Name in tables.
    const NAME: &'static str;

    /// Creates a cache for `capacity` entries.
    fn new(capacity: u32) -> Self;
    /// Creates a cache with a single shard, if the cache has shards.
    ///
    /// It is for one thread, and for a policy that sees all keys.
    fn single_shard(capacity: u32) -> Self
    where
        Self: Sized,
    {
        Self::new(capacity)
    }

    /// Looks up a key.
    fn get(&self, key: &K) -> Option<V>;
    /// Stores a value.
    fn insert(&self, key: &K, value: V);
    /// Removes a value.
    fn remove(&self, key: &K);

    /// Looks up a key, and calls the function on a miss.
    #[inline]
    fn call(&self, key: &K) -> V {
        self.get(key).unwrap_or_else(|| self.fill(key))
    }

    /// Loads and stores a value after a miss. It is `#[cold]`, so that its code does not burden a hit.
    #[cold]
    fn fill(&self, key: &K) -> V {
        let value: V = load(key.number());
        self.insert(key, value.clone());
        value
    }
}
