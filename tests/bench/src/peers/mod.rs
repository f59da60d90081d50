//! The caches that are no attributes, each used as its documentation shows.

mod cached;
mod cachet;
mod foyer;
mod moka;
mod multi_tier;
mod quick;

use crate::work::{Key, Value, load};

pub use cached::{CachedLru, CachedLruTtl};
pub use cachet::Cachet;
pub use foyer::{Foyer, FoyerTuned, Lfu, S3Fifo, Sieve};
pub use moka::{MokaFuture, MokaLru, MokaSync, MokaTinyLfu, MokaTuned};
pub use multi_tier::{ByQuick, MultiTier};
pub use quick::Quick;

/// A cache that is bounded in entries.
pub trait Peer<K: Key, V: Value>: Send + Sync + 'static {
    /// In tables.
    const NAME: &'static str;

    /// For so many entries.
    fn new(capacity: u32) -> Self;
    /// The same in one shard, if it has shards: for one thread, and a policy that sees all keys.
    fn whole(capacity: u32) -> Self
    where
        Self: Sized,
    {
        Self::new(capacity)
    }

    /// A lookup.
    fn get(&self, key: &K) -> Option<V>;
    /// Keeps a value.
    fn insert(&self, key: &K, value: V);
    /// Drops a value.
    fn remove(&self, key: &K);

    /// A lookup, and on a miss the function.
    #[inline]
    fn call(&self, key: &K) -> V {
        self.get(key).unwrap_or_else(|| self.fill(key))
    }

    /// A miss. It is kept out of the way of a hit.
    #[cold]
    fn fill(&self, key: &K) -> V {
        let value: V = load(key.number());
        self.insert(key, value.clone());
        value
    }
}
