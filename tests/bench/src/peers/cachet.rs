use cachet::{Cache, CacheBuilder, InMemoryCache};
use tick::Clock;

use super::Peer;
use crate::work::{Key, TTL, Value, now, runtime};

/// Cache of `cachet` with one tier in memory, a bound and a ttl.
///
/// It looks up keys through `Borrow`, so a text in a tuple is copied.
pub struct Cachet<K: Key, V: Value>(pub Cache<K::Owned, V>);

impl<K: Key, V: Value> Cachet<K, V> {
    /// Creates a cache with stampede protection, which costs time in hits as well.
    pub fn with_stampede_protection(capacity: u32) -> Self {
        Self(builder::<K, V>(capacity).stampede_protection().build())
    }
}

/// Returns the builder of both variants.
fn builder<K: Key, V: Value>(capacity: u32) -> CacheBuilder<K::Owned, V, InMemoryCache<K::Owned, V>> {
    let _guard = runtime().enter();
    // The documentation of `cachet` recommends this where the time is read often.
    let clock = Clock::new_tokio().with_fast_instant(true);
    Cache::builder::<K::Owned, V>(clock).memory_with(|memory| memory.max_capacity(capacity.into())).ttl(TTL)
}

impl<K: Key, V: Value> Peer<K, V> for Cachet<K, V> {
    const NAME: &'static str = "cachet";

    fn new(capacity: u32) -> Self {
        Self(builder::<K, V>(capacity).build())
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        let entry = now(self.0.get(key.lent().as_ref())).expect("memory does not fail");
        entry.map(|entry| entry.value().clone())
    }

    fn insert(&self, key: &K, value: V) {
        runtime().block_on(self.0.insert(key.owned(), value)).expect("memory does not fail");
    }

    fn remove(&self, key: &K) {
        now(self.0.invalidate(key.lent().as_ref())).expect("memory does not fail");
    }
}
