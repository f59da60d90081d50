use cachet::Cache;
use tick::Clock;

use super::Peer;
use crate::work::{Key, TTL, Value, now, runtime};

/// One tier in memory with a bound and a ttl. It looks up by what `Borrow` lends, so a text in a tuple is copied.
pub struct Cachet<K: Key, V: Value>(pub Cache<K::Owned, V>);

impl<K: Key, V: Value> Peer<K, V> for Cachet<K, V> {
    const NAME: &'static str = "cachet";

    fn new(capacity: u32) -> Self {
        let _guard = runtime().enter();
        // Its documentation recommends this where the time is read often.
        let clock = Clock::new_tokio().with_fast_instant(true);
        let builder =
            Cache::builder::<K::Owned, V>(clock).memory_with(|memory| memory.max_capacity(capacity.into()));
        Self(builder.ttl(TTL).build())
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
