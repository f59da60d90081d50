//! The caches that are no attributes, each used as its documentation shows.

mod cachet;
mod foyer;
mod moka;
mod multi_tier;
mod quick;

use crate::work::{Key, Value, load};

pub use cachet::Cachet;
pub use foyer::{Foyer, Lfu, Policy, S3Fifo, Sieve};
pub use moka::{MokaFuture, MokaSync, MokaTuned};
pub use multi_tier::MultiTier;
pub use quick::Quick;

/// A cache that is bounded in entries.
pub trait Peer<K: Key, V: Value>: Send + Sync + 'static {
    /// In tables.
    const NAME: &'static str;

    /// For so many entries.
    fn new(capacity: u32) -> Self;
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
