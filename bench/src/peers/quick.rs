use quick_cache::sync::Cache;

use super::Peer;
use crate::work::{Key, Value};

/// It has a bound, and no ttl.
pub struct Quick<K: Key, V>(pub Cache<K::Owned, V>);

impl<K: Key, V: Value> Peer<K, V> for Quick<K, V> {
    const NAME: &'static str = "quick_cache";

    fn new(capacity: u32) -> Self {
        Self(Cache::new(capacity as usize))
    }

    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(&key.borrowed())
    }

    fn insert(&self, key: &K, value: V) {
        self.0.insert(key.owned(), value);
    }

    fn remove(&self, key: &K) {
        self.0.remove(&key.borrowed());
    }
}
